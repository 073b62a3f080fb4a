import keras
import numpy as np
import pytest
import tensorflow as tf

from suite.export.endpoints import (
    Endpoint,
    arguments,
    as_endpoint,
    call,
    classifier,
    of_model,
    with_class_names,
)


def model(classes=3):
    inputs = keras.Input((2,), name="features")
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(inputs))


def two_inputs():
    words = keras.Input((None,), dtype="int32", name="words")
    length = keras.Input((), name="length")
    x = keras.layers.Embedding(10, 4)(words)
    x = keras.layers.GlobalAveragePooling1D()(x)
    total = keras.ops.sum(x, axis=-1) + length
    return keras.Model({"words": words, "length": length}, {"total": total, "twice": 2 * total})


def test_classifier_adds_probabilities_and_label():
    network = model()
    inputs = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")

    served = classifier(network)(inputs)

    logits = np.asarray(network(inputs))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(served["logits"], logits, rtol=1e-6)
    np.testing.assert_allclose(
        served["probabilities"], exponentials / exponentials.sum(1, keepdims=True), rtol=1e-5
    )
    np.testing.assert_array_equal(served["label"], logits.argmax(axis=1))


def test_a_classifier_serves_only_the_logits_of_several_outputs():
    network = model()
    several = keras.Model(network.input, {"other": network.input, "logits": network.output})

    assert set(classifier(several).output) == {"logits", "probabilities", "label"}
    inputs = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(classifier(several)(inputs)["logits"], network(inputs))


def test_named_classes_answer_with_their_names():
    classes = classifier(model())
    inputs = np.random.default_rng(0).normal(size=(9, 2)).astype("float32")

    served = with_class_names(classes, ["a", "猫", "c"]).function(tf.constant(inputs))

    names = [["a", "猫", "c"][label] for label in np.asarray(served["label"])]
    assert [name.decode() for name in np.asarray(served["name"])] == names
    assert {"logits", "probabilities", "label"} < served.keys()


def test_a_model_s_inputs_and_outputs_keep_their_names_types_and_free_axes():
    endpoint = of_model(two_inputs())
    words, length = np.array([[1, 2, 3]]), np.array([2.0])

    specs = {spec.name: (spec.dtype, spec.shape.as_list()) for spec in endpoint.inputs}
    assert specs == {"words": (tf.int32, [None, None]), "length": (tf.float32, [None])}
    tensors = arguments(endpoint.inputs, {"length": length, "words": words})
    outputs = endpoint.function(*tensors.values())
    expected = endpoint.function(*(tensors[spec.name] for spec in endpoint.inputs))
    assert outputs.keys() == {"total", "twice"}
    np.testing.assert_array_equal(outputs["twice"], 2 * np.asarray(expected["total"]))


def test_a_model_whose_output_is_a_tensor_answers_by_name():
    outputs = of_model(model()).function(tf.ones((2, 2)))

    assert {name: value.shape for name, value in outputs.items()} == {"logits": (2, 3)}


def test_an_endpoint_is_left_as_it_is():
    endpoint = Endpoint(lambda x: {"y": x}, [tf.TensorSpec((None,), name="x")])

    assert as_endpoint(endpoint) is endpoint
    assert as_endpoint(model()).inputs[0].name == "features"


def test_arguments_are_cast_to_what_the_endpoint_takes():
    specs = [
        tf.TensorSpec((None,), tf.int32, name="count"),
        tf.TensorSpec((None,), tf.string, name="text"),
    ]

    tensors = arguments(specs, {"count": np.array([1.0, 2.0]), "text": ["a", "ü".encode()]})

    assert tensors["count"].dtype == tf.int32
    assert tensors["text"].numpy().tolist() == [b"a", "ü".encode()]
    assert arguments(specs[:1], [3])["count"].numpy().tolist() == [3]


@pytest.mark.parametrize("inputs", [{"b": 1}, {"a": 1, "b": 2}, {}])
def test_arguments_of_other_names_are_refused(inputs):
    with pytest.raises(ValueError, match=r"the inputs must be named a\. Received: "):
        arguments([tf.TensorSpec((), name="a")], inputs)


def test_call_answers_with_arrays():
    signature = tf.function(
        lambda x: {"y": x + 1}, input_signature=[tf.TensorSpec((None,), name="x")]
    ).get_concrete_function()
    module = tf.Module()
    tf.saved_model.save(module, "model", signatures={"serve": signature})
    loaded = tf.saved_model.load("model")

    np.testing.assert_array_equal(call(loaded.signatures["serve"], [1, 2])["y"], [2.0, 3.0])
