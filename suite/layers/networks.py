"""The base of models that train networks whose layers may compute in half precision."""

from typing import Any

import keras


class NetworksModel(keras.Model):
    """A model of dtype `floatx`, whose networks follow the global dtype policy.

    `mixed_float16` needs a scaled loss, since small gradients would become zero. Keras scales it
    only if the model that is compiled has that policy; here `compile` does so if the global policy
    is `mixed_float16`.

    Args:
        model: Further arguments of `keras.Model`.
    """

    def __init__(self, **model: Any) -> None:
        super().__init__(dtype=keras.config.floatx(), **model)

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **settings: Any) -> None:
        if keras.config.dtype_policy().name == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.get(optimizer))
        super().compile(optimizer, loss, **settings)


def identity_loss(y_true: Any, y_pred: Any) -> Any:
    """The loss of a model that returns the losses of the examples itself."""
    return y_pred
