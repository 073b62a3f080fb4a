import keras
import numpy as np
import pytest

from apps.mnist_cnn import app, build_model
from suite import Run, train


def test_equal_neighbours_form_a_stage_that_halves_the_image():
    model = build_model(filters=(4, 8, 8, 16))

    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.output.shape[1:3] for layer in pools] == [(14, 14), (7, 7), (3, 3)]
    assert [layer.filters for layer in convolutions] == [4, 8, 8, 16]


def test_grey_values_are_scaled_inside():
    model = build_model(filters=(4,))
    rescaling = next(lay for lay in model.layers if isinstance(lay, keras.layers.Rescaling))

    assert float(np.max(rescaling(np.full((1, 28, 28, 1), 255.0)))) == pytest.approx(1)


def test_other_shapes_and_classes():
    model = build_model((32, 16, 3), 4, filters=(4, 8))

    assert model.output_shape == (None, 4)
    with pytest.raises(ValueError, match=r"at most 4 stages for images of 32 x 16"):
        build_model((32, 16, 3), filters=(1, 2, 3, 4, 5))


def test_accurate_recipe_is_small():
    _, architecture = app.recipe("accurate")

    assert build_model(**architecture).count_params() < 500_000


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_logits_stay_float32_under_mixed_precision(precision):
    keras.config.set_dtype_policy(precision)
    model = build_model(filters=(4,))

    assert model.output.dtype == "float32"


def test_it_learns_the_embedded_digits():
    config = app.config(epochs=2)

    trained = train(app, config, Run(data="embedded", quiet=True), {"filters": (8, 16, 32)})

    assert trained.report["metrics"]["test_accuracy"] > 0.9
    assert not trained.report["data"]["comparable"]


def test_it_learns_the_real_digits(real_data):
    config = app.config(epochs=1)

    trained = train(app, config, Run(quiet=True), {"filters": (8, 16, 32)})

    assert trained.report["metrics"]["test_accuracy"] > 0.97
    assert trained.report["data"]["source"] == "tfds:mnist/3.0.1"
    assert trained.report["data"]["comparable"]
