"""Nats against seconds: how good is which variational autoencoder after how long?

    python -m benchmarks.pictures.vae
    python -m benchmarks.pictures.vae --seconds 120

All contestants train on the same 54,000 images, whose pixels are made black or white at random
whenever they are used, for the same seconds of `fit`, compilation included; the clock stands still
while they are evaluated. They are judged alike, on the test images, by importance sampling: on
1,000 images with 100 samples along the way, which is for the curve, and on all 10,000 with 500
samples at the end. Each is a process of its own.

`convolutional` is the default recipe, `mlp` and `iwae` (the same network on the bound of five
samples) are other recipes of it. Their learning-rate schedules are as long as the time allows,
judged by the speed of the first steps. The peer is the network of keras.io's "Variational
AutoEncoder", two latent dimensions, under its optimizer and its batches of 128.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import cyclopts

from benchmarks.results import publish
from benchmarks.turns import output_of

MLP = {"network": "mlp", "units": (512, 512)}
RECIPES: dict[str, dict[str, Any]] = {
    "convolutional": {},
    "mlp": {"batch_size": 200, **MLP},
    "iwae": {"batch_size": 200, "objective": "iwae", "num_samples": 5, **MLP},
    "keras.io": {"batch_size": 128},
}
EVALUATIONS = 8
STEPS_PER_EXECUTION = 30


def keras_io() -> tuple[Any, Any]:
    """The example's encoder and decoder, with inputs and outputs that are named like ours."""
    import keras
    from keras import layers

    image = keras.Input((28, 28, 1), name="image")
    x = layers.Rescaling(1 / 255)(image)
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, activation="relu", strides=2, padding="same")(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    posterior = {name: layers.Dense(2, name=name)(x) for name in ("mean", "log_variance")}
    encoder = keras.Model(image, posterior, name="encoder")
    latent = keras.Input((2,), name="latent")
    x = layers.Dense(7 * 7 * 64, activation="relu")(latent)
    x = layers.Reshape((7, 7, 64))(x)
    for filters in (64, 32):
        x = layers.Conv2DTranspose(filters, 3, activation="relu", strides=2, padding="same")(x)
    logits = layers.Conv2DTranspose(1, 3, padding="same")(x)
    return encoder, keras.Model(latent, {"logits": logits}, name="decoder")


class Clock:
    """Counts the seconds of training, without those in which the model is evaluated.

    Whoever pauses it adds the length of the pause, in seconds, to `paused`.
    """

    def __init__(self) -> None:
        self.started, self.paused = time.perf_counter(), 0.0

    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.started - self.paused


def contestant(name: str, seed: int, seconds: float) -> dict[str, Any]:
    """Trains one contestant for the given seconds, and evaluates it on the way and at the end."""
    import keras

    from apps.vae import app
    from suite import Run
    from suite.trainers.variational import VariationalAutoencoder, evaluate_evidence, negative_bound
    from suite.training.session import build

    recipe = app.recipe(**RECIPES[name])
    data = app.data(recipe.config, Run(data="tfds", seed=seed))
    images = data.splits["test"].in_memory().inputs
    curve: list[tuple[float, float]] = []

    def evaluate(model: keras.Model, clock: Clock) -> None:
        now = clock.seconds()
        if now >= seconds * (len(curve) + 1) / EVALUATIONS:
            curve.append((now, evaluate_evidence(model, images[:1000], 100)["nll"]))
            clock.paused += clock.seconds() - now
        model.stop_training = now >= seconds

    def fit(steps: int, after_step: Callable[[keras.Model, Clock], None]) -> keras.Model:
        clock = Clock()
        keras.utils.set_random_seed(seed)
        if name == "keras.io":
            model = VariationalAutoencoder(*keras_io())
            model.compile(keras.optimizers.Adam(), loss=negative_bound)
        else:
            model = app.compile(build(app, recipe, data), recipe.config, steps)
        model.steps_per_execution = STEPS_PER_EXECUTION
        callback = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: after_step(model, clock)
        )
        model.fit(
            data.train(0), steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[callback]
        )
        return model

    # A short training, which is thrown away, tells how many steps there is time for.
    ends: list[float] = []
    fit(10 * STEPS_PER_EXECUTION, lambda model, clock: ends.append(clock.seconds()))
    executions = (seconds - ends[0]) * (len(ends) - 1) / (ends[-1] - ends[0])
    steps = max(1, round(executions)) * STEPS_PER_EXECUTION
    if name == "keras.io":  # it has no schedule to finish: the clock stops it
        steps *= 2
    model = fit(steps, evaluate)
    return {
        "parameters": model.encoder.count_params() + model.decoder.count_params(),
        "steps_planned": steps,
        "steps": int(model.optimizer.iterations.numpy()),
        "curve": curve,
        **evaluate_evidence(model, images, 500),
    }


def main(*, seconds: float = 240, seed: int = 0, only: str | None = None) -> None:
    """Measures all, one after the other.

    Args:
        seconds: Of training, for each.
        seed: Of all contestants.
        only: Measure this one only, and print its result as JSON.
    """
    if only:
        print(json.dumps(contestant(only, seed, seconds)))
        return
    results = {}
    for name in RECIPES:
        arguments = ["--seconds", str(seconds), "--seed", str(seed), "--only", name]
        results[name] = output_of("benchmarks.pictures.vae", *arguments)
        print(f"{name}: {results[name]['nll']:.2f} nats")
    publish(
        "vae",
        [
            {"contestant": name, **{k: v for k, v in result.items() if k != "curve"}}
            for name, result in results.items()
        ],
        curves={name: result["curve"] for name, result in results.items()},
        seconds=seconds,
        seed=seed,
        nll_samples=500,
        nats_better_than_keras_io=results["keras.io"]["nll"] - results["convolutional"]["nll"],
    )


if __name__ == "__main__":
    cyclopts.run(main)
