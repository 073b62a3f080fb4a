"""Training on the whole training split at once, by a method that needs the exact gradient."""

import logging

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from suite.data.examples import Split
from suite.data.pipelines import batches
from suite.errors import InputError

log = logging.getLogger(__name__)

MOST_EXAMPLES = 10_000  # of a part of the split, over which the gradient is summed


def refuse_stochastic_loss(model: keras.Model, knob: str, value: object) -> None:
    """Refuses a network whose loss is not a smooth function of its weights alone.

    Args:
        model: The network.
        knob: The knob that asks for the full batch, for the error.
        value: Its value.

    Raises:
        InputError: The network draws random numbers in training, normalises by the batch, or keeps
            its weights within bounds.
    """
    random = (layers.Dropout, layers.GaussianNoise, layers.BatchNormalization)
    constrained = any(variable.constraint for variable in model.trainable_variables)
    if constrained or any(isinstance(layer, random) for layer in model.layers):
        raise InputError(
            f"`{knob}` must be 0 for a network with dropout, noise, batch normalisation or a "
            "largest norm",
            value,
        )


def fit_lbfgs(model: keras.Model, examples: Split, iterations: int) -> float:
    """Minimises the compiled loss over all examples by L-BFGS, and leaves the weights there.

    Args:
        model: A compiled network that `refuse_stochastic_loss` lets pass.
        examples: The training split.
        iterations: Largest number of iterations, each with one gradient or a few.

    Returns:
        The loss at the end.

    Reference:
        Liu and Nocedal, 1989, On the Limited Memory BFGS Method for Large Scale Optimization,
        https://doi.org/10.1007/BF01589116
    """
    from scipy.optimize import minimize

    variables = model.trainable_variables
    ends = np.cumsum([int(np.prod(variable.shape)) for variable in variables])
    count = examples.num_examples
    parts = batches(examples, MOST_EXAMPLES)

    @tf.function(reduce_retracing=True)
    def loss_and_gradient(inputs: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(inputs, targets, model(inputs, training=False))
        gradient = tape.gradient(loss, [variable.value for variable in variables])
        return loss, tf.concat([tf.reshape(part, [-1]) for part in gradient], axis=0)

    def assign(vector: np.ndarray) -> None:
        for variable, values in zip(variables, np.split(vector, ends[:-1]), strict=True):
            variable.assign(values.reshape(variable.shape))

    def function(vector: np.ndarray) -> tuple[float, np.ndarray]:
        assign(vector)
        total, gradient = 0.0, np.zeros_like(vector)
        for inputs, targets in parts:
            share = len(targets) / count
            loss, part = loss_and_gradient(inputs, targets)
            total += share * float(loss)
            gradient += share * part.numpy()
        return total, gradient

    start = np.concatenate([np.ravel(keras.ops.convert_to_numpy(v)) for v in variables])
    result = minimize(
        function,
        start.astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations},
    )
    assign(result.x)
    log.info("L-BFGS: loss %.5f after %d iterations", result.fun, result.nit)
    return float(result.fun)
