"""How many images a second does the DCGAN train on, here and in PyTorch?

    pip install '.[benchmark]'
    python -m benchmarks.pictures.throughput.dcgan

The same two networks, losses, batches from memory and moving average, Adam for each network, both
learning from the same generated images. PyTorch keeps channels last, uses its fused optimizers,
and is measured eager and compiled; the better one counts. Each measurement is a process of its
own; they take turns.
"""

import json
import time

import cyclopts

from apps.dcgan import CODE_SCALE, app
from benchmarks.results import publish
from benchmarks.turns import open_app, rate_of_fit, rates, ratio, use_all_cores
from suite import Run
from suite.data.images.sources import load_pictures

OURS, *PEERS = CONTESTANTS = ("ours", "PyTorch eager", "PyTorch compiled")
CONFIG, KNOBS = app.config(), app.architecture_knobs()
BATCH, LATENT_DIM = CONFIG.batch_size, KNOBS["latent_dim"].default
NUM_CODES = CONFIG.num_codes
WARM_UP, STEPS = 60, 1500


def ours() -> float:
    """Images a second of `fit`, called as the application calls it."""
    return rate_of_fit(
        open_app(app, app.recipe(), Run(quiet=True, data="tfds")), BATCH, WARM_UP, STEPS
    )


def pytorch(mode: str) -> float:
    """Images a second of a plain training loop.

    Args:
        mode: `eager` or `compiled`.
    """
    import torch
    from torch import nn
    from torch.nn.functional import one_hot, softplus

    def score_of(scores: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """The score that all codes share, and that of the code of each image."""
        return scores[:, 0] + scores[:, 1:].gather(1, codes[:, None])[:, 0]

    def normalized(convolution: nn.Module) -> list[nn.Module]:
        return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]

    generator = nn.Sequential(
        *normalized(nn.ConvTranspose2d(LATENT_DIM + NUM_CODES, 128, 7, bias=False)),
        *normalized(nn.Conv2d(128, 128, 3, padding=1, bias=False)),
        *normalized(nn.ConvTranspose2d(128, 64, 4, 2, padding=1, bias=False)),
        nn.ConvTranspose2d(64, 1, 4, 2, padding=1),
        nn.Tanh(),
    ).to(memory_format=torch.channels_last)
    discriminator = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2),
        nn.ZeroPad2d((1, 2, 1, 2)),  # makes 4 of 7, as Keras's padding "same" does
        nn.Conv2d(64, 128, 4, 2, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.Conv2d(128, 1 + NUM_CODES, 4),
    ).to(memory_format=torch.channels_last)
    average = [weight.detach().clone() for weight in generator.parameters()]
    settings = {"lr": CONFIG.learning_rate, "betas": (CONFIG.beta_1, 0.999), "fused": True}
    optimizers = [
        torch.optim.Adam(network.parameters(), **settings) for network in (generator, discriminator)
    ]
    # Gradients are taken twice from one pass, so PyTorch must not reuse its buffers.
    torch._functorch.config.donated_buffer = False
    use_all_cores()
    generate, score = (
        torch.compile(network) if mode == "compiled" else network
        for network in (generator, discriminator)
    )
    images = torch.tensor(load_pictures(Run(data="tfds")).train.inputs).permute(0, 3, 1, 2)
    images = images.float().contiguous(memory_format=torch.channels_last)
    clusters = torch.randint(NUM_CODES, (len(images),))
    order = torch.randperm(len(images))

    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            started = time.perf_counter()
        rows = order[torch.arange(step * BATCH, (step + 1) * BATCH) % len(order)]
        real = images[rows] / 127.5 - 1
        latent = torch.randn(BATCH, LATENT_DIM)
        codes = torch.randint(NUM_CODES, (BATCH,))
        code_inputs = CODE_SCALE * one_hot(codes, NUM_CODES)
        fake = generate(torch.cat([latent, code_inputs], 1)[:, :, None, None])
        # One pass through the discriminator serves both losses, one for each network.
        real_score = score_of(score(real).flatten(1), clusters[rows])
        fake_score = score_of(score(fake).flatten(1), codes)
        smoothing = CONFIG.label_smoothing
        real_loss = (1 - smoothing) * softplus(-real_score) + smoothing * softplus(real_score)
        discriminator_loss = (real_loss + softplus(fake_score)).mean()
        generator_loss = softplus(-fake_score).mean()
        generator_weights = list(generator.parameters())
        gradients = torch.autograd.grad(generator_loss, generator_weights, retain_graph=True)
        discriminator_weights = list(discriminator.parameters())
        gradients += torch.autograd.grad(discriminator_loss, discriminator_weights)
        for weight, gradient in zip(
            generator_weights + discriminator_weights, gradients, strict=True
        ):
            weight.grad = gradient
        for optimizer in optimizers:
            optimizer.step()
        torch._foreach_lerp_(
            average, [weight.detach() for weight in generator_weights], 1 - CONFIG.ema_momentum
        )
    return STEPS * BATCH / (time.perf_counter() - started)


def main(*, repeats: int = 3, contestant: str | None = None) -> None:
    """Measures all, in turns.

    Args:
        repeats: Measurements of each.
        contestant: Measure this one once, and print its rate as JSON.
    """
    if contestant:
        print(json.dumps(ours() if contestant == OURS else pytorch(contestant.split()[1])))
        return
    rows = rates("benchmarks.pictures.throughput.dcgan", CONTESTANTS, repeats)
    publish(
        "dcgan_throughput",
        rows,
        batch_size=BATCH,
        latent_dim=LATENT_DIM,
        ratio=ratio(rows, OURS, PEERS),
    )


if __name__ == "__main__":
    cyclopts.run(main)
