"""How many images a second does the network of mnist_cnn train on, here and in PyTorch?

    pip install '.[benchmark]'
    python -m benchmarks.mnist_throughput

The same network (convolutions, pooling, batch normalisation, ReLU), the same batches of shuffled
images from memory, Adam with decoupled decay, no distortion. PyTorch keeps channels last, uses
its fused optimizer, and is measured eager and compiled; the better one counts. Each measurement
is a process of its own; they take turns.
"""

import json
import time

import cyclopts

from benchmarks.results import publish
from benchmarks.turns import open_app, rate_of_fit, rates, ratio
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
    run = Run(precision="float32" if precision == "float32" else "mixed_bfloat16", quiet=True)
    return rate_of_fit(open_app(app, recipe, run), BATCH, WARM_UP, STEPS)


def pytorch(precision: str, mode: str) -> float:
    """Images a second of a plain training loop.

    Args:
        precision: `float32` or `bfloat16`.
        mode: `eager` or `compiled`.
    """
    import torch
    from torch import nn

    train = load_pictures(Run()).train
    x = torch.tensor(train.inputs).permute(0, 3, 1, 2).float()
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.tensor(train.targets, dtype=torch.long)
    stages, channels = [], 1
    for width in FILTERS:
        convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        stages += [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    network = nn.Sequential(*stages, nn.Flatten(), nn.Linear(9 * channels, 10))
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, fused=True)
    forward = torch.compile(network) if mode == "compiled" else network
    order = torch.randperm(len(y))

    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            started = time.perf_counter()
        rows = order[torch.arange(step * BATCH, (step + 1) * BATCH) % len(y)]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = nn.functional.cross_entropy(forward(x[rows] / 255).float(), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return STEPS * BATCH / (time.perf_counter() - started)


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
        "benchmarks.mnist_throughput", [n for names in CONTESTANTS.values() for n in names], repeats
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
