"""How many images a second does the network of mnist_cnn train on, here and in PyTorch?

    pip install '.[benchmark]'
    python -m benchmarks.pictures.mnist_throughput

The same network (convolutions, pooling, batch normalisation, ReLU), the same batches of shuffled
images from memory, Adam with decoupled decay, no distortion. PyTorch keeps channels last, uses
its fused optimizer, and is measured eager and compiled; the better one counts. Each measurement
is a process of its own; they take turns.
"""

import json

import cyclopts

from benchmarks.results import publish
from benchmarks.turns import open_app, rate_of_fit, rate_of_pytorch, rates, ratio
from suite import Run
from suite.data.images.sources import load_pictures

CONTESTANTS = {
    "float32": ("ours float32", "PyTorch float32 eager", "PyTorch float32 compiled"),
    "bfloat16": ("ours bfloat16", "PyTorch bfloat16 eager", "PyTorch bfloat16 compiled"),
}
BATCH, FILTERS = 120, (24, 48, 96)
WARM_UP, STEPS = 60, 450


def ours(precision: str) -> float:
    """Images a second of `fit`, called as the application calls it.

    Args:
        precision: `float32` or `bfloat16`.
    """
    from apps.mnist_cnn import app

    knobs = {"batch_size": BATCH, "rotation": 0, "shift": 0, "zoom": 0}
    recipe = app.recipe(**knobs, filters=FILTERS, dropout=0.0)
    run = Run(
        precision="float32" if precision == "float32" else "mixed_bfloat16", quiet=True, data="tfds"
    )
    return rate_of_fit(open_app(app, recipe, run), BATCH, WARM_UP, STEPS)


def pytorch(precision: str, mode: str) -> float:
    """Images a second of a plain training loop.

    Args:
        precision: `float32` or `bfloat16`.
        mode: `eager` or `compiled`.
    """
    from torch import nn

    train = load_pictures(Run(data="tfds")).train
    stages, channels = [], 1
    for width in FILTERS:
        convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        stages += [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return rate_of_pytorch(
        nn.Sequential(*stages, nn.Flatten(), nn.Linear(9 * channels, 10)),
        train.inputs,
        train.targets,
        batch=BATCH,
        warm_up=WARM_UP,
        steps=STEPS,
        precision=precision,
        mode=mode,
    )


def main(*, repeats: int = 3, contestant: str | None = None) -> None:
    """Measures all, in turns.

    Args:
        repeats: Measurements of each.
        contestant: Measure this one once, and print its rate as JSON.
    """
    if contestant:
        who, precision, *mode = contestant.split()
        print(json.dumps(ours(precision) if who == "ours" else pytorch(precision, *mode)))
        return
    rows = rates(
        "benchmarks.pictures.mnist_throughput",
        [n for names in CONTESTANTS.values() for n in names],
        repeats,
    )
    publish(
        "mnist_throughput",
        rows,
        batch_size=BATCH,
        filters=FILTERS,
        **{f"ratio_{p}": ratio(rows, name, peers) for p, (name, *peers) in CONTESTANTS.items()},
    )


if __name__ == "__main__":
    cyclopts.run(main)
