import keras
import numpy as np
import pytest
from keras import layers

from apps.inception import app, build_model, convolve_scaled
from suite import InputError
from suite.export.endpoints import classifier
from suite.trainers.auxiliary import AuxiliaryLosses

TINY = {"share": 0.05, "normalization": "none"}


def count(model):
    return sum(weight.value.shape.num_elements() for weight in model.trainable_weights)


def weights_of_convolution(size, factorized):
    image = keras.Input((8, 8, 8))
    knobs = {"share": 1.0, "factorized": factorized, "normalization": "batch"}
    model = keras.Model(image, convolve_scaled(image, 8, size, **knobs))
    return sum(
        layer.kernel.value.shape.num_elements()
        for layer in model.layers
        if isinstance(layer, layers.Conv2D)
    )


def test_it_has_the_paper_s_number_of_weights():
    """The sum of table 1 with a bias for every filter; Caffe's model has as many."""
    architecture = app.recipe("googlenet", auxiliary=False).architecture

    assert count(build_model((224, 224, 3), 1000, **architecture)) == 6_998_552


def test_the_last_maps_are_those_of_the_paper():
    architecture = app.recipe("googlenet").architecture
    with keras.StatelessScope(initialize_variables=False):
        model = build_model((224, 224, 3), include_top=False, **architecture)

    pooled = next(x for x in model.layers if isinstance(x, layers.GlobalAveragePooling2D))
    assert pooled.input.shape == (None, 7, 7, 1024)


@pytest.mark.parametrize(("size", "whole", "factorized"), [(5, 25, 18), (3, 9, 6)])
def test_factorized_convolutions_have_72_and_67_percent_of_the_weights(size, whole, factorized):
    assert weights_of_convolution(size, False) == whole * 8 * 8
    assert weights_of_convolution(size, True) == factorized * 8 * 8
    assert round(factorized / whole, 2) == {5: 0.72, 3: 0.67}[size]


def test_auxiliary_classifiers_are_not_served():
    model = build_model(**TINY)
    served = classifier(model)

    assert set(model.output) == {"logits", "auxiliary_1", "auxiliary_2"}
    assert set(served.output) == {"logits", "probabilities", "label"}
    assert count(served) == count(build_model(auxiliary=False, **TINY)) < count(model)


def test_auxiliary_classifiers_are_trained_with_a_weight_of_0_3():
    model = build_model(**TINY)
    trained = app.compile(model, app.config(), 10)

    assert isinstance(trained, AuxiliaryLosses)
    assert (trained.network, trained.weight) == (model, 0.3)


def test_without_auxiliary_classifiers_it_is_a_plain_classifier():
    model = build_model(auxiliary=False, **TINY)

    assert app.compile(model, app.config(), 10) is model
    assert model.output_shape == (None, 10)


def test_auxiliary_classifiers_are_not_attacked_in_the_training():
    with pytest.raises(InputError, match=r"`attack_epsilon` must be 0 .*; `auxiliary` no leaves"):
        app.compile(build_model(**TINY), app.config(attack_epsilon=0.1), 10)


def test_images_of_any_size_go_in():
    model = build_model((None, None, 3), **TINY)

    for size in (8, 13):
        assert model(np.zeros((1, size, size, 3)))["logits"].shape == (1, 10)


@pytest.mark.parametrize(("stem", "smallest"), [("small", 8), ("large", 32)])
def test_small_images_are_refused(stem, smallest):
    with pytest.raises(InputError, match=f"images must have at least {smallest} x {smallest}"):
        build_model((smallest, smallest - 1, 1), stem=stem, **TINY)


def test_logits_stay_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")

    assert {output.dtype for output in build_model(**TINY).output.values()} == {"float32"}
