import keras
import numpy as np
import pytest

from apps.lenet import INPUT_MAPS, app, build_model
from suite import InputError, Run, train


def test_it_has_the_paper_s_60_000_weights():
    model = build_model()

    assert sum(weight.value.shape.num_elements() for weight in model.trainable_weights) == 60_000


def test_the_second_convolution_reads_as_table_one_says():
    assert [len(maps) for maps in INPUT_MAPS] == [3] * 6 + [4] * 9 + [6]
    assert [sum(n in maps for maps in INPUT_MAPS) for n in range(6)] == [10] * 6


def test_logits_differ_as_the_negative_distances_to_the_codes():
    model = build_model()
    images = np.random.default_rng(0).integers(0, 255, (3, 28, 28, 1)).astype("float32")
    features = keras.Model(model.input, model.layers[-1].input)(images)
    codes = np.asarray(model.layers[-1].kernel) / 2

    distances = ((np.asarray(features)[:, :, None] - codes) ** 2).sum(axis=1)
    logits = np.asarray(model(images))

    np.testing.assert_allclose(
        logits - logits[:, :1], distances[:, :1] - distances, rtol=1e-3, atol=1e-3
    )


def test_the_margin_is_background():
    model = build_model()
    scaling = next(x for x in model.layers if isinstance(x, keras.layers.Rescaling))

    scaled = keras.Model(model.input, scaling.output)(np.zeros((1, 28, 28, 1)))

    np.testing.assert_allclose(scaled, np.full((1, 32, 32, 1), -0.1), rtol=1e-6)


def test_small_images_are_refused():
    with pytest.raises(InputError, match="at least 12 x 12"):
        build_model((8, 8, 1))


def test_logits_stay_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")

    assert build_model().output.dtype == "float32"


def test_it_learns_digits():
    run = Run(data="embedded", quiet=True, figures=False)
    trained = train(app, app.recipe(epochs=2, batch_size=20), run, until="judge")

    assert trained.metrics["test_accuracy"] > 0.9
