"""Dense layers that run backwards as well, with the same weights or with others."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="suite")
class ReversibleDense(keras.layers.Layer):
    """A dense layer of an encoder, which the decoder calls once more for the way back.

    `layer(x)` takes features `(batch, features)` to `(batch, units)`, and
    `layer(h, reverse=True)` takes these back to `(batch, features)`. There is no activation. Both
    ways have a bias. The first call must be a forward one.

    Args:
        units: Number of outputs.
        tied: Whether the way back uses the transposed kernel, or else one that is learnt apart.

    Reference:
        Bourlard and Kamp, 1988, Auto-Association by Multilayer Perceptrons and Singular Value
        Decomposition, https://doi.org/10.1007/BF00332918
    """

    def __init__(self, units: int, *, tied: bool = True, **layer: Any) -> None:
        super().__init__(**layer)
        self.units, self.tied = units, tied

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features: Any = input_shape[-1]

        def weights(name: str, shape: tuple[int, ...], initializer: str) -> Any:
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.kernel = weights("kernel", (features, self.units), "glorot_uniform")
        self.bias = weights("bias", (self.units,), "zeros")
        self.reverse_bias = weights("reverse_bias", (features,), "zeros")
        if not self.tied:
            self.reverse_kernel = weights(
                "reverse_kernel", (self.units, features), "glorot_uniform"
            )

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        if not reverse:
            return ops.matmul(inputs, self.kernel) + self.bias
        kernel = ops.transpose(self.kernel) if self.tied else self.reverse_kernel
        return ops.matmul(inputs, kernel) + self.reverse_bias

    def freeze_reverse(self) -> None:
        """Leaves the weights that only the way back has out of the training from now on."""
        self.reverse_bias.trainable = False
        if not self.tied:
            self.reverse_kernel.trainable = False

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units, "tied": self.tied}
