"""Endpoints: the functions that an export offers, made from Keras models or written by hand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops


class Endpoint(NamedTuple):
    """A function of an export, whose inputs need not be those of a Keras model.

    It may take text or encoded pictures, for example.

    Args:
        function: Takes a tensor for each of `inputs`, in that order, and returns a dict of
            tensors.
        inputs: Shapes, types and names of the inputs.
        resources: Objects that the function uses beside models, and that must be saved with it:
            lookup layers, tables, variables, modules.
    """

    function: Callable[..., Mapping[str, tf.Tensor]]
    inputs: Sequence[tf.TensorSpec]
    resources: Sequence[Any] = ()

    def as_graph(self) -> Any:
        """The function as a `tf.function`, traced once for all inputs that it takes."""
        return tf.function(self.function, input_signature=list(self.inputs), autograph=False)


def classifier(model: keras.Model) -> keras.Model:
    """Adds `probabilities` and `label` to the logits of a classifier, as it is served.

    Args:
        model: Functional, with logits `(batch, classes)` as its only output, or as the one named
            `logits`; others are left out.

    Returns:
        A model with the same inputs and the outputs `logits` and `probabilities`
        `(batch, classes)`, float32, and `label` `(batch,)`, int64: the index of the class.
    """
    network = to_logits(model)
    logits = ops.cast(network.output, "float32")
    return keras.Model(
        network.input,
        {
            "logits": logits,
            "probabilities": ops.softmax(logits),
            "label": most_likely(logits),
        },
        name=model.name,
    )


def to_logits(model: keras.Model) -> keras.Model:
    """A network with the logits as its only output: the output of that name, if it has several."""
    outputs = model.output
    if not isinstance(outputs, Mapping):
        outputs = dict(zip(model.output_names, model.outputs, strict=True))
    logits = model.outputs[0] if len(outputs) == 1 else outputs["logits"]
    return keras.Model(model.inputs[0], logits, name=model.name)


def most_likely(scores: keras.KerasTensor) -> keras.KerasTensor:
    """The index of the largest score along the last axis, int64; the first of several.

    TensorFlow Lite can run this, but not Keras's `argmax`, which looks at the bits of zeros.
    """
    return ops.cast(ops.squeeze(ops.top_k(scores, 1)[1], axis=-1), "int64")


def with_class_names(model: keras.Model, class_names: Sequence[str]) -> Endpoint:
    """An endpoint of a classifier that also returns the `name` of the class, `(batch,)`, text.

    Args:
        model: A model with an output `label` `(batch,)`, as from `classifier`.
        class_names: Names in the order of the labels.
    """
    endpoint = of_model(model)
    names = tf.constant(list(class_names))

    def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = endpoint.function(*tensors)
        return {**outputs, "name": tf.gather(names, outputs["label"])}

    return endpoint._replace(function=serve)


def of_model(model: keras.Model) -> Endpoint:
    """A model as an endpoint for batches of any size; inputs and outputs keep their names."""

    def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(keras.tree.pack_sequence_as(model.input, tensors), training=False)
        if isinstance(outputs, Mapping):
            return dict(outputs)
        return dict(zip(model.output_names, keras.tree.flatten(outputs), strict=True))

    return Endpoint(
        serve,
        [
            tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=tensor.name)
            for tensor in model.inputs
        ],
    )


def as_endpoint(endpoint: keras.Model | Endpoint) -> Endpoint:
    """A model as an endpoint; an endpoint as it is."""
    return of_model(endpoint) if isinstance(endpoint, keras.Model) else endpoint


def arguments(specs: Sequence[tf.TensorSpec], inputs: Any) -> dict[str, tf.Tensor]:
    """Tensors for an endpoint's inputs.

    Args:
        specs: The endpoint's inputs.
        inputs: Arrays by name, or the array itself if there is one input; text as strings or bytes.

    Raises:
        ValueError: An input is missing, or one is not known.
    """
    if not isinstance(inputs, Mapping):
        inputs = {spec.name: inputs for spec in specs}
    names = {spec.name for spec in specs}
    if inputs.keys() != names:
        raise ValueError(
            f"the inputs must be named {', '.join(sorted(names))}. "
            f"Received: {', '.join(sorted(inputs))}"
        )
    return {spec.name: _tensor(inputs[spec.name], spec) for spec in specs}


def call(function: Any, inputs: Any) -> dict[str, np.ndarray]:
    """The outputs of a SavedModel's signature by name.

    Args:
        function: The signature.
        inputs: Arrays by name, or the array itself if there is one input.
    """
    specs = list(function.structured_input_signature[1].values())
    outputs = function(**arguments(specs, inputs))
    return {name: value.numpy() for name, value in outputs.items()}


def _tensor(value: Any, spec: tf.TensorSpec) -> tf.Tensor:
    if spec.dtype == tf.string:
        return tf.convert_to_tensor(value, tf.string)
    return tf.cast(value, spec.dtype)
