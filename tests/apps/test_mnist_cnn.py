import keras
import numpy as np
import pytest

from apps.mnist_cnn import app, build_model
from suite import InputError, Run, train
from suite.trainers.adversarial import AdversarialClassifier


def test_a_stage_of_several_convolutions_halves_the_image_once():
    model = build_model(filters=(4, 8, 16), convolutions=(1, 2, 1))

    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.output.shape[1:3] for layer in pools] == [(14, 14), (7, 7), (3, 3)]
    assert [layer.filters for layer in convolutions] == [4, 8, 8, 16]


def test_one_number_of_convolutions_holds_for_all_stages():
    def filters(**knobs):
        convolutions = build_model(filters=(4, 8), **knobs).layers
        return [x.filters for x in convolutions if isinstance(x, keras.layers.Conv2D)]

    assert filters() == [4, 8]
    assert filters(convolutions=(2,)) == filters(convolutions=(2, 2)) == [4, 4, 8, 8]
    with pytest.raises(InputError, match=r"`convolutions` must be 1 or 2 numbers\. Rec.*1, 1, 1"):
        filters(convolutions=(1, 1, 1))


def test_grey_values_are_scaled_inside():
    model = build_model(filters=(4,))
    rescaling = next(lay for lay in model.layers if isinstance(lay, keras.layers.Rescaling))

    assert float(np.max(rescaling(np.full((1, 28, 28, 1), 255.0)))) == pytest.approx(1)


@pytest.mark.parametrize("normalization", ["batch", "layer", "instance", "group", "none"])
def test_any_normalisation_will_do(normalization):
    model = build_model(filters=(4, 8), normalization=normalization)

    biases = [layer.use_bias for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert biases == [normalization == "none"] * 2
    for layer in model.layers:
        assert getattr(layer, "epsilon", 1e-3) == 1e-3
    assert model(np.zeros((2, 28, 28, 1))).shape == (2, 10)


def test_other_shapes_and_classes():
    model = build_model((32, 16, 3), 4, filters=(4, 8))

    assert model.output_shape == (None, 4)
    with pytest.raises(InputError, match=r"at most 4 stages for images of 32 x 16"):
        build_model((32, 16, 3), filters=(1, 2, 3, 4, 5))


def test_images_of_any_size_and_features_without_logits():
    pooled = build_model((None, None, 3), 4, pooling="avg", filters=(4, 8))
    features = build_model((28, 28, 1), include_top=False, pooling="max", filters=(4, 8))

    assert pooled(np.zeros((2, 20, 31, 3))).shape == (2, 4)
    assert features.output_shape == (None, 8)
    with pytest.raises(InputError, match="`pooling` must be avg or max for images of any size"):
        build_model((None, None, 3), filters=(4, 8))


def test_accurate_recipe_is_small():
    architecture = app.recipe("accurate").architecture

    assert build_model(**architecture).count_params() < 500_000


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_logits_stay_float32_under_mixed_precision(precision):
    keras.config.set_dtype_policy(precision)
    model = build_model(filters=(4,))

    assert model.output.dtype == "float32"


def test_the_robust_recipe_trains_on_attacked_pictures():
    recipe = app.recipe("robust")

    trained = app.compile(build_model(**recipe.architecture), recipe.config, 10)

    assert isinstance(trained, AdversarialClassifier) and trained.epsilon == 0.32


@pytest.mark.full
def test_it_learns_the_real_digits(real_data):
    recipe = app.recipe(epochs=1, filters=(8, 16, 32))

    trained = train(app, recipe, Run(quiet=True))

    assert trained.report["metrics"]["test_accuracy"] > 0.97
    assert trained.report["data"]["source"] == "tfds:mnist/3.0.1"
    assert trained.report["data"]["comparable"]
