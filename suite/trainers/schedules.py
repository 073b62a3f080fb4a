"""Learning-rate schedules that several applications use."""

import keras


def one_cycle(
    peak: float, steps: int, warmup: float = 0.2, start: float = 0.1
) -> keras.optimizers.schedules.CosineDecay:
    """Makes a schedule that rises linearly to a peak, then falls along half a cosine to zero.

    Args:
        peak: The largest learning rate.
        steps: Optimizer steps of the whole training.
        warmup: Share of the steps spent rising, in (0, 1).
        start: The first learning rate, as a share of `peak`.

    Reference:
        Smith and Topin, 2018, Super-Convergence: Very Fast Training of Neural Networks Using
        Large Learning Rates, https://arxiv.org/abs/1708.07120
        Differs from the paper: falls along a cosine, and leaves the momentum alone.
    """
    steps = max(steps, 1)
    return keras.optimizers.schedules.CosineDecay(
        start * peak,
        (1 - warmup) * steps,
        warmup_target=peak,
        warmup_steps=warmup * steps,
    )
