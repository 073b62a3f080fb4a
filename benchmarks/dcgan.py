"""How good are the digits of our DCGAN, and of TensorFlow's tutorial, after the same time?

    python -m benchmarks.dcgan
    python -m benchmarks.dcgan --epochs 50          # lets the tutorial finish: two hours and more

Ours is the default recipe of `dcgan`, a process for each seed. The peer is the network, the losses,
the optimizers and the batches of the tutorial "Deep Convolutional Generative Adversarial Network",
on all 60,000 training images. It is looked at when it has trained as long as ours did on average,
and again at the end of its epochs; the clock stands still meanwhile. Both are judged alike, by
10,000 samples against the 10,000 test images.
"""

import json
import statistics
import subprocess
import sys
import time
from typing import Any

import cyclopts

from benchmarks.results import publish
from benchmarks.seeds import measured

LATENT_DIM, BATCH, LEARNING_RATE = 100, 256, 1e-4


def tutorial(seed: int, seconds: float, epochs: int) -> list[dict[str, Any]]:
    """Trains the tutorial's networks, and looks at them.

    Args:
        seed: Of everything.
        seconds: Of training, after which they are looked at first.
        epochs: Are looked at again after these, if there are any left then.
    """
    import keras
    import tensorflow as tf
    from keras import layers

    from suite import Run, fidelity
    from suite.images import load_digits

    keras.utils.set_random_seed(seed)
    examples = load_digits(Run(data="tfds", seed=seed))
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
    decoder = keras.Model(generator.input, {"image": 127.5 * generator.output + 127.5})
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

    looks: list[dict[str, Any]] = []

    def look(trained: float, epoch: float) -> None:
        found = fidelity.judge(decoder, examples.test.inputs, examples.train.inputs)
        looks.append({"seed": seed, "seconds": trained, "epochs": epoch, **found})
        print(json.dumps(looks[-1]), file=sys.stderr, flush=True)

    started, stood, epoch = time.perf_counter(), 0.0, 0
    while not looks or epoch < epochs:
        for number, batch in enumerate(dataset):
            step(batch)
            now = time.perf_counter()
            if not looks and now - started > seconds:
                look(now - started, epoch + number * BATCH / len(images))
                stood = time.perf_counter() - now
                if not epochs:
                    return looks
        epoch += 1
    if epochs:
        look(time.perf_counter() - started - stood, epoch)
    return looks


def main(
    *, seeds: int = 3, epochs: int = 0, seconds: float | None = None, only: int | None = None
) -> None:
    """Measures ours and the peer.

    Args:
        seeds: Number of seeds, counted from 0.
        epochs: Of the tutorial with seed 0; 0 stops it at equal time.
        seconds: Of the tutorial's training; by default as many as ours took.
        only: Measure the tutorial with this seed, and print what was found as JSON.
    """
    if only is not None:
        print(json.dumps(tutorial(only, seconds or 0.0, epochs)))
        return
    ours, facts = measured("dcgan", None, seeds)
    seconds = seconds or statistics.mean(row["fit_seconds"] for row in ours)
    rows = [
        {"contestant": "ours", "seed": row["seed"], "seconds": row["fit_seconds"], **merits(row)}
        for row in ours
    ]
    for seed in range(seeds):
        words = ["--only", str(seed), "--seconds", str(seconds)]
        words += ["--epochs", str(epochs if seed == 0 else 0)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.dcgan", *words],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        rows += [
            {
                "contestant": f"tutorial, {look['epochs']:.1f} epochs",
                "seed": seed,
                "seconds": look["seconds"],
                **merits(look),
            }
            for look in json.loads(done.stdout.splitlines()[-1])
        ]
    own = statistics.mean(row["frechet_distance"] for row in rows[:seeds])
    peers = [row["frechet_distance"] for row in rows[seeds:] if row["seconds"] < 1.1 * seconds]
    publish(
        "dcgan",
        rows,
        ratio_at_equal_time=own / statistics.mean(peers),
        config=facts["config"],
        architecture=facts["architecture"],
    )


def merits(found: dict[str, Any]) -> dict[str, float]:
    """The figures of merit among other things."""
    names = ("frechet_distance", "frechet_distance_of_train", "classifier_score")
    names += ("smallest_class", "largest_class", "precision", "recall", "density", "coverage")
    return {name: found[name] for name in names}


if __name__ == "__main__":
    cyclopts.run(main)
