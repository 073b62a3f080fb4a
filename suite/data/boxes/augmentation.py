"""Random distortions of pictures together with their boxes.

Each function returns an `Augmentation` of batches `(pictures, targets)`: pictures
`(batch, height, width, channels)` in 0..255, and targets `(batch, most, 6)` as in
`suite.data.boxes.annotations.as_targets`. Distorted pictures are float32, except mirrored ones. A
box that is cut is kept if enough of it is left; others become padding, which may then stand between
boxes.
"""

from typing import Any

import tensorflow as tf
from keras import ops

from suite.data.boxes.annotations import NO_LABEL
from suite.data.pipelines import Augmentation

VISIBLE = 0.35  # smallest share of a box that must be left when it is cut
MIDDLE = 0.15  # largest distance of the meeting point of a mosaic from the middle, as a share
PARTS = ((0, 0), (1, 0), (0, 1), (1, 1))  # of a mosaic: whether right, whether below
PADDING = (0.0, 0.0, 0.0, 0.0, float(NO_LABEL), 0.0)  # a row of targets without a thing


def box_flip(*, horizontal: bool = True, vertical: bool = False) -> Augmentation | None:
    """Mirrors along each chosen axis with a probability of one half.

    Returns:
        The augmentation, or None if no axis is chosen.
    """
    axes = [axis for axis, chosen in ((2, horizontal), (1, vertical)) if chosen]
    if not axes:
        return None

    def distort(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        pictures, targets = batch
        columns = tf.unstack(targets, axis=-1)
        present = columns[4] >= 0
        for draw, axis in zip(tf.unstack(draws), axes, strict=True):
            flips = draw < 0
            pictures = tf.where(flips[:, None, None, None], tf.reverse(pictures, [axis]), pictures)
            first, second = (0, 2) if axis == 2 else (1, 3)
            moved = flips[:, None] & present
            side = float(pictures.shape[axis])
            columns[first], columns[second] = (
                tf.where(moved, side - columns[second], columns[first]),
                tf.where(moved, side - columns[first], columns[second]),
            )
        return pictures, tf.stack(columns, axis=-1)

    return Augmentation(distort, num_draws=len(axes))


def box_crop(smallest: float) -> Augmentation | None:
    """Crops a random part that contains one whole box, and enlarges it to the size of the picture.

    Args:
        smallest: Smallest width and height of the part, as a share of the picture's, in (0, 1].

    Returns:
        The augmentation, or None for 1.

    Reference:
        Liu et al., 2015, SSD: Single Shot MultiBox Detector, https://arxiv.org/abs/1512.02325
        Differs from the paper: keeps the aspect ratio, and one whole box instead of an overlap.
    """
    if smallest >= 1:
        return None

    def distort(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        pictures, targets = batch
        height, width = pictures.shape[1:3]
        size, choice, *places = tf.unstack((draws + 1) / 2)  # in 0..1
        box, has_box = _one_of(targets, choice)
        share = smallest + (1 - smallest) * size
        for axis, side in ((0, width), (1, height)):
            share = tf.maximum(share, (box[:, axis + 2] - box[:, axis]) / side)
        corners = []
        for axis, (side, place) in enumerate(zip((width, height), places, strict=True)):
            furthest = side * (1 - share)
            low = tf.where(has_box, tf.maximum(box[:, axis + 2] - side * share, 0.0), 0.0)
            high = tf.where(has_box, tf.minimum(box[:, axis], furthest), furthest)
            corners.append(low + place * (high - low))
        left, top = corners
        moved = _boxes_of_part(targets, left, top, share)
        whole = tf.constant([0.0, 0.0, width, height])
        return _part(pictures, left, top, share), _cut(targets, moved, whole)

    return Augmentation(distort, num_draws=4)


def mosaic(rate: float) -> Augmentation | None:
    """Joins a picture with the next three of the batch, four reduced ones around a random point.

    The targets have four times as many rows, `(batch, 4 * most, 6)`, also where nothing is joined.
    The next pictures are those of the same replica's part of the batch.

    Args:
        rate: Probability, in 0..1.

    Returns:
        The augmentation, or None for a rate of 0.

    Reference:
        Bochkovskiy, Wang and Liao, 2020, YOLOv4: Optimal Speed and Accuracy of Object Detection,
        https://arxiv.org/abs/2004.10934
        Differs from the authors' code: every picture just fills its part, about its middle.
    """
    if not rate:
        return None

    def distort(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        pictures, targets = tf.cast(batch[0], tf.float32), batch[1]
        height, width = pictures.shape[1:3]
        chance, *middles = tf.unstack(draws)
        joined = (chance + 1) / 2 < rate
        x, y = (
            tf.round(side * (0.5 + MIDDLE * middle))
            for side, middle in zip((width, height), middles, strict=True)
        )
        is_right = tf.range(width, dtype=tf.float32)[None, None, :] >= x[:, None, None]
        is_below = tf.range(height, dtype=tf.float32)[None, :, None] >= y[:, None, None]
        canvas, rows = pictures, []
        for number, (right, below) in enumerate(PARTS):
            part, things = (tf.roll(values, -number, axis=0) for values in (pictures, targets))
            x1, x2 = (x, tf.fill(tf.shape(x), float(width))) if right else (tf.zeros_like(x), x)
            y1, y2 = (y, tf.fill(tf.shape(y), float(height))) if below else (tf.zeros_like(y), y)
            # Pixels of the picture for one of the mosaic; the largest that still fills the part.
            share = tf.minimum(width / (x2 - x1), height / (y2 - y1))
            # The place in the picture that comes to the corner of the mosaic, if its middle comes
            # to that of the part.
            left = width / 2 - share * (x1 + x2) / 2
            top = height / 2 - share * (y1 + y2) / 2
            inside = (is_right if right else ~is_right) & (is_below if below else ~is_below)
            inside &= joined[:, None, None]
            canvas = tf.where(inside[..., None], _part(part, left, top, share), canvas)
            limits = tf.stack([x1, y1, x2, y2], axis=-1)[:, None, :]
            kept = _cut(things, _boxes_of_part(things, left, top, share), limits)
            unjoined = tf.constant(PADDING) if number else targets
            rows.append(tf.where(joined[:, None, None], kept, unjoined))
        return canvas, tf.concat(rows, axis=1)

    return Augmentation(distort, num_draws=3)


def colour(strength: float) -> Augmentation | None:
    """Changes brightness, contrast and saturation.

    Args:
        strength: Largest change of any of the three, as a share in [0, 1).

    Returns:
        The augmentation, or None for 0.
    """
    if not strength:
        return None

    def distort(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        pictures, targets = batch
        brightness, contrast, saturation = tf.unstack((1 + strength * draws)[..., None, None, None])
        values = brightness * tf.cast(pictures, tf.float32)
        mean = tf.reduce_mean(values, axis=(1, 2, 3), keepdims=True)
        values = mean + contrast * (values - mean)
        grey = tf.reduce_mean(values, axis=-1, keepdims=True)
        values = grey + saturation * (values - grey)
        return tf.clip_by_value(values, 0.0, 255.0), targets

    return Augmentation(distort, num_draws=3)


def _one_of(targets: tf.Tensor, choice: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One box of every picture.

    Args:
        targets: `(batch, most, 6)`.
        choice: Random numbers in 0..1 that choose it, `(batch,)`.

    Returns:
        Corners `(batch, 4)`, zeros where there is no box; and whether there is one, `(batch,)`.
    """
    present = tf.cast(targets[..., 4] >= 0, tf.float32)
    count = tf.reduce_sum(present, axis=1)
    rank = tf.minimum(tf.floor(choice * count) + 1, count)
    chosen = present * tf.cast(tf.cumsum(present, axis=1) == rank[:, None], tf.float32)
    return tf.reduce_sum(chosen[..., None] * targets[..., :4], axis=1), count > 0


def _part(pictures: tf.Tensor, left: tf.Tensor, top: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Parts of pictures, enlarged to the size of the pictures; border pixels go on beyond.

    Args:
        pictures: `(batch, height, width, channels)`.
        left: Left border of the part, in pixels, `(batch,)`.
        top: Upper border of the part, in pixels, `(batch,)`.
        share: Width of the part, as a share of the picture's, and likewise its height, `(batch,)`.
    """
    # From pixel to pixel, whose middles are half a pixel from their corners.
    shift_x, shift_y = left + (share - 1) / 2, top + (share - 1) / 2
    zero = tf.zeros_like(share)
    maps = tf.stack([share, zero, shift_x, zero, share, shift_y, zero, zero], axis=1)
    return ops.image.affine_transform(
        tf.cast(pictures, tf.float32), maps, fill_mode="nearest", data_format="channels_last"
    )


def _boxes_of_part(
    targets: tf.Tensor, left: tf.Tensor, top: tf.Tensor, share: tf.Tensor
) -> tf.Tensor:
    """The corners `(batch, most, 4)` of the boxes of targets, in the pixels of such a `_part`."""
    corner = tf.stack([left, top, left, top], axis=-1)[:, None, :]
    return (targets[..., :4] - corner) / share[:, None, None]


def _cut(targets: tf.Tensor, boxes: tf.Tensor, limits: tf.Tensor) -> tf.Tensor:
    """Targets with other boxes, cut at limits; where too little is left of a thing, padding.

    Of a crowd any part stays one, since what is in it is not background.

    Args:
        targets: `(batch, most, 6)`.
        boxes: The corners that replace those of the targets, `(batch, most, 4)`.
        limits: Corners of the visible part, broadcast to the boxes.
    """
    corner = limits[..., :2]
    low = tf.concat([corner, corner], axis=-1)
    corner = limits[..., 2:]
    high = tf.concat([corner, corner], axis=-1)
    cut = tf.minimum(tf.maximum(boxes, low), high)
    left, whole = (
        (corners[..., 2] - corners[..., 0]) * (corners[..., 3] - corners[..., 1])
        for corners in (cut, boxes)
    )
    is_seen = (left >= VISIBLE * whole) | (targets[..., 5] > 0)
    kept = (targets[..., 4] >= 0) & (left > 0) & is_seen
    changed = tf.concat([cut, targets[..., 4:]], axis=-1)
    return tf.where(kept[..., None], changed, tf.constant(PADDING))
