import keras
import numpy as np
import pytest
from keras import layers

from apps.resnet import build_model as build_resnet
from suite.training import batch_norm
from suite.training.batch_norm import fused_batch_normalization

KEPT = {
    "another axis": {"axis": 1},
    "no scale": {"scale": False},
    "renormalised": {"renorm": True},
    "synchronised": {"synchronized": True},
    "in float64": {"dtype": "float64"},
    "a smaller epsilon": {"epsilon": 1e-6},
}


def network(**knobs):
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 1))
    x = layers.Conv2D(3, 3)(image)
    x = layers.BatchNormalization(momentum=0.8, name="normalise", **knobs)(x)
    inner = keras.Input(x.shape[1:])
    x = keras.Model(inner, layers.BatchNormalization(name="inside")(inner), name="block")(x)
    model = keras.Model(image, layers.Dense(1)(layers.Flatten()(layers.ReLU()(x))))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def is_fused(layer):
    return "call" in vars(layer)


def data():
    random = np.random.default_rng(0)
    return random.normal(2, 3, (8, 6, 6, 1)), random.normal(size=(8, 1))


def test_the_layers_of_the_applications_are_fused():
    model = build_resnet((32, 32, 3), blocks=(1, 1, 1), filters=4)
    normalized = [one for one in model.layers if isinstance(one, layers.BatchNormalization)]

    with fused_batch_normalization(model):
        assert normalized and all(map(is_fused, normalized))


def test_it_trains_alike_and_leaves_the_model_as_it_was():
    inputs, targets = data()
    plain, fused = network(), network()

    plain.fit(inputs, targets, batch_size=4, epochs=3, shuffle=False, verbose=0)
    with fused_batch_normalization(fused):
        assert is_fused(fused.get_layer("normalise"))
        assert is_fused(fused.get_layer("block").get_layer("inside"))
        fused.fit(inputs, targets, batch_size=4, epochs=3, shuffle=False, verbose=0)
        fused.save_weights("meanwhile.weights.h5")

    for one, two in zip(plain.get_weights(), fused.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
    assert not is_fused(fused.get_layer("normalise"))
    network().load_weights("meanwhile.weights.h5")
    fused.save("fused.keras")
    assert keras.models.load_model("fused.keras").count_params() == plain.count_params()


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_it_trains_in_mixed_precision(precision):
    keras.config.set_dtype_policy(precision)
    model = network()
    inputs, targets = data()

    with fused_batch_normalization(model):
        losses = model.fit(inputs, targets, epochs=20, verbose=0).history["loss"]

    assert losses[-1] < losses[0] / 2


def test_bfloat16_goes_into_the_kernel_as_it_is_where_that_is_fast(monkeypatch):
    """It trains as with a copy in float32: the kernel's own sums are in float32."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs, targets = data()
    weights = {}
    for fast in (True, False):
        monkeypatch.setattr(batch_norm, "_kernel_takes", lambda dtype, fast=fast: fast)
        model = network()
        with fused_batch_normalization(model):
            model.fit(inputs, targets, batch_size=4, epochs=3, shuffle=False, verbose=0)
        weights[fast] = model.get_weights()

    for one, two in zip(weights[True], weights[False], strict=True):
        np.testing.assert_allclose(one, two, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize(
    ("dtype", "features", "takes"),
    [
        ("bfloat16", "fpu avx512f avx512_bf16", True),
        ("bfloat16", "fpu amx_bf16", True),
        ("bfloat16", "fpu avx512f", False),
        ("float16", "fpu avx512_bf16", False),
    ],
)
def test_the_processor_decides(dtype, features, takes, monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"flags : {features}\n")
    monkeypatch.setattr(batch_norm, "PROCESSOR", tmp_path / "cpuinfo")
    monkeypatch.setattr(batch_norm.tf.config, "list_physical_devices", lambda kind: [])

    assert batch_norm._kernel_takes.__wrapped__(dtype) is takes


@pytest.mark.parametrize("knobs", KEPT.values(), ids=KEPT)
def test_what_the_kernel_cannot_do_stays_with_keras(knobs):
    model = network(**knobs)

    with fused_batch_normalization(model):
        assert not is_fused(model.get_layer("normalise"))


def test_rows_without_height_and_width_stay_with_keras():
    rows = keras.Input((5,))
    model = keras.Model(rows, layers.BatchNormalization(name="normalise")(rows))

    with fused_batch_normalization(model):
        assert not is_fused(model.get_layer("normalise"))


def test_a_frozen_layer_stays_as_it_is():
    inputs, targets = data()
    model = network(trainable=False)
    before = model.get_layer("normalise").get_weights()

    with fused_batch_normalization(model):
        model.fit(inputs, targets, verbose=0)

    for one, two in zip(before, model.get_layer("normalise").get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
