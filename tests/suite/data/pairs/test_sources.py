import dataclasses
import json
import logging
import unicodedata
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from suite import InputError, Run
from suite.data.examples import Examples, Source
from suite.data.pairs.shapes import CLASS_COLOURS
from suite.data.pairs.sources import PicturePairPreparation, load_picture_pairs


def save(pixels, path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def picture(seed, height=16, width=24, channels=3):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels))
    return pixels.astype(np.uint8)


def two_folders(folder="own", names=("a", "b", "c"), sides=("A", "B")):
    """Pictures and their targets, which are twice as dark."""
    for number, name in enumerate(names):
        save(picture(number), f"{folder}/{sides[0]}/{name}.png")
        save(picture(number) // 2, f"{folder}/{sides[1]}/{name}.png")


def test_two_folders_with_the_same_names_are_pairs():
    two_folders()

    source = load_picture_pairs(Run(data="own"))

    inputs, targets = source.train
    assert inputs.shape == (3, 16, 24, 3) and inputs.dtype == np.uint8
    np.testing.assert_array_equal(inputs, [picture(number) for number in range(3)])
    np.testing.assert_array_equal(targets, inputs // 2)
    assert source.preparation == PicturePairPreparation(
        layout="photo", height=16, width=24, channels=3, target_channels=3
    )
    assert source.test is None and source.class_names == ()


def test_the_targets_may_lie_elsewhere_and_sides_may_be_swapped():
    two_folders()

    plain = load_picture_pairs(Run(data="own/A"), Path("own/B"))
    swapped = load_picture_pairs(Run(data="own/A"), Path("own/B"), swap=True)

    np.testing.assert_array_equal(plain.train.targets, plain.train.inputs // 2)
    np.testing.assert_array_equal(swapped.train.inputs, plain.train.targets)
    np.testing.assert_array_equal(swapped.train.targets, plain.train.inputs)


def test_usual_names_of_folders_decide_which_side_is_which():
    two_folders(sides=("photos", "drawings"))

    source = load_picture_pairs(Run(data="own"))

    np.testing.assert_array_equal(source.train.inputs[0], picture(0))


@pytest.mark.parametrize("swap", [False, True])
def test_double_pictures_are_halved_which_is_told(swap, caplog):
    for number in range(3):
        save(np.hstack([picture(number), 255 - picture(number)]), f"own/{number}.png")

    with caplog.at_level("INFO"):
        source = load_picture_pairs(Run(data="own"), swap=swap)

    halves = "target in the left half, input in" if swap else "input in the left half, target in"
    assert f"3 pictures in own are doubles: {halves}" in caplog.text
    assert "shape of photos" not in caplog.text

    assert source.train.inputs.shape == (3, 16, 24, 3)
    np.testing.assert_array_equal(source.train.targets, 255 - source.train.inputs)


def test_photos_that_are_taken_for_doubles_are_warned_of(caplog):
    for number in range(3):
        save(picture(number, 24, 36), f"own/{number}.png")

    load_picture_pairs(Run(data="own"))

    assert "have the shape of photos. If they are no doubles, `targets` must" in caplog.text


@pytest.mark.parametrize("height, width", [(16, 31), (16, 16)])
def test_pictures_that_are_no_doubles_are_refused(height, width):
    save(picture(0, height, width), "own/0.png")

    with pytest.raises(InputError, match="double pictures must have an even width") as error:
        load_picture_pairs(Run(data="own"))
    assert f"{width} wide and {height} high" in str(error.value)


def test_splits_are_folders_above_or_below_the_sides():
    for split in ("train", "test"):
        two_folders(f"above/{split}")
        two_folders("below", sides=(f"A/{split}", f"B/{split}"))
    two_folders("below", names=("d",), sides=("A/val", "B/val"))

    above, below = (load_picture_pairs(Run(data=name)) for name in ("above", "below"))

    for source in (above, below):
        np.testing.assert_array_equal(source.train.inputs, source.test.inputs)
        assert source.train.num_examples == 3
    assert above.validation is None and below.validation.num_examples == 1


def test_lists_of_names_decide_the_splits(caplog):
    two_folders(names=("a", "b", "c", "d"))
    Path("own/trainval.txt").write_text("b 1 1 1\n\nd.png\n")
    Path("own/test.txt").write_text("c\n")
    caplog.set_level(logging.INFO)

    source = load_picture_pairs(Run(data="own"))

    np.testing.assert_array_equal(source.train.inputs, [picture(1), picture(3)])
    np.testing.assert_array_equal(source.test.inputs, [picture(2)])
    assert "1 pictures are in no list" in caplog.text


def test_pictures_outside_of_a_list_to_test_on_are_for_training():
    two_folders()
    Path("held_out.txt").write_text("a\n")

    source = load_picture_pairs(Run(data="own"), test_list=Path("held_out.txt"))

    np.testing.assert_array_equal(source.train.inputs, [picture(1), picture(2)])
    np.testing.assert_array_equal(source.test.inputs, [picture(0)])


def test_a_list_that_is_given_takes_the_place_of_its_split_alone():
    two_folders()
    Path("own/train.txt").write_text("b\n")
    Path("own/test.txt").write_text("c\n")
    Path("held_out.txt").write_text("a\n")

    source = load_picture_pairs(Run(data="own"), test_list=Path("held_out.txt"))

    np.testing.assert_array_equal(source.train.inputs, [picture(1)])
    np.testing.assert_array_equal(source.test.inputs, [picture(0)])


def test_lists_that_do_not_fit_are_refused():
    two_folders()
    Path("one.txt").write_text("a\nb\n")
    Path("other.txt").write_text("b\n")
    Path("wrong.txt").write_text("a\nzebra\n")
    Path("all.txt").write_text("a\nb\nc\n")
    run = Run(data="own")

    with pytest.raises(InputError, match=r"one list only. Received: b in one.txt and other.txt"):
        load_picture_pairs(run, train_list=Path("one.txt"), test_list=Path("other.txt"))
    with pytest.raises(InputError, match=r"names in wrong.txt must be.* 'zebra', without"):
        load_picture_pairs(run, train_list=Path("wrong.txt"))
    with pytest.raises(InputError, match="there must be pictures to train on"):
        load_picture_pairs(run, test_list=Path("all.txt"))
    two_folders("split/train")
    two_folders("split/test")
    with pytest.raises(InputError, match="`train_list` needs pictures in one folder"):
        load_picture_pairs(Run(data="split"), train_list=Path("one.txt"))


def test_names_that_look_the_same_are_partners():
    for form, side in (("NFC", "A"), ("NFD", "B")):
        for name in ("a", "b", "\N{LATIN SMALL LETTER O WITH DIAERESIS}"):
            save(picture(0), f"own/{side}/{unicodedata.normalize(form, name)}.png")

    assert load_picture_pairs(Run(data="own")).train.num_examples == 3


def test_a_missing_partner_is_named():
    two_folders()
    save(picture(9), "own/B/lonely.png")
    with pytest.raises(InputError, match=r"a picture of its name.*own/B/lonely.png, without one"):
        load_picture_pairs(Run(data="own"))

    Path("own/B/lonely.png").unlink()
    Path("own/B/b.png").unlink()
    with pytest.raises(InputError, match=r"a target of its name in own/B.*own/A/b.png, without"):
        load_picture_pairs(Run(data="own"))


def test_sides_of_different_sizes_are_refused():
    two_folders()
    save(picture(0, 17, 24), "own/B/b.png")

    with pytest.raises(InputError, match=r"own/B/b.png must have the size of own/A/b.png, 16 x 24"):
        load_picture_pairs(Run(data="own"))


def test_transparent_parts_are_refused_and_opaque_ones_taken():
    two_folders()
    opaque = np.dstack([picture(0), np.full((16, 24), 255)])
    save(opaque, "own/A/a.png")
    assert load_picture_pairs(Run(data="own")).train.inputs.shape == (3, 16, 24, 3)

    opaque[0, 0, 3] = 128
    save(opaque, "own/A/a.png")
    with pytest.raises(InputError, match=r"must be opaque. Received: own/A/a.png"):
        load_picture_pairs(Run(data="own"))


def test_two_pictures_of_one_name_are_refused():
    two_folders()
    save(picture(0), "own/A/a.jpg")

    with pytest.raises(InputError, match=r"different names. Received: a.jpg and a.png"):
        load_picture_pairs(Run(data="own"))


def test_folders_that_are_no_two_sides_are_refused():
    two_folders()
    two_folders(sides=("C", "D"))

    with pytest.raises(InputError, match=r"such as images and masks. Received: A, B, C, D"):
        load_picture_pairs(Run(data="own"))


def test_both_sides_are_cropped_and_resized_alike():
    for number in range(3):
        save(np.hstack([picture(number, 40, 60)] * 2), f"own/{number}.png")

    source = load_picture_pairs(Run(data="own"), image_size=16)

    assert source.train.inputs.shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(source.train.targets, source.train.inputs)


def test_each_side_has_its_channels():
    for number in range(3):
        save(picture(number), f"own/A/{number}.png")
        save(picture(number)[..., 0], f"own/B/{number}.png")

    source = load_picture_pairs(Run(data="own"))

    assert source.train.inputs.shape[-1] == 3 and source.train.targets.shape[-1] == 1
    assert source.preparation.target.channels == 1


def test_the_preparation_of_an_export_counts_alone():
    two_folders()
    trained = load_picture_pairs(Run(data="own"), image_size=8)
    recorded = json.loads(json.dumps(dataclasses.asdict(trained.preparation)))

    again = load_picture_pairs(Run(data="own", preparation=recorded))

    assert again.preparation == trained.preparation
    np.testing.assert_array_equal(again.train.inputs, trained.train.inputs)


def test_without_data_labels_of_shapes_become_pictures():
    source = load_picture_pairs(Run(), image_size=32)

    inputs, targets = source.train
    assert source.name == "embedded:shapes" and not source.comparable
    assert inputs.shape == targets.shape == (400, 32, 32, 3)
    colours = {tuple(colour) for colour in CLASS_COLOURS.tolist()}
    assert {tuple(colour) for colour in np.unique(inputs.reshape(-1, 3), axis=0)} == colours
    again = load_picture_pairs(Run(data="embedded", seed=7), image_size=32)
    np.testing.assert_array_equal(again.train.targets, targets)


def test_pairs_may_be_arrays():
    pictures = np.stack([picture(number) for number in range(4)])
    arrays = Source(name="arrays", train=Examples(pictures, pictures[..., :1]))

    source = load_picture_pairs(Run(arrays=arrays))

    np.testing.assert_array_equal(source.train.inputs, pictures)
    np.testing.assert_array_equal(source.train.targets, pictures[..., :1])
    assert load_picture_pairs(Run(arrays=source)) is source
    with pytest.raises(InputError, match="same number and size"):
        wrong = Source(name="arrays", train=Examples(pictures, pictures[:, :8]))
        load_picture_pairs(Run(arrays=wrong))
    with pytest.raises(InputError, match="must have pictures as targets"):
        load_picture_pairs(Run(arrays=Source(name="arrays", train=Examples(pictures))))


def test_knobs_that_need_a_folder_are_refused_without():
    with pytest.raises(InputError, match="`targets` needs a folder of pictures as `data`"):
        load_picture_pairs(Run(), Path("own"))
    with pytest.raises(InputError, match="`min_per_class` must be 1"):
        load_picture_pairs(Run(min_per_class=2))
    with pytest.raises(InputError, match="`skip_broken` must be left out"):
        load_picture_pairs(Run(data="own", skip_broken=True))
    with pytest.raises(InputError, match="`data` must be auto, embedded or the path of a folder"):
        load_picture_pairs(Run(data="tfds"))
    two_folders()
    with pytest.raises(InputError, match="`targets` must be a folder"):
        load_picture_pairs(Run(data="own/A"), Path("nowhere"))
