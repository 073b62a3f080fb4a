"""How long until 99.0 % of the MNIST test images are right?

    pip install '.[benchmark]'
    python -m benchmarks.pictures.mnist_cnn

Seconds of wall time from the call of `fit`, compilation included, until the test accuracy first
reaches the mark. It is measured after each quarter of an epoch, with the clock stopped, and for
this race only. Contestants, each in a process of its own, taking turns:

- ours: `python -m apps.mnist_cnn --recipe fast`;
- Keras: the architecture and recipe of keras.io's "Simple MNIST convnet", at most its 15 epochs;
- PyTorch: the network and recipe of its basic MNIST example, at most its 14 epochs, with the
  images in memory and channels last, which is faster here than the example's own loader.

A peer that does not get there counts with the time of all its epochs; ours, as never.
"""

import json
import math
import statistics
import time
from collections.abc import Callable

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.turns import open_app, output_of, use_all_cores
from suite import Run
from suite.data.images.sources import load_pictures

MARK = 0.99
CONTESTANTS = ("ours", "keras.io", "PyTorch example")


class Clock:
    """Counts wall time without that of measuring the test accuracy.

    Args:
        test_accuracy: Measures the model, from 0 to 1.
        steps_per_epoch: The test accuracy is measured after each quarter of it.
    """

    def __init__(self, test_accuracy: Callable[[], float], steps_per_epoch: int) -> None:
        self.test_accuracy = test_accuracy
        self.steps_per_quarter = steps_per_epoch / 4
        self.quarters = 0
        self.reached = False
        self.best = 0.0
        self.seconds = 0.0
        self._started = time.perf_counter()

    def after(self, steps: int) -> bool:
        """Measures the test accuracy if another quarter is over; returns whether to stop."""
        if steps < (self.quarters + 1) * self.steps_per_quarter:
            return False
        self.seconds += time.perf_counter() - self._started
        self.quarters = int(steps / self.steps_per_quarter)
        self.best = max(self.best, self.test_accuracy())
        self.reached = self.best >= MARK
        self._started = time.perf_counter()
        return self.reached

    def result(self) -> dict[str, float]:
        """Seconds and epochs up to the last measurement, and the best test accuracy."""
        return {"seconds": self.seconds, "epochs": self.quarters / 4, "best": self.best}


def keras_clock(model, inputs, labels, steps_per_epoch):  # noqa: ANN001, ANN201
    """A `Clock`, and a callback that calls it after every batch and stops the training by it."""
    import keras
    import tensorflow as tf

    forward = tf.function(lambda x: model(x, training=False), reduce_retracing=True)

    def test_accuracy() -> float:
        parts = [forward(inputs[i : i + 1000]) for i in range(0, len(inputs), 1000)]
        return float(np.mean(np.argmax(np.concatenate(parts), axis=1) == labels))

    clock = Clock(test_accuracy, steps_per_epoch)

    class Watch(keras.callbacks.Callback):
        epoch = 0

        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            self.epoch = epoch

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            if clock.after(self.epoch * steps_per_epoch + batch + 1):
                self.model.stop_training = True

    return clock, Watch()


def ours(seed: int) -> dict[str, float]:
    """Trains the fast recipe of `apps.mnist_cnn` with the functions of the application."""
    from apps.mnist_cnn import app
    from suite.training.batch_norm import fused_batch_normalization

    fitted = open_app(app, app.recipe("fast"), Run(data="tfds", seed=seed, quiet=True))
    model, data = fitted.model, fitted.data
    test = data.splits["test"].in_memory()
    clock, watch = keras_clock(model, test.inputs, test.targets, data.steps_per_epoch)
    with fused_batch_normalization(model):
        model.fit(
            data.train(0),
            steps_per_epoch=data.steps_per_epoch,
            epochs=fitted.config.epochs,
            callbacks=[watch],
            shuffle=False,
            verbose=0,
        )
    return clock.result()


def keras_io(seed: int) -> dict[str, float]:
    """keras.io, "Simple MNIST convnet": Adam, batches of 128, a tenth held out."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    examples = load_pictures(Run(data="tfds"))
    train, test = (s.inputs.astype("float32") / 255 for s in (examples.train, examples.test))
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    clock, watch = keras_clock(model, test, examples.test.targets, -(-54000 // 128))
    targets = keras.utils.to_categorical(examples.train.targets, 10)
    model.fit(
        train[:54000], targets[:54000], batch_size=128, epochs=15, callbacks=[watch], verbose=0
    )
    return clock.result()


def pytorch(seed: int) -> dict[str, float]:
    """PyTorch's basic MNIST example: Adadelta from 1.0, decayed by 0.7, batches of 64."""
    import torch
    from torch import nn

    use_all_cores()
    torch.manual_seed(seed)
    examples = load_pictures(Run(data="tfds"))

    def tensors(split) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN001
        images = torch.tensor(split.inputs.astype("float32") / 255).permute(0, 3, 1, 2)
        images = ((images - 0.1307) / 0.3081).contiguous(memory_format=torch.channels_last)
        return images, torch.tensor(split.targets, dtype=torch.long)

    (x, y), (x_test, y_test) = tensors(examples.train), tensors(examples.test)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.25), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, 10), nn.LogSoftmax(dim=1),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)

    def test_accuracy() -> float:
        model.eval()
        with torch.no_grad():
            correct = sum(
                (model(x_test[i : i + 1000]).argmax(1) == y_test[i : i + 1000]).sum().item()
                for i in range(0, 10000, 1000)
            )
        model.train()
        return correct / 10000

    steps, clock = 0, Clock(test_accuracy, -(-60000 // 64))
    for _ in range(14):
        for rows in torch.randperm(60000).split(64):
            optimizer.zero_grad()
            nn.functional.nll_loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
            steps += 1
            if clock.after(steps):
                return clock.result()
        scheduler.step()
    return clock.result()


def main(*, repeats: int = 3, contestant: str | None = None, seed: int = 0) -> None:
    """Runs the race.

    Args:
        repeats: Runs of each contestant, with seeds counted from 0.
        contestant: Run this one once, with `seed`, and print its result as JSON.
        seed: Seed of the single run.
    """
    if contestant:
        result = dict(zip(CONTESTANTS, (ours, keras_io, pytorch), strict=True))[contestant](seed)
        print(json.dumps(result))
        return
    results = {name: [] for name in CONTESTANTS}
    for repeat in range(repeats):
        for name in CONTESTANTS:
            arguments = ["--contestant", name, "--seed", str(repeat)]
            results[name].append(output_of("benchmarks.pictures.mnist_cnn", *arguments))
            print(f"{name}, seed {repeat}: {results[name][-1]}")
    for result in results["ours"]:
        if result["best"] < MARK:
            result["seconds"] = math.inf
    medians = {
        name: statistics.median(result["seconds"] for result in runs)
        for name, runs in results.items()
    }
    better_peer = min(medians[name] for name in CONTESTANTS[1:])
    publish(
        "mnist_cnn",
        [
            {
                "contestant": name,
                "seconds_median": medians[name],
                "seconds": [round(result["seconds"], 1) for result in runs],
                "epochs": [result["epochs"] for result in runs],
                "reached": sum(result["best"] >= MARK for result in runs),
            }
            for name, runs in results.items()
        ],
        mark=MARK,
        ratio=medians["ours"] / better_peer,
    )


if __name__ == "__main__":
    cyclopts.run(main)
