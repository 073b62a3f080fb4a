"""Auxiliary losses: classifiers in the middle of a deep network, which train its first layers."""

from typing import Any

import keras
import tensorflow as tf

from suite.layers.networks import NetworksModel


class AuxiliaryLosses(NetworksModel):
    """Trains a classifier with the loss of its logits and a share of those of auxiliary logits.

    Outside of training it returns the logits alone, by which metrics and the validation loss are
    computed, too.

    Args:
        network: Functional, maps images to a dict of `logits` and of auxiliary logits by name, all
            `(batch, classes)`.
        weight: Weight of the loss of each auxiliary output, 0.3 in the paper; that of `logits` has
            a weight of 1.

    Reference:
        Szegedy et al., 2014, Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842
    """

    def __init__(self, network: keras.Model, weight: float = 0.3) -> None:
        super().__init__()
        self.network, self.weight = network, weight

    def call(self, inputs: tf.Tensor, training: bool = False) -> Any:
        """The logits; in training, all outputs of the network by name."""
        outputs = self.network(inputs, training=training)
        return outputs if training else outputs["logits"]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """The compiled loss of the logits; in training, plus the weighted auxiliary losses."""
        loss_of = super().compute_loss
        if not isinstance(y_pred, dict):
            return loss_of(x, y, y_pred, sample_weight, training)
        losses = {
            name: loss_of(x, y, logits, sample_weight, training) for name, logits in y_pred.items()
        }
        return losses.pop("logits") + self.weight * sum(losses.values())

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """The compiled metrics of the logits."""
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, y, logits, sample_weight)
