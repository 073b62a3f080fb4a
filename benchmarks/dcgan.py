"""How good are the digits of our DCGAN, and of TensorFlow's tutorial, after the same time?

    python -m benchmarks.dcgan
    python -m benchmarks.dcgan --epochs 50          # the tutorial alone, to its end: two hours

Ours is the default recipe of `dcgan`, a process for each seed. The peer is the network, the losses,
the optimizers and the batches of the tutorial "Deep Convolutional Generative Adversarial Network",
on all 60,000 training images. It is looked at when it has trained as long as ours did on average,
the search for clusters included; or, alone, after its epochs. Both are judged alike, by
10,000 samples against the 10,000 test images.
"""

import json
import statistics
import sys
import time
from typing import Any

import cyclopts

from benchmarks.results import publish
from benchmarks.seeds import measured
from benchmarks.turns import said

LATENT_DIM, BATCH, LEARNING_RATE = 100, 256, 1e-4
MERITS = ("seconds", "epochs", "frechet_distance", "frechet_distance_of_train", "classifier_score")
MERITS += ("smallest_class", "largest_class", "precision", "recall", "density", "coverage")


def tutorial(seed: int, seconds: float, epochs: int) -> dict[str, Any]:
    """Trains the tutorial's networks, and looks at them.

    Args:
        seed: Of everything.
        seconds: Of training, where `epochs` is 0.
        epochs: Of training.
    """
    import keras
    import tensorflow as tf
    from keras import layers

    from suite import Run
    from suite.data.image_sources import load_pictures
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
            where = f"epoch {steps // len(dataset)}: {time.perf_counter() - started:.0f} s"
            print(where, file=sys.stderr, flush=True)
        if not epochs and time.perf_counter() - started > seconds:
            break
    trained = time.perf_counter() - started
    found = fidelity.evaluate_samples(decoder, examples.test.inputs, examples.train.inputs)
    return {"seconds": trained, "epochs": steps / len(dataset), **found}


def main(*, seeds: int = 3, epochs: int = 0, only: int | None = None, seconds: float = 0.0) -> None:
    """Measures ours and the peer.

    Args:
        seeds: Number of seeds, counted from 0.
        epochs: Measure the tutorial alone, after these.
        only: Measure the tutorial alone, with this seed, and print what was found as JSON.
        seconds: Of its training.
    """
    if only is not None:
        print(json.dumps(tutorial(only, seconds, epochs)))
        return
    if epochs:
        publish(f"dcgan_tutorial_{epochs}_epochs", [row("tutorial", 0, tutorial(0, 0.0, epochs))])
        return
    ours, facts = measured("dcgan", None, seeds)
    seconds = statistics.mean(found["fit_seconds"] for found in ours) + facts["seconds"]["data"]
    epochs = facts["config"]["epochs"]
    rows = [
        row("ours", found["seed"], {**found, "seconds": found["fit_seconds"], "epochs": epochs})
        for found in ours
    ]
    for seed in range(seeds):
        words = ["--only", str(seed), "--seconds", str(seconds)]
        rows.append(row("tutorial", seed, said("benchmarks.dcgan", *words)))
    means = {
        f"{contestant}_{merit}": statistics.mean(
            found[merit] for found in rows if found["contestant"] == contestant
        )
        for contestant in ("ours", "tutorial")
        for merit in ("frechet_distance", "classifier_score")
    }
    publish(
        "dcgan",
        rows,
        **means,
        ratio_of_distances=means["ours_frechet_distance"] / means["tutorial_frechet_distance"],
        config=facts["config"],
        architecture=facts["architecture"],
    )


def row(contestant: str, seed: int, found: dict[str, Any]) -> dict[str, Any]:
    """What is written down of one training."""
    return {"contestant": contestant, "seed": seed, **{name: found[name] for name in MERITS}}


if __name__ == "__main__":
    cyclopts.run(main)
