"""How many images a second does the network of mnist_cnn train on, here and in PyTorch?

    pip install '.[benchmark]'
    python -m benchmarks.pictures.throughput.mnist_cnn

The same network (convolutions, pooling, batch normalisation, ReLU), the same batches of shuffled
images from memory, Adam with decoupled decay, no distortion. PyTorch keeps channels last, uses
its fused optimizer, and is measured eager and compiled; the better one counts. Each measurement
is a process of its own; they take turns.
"""

from benchmarks.pictures.throughput.race import race
from benchmarks.turns import open_app, rate_of_fit, rate_of_pytorch
from suite import Run
from suite.data.images.sources import load_pictures

BATCH, FILTERS = 120, (24, 48, 96)
WARM_UP, STEPS = 60, 450


def ours(policy: str) -> float:
    """Images a second of `fit`, called as the application calls it.

    Args:
        policy: Dtype policy of the layers.
    """
    from apps.mnist_cnn import app

    knobs = {"batch_size": BATCH, "rotation": 0, "shift": 0, "zoom": 0}
    recipe = app.recipe(**knobs, filters=FILTERS, dropout=0.0)
    run = Run(precision=policy, quiet=True, data="tfds")
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


if __name__ == "__main__":
    race("mnist_cnn", ours, pytorch, batch_size=BATCH, filters=FILTERS)
