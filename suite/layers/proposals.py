"""A second look at parts of a picture: which parts, and their features."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from suite.layers.boxes import clip, decode, region_features, survivors, take


@keras.saving.register_keras_serializable(package="suite")
class Proposals(layers.Layer):
    """Chooses the places for a second look: always as many, and as far apart as they can be.

    Of the most certain anchors, moved by their offsets, those that overlap a more certain one too
    much come last. No gradient flows through the choice.

    Args:
        count: Number of proposals of a picture.
        candidates: Number of the most certain anchors from which they are chosen.
        overlap: Largest intersection over union of two proposals; if too few are left, the most
            certain of the others fill the number.
        size: Height and width of the picture, to which proposals are cut.
        arguments: Those of a layer.

    Reference:
        Ren, He, Girshick and Sun, 2015, Faster R-CNN: Towards Real-Time Object Detection with
        Region Proposal Networks, https://arxiv.org/abs/1506.01497
        Differs from the paper: the number is fixed, so that all shapes are.
    """

    def __init__(
        self, count: int, candidates: int, overlap: float, size: Sequence[int], **arguments: Any
    ) -> None:
        super().__init__(**{"dtype": keras.config.floatx(), "trainable": False, **arguments})
        self.count, self.candidates, self.overlap = count, candidates, overlap
        self.size = tuple(size)

    def call(self, objectness: Any, offsets: Any, anchors: Any) -> Any:
        """The proposals `(batch, count, 4)`, the most certain first.

        Args:
            objectness: Logits of how sure it is that there is something, `(batch, n)`.
            offsets: As of `encode`, `(batch, n, 4)`.
            anchors: `(batch, n, 4)`.
        """
        _, best = ops.top_k(ops.stop_gradient(objectness), self.candidates)
        boxes = decode(take(ops.stop_gradient(offsets), best), take(anchors, best))
        boxes = clip(boxes, *self.size)
        places = ops.arange(self.candidates)
        places = ops.where(survivors(boxes, self.overlap), places, places + self.candidates)
        _, first = ops.top_k(-places, self.count)
        return take(boxes, first)

    def compute_output_shape(
        self,
        objectness_shape: Sequence[int | None],
        offsets_shape: Sequence[int | None],
        anchors_shape: Sequence[int | None],
    ) -> tuple[int | None, ...]:
        """The shape of the proposals."""
        return (objectness_shape[0], self.count, 4)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the layer."""
        return {
            **super().get_config(),
            "count": self.count,
            "candidates": self.candidates,
            "overlap": self.overlap,
            "size": list(self.size),
        }


@keras.saving.register_keras_serializable(package="suite")
class RegionFeatures(layers.Layer):
    """Brings the features of boxes to one size, see `region_features`.

    The boxes keep their precision, whatever that of the features is.

    Args:
        stride: Pixels of the picture from one cell of the features to the next.
        side: Height and width of the result.
        arguments: Those of a layer.
    """

    def __init__(self, stride: float, side: int, **arguments: Any) -> None:
        super().__init__(**{"autocast": False, "trainable": False, **arguments})
        self.stride, self.side = stride, side

    def call(self, features: Any, boxes: Any) -> Any:
        """The features of every box, `(batch, n, side, side, channels)`.

        Args:
            features: `(batch, height, width, channels)`.
            boxes: `(batch, n, 4)`, in pixels of the picture.
        """
        return region_features(features, boxes, self.stride, self.side)

    def compute_output_shape(
        self, features_shape: Sequence[int | None], boxes_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """The shape of the features."""
        return (*boxes_shape[:2], self.side, self.side, features_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """The arguments of the layer."""
        return {**super().get_config(), "stride": self.stride, "side": self.side}
