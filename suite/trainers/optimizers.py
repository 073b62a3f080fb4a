"""Optimizers by a name that a knob can choose."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import keras

from suite.errors import InputError

OptimizerName = Literal[
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "lion",
    "momentum",
    "muon",
    "nesterov",
    "rmsprop",
    "sgd",
]
_OPTIMIZERS: dict[str, Callable[..., keras.Optimizer]] = {
    "adadelta": keras.optimizers.Adadelta,
    "adagrad": keras.optimizers.Adagrad,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "lion": keras.optimizers.Lion,
    "momentum": partial(keras.optimizers.SGD, momentum=0.9),
    "muon": keras.optimizers.Muon,
    "nesterov": partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


def make_optimizer(
    name: OptimizerName,
    learning_rate: Any,
    weight_decay: float,
    *,
    clip_value: float | None = None,
    clip_norm: float | None = None,
) -> keras.Optimizer:
    """Makes an optimizer with decoupled weight decay, which may clip gradients.

    Args:
        name: `momentum` is SGD with a momentum of 0.9, `nesterov` with Nesterov's, `sgd` has none;
            `adam` with weight decay is `adamw`.
        learning_rate: A number or a schedule.
        weight_decay: Share of a weight that a step takes off it, times the learning rate.
        clip_value: Largest absolute value of a component of the gradient.
        clip_norm: Largest norm of the gradient of all weights together.

    Raises:
        InputError: Gradients are to be clipped both by value and by norm.

    Reference:
        Pascanu, Mikolov and Bengio, 2012, On the Difficulty of Training Recurrent Neural Networks
        (clipping by norm), https://arxiv.org/abs/1211.5063
    """
    if clip_value is not None and clip_norm is not None:
        raise InputError("`clip_value` must be left out with `clip_norm`", clip_value)
    return _OPTIMIZERS[name](
        learning_rate,
        weight_decay=weight_decay,
        clipvalue=clip_value,
        global_clipnorm=clip_norm,
    )
