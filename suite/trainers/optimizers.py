"""Optimizers by a name that a knob can choose."""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import keras
import tensorflow as tf
from keras import ops
from pydantic import Field

from suite.errors import InputError
from suite.knobs import BatchSize, Epochs, LearningRate, Share, WeightDecay, settings
from suite.trainers.schedules import one_cycle

HEADS = ["logits", "auxiliary"]  # words in the names of layers of logits


@keras.saving.register_keras_serializable(package="suite")
class Adam(keras.optimizers.Adam):
    """Keras's Adam, which in TensorFlow updates a weight by one operation.

    Keras's Adam takes about twenty operations, and with small networks they take longer than the
    gradients. The updates are the same but for rounding, with one exception: where a batch has a
    row of an embedding twice, Keras's squares the two gradients one by one, and this one their sum.

    It takes the arguments of Keras's Adam; with `weight_decay` it is AdamW.

    Reference:
        Kingma and Ba, 2015, Adam: A Method for Stochastic Optimization,
        https://arxiv.org/abs/1412.6980
        Loshchilov and Hutter, 2019, Decoupled Weight Decay Regularization (AdamW),
        https://arxiv.org/abs/1711.05101
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # There is no such operation with AMSGrad, nor on another backend of Keras.
        if self.amsgrad or keras.config.backend() != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        number = self._get_variable_index(variable)
        dtype = variable.dtype
        beta_1, beta_2 = (tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2))
        steps = tf.cast(self.iterations.value + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[number].value.handle,
            v=self._velocities[number].value.handle,
            beta1_power=beta_1**steps,
            beta2_power=beta_2**steps,
            lr=tf.cast(learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),  # that of an embedding is sparse
        )


@keras.saving.register_keras_serializable(package="suite")
class Muon(keras.optimizers.Muon):
    """Muon for convolutional networks: kernels of convolutions are matrices, too.

    Keras's Muon leaves kernels of four dimensions to Adam. Here they are matrices with a column for
    every filter. Adam trains the rest at a fifth of the learning rate, without weight decay:
    scales, offsets, kernels of one row or one column, which are vectors, and the layers of logits,
    whose kernels are no maps from features to features.

    Args:
        arguments: Those of Keras's Muon. A step has less momentum here by default, as suits
            trainings of a few epochs.

    Reference:
        Jordan et al., 2024, Muon: An optimizer for hidden layers in neural networks,
        https://kellerjordan.github.io/posts/muon/
        Liu et al., 2025, Muon is Scalable for LLM Training (the length of a step),
        https://arxiv.org/abs/2502.16982
    """

    def __init__(self, learning_rate: Any = 0.001, **arguments: Any) -> None:
        defaults = {"adam_lr_ratio": 0.2, "adam_weight_decay": None, "exclude_layers": HEADS}
        super().__init__(learning_rate, **{"momentum": 0.6, **defaults, **arguments})

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        if len(variable.shape) != 4:
            return 1 in variable.shape or super()._should_use_adamw(variable)
        is_depthwise = variable.shape[-1] == 1
        return is_depthwise or any(re.search(name, variable.path) for name in self.exclude_layers)

    def _muon_update_step(
        self, gradient: Any, variable: keras.Variable, lr: Any, m: keras.Variable
    ) -> None:
        self.assign(m, self.momentum * m + gradient)
        direction = gradient + self.momentum * m if self.nesterov else m
        # The variable's shape: that of a gradient may be unknown in a graph.
        *rows, columns = variable.shape
        matrix = ops.reshape(direction, (math.prod(rows), columns))
        update = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(update, variable.shape))


OptimizerName = Literal[
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "lion",
    "momentum",
    "muon",
    "nesterov",
    "rmsprop",
    "sgd",
]
_OPTIMIZERS: dict[str, Callable[..., keras.Optimizer]] = {
    "adadelta": keras.optimizers.Adadelta,
    "adagrad": keras.optimizers.Adagrad,
    "adam": Adam,
    "adamw": Adam,
    "lion": keras.optimizers.Lion,
    "momentum": partial(keras.optimizers.SGD, momentum=0.9),
    "muon": Muon,
    "nesterov": partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


Clip = Annotated[float, Field(gt=0, le=1e6)]


@settings
class Optimization:
    """The settings of a training by gradients: its length, its steps and its learning rates.

    Args:
        epochs: Number of epochs, passes over the training split.
        batch_size: Examples per optimizer step, over all replicas.
        optimizer: `momentum` is SGD with a momentum of 0.9, `nesterov` with Nesterov's; `sgd` has
            none.
        learning_rate: Peak of the schedule.
        schedule: Learning rate over the steps: `one_cycle` rises to the peak and falls to zero,
            `constant` stays at it.
        warmup: Share of the steps in which the learning rate rises.
        weight_decay: Decoupled weight decay in a step, times the learning rate.
        clip_norm: Largest norm of the gradient of all weights together. None does not clip.
    """

    epochs: Epochs
    batch_size: BatchSize
    optimizer: OptimizerName = "adamw"
    learning_rate: LearningRate
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    warmup: Share
    weight_decay: WeightDecay
    clip_norm: Clip | None = None


def scheduled_optimizer(
    config: Optimization,
    steps: int,
    *,
    clip_value: float | None = None,
    matrices_of: keras.Model | None = None,
) -> keras.Optimizer:
    """The optimizer of a task's settings, with its schedule of learning rates.

    Args:
        config: The settings.
        steps: The steps of the training.
        clip_value: Largest absolute value of a component of the gradient.
        matrices_of: Only the matrices of this model have weight decay; by default all weights.

    Raises:
        InputError: Gradients are to be clipped both by value and by norm.
    """
    learning_rate: Any = config.learning_rate
    if config.schedule == "one_cycle":
        learning_rate = one_cycle(config.learning_rate, steps, config.warmup)
    optimizer = make_optimizer(
        config.optimizer,
        learning_rate,
        config.weight_decay,
        clip_value=clip_value,
        clip_norm=config.clip_norm,
    )
    if matrices_of is not None:
        optimizer.exclude_from_weight_decay(
            var_list=[v for v in matrices_of.trainable_variables if len(v.shape) < 2]
        )
    return optimizer


def make_optimizer(
    name: OptimizerName,
    learning_rate: Any,
    weight_decay: float,
    *,
    clip_value: float | None = None,
    clip_norm: float | None = None,
) -> keras.Optimizer:
    """Makes an optimizer with decoupled weight decay, which may clip gradients.

    Args:
        name: `momentum` is SGD with a momentum of 0.9, `nesterov` with Nesterov's, `sgd` has none;
            `adam` with weight decay is `adamw`.
        learning_rate: A number or a schedule.
        weight_decay: Share of a weight that a step takes off it, times the learning rate.
        clip_value: Largest absolute value of a component of the gradient.
        clip_norm: Largest norm of the gradient of all weights together.

    Raises:
        InputError: Gradients are to be clipped both by value and by norm.

    Reference:
        Pascanu, Mikolov and Bengio, 2012, On the Difficulty of Training Recurrent Neural Networks
        (clipping by norm), https://arxiv.org/abs/1211.5063
    """
    if clip_value is not None and clip_norm is not None:
        raise InputError("`clip_value` must be left out with `clip_norm`", clip_value)
    return _OPTIMIZERS[name](
        learning_rate,
        weight_decay=weight_decay or None,
        clipvalue=clip_value,
        global_clipnorm=clip_norm,
    )
