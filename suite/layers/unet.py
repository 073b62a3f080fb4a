"""The U of a U-Net: an encoder, and a decoder that is given the encoder's features of each size."""

import math
from collections.abc import Callable, Sequence

import keras
from keras import layers

from suite.errors import InputError

# Maps features `(batch, height, width, channels)` to others, of the same or another size.
Block = Callable[[keras.KerasTensor], keras.KerasTensor]


def contract_and_expand(
    x: keras.KerasTensor,
    contract: Sequence[Block],
    expand: Sequence[Block],
    skips: bool = True,
    cuts: Sequence[int] | None = None,
) -> keras.KerasTensor:
    """Makes features smaller and larger again, and joins those of equal size.

    The output of every block of `contract` but the last is joined to the output of the block of
    `expand` that comes back to its size: the first to the last, and so on. What follows the last
    joined features, such as a convolution or the way back to the size of the picture, is left to
    the caller.

    Args:
        x: Features or pictures `(batch, height, width, channels)`.
        contract: Blocks of the encoder; all but perhaps the first make their input smaller.
        expand: Blocks of the decoder, one fewer, which make their input as many times larger.
        skips: Whether features are joined; without it the decoder is given the features of the last
            block only, and its outputs are cropped to the sizes of the encoder's.
        cuts: For each block of `contract` but the last, the pixels that convolutions without
            padding have cut from every side of the features that come back to its size. Needed
            where heights or widths are None; otherwise they follow from the shapes.

    Returns:
        Features of the height and width of the first block's, or smaller ones by as much as the
        convolutions without padding have cut.

    Reference:
        Ronneberger, Fischer and Brox, 2015, U-Net: Convolutional Networks for Biomedical Image
        Segmentation, https://arxiv.org/abs/1505.04597
    """
    kept = []
    for block, cut in zip(contract, [*(cuts or [0] * len(expand)), 0], strict=True):
        x = block(x)
        kept.append(layers.Cropping2D(cut)(x) if cut else x)
    for block, skip in zip(expand, reversed(kept[:-1]), strict=True):
        x, skip = crop_to_smaller(block(x), skip)
        x = layers.Concatenate()([x, skip]) if skips else x
    return x


def crop_to_smaller(
    one: keras.KerasTensor, other: keras.KerasTensor
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Crops features about the centre to the smaller height and width of both.

    Args:
        one: Features `(batch, height, width, channels)`; a side that is None is taken to be equal
            to that of the others.
        other: Features to crop to the same size.
    """
    sides = [
        min(pair) if all(pair) else None
        for pair in zip(one.shape[1:3], other.shape[1:3], strict=True)
    ]
    return _crop(one, sides), _crop(other, sides)


def _crop(x: keras.KerasTensor, sides: Sequence[int | None]) -> keras.KerasTensor:
    """Crops features about the centre to a height and a width, each None to be left alone."""
    surplus = [size - side if side else 0 for size, side in zip(x.shape[1:3], sides, strict=True)]
    if not any(surplus):
        return x
    return layers.Cropping2D(tuple((cut // 2, cut - cut // 2) for cut in surplus))(x)


def refuse_too_deep(sides: Sequence[int | None], halvings: int, knob: str) -> None:
    """Refuses a network that halves pictures more often than they have pixels for it.

    Args:
        sides: Height and width of the pictures; None is any.
        halvings: How often the network halves them, rounded up.
        knob: The knob that has a number for each stage, for the error.

    Raises:
        InputError: The picture is a single pixel wide or high before the last halving.
    """
    known = [side for side in sides if side]
    most = math.ceil(math.log2(min(known))) if known else halvings
    if halvings > most:
        size = " x ".join(str(side) for side in sides)
        raise InputError(
            f"`{knob}` must halve pictures of {size} at most {most} times, or `image_size` be "
            f"at least {2 ** (halvings - 1) + 1}",
            halvings,
        )


def refuse_uneven(sides: Sequence[int | None], halvings: int) -> None:
    """Refuses pictures whose sides cannot be halved so many times without a remainder.

    Args:
        sides: Height and width of the pictures; None is any.
        halvings: How often the network halves them, which its `depth` decides.

    Raises:
        InputError: A side is not a multiple of `2**halvings`; the sentence says the nearest ones.
    """
    multiple = 2**halvings
    for side in sides:
        if side and side % multiple:
            below, above = side // multiple * multiple, -(-side // multiple) * multiple
            near = f"such as {below} or {above}" if below else f"such as {above}"
            raise InputError(
                f"`image_size` must be a multiple of {multiple}, {near}, or `depth` smaller, since "
                f"the network halves pictures {halvings} times",
                side,
            )
