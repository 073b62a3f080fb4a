"""The mean of a network's outputs over several views of a picture: mirrored, shifted, turned."""

import itertools
from typing import Literal

import keras
from keras import ops

Views = Literal["plain", "mirrored", "mirrored_and_shifted"]
PixelViews = Literal["plain", "mirrored", "turned"]
_SHIFTS = {"plain": (0,), "mirrored": (0,), "mirrored_and_shifted": (0, -1, 1)}


def average_views(model: keras.Model, views: Views) -> keras.Model:
    """A model that answers with the mean of another's outputs over views of its pictures.

    Args:
        model: Functional, from pictures `(batch, height, width, channels)` to one output.
        views: `plain` returns the model as it is; `mirrored` adds the picture as in a mirror;
            `mirrored_and_shifted` adds both, shifted by one pixel down and right, and up and left.

    Reference:
        Krizhevsky, Sutskever and Hinton, 2012, ImageNet Classification with Deep Convolutional
        Neural Networks (there ten crops), https://papers.nips.cc/paper/4824
    """
    if views == "plain":
        return model
    [image] = model.inputs
    shown = [_shifted(image, shift) for shift in _SHIFTS[views]]
    shown += [ops.flip(view, axis=2) for view in shown]
    outputs = [ops.cast(model(view), "float32") for view in shown]
    return keras.Model(image, sum(outputs[1:], outputs[0]) / len(outputs), name=model.name)


def average_pixel_views(model: keras.Model, views: PixelViews) -> keras.Model:
    """A model that answers with the mean of another's outputs over views, all brought back first.

    Args:
        model: Functional, from pictures `(batch, height, width, channels)` of any size to outputs
            of the same height and width.
        views: `plain` returns the model as it is; `mirrored` adds the picture as in a mirror;
            `turned` has the picture and its mirror image, both at all four quarter turns.
    """
    if views == "plain":
        return model
    [image] = model.inputs
    every_way = itertools.product((False, True), repeat=3)
    two_ways = ((mirrored, False, False) for mirrored in (False, True))
    outputs = []
    for mirrored, upside_down, transposed in every_way if views == "turned" else two_ways:
        # A mirror and a transposition undo themselves.
        flipped = [axis for axis, flips in ((2, mirrored), (1, upside_down)) if flips]
        view = ops.flip(image, axis=flipped) if flipped else image
        view = ops.transpose(view, (0, 2, 1, 3)) if transposed else view
        output = ops.cast(model(view), "float32")
        output = ops.transpose(output, (0, 2, 1, 3)) if transposed else output
        outputs.append(ops.flip(output, axis=flipped) if flipped else output)
    return keras.Model(image, sum(outputs[1:], outputs[0]) / len(outputs), name=model.name)


def _shifted(image: keras.KerasTensor, shift: int) -> keras.KerasTensor:
    """Pictures shifted down and to the right; pixels at the edge are repeated."""
    if not shift:
        return image
    before, after = max(shift, 0), max(-shift, 0)
    rows = ops.concatenate(
        [*[image[:, :1]] * before, image[:, after : -before or None], *[image[:, -1:]] * after],
        axis=1,
    )
    return ops.concatenate(
        [*[rows[:, :, :1]] * before, rows[:, :, after : -before or None]]
        + [rows[:, :, -1:]] * after,
        axis=2,
    )
