"""Metrics of generated images, computed from the features of a network that never changes.

For MNIST and the embedded digits the network is a classifier of digits whose weights are part of
the suite (`fidelity.keras`, made by `python -m benchmarks.pictures.fidelity`). For all other images
it is a convolutional network with fixed random weights. That network has no classes, so the metrics
that need classes are None. The values can be compared between runs and machines. They cannot be
compared with values from other networks, such as Inception.

Reference:
    Naeem et al., 2020, Reliable Fidelity and Diversity Metrics for Generative Models,
    https://arxiv.org/abs/2002.09797 (on the features of random networks)
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from suite.data.examples import Examples, Source
from suite.trainers.latents import decode_latents, sample_latents

CLASSIFIER = Path(__file__).with_name("fidelity.keras")
# The digest of the classifier's weights: other weights would give other metrics.
FINGERPRINT = "42f7464120bde518d580636ceb5b0fc89691c9ba7d9f98941b3a4351a6a11c53"
NUM_WATCHED = 2000  # samples that are measured after every epoch
NEIGHBOURS = 5
NEAREST = 1000  # samples and test images whose nearest training image is searched for
# A class counts as missing where its share of the samples is less than this part of its share of
# the real images.
MISSING = 0.1
DIGITS = ("tfds:mnist/", "embedded:digits")  # how the names of sources begin that hold digits
DIGITS_SHAPE = (28, 28, 1)
RANDOM_FILTERS = (32, 64, 128)  # of the network with random weights


class Features(NamedTuple):
    """The outputs of the feature network.

    Args:
        features: The inputs of its last layer, `(n, features)`.
        probabilities: Probabilities of the digits, `(n, 10)`; None for the network without classes.
    """

    features: np.ndarray
    probabilities: np.ndarray | None


# Images `(n, height, width, channels)`, values in 0..255, to their features.
FeatureNetwork = Callable[[np.ndarray], Features]


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """A multivariate normal distribution.

    Args:
        mean: `(features,)`, float64.
        covariance: `(features, features)`, float64.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @functools.cached_property
    def root(self) -> np.ndarray:
        """The symmetric square root of the covariance."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def evaluate_samples(
    decoder: keras.Model, test: np.ndarray, train: np.ndarray | None, features: FeatureNetwork
) -> dict[str, float | None]:
    """Draws as many samples as there are test images, and compares them with real images.

    Args:
        decoder: `latent` `(batch, latent_dim)` to a dict with an `image`
            `(batch, height, width, channels)`, values in 0..255.
        test: Test images, `(n, height, width, channels)`, values in 0..255.
        train: Training images, `(m, height, width, channels)`, values in 0..255; None if those
            that the decoder has learnt from are not at hand.
        features: See `feature_network`.

    Returns:
        `frechet_distance`, between samples and test images; `frechet_distance_of_train`, the same
        for as many training images, which is a floor for it; `classifier_score`, at most 10;
        `smallest_class` and `largest_class`, their shares of the samples; `missing_classes`, a
        count; `precision`, `recall`, `density` and `coverage`; `diversity`,
        the mean squared distance between two samples divided by that between two test images;
        `novelty`, the median distance of a sample to its nearest training image divided by that of
        a test image, 0 for copies. The metrics of classes are None where the network has none, and
        those of training images without any.
    """
    samples = decode_latents(decoder, sample_latents(len(test), decoder.input_shape[-1], seed=0))
    fake, real = features(samples), features(test)
    generated, held_out = fit_gaussian(fake.features), fit_gaussian(real.features)
    floor = novelty = None
    if train is not None:
        trained_on = features(train).features
        # In random order: the first images may all be of one class.
        chosen = np.random.default_rng(0).permutation(len(train))[: len(samples)]
        floor = frechet_distance(held_out, fit_gaussian(trained_on[chosen]))
        some = np.random.default_rng(0).permutation(len(test))[:NEAREST]
        distances = [
            np.median(_nearest(images.features[some], trained_on)[1]) for images in (fake, real)
        ]
        novelty = float(distances[0] / distances[1])
    return {
        "frechet_distance": frechet_distance(held_out, generated),
        "frechet_distance_of_train": floor,
        **_class_metrics(fake, real),
        **precision_recall_density_coverage(real.features, fake.features),
        "diversity": float(np.trace(generated.covariance) / np.trace(held_out.covariance)),
        "novelty": novelty,
    }


def _class_metrics(fake: Features, real: Features) -> dict[str, float | None]:
    names = ("classifier_score", "smallest_class", "largest_class", "missing_classes")
    if fake.probabilities is None or real.probabilities is None:
        return dict.fromkeys(names)
    shares = _class_shares(fake.probabilities)
    missing = shares < MISSING * _class_shares(real.probabilities)
    values = classifier_score(fake.probabilities), shares.min(), shares.max(), missing.sum()
    return dict(zip(names, map(float, values), strict=True))


def nearest(images: np.ndarray, train: np.ndarray, features: FeatureNetwork) -> np.ndarray:
    """The training image whose features are nearest to those of each image.

    Args:
        images: `(n, height, width, channels)`, values in 0..255.
        train: `(m, height, width, channels)`.
        features: See `feature_network`.

    Returns:
        `(n, height, width, channels)`.
    """
    return train[_nearest(features(images).features, features(train).features)[0]]


def feature_network(source: Source | None, shape: tuple[int, ...]) -> FeatureNetwork:
    """The network that judges images like those of a source.

    Args:
        source: Where the real images come from.
        shape: Of an image, `(height, width, channels)`.
    """
    digits = source is not None and source.name.startswith(DIGITS) and shape == DIGITS_SHAPE
    return digit_features if digits else random_features


def digit_features(images: np.ndarray) -> Features:
    """Applies the classifier of digits to images `(n, 28, 28, 1)`, values in 0..255."""
    parts = [_classifier()(part) for part in _parts(images)]
    features, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Features(features, ops.convert_to_numpy(ops.softmax(logits)))


def random_features(images: np.ndarray) -> Features:
    """Applies the network with random weights to images `(n, height, width, channels)`."""
    network = _random_network(images.shape[1:])
    return Features(np.concatenate([network(part) for part in _parts(images)]), None)


def _parts(images: np.ndarray) -> list[np.ndarray]:
    """Batches of at most 1,000 images, so that the activations fit into the memory."""
    return [images[n : n + 1000] for n in range(0, len(images), 1000)]


def fit_gaussian(features: np.ndarray) -> Gaussian:
    """The normal distribution with the mean and covariance of features `(n, features)`."""
    mean = features.mean(axis=0, dtype=np.float64)
    return Gaussian(mean, np.atleast_2d(np.cov(features, rowvar=False, dtype=np.float64)))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """The squared 2-Wasserstein distance between two normal distributions.

    `one` caches the root of its covariance, so it should be the one that is used again.

    Reference:
        Heusel et al., 2017, GANs Trained by a Two Time-Scale Update Rule Converge to a Local
        Nash Equilibrium, https://arxiv.org/abs/1706.08500
    """
    # tr sqrt(A B) = tr sqrt(sqrt(A) B sqrt(A)). That matrix is symmetric, so its root is real even
    # where a covariance does not have full rank.
    product = one.root @ other.covariance @ one.root
    shared = np.sqrt(np.linalg.eigvalsh(product).clip(0)).sum()
    traces = np.trace(one.covariance) + np.trace(other.covariance)
    return float(((one.mean - other.mean) ** 2).sum() + traces - 2 * shared)


def classifier_score(probabilities: np.ndarray) -> float:
    """The Inception score with another classifier: high for sure and evenly spread predictions.

    Args:
        probabilities: `(n, classes)`.

    Returns:
        Between 1 and the number of classes.

    Reference:
        Salimans et al., 2016, Improved Techniques for Training GANs,
        https://arxiv.org/abs/1606.03498
    """
    tiny = np.finfo(np.float64).tiny
    ratios = np.log(probabilities + tiny) - np.log(probabilities.mean(axis=0) + tiny)
    return float(np.exp((probabilities * ratios).sum(axis=1).mean()))


def precision_recall_density_coverage(
    real: np.ndarray, fake: np.ndarray, neighbours: int = NEIGHBOURS
) -> dict:
    """Measures how two sets of points cover each other, by balls up to the k-th neighbour.

    Args:
        real: `(n, features)`.
        fake: `(m, features)`.
        neighbours: The k: the ball of a point reaches to its k-th neighbour in its set.

    Returns:
        `precision`, the share of fake points that lie in the ball of a real point; `recall`, the
        share of real points that lie in the ball of a fake point; `density`, the mean number of
        real balls that a fake point lies in, divided by k; `coverage`, the share of real balls
        that hold a fake point.

    Reference:
        Kynkäänniemi et al., 2019, Improved Precision and Recall Metric for Assessing Generative
        Models, https://arxiv.org/abs/1904.06991
        Naeem et al., 2020, Reliable Fidelity and Diversity Metrics for Generative Models,
        https://arxiv.org/abs/2002.09797
    """
    from sklearn.metrics import pairwise_distances_chunked

    reach_of_real, reach_of_fake = _reach(real, neighbours), _reach(fake, neighbours)
    balls = np.zeros(len(fake), int)  # the number of real balls that hold each fake point
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    start = 0
    for distances in pairwise_distances_chunked(fake, real):
        rows = slice(start, start := start + len(distances))
        inside = distances <= reach_of_real
        balls[rows] = inside.sum(axis=1)
        covered |= inside.any(axis=0)
        recalled |= (distances <= reach_of_fake[rows, None]).any(axis=0)
    return {
        "precision": float((balls > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(balls.mean() / neighbours),
        "coverage": float(covered.mean()),
    }


class FrechetDistance(keras.callbacks.Callback):
    """Logs `val_frechet_distance` after every epoch.

    Args:
        decoder: `latent` `(batch, latent_dim)` to a dict with an `image`
            `(batch, height, width, channels)`.
        images: Real images to compare with, `(n, height, width, channels)`.
        features: See `feature_network`.
    """

    def __init__(self, decoder: keras.Model, images: np.ndarray, features: FeatureNetwork) -> None:
        super().__init__()
        self.decoder, self.images, self.features = decoder, images, features
        # Another seed than that of `evaluate_samples`.
        self.points = sample_latents(NUM_WATCHED, decoder.input_shape[-1], seed=1)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._real = fit_gaussian(self.features(self.images).features)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        generated = fit_gaussian(self.features(decode_latents(self.decoder, self.points)).features)
        logs["val_frechet_distance"] = frechet_distance(self._real, generated)


def _class_shares(probabilities: np.ndarray) -> np.ndarray:
    count, classes = probabilities.shape
    return np.bincount(probabilities.argmax(axis=1), minlength=classes) / count


def _nearest(points: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index and the distance of the candidate that is nearest to each point."""
    from sklearn.metrics import pairwise_distances_argmin_min

    return pairwise_distances_argmin_min(points, candidates)


def _reach(points: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance of each point to its k-th neighbour."""
    from sklearn.metrics import pairwise_distances_chunked

    neighbours = min(neighbours, len(points) - 1)

    def kth(distances: np.ndarray, start: int) -> np.ndarray:
        # Index 0 is the point itself, at distance 0.
        return np.partition(distances, neighbours, axis=1)[:, neighbours]

    return np.concatenate(list(pairwise_distances_chunked(points, reduce_func=kth)))


@functools.lru_cache(4)
def _random_network(shape: tuple[int, int, int]) -> Callable[[np.ndarray], tf.Tensor]:
    """Builds the network with random weights: images to features."""
    image = x = keras.Input(shape, dtype="float32")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, dtype="float32")(x)
    for number, filters in enumerate(RANDOM_FILTERS):
        initializer = keras.initializers.HeNormal(seed=number)
        x = keras.layers.Conv2D(
            filters, 3, 2, padding="same", activation="relu", kernel_initializer=initializer,
            dtype="float32",
        )(x)  # fmt: skip
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    network = keras.Model(image, pooled)
    return tf.function(functools.partial(network, training=False), reduce_retracing=True)


@functools.cache
def _classifier() -> Callable[[np.ndarray], tuple[tf.Tensor, tf.Tensor]]:
    """Loads the classifier: images to features and logits."""
    model = keras.models.load_model(CLASSIFIER, compile=False, safe_mode=True)
    if Examples(model.get_weights()).digest() != FINGERPRINT:
        raise RuntimeError(f"{CLASSIFIER} must be the classifier that came with the suite")
    network = keras.Model(model.input, [model.layers[-1].input, model.output])
    return tf.function(functools.partial(network, training=False), reduce_retracing=True)
