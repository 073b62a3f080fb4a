"""Cross-entropy and accuracy: of labels that are smoothed or mixtures of two, and of tokens."""

from typing import Any

import keras
from keras import ops

from suite.data.text.tokenizers import PADDING


@keras.saving.register_keras_serializable(package="suite")
class SmoothCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits with labels, of which a part is spread evenly over all classes.

    Labels are classes `(batch,)`, or mixtures `(batch, 3)` as from
    `suite.data.images.augmentation.mixup`.

    Args:
        label_smoothing: The part that is spread, in [0, 1).
        loss: Those of Keras's losses.

    Reference:
        Szegedy et al., 2015, Rethinking the Inception Architecture for Computer Vision,
        https://arxiv.org/abs/1512.00567
    """

    def __init__(self, label_smoothing: float = 0.0, **loss: Any) -> None:
        super().__init__(**{"name": "crossentropy", **loss})
        self.label_smoothing = label_smoothing

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """The cross-entropy of every example, `(batch,)`."""
        log_probabilities = ops.log_softmax(ops.cast(y_pred, self.dtype))
        num_classes = y_pred.shape[-1]
        if len(y_true.shape) == 1:
            targets = ops.one_hot(ops.cast(y_true, "int32"), num_classes)
        else:
            share = ops.cast(y_true[:, 2:], self.dtype)
            first, second = (
                ops.one_hot(ops.cast(y_true[:, n], "int32"), num_classes) for n in (0, 1)
            )
            targets = share * first + (1 - share) * second
        targets = (1 - self.label_smoothing) * targets + self.label_smoothing / num_classes
        return -ops.sum(targets * log_probabilities, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="suite")
def accuracy(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """Whether the largest logit is that of the class, of a mixture that of its larger part.

    Args:
        y_true: Labels as for `SmoothCrossentropy`.
        y_pred: Logits `(batch, classes)`.

    Returns:
        1 or 0 for every example, `(batch,)`.
    """
    labels = y_true if len(y_true.shape) == 1 else y_true[:, 0]
    return ops.cast(ops.cast(labels, "int32") == ops.argmax(y_pred, axis=-1), "float32")


@keras.saving.register_keras_serializable(package="suite")
class TokenCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits, the mean over all tokens of a batch that are no padding.

    Args:
        label_smoothing: Share of the target probability that is spread over all tokens.

    Reference:
        Szegedy et al., 2015, Rethinking the Inception Architecture for Computer Vision (label
        smoothing), https://arxiv.org/abs/1512.00567
    """

    def __init__(self, label_smoothing: float = 0.0, **loss: Any) -> None:
        super().__init__(**loss)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One value for every sequence `(batch,)`, of which the mean is that over the tokens."""
        losses = nats(y_true, y_pred, self.label_smoothing)
        weights = ops.cast(ops.not_equal(y_true, PADDING), losses.dtype)
        rows = ops.cast(ops.shape(y_true)[0], losses.dtype)
        return ops.sum(losses * weights, axis=-1) * (rows / ops.maximum(ops.sum(weights), 1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


def nats(y_true: Any, y_pred: Any, label_smoothing: float = 0.0) -> Any:
    """The cross-entropy of every token, `(batch, time)`, in nats.

    The gradient is written out: it uses the exponentials of the forward pass again. Of thousands of
    classes, the operations by which Keras computes the same take about three times as long.

    Args:
        y_true: Numbers of the right tokens, `(batch, time)`.
        y_pred: Logits `(batch, time, tokens)`.
        label_smoothing: Share of the target probability that is spread over all tokens.
    """
    labels = ops.cast(y_true, "int32")

    @ops.custom_gradient
    def crossentropy(logits: Any) -> tuple[Any, Any]:
        size, dtype = logits.shape[-1], logits.dtype
        largest = ops.max(logits, axis=-1, keepdims=True)
        exponentials = ops.exp(logits - largest)
        total = ops.sum(exponentials, axis=-1, keepdims=True)
        losses = ops.squeeze(ops.log(total) + largest, axis=-1)
        losses = losses - (1 - label_smoothing) * _of_tokens(logits, labels)
        if label_smoothing:
            losses = losses - label_smoothing * ops.mean(logits, axis=-1)

        def gradient(*upstreams: Any, upstream: Any = None) -> Any:
            upstream = ops.expand_dims(upstreams[0] if upstream is None else upstream, -1)
            right, wrong = (
                ops.cast(share, dtype)
                for share in (1 - label_smoothing + label_smoothing / size, label_smoothing / size)
            )
            targets = ops.where(ops.one_hot(labels, size, dtype="bool"), right, wrong)
            return exponentials * (upstream / total) - upstream * targets

        return losses, gradient

    return crossentropy(ops.convert_to_tensor(y_pred))


def _of_tokens(logits: Any, tokens: Any) -> Any:
    """The logits of the given tokens, `(batch, time)`, from those of all."""
    return ops.squeeze(ops.take_along_axis(logits, ops.expand_dims(tokens, -1), axis=-1), -1)
