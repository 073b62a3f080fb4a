"""How good are the houses that pix2pix makes from plans, and those of TensorFlow's tutorial?

    python -m benchmarks.pictures.pix2pix --data facades
    python -m benchmarks.pictures.pix2pix --data facades --recipe paper --epochs 50

Data are the facades of the Center for Machine Perception as pix2pix's authors publish them: a
folder of double pictures, the photo on the left and the plan on the right. The last 50 by number
are held out, and are used once. Ours is trained by L1 alone, by the adversary alone and by
both, for as many passes each. The peer has the network, the losses, the optimizers, the distortions
and the batches of the tutorial "pix2pix: Image-to-image translation with a conditional GAN"; it
trains as long as ours with both, on the same pairs, and ends with the weights of the pass after
which the validation pairs had the smallest Frechet distance, as ours does; its clock stands still
while they are judged. As there, it makes pictures with its dropout and the statistics of each
batch. All are judged alike.
"""

import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from apps.pix2pix import ABLATION, app, compare_with_true, features_of
from benchmarks.results import publish
from benchmarks.seeds import run_seeds
from benchmarks.turns import output_of
from suite import Run
from suite.data.images.files import ENDINGS
from suite.metrics.fidelity import frechet_distance

HELD_OUT = 50
SIDE, JITTER = 256, 30
LEARNING_RATE, BETA_1, L1_WEIGHT = 2e-4, 0.5, 100.0
DOWN = (64, 128, 256, 512, 512, 512, 512, 512)
UP = (512, 512, 512, 512, 256, 128, 64)
MERITS = ("seconds", "epochs", "frechet_distance", "frechet_distance_of_train", "l1", "ssim")


def write_lists(data: Path, folder: Path) -> tuple[Path, Path]:
    """Writes lists of the names of pictures: those to learn from, and the last ones by number."""
    files = [path for path in data.iterdir() if path.suffix.lower() in ENDINGS]
    names = [path.name for path in sorted(files, key=lambda path: (len(path.stem), path.stem))]
    lists = folder / "train.txt", folder / "test.txt"
    for path, part in zip(lists, (names[:-HELD_OUT], names[-HELD_OUT:]), strict=True):
        path.write_text("\n".join(part) + "\n")
    return lists


def tutorial(data: Path, seed: int, seconds: float) -> dict[str, Any]:
    """Trains the networks of the tutorial for some time, and judges what they make from test plans.

    Args:
        data: Folder of double pictures.
        seed: Seed of weights, order, distortions and dropout.
        seconds: How long to train.
    """
    import keras
    import tensorflow as tf
    from keras import layers

    keras.utils.set_random_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        train_list, test_list = write_lists(data, Path(folder))
        config = app.config(
            swap=True, train_list=train_list, test_list=test_list, image_size=SIDE, channels=3
        )
        splits = app.data(config, Run(data=str(data), seed=seed, quiet=True)).splits
        train, validation, test = (
            splits[name].in_memory() for name in ("train", "validation", "test")
        )

    def convolution(layer: Any, filters: int, stride: int = 2, **options: Any) -> Any:
        deviation = keras.initializers.RandomNormal(0.0, 0.02)
        return layer(filters, 4, stride, kernel_initializer=deviation, **options)

    def down(x: Any, filters: int, normalized: bool = True) -> Any:
        x = convolution(layers.Conv2D, filters, padding="same", use_bias=False)(x)
        return layers.LeakyReLU()(layers.BatchNormalization()(x) if normalized else x)

    def up(x: Any, filters: int, dropout: bool) -> Any:
        x = convolution(layers.Conv2DTranspose, filters, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        return layers.ReLU()(layers.Dropout(0.5)(x) if dropout else x)

    plan = x = keras.Input((SIDE, SIDE, 3))
    skips = []
    for stage, filters in enumerate(DOWN):
        x = down(x, filters, normalized=stage > 0)
        skips.append(x)
    for stage, (filters, skip) in enumerate(zip(UP, reversed(skips[:-1]), strict=True)):
        x = layers.Concatenate()([up(x, filters, dropout=stage < 3), skip])
    last = convolution(layers.Conv2DTranspose, 3, padding="same", activation="tanh")
    generator = keras.Model(plan, last(x))

    pair = [keras.Input((SIDE, SIDE, 3)) for _ in range(2)]
    x = layers.Concatenate()(pair)
    for stage, filters in enumerate(DOWN[:3]):
        x = down(x, filters, normalized=stage > 0)
    x = convolution(layers.Conv2D, 512, 1, use_bias=False)(layers.ZeroPadding2D()(x))
    x = layers.ZeroPadding2D()(layers.LeakyReLU()(layers.BatchNormalization()(x)))
    discriminator = keras.Model(pair, convolution(layers.Conv2D, 1, 1)(x))

    optimizers = [keras.optimizers.Adam(LEARNING_RATE, beta_1=BETA_1) for _ in range(2)]
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    def distorted(inputs: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        large = (SIDE + JITTER, SIDE + JITTER)
        both = tf.image.resize(tf.stack([inputs, targets]), large, method="nearest")
        both = tf.image.random_crop(both, (2, SIDE, SIDE, 3))
        both = tf.cond(tf.random.uniform(()) > 0.5, lambda: both[:, :, ::-1], lambda: both)
        return tuple(tf.unstack(tf.cast(both, tf.float32) / 127.5 - 1))

    def translated(plans: np.ndarray) -> np.ndarray:
        made = [
            127.5 * generator(inputs[None] / np.float32(127.5) - 1, training=True).numpy() + 127.5
            for inputs in plans
        ]
        return np.concatenate(made)

    dataset = tf.data.Dataset.from_tensor_slices((train.inputs, train.targets)).shuffle(
        len(train.inputs)
    )
    dataset = dataset.map(distorted, tf.data.AUTOTUNE).batch(1).repeat()

    @tf.function
    def step(inputs: tf.Tensor, targets: tf.Tensor) -> None:
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            made = generator(inputs, training=True)
            true_score = discriminator([inputs, targets], training=True)
            made_score = discriminator([inputs, made], training=True)
            generator_loss = cross_entropy(tf.ones_like(made_score), made_score)
            generator_loss += L1_WEIGHT * tf.reduce_mean(tf.abs(targets - made))
            discriminator_loss = cross_entropy(tf.ones_like(true_score), true_score)
            discriminator_loss += cross_entropy(tf.zeros_like(made_score), made_score)
        for optimizer, tape, loss, network in (
            (optimizers[0], generator_tape, generator_loss, generator),
            (optimizers[1], discriminator_tape, discriminator_loss, discriminator),
        ):
            weights = network.trainable_variables
            optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)

    real, smallest, kept = features_of(validation.targets), math.inf, generator.get_weights()
    steps, passed, started = 0, 0.0, time.perf_counter()
    for batch in dataset:
        step(*batch)
        steps += 1
        now = passed + time.perf_counter() - started
        if steps % len(train.inputs) == 0 or now > seconds:
            distance = frechet_distance(real, features_of(translated(validation.inputs)))
            if distance < smallest:
                smallest, kept = distance, generator.get_weights()
            progress = f"epoch {steps // len(train.inputs)}: {now:.0f} s, {distance:.3f}"
            print(progress, file=sys.stderr, flush=True)
            if now > seconds:
                break
            passed, started = now, time.perf_counter()
    generator.set_weights(kept)
    metrics = compare_with_true(translated(test.inputs), test.targets, train.targets)
    return {"seconds": now, "epochs": steps / len(train.inputs), **metrics}


def main(
    *,
    data: Path,
    recipe: str = "facades",
    epochs: int | None = None,
    seeds: int = 1,
    only: int | None = None,
    seconds: float = 0.0,
) -> None:
    """Measures ours and the peer.

    Args:
        data: Folder of double pictures.
        recipe: Recipe of ours.
        epochs: Epochs of ours; by default the recipe's.
        seeds: Number of seeds, counted from 0.
        only: Measure the tutorial alone, with this seed, and print the result as JSON.
        seconds: Training time of the tutorial, with `only`.
    """
    if only is not None:
        print(json.dumps(tutorial(data, only, seconds)))
        return
    chosen = app.recipe(recipe, **({"epochs": epochs} if epochs else {}))
    rows: list[dict[str, Any]] = []
    reports: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        lists = write_lists(data, Path(folder))
        for name, weights in ABLATION.items():
            flags = ["--data", str(data), "--swap", "--channels", "3"]
            flags += ["--epochs", str(chosen.config.epochs)]
            flags += ["--train-list", str(lists[0]), "--test-list", str(lists[1])]
            for knob, value in weights.items():
                flags += [f"--{knob.replace('_', '-')}", str(value)]
            ours, reports[name] = run_seeds("pix2pix", recipe, seeds, flags=flags)
            rows += [
                row(
                    f"ours, {name}",
                    run["seed"],
                    {**run, "seconds": run["fit_seconds"], "epochs": chosen.config.epochs},
                )
                for run in ours
            ]
    for run in ours:  # those with both parts of the loss, the last of the ablation
        arguments = ["--data", str(data), "--only", str(run["seed"])]
        arguments += ["--seconds", str(run["fit_seconds"])]
        rows.append(
            row("tutorial", run["seed"], output_of("benchmarks.pictures.pix2pix", *arguments))
        )
    publish(
        "pix2pix" if recipe == "facades" else f"pix2pix_{recipe}",
        rows,
        recipe=recipe,
        held_out=HELD_OUT,
        config=reports["both"]["config"],
        architecture=reports["both"]["architecture"],
    )


def row(contestant: str, seed: int, result: dict[str, Any]) -> dict[str, Any]:
    """The row of one training in the published table."""
    return {"contestant": contestant, "seed": seed, **{name: result[name] for name in MERITS}}


if __name__ == "__main__":
    cyclopts.run(main)
