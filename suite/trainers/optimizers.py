"""Optimizers by a name that a knob can choose."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import keras

OptimizerName = Literal["adamw", "lion", "muon", "nesterov", "rmsprop", "sgd"]
_OPTIMIZERS: dict[str, Callable[..., keras.Optimizer]] = {
    "adamw": keras.optimizers.AdamW,
    "lion": keras.optimizers.Lion,
    "muon": keras.optimizers.Muon,
    "nesterov": partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


def make_optimizer(name: OptimizerName, learning_rate: Any, weight_decay: float) -> keras.Optimizer:
    """Makes an optimizer with decoupled weight decay.

    Args:
        name: `nesterov` is SGD with a momentum of 0.9, `sgd` has none; `adamw` without weight decay
            is Adam.
        learning_rate: A number or a schedule.
        weight_decay: Share of a weight that a step takes off it, times the learning rate.
    """
    return _OPTIMIZERS[name](learning_rate, weight_decay=weight_decay)
