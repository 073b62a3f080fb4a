import keras
import numpy as np
import pytest
from keras import layers

from suite import Run
from suite.data.examples import Source
from suite.data.images.sources import load_pictures
from suite.metrics import fidelity
from suite.metrics.fidelity import (
    Gaussian,
    classifier_score,
    digit_features,
    feature_network,
    fit_gaussian,
    frechet_distance,
    nearest,
    precision_recall_density_coverage,
    random_features,
)


@pytest.fixture(scope="module")
def digits():
    return load_pictures(Run(data="embedded")).train


def test_distance_of_gaussians_with_the_same_axes_is_that_of_their_deviations():
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    deviations = np.array([1.0, 2.0, 0.5, 3.0]), np.array([2.0, 2.0, 1.0, 0.0])
    means = np.zeros(4), np.array([1.0, -1.0, 0.0, 2.0])
    one, other = (
        Gaussian(mean, axes @ np.diag(deviation**2) @ axes.T)
        for mean, deviation in zip(means, deviations, strict=True)
    )

    expected = 6.0 + ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(one, other) == pytest.approx(expected)
    assert frechet_distance(other, one) == pytest.approx(expected)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-8)


def test_distance_of_gaussians_with_other_axes():
    """In the plane, tr sqrt(A B) = sqrt(tr A B + 2 sqrt(det A B)), by Cayley and Hamilton."""
    random = np.random.default_rng(0)
    one, other = (m @ m.T for m in random.normal(size=(2, 2, 2)))
    product = one @ other
    shared = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(one) + np.trace(other) - 2 * shared

    distance = frechet_distance(Gaussian(np.zeros(2), one), Gaussian(np.zeros(2), other))

    assert distance == pytest.approx(expected)


def test_samples_of_gaussians_are_as_far_apart_as_these():
    random = np.random.default_rng(0)
    one, other = random.normal(0, 1, (20_000, 3)), random.normal(0.5, 2, (20_000, 3))

    distance = frechet_distance(fit_gaussian(one), fit_gaussian(other.astype("float32")))

    assert distance == pytest.approx(3 * (0.5**2 + 1), rel=0.05)


def test_fewer_samples_than_features_will_do():
    samples = np.random.default_rng(0).normal(size=(5, 40))

    distance = frechet_distance(fit_gaussian(samples), fit_gaussian(samples))

    assert distance == pytest.approx(0, abs=1e-4)


def test_classifier_score_counts_the_classes_it_is_sure_of():
    sure = np.eye(10)[np.arange(50) % 10]

    assert classifier_score(sure) == pytest.approx(10)
    assert classifier_score(sure[np.arange(50) % 10 < 5]) == pytest.approx(5)
    assert classifier_score(np.full((50, 10), 0.1)) == pytest.approx(1)


def test_neighbourhoods_by_hand():
    real = np.array([[0.0], [1.0], [2.0], [10.0]])  # reach with one neighbour: 1, 1, 1, 8
    fake = np.array([[0.5], [2.5], [30.0], [31.0]])  # reach: 2, 2, 1, 1

    scores = precision_recall_density_coverage(real, fake, neighbours=1)

    assert scores == {
        "precision": 2 / 4,  # 30 and 31 are in no real ball
        "recall": 3 / 4,  # 10 is in no fake ball
        "density": (2 + 2) / 4,  # 0.5 is in those of 0 and 1; 2.5 in those of 2 and 10
        "coverage": 4 / 4,
    }


def test_points_cover_themselves():
    points = np.random.default_rng(0).normal(size=(200, 3))

    scores = precision_recall_density_coverage(points, points)

    assert scores["precision"] == scores["recall"] == scores["coverage"] == 1
    assert scores["density"] == pytest.approx(1, abs=0.3)


def test_the_classifier_knows_digits(digits):
    predicted = digit_features(digits.inputs).probabilities.argmax(axis=1)

    assert (predicted == digits.targets).mean() > 0.9


def test_another_classifier_is_refused(monkeypatch):
    monkeypatch.setattr(fidelity, "FINGERPRINT", "0" * 64)
    fidelity._classifier.cache_clear()

    with pytest.raises(RuntimeError, match="classifier that came with the suite"):
        digit_features(np.zeros((1, 28, 28, 1)))


def test_next_to_a_training_image_is_itself(digits):
    some = digits.inputs[[3, 50, 700]]

    np.testing.assert_array_equal(nearest(some, digits.inputs, digit_features), some)


def copier(image):
    """A decoder that generates the same image from every latent vector."""
    latent = keras.Input((2,), name="latent")
    output = layers.Reshape(image.shape)(layers.Dense(image.size)(latent))
    decoder = keras.Model(latent, {"image": output})
    decoder.set_weights([np.zeros((2, image.size)), image.ravel()])
    return decoder


def test_a_generator_that_copies_one_image_is_found_out(digits):
    decoder = copier(digits.inputs[0])
    test = digits.inputs[500:800]

    metrics = fidelity.evaluate_samples(decoder, test, digits.inputs[:400], digit_features)

    assert metrics["frechet_distance"] > 5 * metrics["frechet_distance_of_train"]
    assert metrics["classifier_score"] == pytest.approx(1, abs=1e-3)
    assert metrics["largest_class"] == 1
    assert metrics["missing_classes"] == 9
    assert metrics["diversity"] == pytest.approx(0, abs=1e-6)
    assert metrics["novelty"] == pytest.approx(0, abs=1e-2)
    assert metrics["coverage"] < 0.1


def coloured(digits, size=20):
    """Digits as images of another size, with three different channels."""
    images = digits.inputs[:, 4 : 4 + size, 4 : 4 + size].astype("float32")
    return np.concatenate([images, 255 - images, images / 2], axis=-1)


def test_only_digits_are_judged_by_the_classifier_of_digits(digits):
    def network(name, shape=(28, 28, 1)):
        return feature_network(Source(name=name, train=digits), shape)

    assert network("tfds:mnist/3.0.1") is network("embedded:digits") is digit_features
    assert network("tfds:fashion_mnist/3.0.1") is network("letters") is random_features
    assert network("tfds:mnist/3.0.1", (32, 32, 1)) is random_features


def test_other_images_are_looked_at_by_a_random_network_that_stays_the_same(digits):
    images = coloured(digits)[:50]

    first, second = random_features(images), random_features(images)
    fidelity._random_network.cache_clear()
    keras.utils.set_random_seed(7)
    in_another_process = random_features(images)

    assert first.probabilities is None
    assert first.features.shape == (50, 128)
    assert len(np.unique(first.features, axis=0)) == 50
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.features, in_another_process.features)


def test_without_classes_a_copier_is_found_out_all_the_same(digits):
    images = coloured(digits)

    metrics = fidelity.evaluate_samples(
        copier(images[0]), images[500:800], images[:400], random_features
    )

    for name in ("classifier_score", "smallest_class", "largest_class", "missing_classes"):
        assert metrics[name] is None
    assert metrics["frechet_distance"] > 5 * metrics["frechet_distance_of_train"]
    assert metrics["diversity"] == pytest.approx(0, abs=1e-4)
    assert metrics["novelty"] == pytest.approx(0, abs=1e-2)
    assert metrics["coverage"] < 0.1


def test_random_features_tell_apart_what_differs(digits):
    images = coloured(digits)
    ones = images[digits.targets == 1]
    some, others = (
        fit_gaussian(random_features(images[:800]).features),
        fit_gaussian(random_features(images[800:]).features),
    )

    of_ones = frechet_distance(some, fit_gaussian(random_features(ones).features))
    assert of_ones > 5 * frechet_distance(some, others)
