"""The task of image generation: endpoints, commands and callbacks of models that draw images."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import PIL.Image
import tensorflow as tf
from cyclopts import Parameter
from pydantic import Field

from suite.app import App
from suite.data.checks import only_if
from suite.data.images.files import tiled, writable_picture, write_animation, write_picture
from suite.data.pipelines import Data
from suite.errors import InputError
from suite.export.endpoints import Endpoint, call
from suite.export.exported import Exports
from suite.knobs import Seed, settings
from suite.trainers.latents import decode_latents, interpolate_latents, sample_latents

LARGEST_REQUEST = 10_000  # images in one call
MOST_FRAMES = 60  # in the animation
SECONDS_PER_FRAME = 0.15


@Parameter(name="*")
@settings
class Samples:
    """The samples to draw, and the file to write.

    Args:
        num: Number of images.
        seed: Seed of the latents.
        output: Image file that shows all samples side by side.
    """

    num: Annotated[int, Field(ge=1, le=LARGEST_REQUEST)] = 64
    seed: Seed = 0
    output: Path = Path("samples.png")


@Parameter(name="*")
@settings
class Interpolation:
    """The interpolations to draw, and the file to write.

    Args:
        num: Number of interpolations, one below the other.
        steps: Images in one interpolation.
        seed: Seed of the latents at both ends.
        output: Image file that shows all interpolations.
    """

    num: Annotated[int, Field(ge=1, le=100)] = 8
    steps: Annotated[int, Field(ge=2, le=100)] = 10
    seed: Seed = 0
    output: Path = Path("interpolation.png")


def refuse_single_pictures(data: Data) -> Data:
    """The data, if generated pictures can be compared with those that are held out.

    Raises:
        InputError: There is one picture for validation, or one for the test: it has no spread.
    """
    for split in ("validation", "test"):
        if data.splits[split].num_examples == 1:
            raise InputError("there must be 2 pictures or more in every split", f"1 in {split}")
    return data


def sample(
    app: App,
    *,
    samples: Samples = Samples(),  # noqa: B008
    exports: Exports = Exports(),
) -> None:
    """Draw new images."""
    writable_picture(samples.output)
    exported = exports.open(app.name)
    images = exported.call({"num": samples.num, "seed": samples.seed}, "sample")["image"]
    write_picture(tiled(images), samples.output)
    print(f"{samples.output}: {samples.num} samples, seed {samples.seed}")


def interpolate(
    app: App,
    *,
    interpolation: Interpolation = Interpolation(),  # noqa: B008
    exports: Exports = Exports(),
) -> None:
    """Draw images that change gradually into one another."""
    writable_picture(interpolation.output)
    decode = exports.open(app.name).signature("decode")
    latent_dim = decode.structured_input_signature[1]["latent"].shape[-1]
    ends = sample_latents(2 * interpolation.num, latent_dim, interpolation.seed).numpy()
    pairs = ends.reshape(interpolation.num, 2, -1)
    points = np.concatenate([interpolate_latents(pair, interpolation.steps) for pair in pairs])
    write_picture(tiled(call(decode, points)["image"], interpolation.steps), interpolation.output)
    print(f"{interpolation.output}: {interpolation.num} interpolations, seed {interpolation.seed}")


COMMANDS: dict[str, Callable[..., None]] = {"sample": sample, "interpolate": interpolate}


def sample_endpoint(decoder: keras.Model) -> Endpoint:
    """The endpoint `sample` of a decoder, `latent` `(batch, latent_dim)` to a dict with `image`."""
    latent_dim = decoder.input_shape[-1]

    def decoded(num: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return decoder(sample_latents(num, latent_dim, seed), training=False)["image"]

    return drawing_endpoint(decoded)


def drawing_endpoint(draw: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Endpoint:
    """Makes an endpoint that takes `num` and `seed` and returns `image`.

    Args:
        draw: `draw(num, seed)` draws so many images, `(num, height, width, channels)`.

    Returns:
        An endpoint of `num`, an int32 scalar from 1 to 10,000, and `seed`, an int64 scalar, to
        `image` `(num, height, width, channels)`, float32, values in 0..255. A call with another
        `num` fails.
    """

    def sample(num: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        requirement = f"num must be in 1..{LARGEST_REQUEST:,}"
        allowed = only_if((num >= 1) & (num <= LARGEST_REQUEST), num, requirement, num)
        return {"image": draw(allowed, seed)}

    return Endpoint(
        sample, [tf.TensorSpec((), tf.int32, "num"), tf.TensorSpec((), tf.int64, "seed")]
    )


class EpochSamples(keras.callbacks.Callback):
    """Writes a picture of the same samples after every epoch, and an animation at the end.

    Args:
        decoder: Maps `latent` `(batch, latent_dim)` to a dict with an `image`.
        folder: Folder of the run; pictures go to `samples/`, the animation to `figures/`.
    """

    def __init__(self, decoder: keras.Model, folder: Path) -> None:
        super().__init__()
        self.decoder, self.points = decoder, sample_latents(64, decoder.input_shape[-1], seed=0)
        self.frames, self.animation = folder / "samples", folder / "figures" / "training.gif"

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.frames.mkdir(exist_ok=True)
        write_picture(
            tiled(decode_latents(self.decoder, self.points)),
            self.frames / f"epoch-{epoch + 1:07}.png",
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        paths = sorted(self.frames.glob("epoch-*.png"))
        if not paths:
            return
        chosen = np.unique(np.linspace(0, len(paths) - 1, MOST_FRAMES).round().astype(int))
        frames = (np.atleast_3d(np.asarray(PIL.Image.open(paths[index]))) for index in chosen)
        self.animation.parent.mkdir(exist_ok=True)
        duration = round(1000 * SECONDS_PER_FRAME)
        write_animation(frames, self.animation, duration=duration, loop=0)
