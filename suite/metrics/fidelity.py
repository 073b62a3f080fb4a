"""How good generated digits are: figures of merit in the eyes of a classifier that never changes.

Its weights come with the suite (`fidelity.keras`; `python -m benchmarks.fidelity` made them), so
that figures of different runs and machines can be compared. They cannot be compared with figures
that other classifiers give, least of all with those of the Inception network.
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

from suite.data.examples import collect, fingerprint
from suite.trainers.latents import decoded, latents

CLASSIFIER = Path(__file__).with_name("fidelity.keras")
# Of the weights: with others the figures would be others.
FINGERPRINT = "42f7464120bde518d580636ceb5b0fc89691c9ba7d9f98941b3a4351a6a11c53"
NUM_WATCHED = 2000  # after every epoch
NEIGHBOURS = 5
NEAREST = 1000  # of each set are looked for among the training images
# A class is missing that has less than this share of its share among real images.
MISSING = 0.1


class Seen(NamedTuple):
    """Images as the classifier sees them.

    Args:
        features: What its last layer gets, `(n, features)`.
        probabilities: Of the classes, `(n, 10)`.
    """

    features: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """The normal distribution with the moments of some features."""

    mean: np.ndarray
    covariance: np.ndarray

    @functools.cached_property
    def root(self) -> np.ndarray:
        """The symmetric root of the covariance."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def judge(decoder: keras.Model, test: np.ndarray, train: np.ndarray) -> dict[str, float]:
    """The figures of merit of as many samples as there are test images.

    Args:
        decoder: `latent` `(batch, latent_dim)` to a dict with an `image` `(batch, 28, 28, 1)`,
            grey values in 0..255, as in all images here.
        test: Real images to hold the samples against, `(n, 28, 28, 1)`.
        train: The images that the model was trained on.

    Returns:
        `frechet_distance` of samples and test images, and as its floor
        `frechet_distance_of_train`, that of as many training images; `classifier_score`, at most
        10; `smallest_class` and `largest_class`, shares of the samples; `missing_classes`;
        `precision`, `recall`, `density` and `coverage`, see `neighbourhoods`; `diversity`, the
        mean squared distance of two samples, of two test images it is 1; `novelty`, the median
        distance of a sample to the next training image, of a test image it is 1, of a copy 0.
    """
    samples = decoded(decoder, latents(len(test), decoder.input_shape[-1], seed=0))
    fake, real, seen = look(samples), look(test), look(train)
    drawn, held_out = gaussian(fake.features), gaussian(real.features)
    floor = gaussian(seen.features[: len(samples)])
    shares = _class_shares(fake)
    distances = [
        np.median(_nearest(those.features[:NEAREST], seen.features)[1]) for those in (fake, real)
    ]
    return {
        "frechet_distance": frechet_distance(held_out, drawn),
        "frechet_distance_of_train": frechet_distance(held_out, floor),
        "classifier_score": classifier_score(fake.probabilities),
        "smallest_class": float(shares.min()),
        "largest_class": float(shares.max()),
        "missing_classes": float((shares < MISSING * _class_shares(real)).sum()),
        **neighbourhoods(real.features, fake.features),
        "diversity": float(np.trace(drawn.covariance) / np.trace(held_out.covariance)),
        "novelty": float(distances[0] / distances[1]),
    }


def nearest(images: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The training image next to each image, in the eyes of the classifier.

    Args:
        images: `(n, 28, 28, 1)`, grey values in 0..255.
        train: `(m, 28, 28, 1)`.

    Returns:
        `(n, 28, 28, 1)`.
    """
    return train[_nearest(look(images).features, look(train).features)[0]]


def look(images: np.ndarray) -> Seen:
    """What the classifier sees.

    Args:
        images: `(n, 28, 28, 1)`, grey values in 0..255.
    """
    parts = [_classifier()(images[n : n + 1000]) for n in range(0, len(images), 1000)]
    features, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Seen(features, ops.convert_to_numpy(ops.softmax(logits)))


def gaussian(features: np.ndarray) -> Gaussian:
    """Mean and covariance of features `(n, features)`."""
    mean = features.mean(axis=0, dtype=np.float64)
    return Gaussian(mean, np.atleast_2d(np.cov(features, rowvar=False, dtype=np.float64)))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """The squared 2-Wasserstein distance of two normal distributions.

    Keeps the root of the first one's covariance for the next time.

    Reference:
        Heusel et al., 2017, GANs Trained by a Two Time-Scale Update Rule Converge to a Local
        Nash Equilibrium, https://arxiv.org/abs/1706.08500
    """
    # tr sqrt(A B) = tr sqrt(sqrt(A) B sqrt(A)), which is symmetric, so that its root is real even
    # where a covariance has no full rank.
    product = one.root @ other.covariance @ one.root
    shared = np.sqrt(np.linalg.eigvalsh(product).clip(0)).sum()
    traces = np.trace(one.covariance) + np.trace(other.covariance)
    return float(((one.mean - other.mean) ** 2).sum() + traces - 2 * shared)


def classifier_score(probabilities: np.ndarray) -> float:
    """How sure the classifier is of each image, and how evenly the classes occur.

    Args:
        probabilities: `(n, classes)`.

    Returns:
        Between 1 and the number of classes.

    Reference:
        Salimans et al., 2016, Improved Techniques for Training GANs (as the Inception score),
        https://arxiv.org/abs/1606.03498
    """
    tiny = np.finfo(np.float64).tiny
    ratios = np.log(probabilities + tiny) - np.log(probabilities.mean(axis=0) + tiny)
    return float(np.exp((probabilities * ratios).sum(axis=1).mean()))


def neighbourhoods(real: np.ndarray, fake: np.ndarray, neighbours: int = NEIGHBOURS) -> dict:
    """How two sets of points cover each other, by the balls that reach to the k-th neighbour.

    Args:
        real: `(n, features)`.
        fake: `(m, features)`.
        neighbours: k.

    Returns:
        `precision`, the share of fake points in a ball of a real one; `recall`, the share of real
        points in a ball of a fake one; `density`, in how many of the k real balls that it could
        be expected in a fake point lies; `coverage`, the share of real balls with a fake point.

    Reference:
        Kynkäänniemi et al., 2019, Improved Precision and Recall Metric for Assessing Generative
        Models, https://arxiv.org/abs/1904.06991
        Naeem et al., 2020, Reliable Fidelity and Diversity Metrics for Generative Models,
        https://arxiv.org/abs/2002.09797
    """
    from sklearn.metrics import pairwise_distances_chunked

    reach_of_real, reach_of_fake = _reach(real, neighbours), _reach(fake, neighbours)
    balls = np.zeros(len(fake), int)  # of real points, that each fake one is in
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
        decoder: `latent` `(batch, latent_dim)` to a dict with an `image` `(batch, 28, 28, 1)`.
        validation: Batches of images and labels to hold them against.
    """

    def __init__(self, decoder: keras.Model, validation: tf.data.Dataset) -> None:
        super().__init__()
        self.decoder, self.validation = decoder, validation
        self.points = latents(NUM_WATCHED, decoder.input_shape[-1], seed=1)  # not those of the test

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._real = gaussian(look(collect(self.validation).inputs).features)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        drawn = gaussian(look(decoded(self.decoder, self.points)).features)
        logs["val_frechet_distance"] = frechet_distance(self._real, drawn)


def _class_shares(seen: Seen) -> np.ndarray:
    classes = seen.probabilities.shape[1]
    return np.bincount(seen.probabilities.argmax(axis=1), minlength=classes) / len(seen.features)


def _nearest(points: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index and distance of the nearest for each point."""
    from sklearn.metrics import pairwise_distances_argmin_min

    return pairwise_distances_argmin_min(points, among)


def _reach(points: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance of each point to its k-th neighbour."""
    from sklearn.metrics import pairwise_distances_chunked

    neighbours = min(neighbours, len(points) - 1)

    def kth(distances: np.ndarray, start: int) -> np.ndarray:
        # Each is its own nearest.
        return np.partition(distances, neighbours, axis=1)[:, neighbours]

    return np.concatenate(list(pairwise_distances_chunked(points, reduce_func=kth)))


@functools.cache
def _classifier() -> Callable[[np.ndarray], tuple[tf.Tensor, tf.Tensor]]:
    """The frozen classifier: images to features and logits."""
    model = keras.models.load_model(CLASSIFIER, compile=False, safe_mode=True)
    if fingerprint(model.get_weights()) != FINGERPRINT:
        raise RuntimeError(f"{CLASSIFIER} must be the classifier that came with the suite")
    both = keras.Model(model.input, [model.layers[-1].input, model.output])
    return tf.function(functools.partial(both, training=False), reduce_retracing=True)
