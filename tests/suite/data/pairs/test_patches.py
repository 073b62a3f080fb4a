from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from suite import InputError, Run
from suite.data.examples import Examples, Source
from suite.data.images.bicubic import shrink
from suite.data.pairs.patches import (
    load_whole_pictures,
    patch_pairs,
    pictures_of,
    refuse_small_pictures,
    stacked,
    unstacked,
    whole_pairs,
)


def some_picture(height, width, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def save(pixels, path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels.squeeze()).save(path)


def test_by_default_there_are_photographs_of_one_size():
    source = load_whole_pictures(Run(data="embedded"))

    assert source.name == "embedded:photographs" and not source.comparable
    assert source.train.inputs.shape == (24, 142, 160, 3)
    assert source.train.inputs.dtype == np.uint8


def test_a_folder_is_read_in_its_sizes_and_splits():
    pictures = [some_picture(30, 20 + number, number) for number in range(3)]
    save(pictures[0], "own/train/a.png")
    save(pictures[1], "own/train/deeper/b.png")
    save(pictures[2], "own/test/c.png")
    Path("own/train/notes.txt").write_text("no picture")

    source = load_whole_pictures(Run(data="own"))

    assert source.validation is None
    for read, saved in zip(pictures_of(source.train), pictures[:2], strict=True):
        np.testing.assert_array_equal(read, saved)
    np.testing.assert_array_equal(pictures_of(source.test)[0], pictures[2])


def test_a_grey_picture_gets_three_channels():
    save(some_picture(20, 20, channels=1), "own/a.png")
    save(some_picture(20, 20, channels=1), "own/b.png")

    [first, _] = pictures_of(load_whole_pictures(Run(data="own")).train)

    assert first.shape == (20, 20, 3)
    assert (first == first[..., :1]).all()


def test_an_alpha_channel_that_hides_nothing_is_dropped():
    pixels = np.concatenate([some_picture(9, 9), np.full((9, 9, 1), 255, np.uint8)], axis=2)
    save(pixels, "own/a.png")

    [picture] = pictures_of(load_whole_pictures(Run(data="own")).train)

    np.testing.assert_array_equal(picture, pixels[..., :3])


@pytest.mark.parametrize("what", ["broken", "transparent"])
def test_what_cannot_be_used_is_named_or_left_out(what):
    save(some_picture(9, 9), "own/good.png")
    if what == "broken":
        Path("own/odd.png").write_bytes(b"no picture")
    else:
        save(some_picture(9, 9, channels=4), "own/odd.png")

    with pytest.raises(InputError, match=r"odd\.png"):
        load_whole_pictures(Run(data="own"))
    source = load_whole_pictures(Run(data="own", skip_broken=True))

    assert source.train.num_examples == 1


@pytest.mark.parametrize("data", ["nowhere", "tfds", "x" * 300, "~nobody_at_all/x"])
def test_what_is_no_folder_gets_one_sentence(data):
    with pytest.raises(InputError, match=r"^`data` must be auto, embedded or a folder of pictures"):
        load_whole_pictures(Run(data=data))


def test_pictures_have_no_classes_to_leave_out():
    with pytest.raises(InputError, match="`min_per_class` must be 1"):
        load_whole_pictures(Run(min_per_class=2))


def test_a_folder_without_pictures_gets_one_sentence():
    Path("empty").mkdir()

    with pytest.raises(InputError, match="must hold image files"):
        load_whole_pictures(Run(data="empty"))


def test_arrays_must_be_pictures_in_colour():
    good = Source(name="arrays", train=Examples(np.stack([some_picture(9, 9)])))
    grey = Source(name="arrays", train=Examples(np.zeros((2, 9, 9), np.uint8)))

    assert load_whole_pictures(Run(arrays=good)) is good
    with pytest.raises(InputError, match="must be pictures"):
        load_whole_pictures(Run(arrays=grey))


def test_pictures_of_any_sizes_can_be_put_together_and_taken_apart():
    pictures = [some_picture(4, 6, 0), some_picture(5, 3, 1), some_picture(2, 2, 2)]

    together = stacked(pictures)

    assert isinstance(together, tf.RaggedTensor) and together.shape.as_list() == [3, None, None, 3]
    for one, other in zip(unstacked(together), pictures, strict=True):
        np.testing.assert_array_equal(one, other)
    rows = Examples(together).rows(np.array([2, 0]))
    np.testing.assert_array_equal(pictures_of(rows)[1], pictures[0])
    assert stacked(pictures[:1]).shape == (1, 4, 6, 3)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_patches_are_cut_from_the_same_places(scale):
    picture = some_picture(14 * scale + 1, 9 * scale)

    patches = patch_pairs([picture], scale, 6)

    small, original = shrink(picture, scale)
    assert patches.inputs.shape == (6, 6, 6, 3)
    assert patches.targets.shape == (6, 6 * scale, 6 * scale, 3)
    # The fourth patch is in the second row and the second column, which begin after half a patch.
    np.testing.assert_array_equal(patches.inputs[3], small[3:9, 3:9])
    places = slice(3 * scale, 9 * scale)
    np.testing.assert_array_equal(patches.targets[3], original[places, places])


def test_whole_pictures_come_with_low_resolution_copies():
    pictures = [some_picture(9, 12), some_picture(13, 8)]

    pairs = whole_pairs(pictures, 3)

    assert [small.shape for small in unstacked(pairs.inputs)] == [(3, 4, 3), (4, 2, 3)]
    assert [large.shape for large in unstacked(pairs.targets)] == [(9, 12, 3), (12, 6, 3)]


def test_small_pictures_are_named():
    splits = {"train": [some_picture(20, 20)], "test": [some_picture(30, 30), some_picture(8, 30)]}

    refuse_small_pictures(splits, 8, "own")
    with pytest.raises(InputError, match="Received: 8 x 30, picture 2 of test"):
        refuse_small_pictures(splits, 9, "own")
