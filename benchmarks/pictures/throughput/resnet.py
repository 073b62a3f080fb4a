"""How many images a second does ResNet-20 train on, here and in PyTorch?

    pip install '.[benchmark]'
    python -m benchmarks.pictures.throughput.resnet

The same network (three stages of three blocks, 16 to 64 filters, shortcuts padded with zeros), the
same batches of shuffled CIFAR-10 images from memory, Adam with decoupled decay, no distortion.
PyTorch keeps channels last, uses its fused optimizer, and is measured eager and compiled, in
float32 and in bfloat16; the best of all counts, on either side. Each measurement is a process of
its own; they take turns.
"""

from benchmarks.pictures.throughput.race import race
from benchmarks.turns import open_app, rate_of_fit, rate_of_pytorch
from suite import Run
from suite.data.images.sources import load_pictures

BATCH, BLOCKS, FILTERS = 125, (3, 3, 3), 16
WARM_UP, STEPS = 20, 100


def ours(policy: str) -> float:
    """Images a second of `fit`, called as the application calls it.

    Args:
        policy: Dtype policy of the layers.
    """
    from apps.resnet import app

    knobs = {"dataset": "cifar10", "batch_size": BATCH, "rotation": 0, "shift": 0, "zoom": 0}
    run = Run(precision=policy, quiet=True, data="tfds")
    return rate_of_fit(open_app(app, app.recipe(**knobs), run), BATCH, WARM_UP, STEPS)


def pytorch(precision: str, mode: str) -> float:
    """Images a second of a plain training loop.

    Args:
        precision: `float32` or `bfloat16`.
        mode: `eager` or `compiled`.
    """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int, filters: int, stride: int) -> None:
            super().__init__()
            self.stride, self.missing = stride, filters - channels
            self.convolutions = nn.Sequential(
                nn.Conv2d(channels, filters, 3, stride, 1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(),
                nn.Conv2d(filters, filters, 3, 1, 1, bias=False),
                nn.BatchNorm2d(filters),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shortcut = x
            if self.missing or self.stride > 1:
                shortcut = x[:, :, :: self.stride, :: self.stride]
                shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, 0, self.missing))
            return nn.functional.relu(self.convolutions(x) + shortcut)

    stem = nn.Conv2d(3, FILTERS, 3, 1, 1, bias=False)
    stages: list[nn.Module] = [stem, nn.BatchNorm2d(FILTERS), nn.ReLU()]
    channels = FILTERS
    for stage, count in enumerate(BLOCKS):
        for number in range(count):
            stages.append(Block(channels, FILTERS * 2**stage, 2 if stage and not number else 1))
            channels = FILTERS * 2**stage
    train = load_pictures(Run(data="tfds"), "cifar10").train.in_memory()
    return rate_of_pytorch(
        nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)),
        train.inputs,
        train.targets,
        batch=BATCH,
        warm_up=WARM_UP,
        steps=STEPS,
        precision=precision,
        mode=mode,
    )


if __name__ == "__main__":
    race("resnet", ours, pytorch, batch_size=BATCH)
