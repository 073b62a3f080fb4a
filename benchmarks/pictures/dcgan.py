"""How good are the digits of our DCGAN, and of TensorFlow's tutorial, after the same time?

    python -m benchmarks.pictures.dcgan
    python -m benchmarks.pictures.dcgan --epochs 50      # the tutorial alone, to its end: two hours

Ours is the default recipe of `dcgan`, a process for each seed. The peer is the network, the losses,
the optimizers and the batches of the tutorial "Deep Convolutional Generative Adversarial Network",
on all 60,000 training images. It is judged when it has trained as long as ours did on average,
the search for clusters included; or, alone, after its epochs. Both are judged alike:
10,000 samples against the 10,000 test images.
"""

import json
import statistics
import sys
import time
from typing import Any

import cyclopts

from benchmarks.results import publish
from benchmarks.seeds import run_seeds
from benchmarks.turns import output_of

LATENT_DIM, BATCH, LEARNING_RATE = 100, 256, 1e-4
MERITS = ("seconds", "epochs", "frechet_distance", "frechet_distance_of_train", "classifier_score")
MERITS += ("smallest_class", "largest_class", "precision", "recall", "density", "coverage")


def tutorial(seed: int, seconds: float, epochs: int) -> dict[str, Any]:
    """Trains the networks of the tutorial, and judges 10,000 samples of them.

    Args:
        seed: Of weights, batches and noise.
        seconds: How long to train where `epochs` is 0.
        epochs: How many epochs to train, or 0 to train for `seconds`.
    """
    import keras
    import tensorflow as tf
    from keras import layers

    from suite import Run
    from suite.data.images.sources import load_pictures
    from suite.metrics import fidelity

    keras.utils.set_random_seed(seed)
    examples = load_pictures(Run(data="tfds", seed=seed))
    generator = keras.Sequential(
        [
            keras.Input((LATENT_DIM,)),
            layers.Dense(7 * 7 * 256, use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Reshape((7, 7, 256)),
            layers.Conv2DTranspose(128, 5, 1, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv2DTranspose(64, 5, 2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv2DTranspose(1, 5, 2, padding="same", use_bias=False, activation="tanh"),
        ]
    )
    discriminator = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(64, 5, 2, padding="same"),
            layers.LeakyReLU(),
            layers.Dropout(0.3),
            layers.Conv2D(128, 5, 2, padding="same"),
            layers.LeakyReLU(),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    decoder = keras.Model(generator.inputs, {"image": 127.5 * generator.outputs[0] + 127.5})
    optimizers = [keras.optimizers.Adam(LEARNING_RATE) for _ in range(2)]
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    images = (examples.train.inputs.astype("float32") - 127.5) / 127.5
    dataset = tf.data.Dataset.from_tensor_slices(images).shuffle(60_000).batch(BATCH)

    @tf.function
    def step(batch: tf.Tensor) -> None:
        latent = tf.random.normal([BATCH, LATENT_DIM])
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fake = generator(latent, training=True)
            real_score = discriminator(batch, training=True)
            fake_score = discriminator(fake, training=True)
            generator_loss = cross_entropy(tf.ones_like(fake_score), fake_score)
            discriminator_loss = cross_entropy(tf.ones_like(real_score), real_score)
            discriminator_loss += cross_entropy(tf.zeros_like(fake_score), fake_score)
        for optimizer, tape, loss, network in (
            (optimizers[0], generator_tape, generator_loss, generator),
            (optimizers[1], discriminator_tape, discriminator_loss, discriminator),
        ):
            weights = network.trainable_variables
            optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)

    started, steps = time.perf_counter(), 0
    for batch in dataset.repeat(epochs or None):
        step(batch)
        steps += 1
        if steps % len(dataset) == 0:
            progress = f"epoch {steps // len(dataset)}: {time.perf_counter() - started:.0f} s"
            print(progress, file=sys.stderr, flush=True)
        if not epochs and time.perf_counter() - started > seconds:
            break
    training_seconds = time.perf_counter() - started
    metrics = fidelity.evaluate_samples(
        decoder, examples.test.inputs, examples.train.inputs, fidelity.digit_features
    )
    return {"seconds": training_seconds, "epochs": steps / len(dataset), **metrics}


def main(*, seeds: int = 3, epochs: int = 0, only: int | None = None, seconds: float = 0.0) -> None:
    """Measures ours and the peer.

    Args:
        seeds: Number of seeds, counted from 0.
        epochs: Measure the tutorial alone, after so many epochs.
        only: Measure the tutorial alone, with this seed, and print the result as JSON.
        seconds: Training time of that one.
    """
    if only is not None:
        print(json.dumps(tutorial(only, seconds, epochs)))
        return
    if epochs:
        publish(f"dcgan_tutorial_{epochs}_epochs", [row("tutorial", 0, tutorial(0, 0.0, epochs))])
        return
    ours, report = run_seeds("dcgan", None, seeds)
    seconds = statistics.mean(run["fit_seconds"] for run in ours) + report["seconds"]["data"]
    epochs = report["config"]["epochs"]
    rows = [
        row("ours", run["seed"], {**run, "seconds": run["fit_seconds"], "epochs": epochs})
        for run in ours
    ]
    for seed in range(seeds):
        arguments = ["--only", str(seed), "--seconds", str(seconds)]
        rows.append(row("tutorial", seed, output_of("benchmarks.pictures.dcgan", *arguments)))
    means = {
        f"{contestant}_{merit}": statistics.mean(
            result[merit] for result in rows if result["contestant"] == contestant
        )
        for contestant in ("ours", "tutorial")
        for merit in ("frechet_distance", "classifier_score")
    }
    publish(
        "dcgan",
        rows,
        **means,
        ratio_of_distances=means["ours_frechet_distance"] / means["tutorial_frechet_distance"],
        config=report["config"],
        architecture=report["architecture"],
    )


def row(contestant: str, seed: int, result: dict[str, Any]) -> dict[str, Any]:
    """The row of one training in the published table."""
    return {"contestant": contestant, "seed": seed, **{name: result[name] for name in MERITS}}


if __name__ == "__main__":
    cyclopts.run(main)
