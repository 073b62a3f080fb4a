"""Dense layers whose noise learns how strong it should be, so that a policy explores by itself."""

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="suite")
class NoisyDense(keras.layers.Layer):
    """A dense layer with noise on its weights during training, whose scales are weights, too.

    `layer(x, training=False)` takes features `(..., features)` to `(..., units)`. In training,
    every weight is `mean + scale * noise`. The noise is factorised: every example draws one number
    for each input and one for each output, and the noise of a weight is the product of the two that
    it connects. Without training there is no noise.

    Args:
        units: Number of outputs.
        activation: An activation, or Keras's name of one.
        noise: Scale of the noise at first, relative to that of the weights.
        seed: Decides the noise.

    Reference:
        Fortunato et al., 2017, Noisy Networks for Exploration, https://arxiv.org/abs/1706.10295
        Differs from the paper: every example of a batch draws noise, rather than all of them one.
        Environments that are played side by side so explore different ways.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        *,
        noise: float = 0.5,
        seed: int | None = None,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.units, self.noise, self.seed = units, noise, seed
        self.activation = keras.activations.get(activation)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features: Any = input_shape[-1]
        reach = 1 / math.sqrt(features)

        def weights(name: str, shape: tuple[int, ...]) -> tuple[Any, Any]:
            uniform = keras.initializers.RandomUniform(-reach, reach)
            constant = keras.initializers.Constant(self.noise * reach)
            return (
                self.add_weight(shape=shape, initializer=uniform, name=name),
                self.add_weight(shape=shape, initializer=constant, name=f"{name}_scale"),
            )

        self.kernel, self.kernel_scale = weights("kernel", (features, self.units))
        self.bias, self.bias_scale = weights("bias", (self.units,))

    def call(self, inputs: Any, training: bool = False) -> Any:
        outputs = ops.matmul(inputs, self.kernel) + self.bias
        if training:
            # A product of vectors on both sides of the scales is the same as one matrix of noise
            # for each example, which would be as large as the weights.
            noisy = ops.matmul(inputs * self._draw(ops.shape(inputs)), self.kernel_scale)
            outputs += (noisy + self.bias_scale) * self._draw(ops.shape(outputs))
        return self.activation(outputs)

    def _draw(self, shape: tuple[Any, ...]) -> Any:
        """Normal numbers, drawn nearer together by a square root that keeps their signs."""
        numbers = keras.random.normal(shape, dtype=self.compute_dtype, seed=self.seed_generator)
        return ops.sign(numbers) * ops.sqrt(ops.abs(numbers))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "noise": self.noise,
            "seed": self.seed,
        }
