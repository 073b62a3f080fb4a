"""Learning-rate schedules that more than one app wants."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="suite")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to a peak, then falls along half a cosine to zero.

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

    def __init__(self, peak: float, steps: int, warmup: float = 0.2, start: float = 0.1) -> None:
        self.peak, self.steps, self.warmup, self.start = peak, steps, warmup, start

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        progress = ops.cast(step, "float32") / self.steps
        rising = self.start + (1 - self.start) * progress / self.warmup
        left = ops.clip((1 - progress) / (1 - self.warmup), 0, 1)
        falling = 0.5 * (1 - ops.cos(math.pi * left))
        return self.peak * ops.where(progress < self.warmup, rising, falling)

    def get_config(self) -> dict[str, float]:
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup": self.warmup,
            "start": self.start,
        }
