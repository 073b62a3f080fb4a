"""Generative adversarial networks: the step that trains a generator and a discriminator.

Variants differ by the arguments: the networks, the loss, and the steps of the discriminator. A
generator makes images from latents, or an image from another one, which it learns from pairs.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from suite.app import Objective
from suite.errors import Diverged, InputError
from suite.placement.replicas import seed_of_replica

GanLoss = Literal["non_saturating", "minimax", "hinge", "least_squares"]
# Mean probability in an epoch above which the discriminator gives the generator no signal.
WON = 0.99


class AdversarialLoss(NamedTuple):
    """The losses of both networks. Each maps scores of any shape to as many losses.

    Args:
        real: The discriminator's loss on real images.
        fake: The discriminator's loss on generated images.
        generator: The generator's loss on its images.
    """

    real: Callable[[tf.Tensor], tf.Tensor]
    fake: Callable[[tf.Tensor], tf.Tensor]
    generator: Callable[[tf.Tensor], tf.Tensor]


# Scores are logits: softplus(-score) is the negative log probability of being real.
LOSSES: dict[str, AdversarialLoss] = {
    "non_saturating": AdversarialLoss(
        lambda score: tf.nn.softplus(-score), tf.nn.softplus, lambda score: tf.nn.softplus(-score)
    ),
    "minimax": AdversarialLoss(
        lambda score: tf.nn.softplus(-score), tf.nn.softplus, lambda score: -tf.nn.softplus(score)
    ),
    "hinge": AdversarialLoss(
        lambda score: tf.nn.relu(1 - score), lambda score: tf.nn.relu(1 + score), tf.negative
    ),
    "least_squares": AdversarialLoss(
        lambda score: (score - 1) ** 2, tf.square, lambda score: (score - 1) ** 2
    ),
}


class GenerativeAdversarialNetwork(keras.Model):
    """Trains a generator against a discriminator, by separate losses and optimizers.

    A step splits its batch into `discriminator_steps` parts. The discriminator learns from every
    part, and the generator from the last, by the same pass through both networks.

    The weights that learn are those of `learner`, a copy of the generator. The `generator` itself,
    which is exported, is their moving average, statistics of batch normalisation included.

    Args:
        generator: Maps latents `(batch, latent_dim)` to a dict of `image`
            `(batch, height, width, channels)`, values in 0..255. The dict may have a `code`
            `(batch,)`, the index of the cluster that the image belongs to.
        discriminator: Maps such images to scores `(batch, 1)`, logits of being real. With codes it
            has a score for every code, `(batch, num_codes)`, and the targets of the training
            images are their codes.
        loss: `non_saturating` and `minimax` by cross-entropy, `hinge` or `least_squares`.
        discriminator_steps: Steps of the discriminator for each step of the generator.
        label_smoothing: Amount by which the discriminator's target for real images is below 1, in
            [0, 1); for the losses by cross-entropy.
        ema_momentum: Largest momentum of the moving average of the generator's weights, in [0, 1).
            In the first steps it is `(1 + step) / (10 + step)`.
        seed: Seed of the latents.

    Raises:
        InputError: `label_smoothing` is not 0, and the loss is not by cross-entropy.

    Reference:
        Goodfellow et al., 2014, Generative Adversarial Networks, https://arxiv.org/abs/1406.2661
        Mao et al., 2016, Least Squares Generative Adversarial Networks,
        https://arxiv.org/abs/1611.04076
        Lim and Ye, 2017, Geometric GAN (hinge), https://arxiv.org/abs/1705.02894
        Yazici et al., 2018, The Unusual Effectiveness of Averaging in GAN Training,
        https://arxiv.org/abs/1806.04498
        Differs from the first: both networks learn from the same generated images.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        loss: GanLoss = "non_saturating",
        discriminator_steps: int = 1,
        label_smoothing: float = 0.0,
        ema_momentum: float = 0.999,
        seed: int | None = None,
    ) -> None:
        if label_smoothing and loss not in ("non_saturating", "minimax"):
            raise InputError(f"`label_smoothing` must be 0 with `loss` {loss}", label_smoothing)
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.learner = keras.models.clone_model(self.generator)
        self.learner.set_weights(self.generator.get_weights())
        self.adversarial_loss = LOSSES[loss]
        self.discriminator_steps = discriminator_steps
        self.label_smoothing = label_smoothing
        self.ema_momentum = ema_momentum
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.is_adversarial = True
        self.built = True  # its networks are built, and it has no `call`
        self.means = {
            name: keras.metrics.Mean(name)
            for name in (
                "generator_loss", "discriminator_loss", "real_probability", "fake_probability",
            )
        }  # fmt: skip

    def compile(
        self, optimizer: keras.Optimizer, discriminator_optimizer: keras.Optimizer, **options: Any
    ) -> None:
        """Compiles with an optimizer for each network; `optimizer` is that of the generator."""
        # Keras wraps the optimizers it compiles with, if losses have to be scaled.
        super().compile(discriminator_optimizer, **options)
        self.discriminator_optimizer = self.optimizer
        super().compile(optimizer, **options)
        self.optimizer.build(self.learner.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)

    @property
    def optimizers(self) -> list[keras.Optimizer]:
        """The optimizers of the generator and of the discriminator."""
        return [self.optimizer, self.discriminator_optimizer]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        # The examples of a replica all have the same weight.
        weight = 1.0 if weights is None else tf.reshape(weights, [-1])[0]
        *early, last = _parts(self._real(inputs, targets), self.discriminator_steps)
        for part in early:
            self._learn(part, weight, generator=False)
        self._learn(last, weight)
        self._average()
        return {name: mean.result() for name, mean in self.means.items()}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, targets, _ = keras.utils.unpack_x_y_sample_weight(data)
        real = self._real(inputs, targets)
        # Drawn on every replica, so that their seeds stay equal.
        of_generator = self._generator_inputs(real)

        def judge() -> tf.Tensor:
            self._both_losses(self.generator, real, of_generator, training=False)
            return tf.constant(True)

        # Of a small batch a replica may have no part, whose mean is no number.
        count = tf.shape(keras.tree.flatten(real)[0])[0]
        tf.cond(count > 0, judge, lambda: tf.constant(False))
        return {name: mean.result() for name, mean in self.means.items()}

    def objectives(self, batch: Any) -> dict[str, Objective]:
        """The losses of both networks, for fixed latents."""
        inputs, targets, _ = keras.utils.unpack_x_y_sample_weight(batch)
        real = self._real(inputs, targets)
        both = functools.partial(
            self._both_losses, self.learner, real, self._generator_inputs(real), training=True
        )
        objectives = {"generator": Objective(lambda: both()[0], self.learner.trainable_variables)}
        if self.is_adversarial:
            objectives["discriminator"] = Objective(
                lambda: both()[1], self.discriminator.trainable_variables
            )
        return objectives

    def _both_losses(
        self,
        generator: keras.Model,
        real: Mapping[str, tf.Tensor],
        inputs: tf.Tensor,
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Generates images, and computes the losses of generator and discriminator.

        Args:
            generator: The `learner`, or its moving average.
            real: Real examples, as `_real` makes them.
            inputs: What the images are generated from, as `_generator_inputs` makes it.
            training: Whether the networks are called as in training.
        """
        # A generated example has the condition of the real one, if there are conditions.
        fake = {**real, **generator(inputs, training=training)}
        # Two calls, so that batch normalisation never mixes real and generated images.
        real_scores = self._scores(real, training=training)
        fake_scores = self._scores(fake, training=training)
        generator_loss, discriminator_loss = self._losses_of(real_scores, fake_scores)
        return self._whole_loss(generator_loss, real, fake), discriminator_loss

    def _whole_loss(
        self, adversarial: tf.Tensor, real: Mapping[str, tf.Tensor], fake: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """The loss of the generator, given its adversarial loss: here that loss alone."""
        return adversarial

    def _real(self, inputs: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """Real images, and their codes if there are any, as a dict like the generator's output."""
        real = {"image": tf.cast(inputs, tf.float32)}
        return real | {"code": targets} if "code" in self.generator.output else real

    def _generator_inputs(self, real: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The generator's inputs for as many images as there are real ones: here new latents."""
        return self._latents(tf.shape(real["image"])[0])

    def _scores(self, examples: Mapping[str, Any], training: bool) -> tf.Tensor:
        """The discriminator's scores `(batch, 1)`; with codes, those of each image's code."""
        scores = self.discriminator(examples["image"], training=training)
        if "code" in examples:
            return tf.gather(scores, examples["code"][:, None], axis=1, batch_dims=1)
        return scores

    def _learn(
        self, real: Mapping[str, Any], weight: tf.Tensor | float, generator: bool = True
    ) -> None:
        """Takes a step of the discriminator, if it is used, and one of the generator.

        Args:
            real: Real images, and their codes if there are any.
            weight: Weight of this replica's examples.
            generator: Whether the generator takes its step.
        """
        inputs = self._generator_inputs(real)
        learning = [(self.optimizer, self.learner)] if generator else []
        if self.is_adversarial:
            learning.append((self.discriminator_optimizer, self.discriminator))
        with tf.GradientTape(persistent=True) as tape:
            generator_loss, discriminator_loss = self._both_losses(
                self.learner, real, inputs, training=True
            )
            # Gradients are summed over the replicas.
            share = weight / tf.distribute.get_strategy().num_replicas_in_sync
            losses = {self.learner: generator_loss, self.discriminator: discriminator_loss}
            scaled = [
                optimizer.scale_loss(losses[network] * share) for optimizer, network in learning
            ]
        gradients = [
            tape.gradient(loss, [variable.value for variable in network.trainable_variables])
            for loss, (_, network) in zip(scaled, learning, strict=True)
        ]
        for (optimizer, network), of_network in zip(learning, gradients, strict=True):
            optimizer.apply(of_network, network.trainable_variables)

    def _losses_of(
        self, real_scores: tf.Tensor, fake_scores: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the losses of generator and discriminator, and updates the metrics."""
        smoothing = self.label_smoothing
        real_losses = self.adversarial_loss.real(real_scores)
        if smoothing:
            opposite = self.adversarial_loss.fake(real_scores)
            real_losses = (1 - smoothing) * real_losses + smoothing * opposite
        fake_losses = self.adversarial_loss.fake(fake_scores)
        discriminator_loss = tf.reduce_mean(real_losses) + tf.reduce_mean(fake_losses)
        generator_loss = tf.reduce_mean(self.adversarial_loss.generator(fake_scores))
        self.means["generator_loss"].update_state(generator_loss)
        self.means["discriminator_loss"].update_state(discriminator_loss)
        self.means["real_probability"].update_state(tf.sigmoid(real_scores))
        self.means["fake_probability"].update_state(tf.sigmoid(fake_scores))
        return generator_loss, discriminator_loss

    def _latents(self, num: tf.Tensor) -> tf.Tensor:
        shape = [num, self.generator.input_shape[-1]]
        return tf.random.stateless_normal(shape, seed_of_replica(self.seed_generator))

    def _average(self) -> None:
        """Updates the moving average of the generator's weights."""
        step = tf.cast(self.optimizer.iterations, tf.float32)
        momentum = tf.minimum(self.ema_momentum, (1 + step) / (10 + step))
        for average, weight in zip(self.generator.weights, self.learner.weights, strict=True):
            average.assign(weight + momentum * (average - weight))


def mean_absolute_difference(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """The mean absolute difference of pixels, in units in which 0..255 are -1..1.

    Args:
        real: Images `(batch, height, width, channels)`, values in 0..255.
        fake: The same number of images.

    Returns:
        A scalar, from 0 to 2.
    """
    return tf.reduce_mean(tf.abs(real - fake)) / 127.5


class PairedAdversarialNetwork(GenerativeAdversarialNetwork):
    """Trains a generator that makes an image from another one, by pairs of both.

    The examples are pairs: an input is a `condition`, from which the generator makes an image, and
    its target is the real `image`. The generator is to deceive the discriminator, and to come close
    to the real image of the pair.

    Args:
        generator: Maps conditions `(batch, height, width, channels)`, values in 0..255, to a dict
            of `image` `(batch, height, width, channels)`, values in 0..255.
        discriminator: Maps a dict of `condition` and `image` to logits of the image being the real
            one of the condition, one for each pair or for each patch of it, of any shape
            `(batch, ...)`; or images alone, if that is its only input.
        reconstruction: `reconstruction(real, fake)` is a distance of images, a scalar.
        reconstruction_weight: Weight of that distance in the loss of the generator.
        adversarial_weight: Weight of the adversarial loss in it; with 0 the discriminator does not
            learn, since nobody asks it.
        options: Those of `GenerativeAdversarialNetwork`.

    Reference:
        Isola, Zhu, Zhou and Efros, 2016, Image-to-Image Translation with Conditional Adversarial
        Networks, https://arxiv.org/abs/1611.07004
        Differs from the paper: both networks learn from the same generated images.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        reconstruction: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = mean_absolute_difference,
        reconstruction_weight: float = 100.0,
        adversarial_weight: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(generator, discriminator, **options)
        self.reconstruction = reconstruction
        self.reconstruction_weight = reconstruction_weight
        self.adversarial_weight = adversarial_weight
        self.is_adversarial = adversarial_weight > 0
        self.means["reconstruction_loss"] = keras.metrics.Mean("reconstruction_loss")

    def _real(self, inputs: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        """Conditions with the real images that belong to them."""
        parts = {"condition": inputs, "image": targets}
        return {name: tf.cast(part, keras.config.floatx()) for name, part in parts.items()}

    def _generator_inputs(self, real: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The conditions."""
        return real["condition"]

    def _scores(self, examples: Mapping[str, Any], training: bool) -> tf.Tensor:
        """The discriminator's scores of images, with their conditions if it takes them."""
        if not isinstance(self.discriminator.input, Mapping):
            return super()._scores(examples, training)
        pair = {name: examples[name] for name in ("condition", "image")}
        return self.discriminator(pair, training=training)

    def _whole_loss(
        self, adversarial: tf.Tensor, real: Mapping[str, tf.Tensor], fake: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """The weighted sum of the adversarial loss and of the distance from the real images."""
        distance = self.reconstruction(real["image"], fake["image"])
        self.means["reconstruction_loss"].update_state(distance)
        weighted = self.reconstruction_weight * distance
        # Not a gradient of zero, which would be computed through the discriminator.
        return weighted + self.adversarial_weight * adversarial if self.is_adversarial else weighted


class StopWhenDiscriminatorWins(keras.callbacks.Callback):
    """Raises `Diverged` after an epoch in which the discriminator was sure of nearly all images.

    Least squares and hinge losses ask only for scores near 1 and near 0 or -1, which are far from
    being so sure: trainings with them are hardly ever stopped.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        real, fake = logs["real_probability"], logs["fake_probability"]
        if real > WON and fake < 1 - WON:
            raise Diverged(
                f"the discriminator won epoch {epoch + 1} outright: real images look real to it "
                f"with probability {real:.4f}, generated ones with {fake:.4f}; try a smaller "
                "--discriminator-learning-rate"
            )


def _parts(batch: Any, count: int) -> Iterator[Any]:
    """Splits a batch into `count` parts of equal size; the last ones may repeat its first rows."""
    if count == 1:
        yield batch
        return
    size = tf.shape(tf.nest.flatten(batch)[0])[0]
    part_size = -(-size // count)
    for part in range(count):
        rows = (tf.range(part_size) + part * part_size) % size
        yield tf.nest.map_structure(functools.partial(tf.gather, indices=rows), batch)
