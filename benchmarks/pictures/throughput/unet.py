"""How many images a second does the U-Net of pets train on, here and in PyTorch?

    pip install '.[benchmark]'
    python -m benchmarks.pictures.throughput.unet

The network of `pets`, but without dropout, on the same batches of shapes from memory, without
distortion. PyTorch keeps channels last, uses its fused optimizer, and is measured eager and
compiled, in float32 and in bfloat16; the best of all counts, on either side. Each measurement is a
process of its own; they take turns.
"""

from benchmarks.pictures.throughput.race import race
from benchmarks.turns import open_app, rate_of_fit, rate_of_pytorch
from suite import Run

BATCH, SIDE, DEPTH, FILTERS = 16, 128, 4, 16
WARM_UP, STEPS = 10, 60


def ours(policy: str) -> float:
    """Images a second of `fit`, called as the application calls it.

    Args:
        policy: Dtype policy of the layers.
    """
    from apps.unet import app

    recipe = app.recipe(
        image_size=SIDE,
        batch_size=BATCH,
        depth=DEPTH,
        filters=FILTERS,
        loss="crossentropy",
        flip="none",
    )
    run = Run(precision=policy, quiet=True)
    return rate_of_fit(open_app(app, recipe, run), BATCH, WARM_UP, STEPS)


def pytorch(precision: str, mode: str) -> float:
    """Images a second of a plain training loop.

    Args:
        precision: `float32` or `bfloat16`.
        mode: `eager` or `compiled`.
    """
    import torch
    from torch import nn

    from apps.unet import app

    def convolved(channels: int, filters: int) -> nn.Module:
        stages: list[nn.Module] = []
        for inputs in (channels, filters):
            stages += [nn.Conv2d(inputs, filters, 3, padding=1, bias=False)]
            stages += [nn.BatchNorm2d(filters), nn.ReLU()]
        return nn.Sequential(*stages)

    class UNet(nn.Module):
        """The same network as ours, from pictures to logits of the classes."""

        def __init__(self, num_classes: int) -> None:
            super().__init__()
            filters = [FILTERS * 2**level for level in range(DEPTH + 1)]
            levels = range(DEPTH)
            self.down = nn.ModuleList(map(convolved, [3, *filters], filters))
            self.widen = nn.ModuleList(
                nn.ConvTranspose2d(filters[level + 1], filters[level], 2, 2) for level in levels
            )
            self.up = nn.ModuleList(
                convolved(2 * filters[level], filters[level]) for level in levels
            )
            self.logits = nn.Conv2d(FILTERS, num_classes, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kept = []
            for level, block in enumerate(self.down):
                x = block(nn.functional.max_pool2d(x, 2) if level else x)
                kept.append(x)
            for level in reversed(range(DEPTH)):
                x = self.up[level](torch.cat([self.widen[level](x), kept[level]], 1))
            return self.logits(x)

    loaded = app.data(app.config(image_size=SIDE), Run(quiet=True))
    train = loaded.splits["train"].in_memory()
    return rate_of_pytorch(
        UNet(len(loaded.description.class_names)),
        train.inputs,
        train.targets,
        batch=BATCH,
        warm_up=WARM_UP,
        steps=STEPS,
        precision=precision,
        mode=mode,
    )


if __name__ == "__main__":
    facts = {"batch_size": BATCH, "image_size": SIDE, "depth": DEPTH, "filters": FILTERS}
    race("unet", ours, pytorch, **facts)
