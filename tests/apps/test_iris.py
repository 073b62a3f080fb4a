import numpy as np
import pytest

from apps.iris import build_model, whiten
from suite.data import Examples


def test_whitening_makes_the_classes_round():
    random = np.random.default_rng(0)
    mix = np.array([[2.0, 0.3], [0.0, 0.1]])
    rows = np.concatenate(
        [random.normal(size=(200, 2)) @ mix + [0, 5], random.normal(size=(200, 2)) @ mix]
    )
    split = Examples(rows, np.repeat([0, 1], 200))

    statistics = whiten(split)
    whitened = (rows - statistics["mean"]) @ statistics["whitening"]

    within = [np.cov(whitened[split.targets == label].T) for label in (0, 1)]
    np.testing.assert_allclose(np.mean(within, axis=0), np.eye(2), atol=1e-6)


def test_constant_column_does_not_break_the_whitening():
    rows = np.column_stack([np.arange(10.0), np.full(10, 3.0)])

    statistics = whiten(Examples(rows, np.arange(10) % 2))

    assert np.isfinite(statistics["whitening"]).all()


def test_noise_is_for_training_only():
    model = build_model(noise=1.0)
    rows = np.ones((3, 4), "float32")

    np.testing.assert_array_equal(model(rows, training=False), model(rows, training=False))
    assert (np.asarray(model(rows, training=True)) != np.asarray(model(rows))).any()


def test_whitening_is_not_trained():
    model = build_model()

    assert len(model.trainable_variables) == 4


@pytest.mark.parametrize(
    ("knobs", "message"), [({"units": 0}, "units"), ({"num_classes": 1}, "num_classes")]
)
def test_builder_refuses_nonsense(knobs, message):
    with pytest.raises(ValueError, match=message):
        build_model(**knobs)
