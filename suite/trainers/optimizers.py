"""Optimizers by a name that a knob can choose."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import keras
from keras import ops


class Muon(keras.optimizers.Muon):
    """Muon for convolutional networks: kernels of convolutions are matrices, too.

    Keras's Muon leaves kernels of four dimensions to Adam. Here they are matrices with a column for
    every filter. Adam trains the rest at a fifth of the learning rate, without weight decay:
    scales, offsets, and the layer named `logits`, whose kernel is no map from features to features.

    Args:
        arguments: Those of Keras's Muon. A step has less momentum here by default, as suits
            trainings of a few epochs.

    Reference:
        Jordan et al., 2024, Muon: An optimizer for hidden layers in neural networks,
        https://kellerjordan.github.io/posts/muon/
        Liu et al., 2025, Muon is Scalable for LLM Training (the length of a step),
        https://arxiv.org/abs/2502.16982
    """

    def __init__(self, learning_rate: Any = 0.001, **arguments: Any) -> None:
        defaults = {"adam_lr_ratio": 0.2, "adam_weight_decay": None, "exclude_layers": ["logits"]}
        super().__init__(learning_rate, **{"momentum": 0.6, **defaults, **arguments})

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        if len(variable.shape) == 4:
            return variable.shape[-1] == 1  # of a depthwise convolution
        return super()._should_use_adamw(variable)

    def _muon_update_step(
        self, gradient: Any, variable: keras.Variable, lr: Any, m: keras.Variable
    ) -> None:
        self.assign(m, self.momentum * m + gradient)
        direction = gradient + self.momentum * m
        matrix = ops.reshape(direction, (-1, direction.shape[-1]))
        update = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(update, variable.shape))


OptimizerName = Literal["adamw", "lion", "muon", "nesterov", "rmsprop", "sgd"]
_OPTIMIZERS: dict[str, Callable[..., keras.Optimizer]] = {
    "adamw": keras.optimizers.AdamW,
    "lion": keras.optimizers.Lion,
    "muon": Muon,
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
