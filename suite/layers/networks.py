"""The base of models that train networks whose layers may compute in half precision."""

from typing import Any

import keras


class NetworksModel(keras.Model):
    """A model of dtype `floatx`, whose networks follow the global dtype policy.

    `mixed_float16` needs a scaled loss, since small gradients would become zero. Keras scales it
    only if the model that is compiled has that policy; here `compile` does so if the global policy
    is `mixed_float16`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype=keras.config.floatx(), **kwargs)

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **settings: Any) -> None:
        if keras.config.dtype_policy().name == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.get(optimizer))
        super().compile(optimizer, loss, **settings)


class ModelOfLosses(NetworksModel):
    """A model that returns losses of its inputs, which need no targets.

    The outputs stand for the targets, so that Keras averages the losses of the examples by their
    weights, and scales the mean across replicas.
    """

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        return super().compute_loss(x, y_pred, y_pred, sample_weight, training)


def identity_loss(y_true: Any, y_pred: Any) -> Any:
    """The loss of a model that returns the losses of the examples itself."""
    return y_pred
