"""What models that make images from latents have in common: samples, whenever they are wanted."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any

import keras
import numpy as np
import PIL.Image
import tensorflow as tf
from cyclopts import Parameter
from pydantic import Field

from suite.data.pictures import tiled, writable_picture, write_picture
from suite.export.saved_model import Endpoint, Export, call
from suite.knobs import Seed, settings

LARGEST_REQUEST = 10_000  # images at once
FRAMES = 60  # of the animation, at most
SECONDS_PER_FRAME = 0.15


@Parameter(name="*")
@settings
class Samples:
    """Which samples to draw, and where to.

    Args:
        num: Number of images.
        seed: Decides them.
        output: Image file that gets all of them, side by side.
    """

    num: Annotated[int, Field(ge=1, le=LARGEST_REQUEST)] = 64
    seed: Seed = 0
    output: Path = Path("samples.png")

    def save(self, app_name: str, export: Export) -> None:
        """Draws the samples with an exported model.

        Raises:
            InputError: The file cannot be written, or there is no such export.
        """
        writable_picture(self.output)
        inputs = {"num": self.num, "seed": self.seed}
        write_picture(tiled(export.call(app_name, inputs, "sample")["image"]), self.output)
        print(f"{self.output}: {self.num} samples, seed {self.seed}")


@Parameter(name="*")
@settings
class Interpolation:
    """Which ways through the latent space to draw, and where to.

    Args:
        num: Number of ways, one below the other.
        steps: Images of each.
        seed: Decides where they begin and end.
        output: Image file that gets all of them.
    """

    num: Annotated[int, Field(ge=1, le=100)] = 8
    steps: Annotated[int, Field(ge=2, le=100)] = 10
    seed: Seed = 0
    output: Path = Path("interpolation.png")

    def save(self, app_name: str, export: Export, signature: str) -> None:
        """Draws the ways with an exported model's endpoint `latent` to `image`.

        Raises:
            InputError: The file cannot be written, or there is no such export.
        """
        writable_picture(self.output)
        decode = export.signature(app_name, signature)
        latent_dim = decode.structured_input_signature[1]["latent"].shape[-1]
        ends = latents(2 * self.num, latent_dim, self.seed).numpy().reshape(self.num, 2, -1)
        points = np.concatenate([interpolated(pair, self.steps) for pair in ends])
        drawn = call(decode, points)["image"]
        write_picture(tiled(drawn, self.steps), self.output)
        print(f"{self.output}: {self.num} ways, seed {self.seed}")


def commands(app_name: str, decode: str) -> dict[str, Callable[..., None]]:
    """The commands `sample` and `interpolate`.

    Args:
        app_name: Whose exports draw.
        decode: The endpoint that makes an `image` of a `latent`.
    """

    def sample(
        *,
        samples: Samples = Samples(),  # noqa: B008
        export: Export = Export(),
    ) -> None:
        """Draw new images."""
        samples.save(app_name, export)

    def interpolate(
        *,
        interpolation: Interpolation = Interpolation(),  # noqa: B008
        export: Export = Export(),
    ) -> None:
        """Draw images that turn into one another."""
        interpolation.save(app_name, export, decode)

    return {"sample": sample, "interpolate": interpolate}


def latents(num: int | tf.Tensor, latent_dim: int, seed: int | tf.Tensor) -> tf.Tensor:
    """The same draws from the standard normal for the same seed, `(num, latent_dim)`."""
    pair = tf.stack([tf.cast(seed, tf.int64), 0])
    return tf.random.stateless_normal([num, latent_dim], pair)


def decoded(decoder: keras.Model, points: np.ndarray) -> np.ndarray:
    """The images `(n, height, width, channels)` at latents `(n, latent_dim)`."""
    parts = [
        keras.ops.convert_to_numpy(decoder(points[n : n + 1000])["image"])
        for n in range(0, len(points), 1000)
    ]
    return np.concatenate(parts)


def code(latent: keras.KerasTensor, shares: Sequence[float]) -> keras.KerasTensor:
    """Chooses among alternatives, in a builder.

    Args:
        latent: Standard normal numbers `(batch, len(shares))`.
        shares: How often each is to be chosen.

    Returns:
        Indices `(batch,)`.

    Reference:
        Gumbel, 1954, Statistical Theory of Extreme Values and Some Practical Applications
    """
    gumbel = -keras.ops.log(-keras.ops.log((1 + keras.ops.erf(latent / math.sqrt(2))) / 2))
    logits = keras.layers.Rescaling(1.0, offset=np.log(shares).tolist(), dtype="float32")
    return keras.ops.argmax(logits(gumbel), axis=-1)


def interpolated(points: np.ndarray, steps: int) -> np.ndarray:
    """The way from each point to the next.

    Args:
        points: `(n, latent_dim)`.
        steps: Points of each way, both ends included.

    Returns:
        `((n - 1) * steps, latent_dim)`.
    """
    ways = np.linspace(points[:-1], points[1:], steps, axis=1)
    return ways.reshape(-1, points.shape[1])


def quantiles(side: int) -> np.ndarray:
    """Points `(side * side, 2)` that cut the standard normal of the plane into equal shares."""
    marks = [NormalDist().inv_cdf((n + 0.5) / side) for n in range(side)]
    x, y = np.meshgrid(marks, marks[::-1])
    return np.stack([x.ravel(), y.ravel()], axis=1)


def sampler(decoder: keras.Model) -> Endpoint:
    """The endpoint `sample`: `num` and `seed` to `image`.

    Args:
        decoder: `latent` `(batch, latent_dim)` to a dict with an `image`.

    Returns:
        An endpoint of two whole numbers that draws `num` images. It refuses more than 10,000 at
        once.
    """
    latent_dim = decoder.input_shape[-1]

    def sample(num: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        allowed = tf.debugging.Assert(
            (num >= 1) & (num <= LARGEST_REQUEST),
            [f"num must be in 1..{LARGEST_REQUEST:,}. Received:", num],
        )
        with tf.control_dependencies([allowed]):
            drawn = decoder(latents(num, latent_dim, seed), training=False)
        return {"image": drawn["image"]}

    return Endpoint(
        sample, [tf.TensorSpec((), tf.int32, "num"), tf.TensorSpec((), tf.int64, "seed")]
    )


class SamplesEachEpoch(keras.callbacks.Callback):
    """Keeps a picture of the same samples after every epoch, and makes an animation of them.

    Args:
        decoder: `latent` `(batch, latent_dim)` to a dict with an `image`.
        folder: The run's folder: pictures go to `samples/`, the animation to `figures/`.
    """

    def __init__(self, decoder: keras.Model, folder: Path) -> None:
        super().__init__()
        self.decoder, self.points = decoder, latents(64, decoder.input_shape[-1], seed=0)
        self.frames, self.animation = folder / "samples", folder / "figures" / "training.gif"

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.frames.mkdir(exist_ok=True)
        write_picture(
            tiled(decoded(self.decoder, self.points)), self.frames / f"epoch-{epoch + 1:07}.png"
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        paths = sorted(self.frames.glob("epoch-*.png"))
        if not paths:
            return
        chosen = np.unique(np.linspace(0, len(paths) - 1, FRAMES).round().astype(int))
        frames = np.stack([np.asarray(PIL.Image.open(paths[index])) for index in chosen])
        self.animation.parent.mkdir(exist_ok=True)
        duration = round(1000 * SECONDS_PER_FRAME)
        write_picture(frames[..., None], self.animation, duration=duration, loop=0)
