"""Cross-entropy and accuracy for labels that are smoothed, or mixtures of two classes."""

import keras
from keras import ops


class SmoothCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits with labels, of which a part is spread evenly over all classes.

    Labels are classes `(batch,)`, or mixtures `(batch, 3)` as from
    `suite.data.images.augmentation.mixup`.

    Args:
        label_smoothing: The part that is spread, in [0, 1).
        name: Name of the loss.

    Reference:
        Szegedy et al., 2015, Rethinking the Inception Architecture for Computer Vision,
        https://arxiv.org/abs/1512.00567
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "crossentropy") -> None:
        super().__init__(name=name)
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
