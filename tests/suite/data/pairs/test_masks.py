import dataclasses
import json
import logging
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from suite import InputError, Run
from suite.data.examples import Examples, Source
from suite.data.pairs.masks import VOID, MaskPreparation, load_masks
from suite.data.pairs.shapes import CLASS_NAMES, draw_shapes

SHADES = np.array([40, 120, 220])  # of pictures by the class of their pixels


def save(pixels, path, **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


def classes(seed, height=24, width=32):
    """Three stripes, whose borders are at other places for every seed."""
    left, right = np.random.default_rng(seed).integers(3 * width // 16, 3 * width // 8, 2)
    mask = np.ones((height, width), np.uint8)
    mask[:, :left], mask[:, width - right :] = 0, 2
    return mask


def write(values, folder="own", count=4, size=(24, 32)):
    """Grey pictures and masks, in which the three classes have these values."""
    for number in range(count):
        mask = classes(number, *size)
        save(SHADES[mask], f"{folder}/images/{number}.png")
        save(np.asarray(values)[mask], f"{folder}/masks/{number}.png")


def targets(count=4):
    return np.stack([classes(number) for number in range(count)])


def test_masks_have_the_names_of_their_pictures():
    write([1, 2, 3])

    source = load_masks(Run(data="own"))

    inputs, masks = source.train
    assert inputs.shape == (4, 24, 32, 1) and masks.dtype == np.uint8
    np.testing.assert_array_equal(masks, targets())
    np.testing.assert_array_equal(inputs[..., 0], SHADES[targets()])
    assert source.class_names == ("1", "2", "3")
    assert source.preparation == MaskPreparation(
        layout="photo",
        height=24,
        width=32,
        channels=1,
        values=(1, 2, 3),
        names=("1", "2", "3"),
    )


def test_masks_may_lie_elsewhere_and_have_an_ending_to_their_names():
    write([0, 1, 2])
    for number in range(4):
        Path(f"own/masks/{number}.png").rename(f"own/masks/{number}_mask.png")

    source = load_masks(Run(data="own/images"), Path("own/masks"), ("low", "mid", "high"))

    np.testing.assert_array_equal(source.train.targets, targets())
    assert source.class_names == ("low", "mid", "high")


def test_a_source_of_masks_is_split_by_chance_and_lists_by_name():
    write([1, 2, 3], count=10)
    splits = load_masks(Run(data="own")).split(0.1)
    assert [splits[name].num_examples for name in ("train", "validation", "test")] == [7, 1, 2]

    Path("own/trainval.txt").write_text("0 1 1 1\n2 1 1 1\n")
    Path("own/test.txt").write_text("1 1 1 1\n")
    source = load_masks(Run(data="own"))
    np.testing.assert_array_equal(source.train.targets, targets(3)[[0, 2]])
    np.testing.assert_array_equal(source.test.targets, targets(3)[[1]])


@pytest.mark.parametrize(
    "values, names, expected",
    [
        ([0, 1, 255], (), ("0", "1")),  # 255 is no class
        ([0, 1, 255], ("a", "b"), ("a", "b")),
        ([0, 2, 255], ("a", "b", "c"), ("a", "b", "c")),
        ([0, 128, 255], (), ("0", "128", "255")),
        ([7, 7, 255], ("a", "b"), ("a", "b")),
        ([0, 1, 255], ("0:a", "1:b"), ("a", "b")),
        ([0, 1, 255], ("255:c", "1: b", "0 a"), ("c", "b", "a")),
    ],
)
def test_values_and_names_decide_the_classes(values, names, expected):
    write(values)

    source = load_masks(Run(data="own"), classes=names)

    assert source.class_names == expected
    decided = dict(zip(source.preparation.values, range(len(expected)), strict=True))
    in_files = np.asarray(values)[targets()]
    labels = np.vectorize(lambda value: decided.get(value, VOID))(in_files)
    np.testing.assert_array_equal(source.train.targets, labels)


def test_names_may_stand_in_a_file():
    write([1, 2, 3])
    Path("own/classes.txt").write_text("3 border\n1 pet\n2 ground\n")

    beside = load_masks(Run(data="own"))
    named = load_masks(Run(data="own"), classes=("own/classes.txt",))

    assert beside.class_names == named.class_names == ("border", "pet", "ground")
    np.testing.assert_array_equal(beside.train.targets, np.array([1, 2, 0])[targets()])


def test_colours_and_palettes_are_classes():
    colours = np.array([(255, 0, 0), (0, 0, 128), (128, 128, 128)], np.uint8)
    write([0, 1, 2])
    for number in range(4):
        save(colours[classes(number)], f"own/masks/{number}.png")

    source = load_masks(Run(data="own"))
    named = load_masks(Run(data="own"), classes=("#FF0000:road", "#000080:sky", "128:wall"))

    assert source.class_names == ("128", "#000080", "#ff0000")
    np.testing.assert_array_equal(source.train.targets, 2 - targets())
    assert named.class_names == ("road", "sky", "wall")
    np.testing.assert_array_equal(named.train.targets, targets())

    for number in range(4):
        image = PIL.Image.fromarray(np.array([0, 1, VOID], np.uint8)[classes(number)])
        image.putpalette([255 - place % 256 for place in range(768)])
        image.save(f"own/masks/{number}.png")
    source = load_masks(Run(data="own"))
    assert source.class_names == ("0", "1")
    np.testing.assert_array_equal(source.train.targets, np.array([0, 1, VOID])[targets()])


def test_jpeg_masks_are_warned_of_and_take_the_nearest_class(caplog):
    rows, columns = np.mgrid[:64, :64]
    masks = []
    for number in range(4):
        masks.append((rows - 30) ** 2 + (columns - 25 - 3 * number) ** 2 < 300)
        save(SHADES[masks[-1].astype(int)], f"own/images/{number}.png")
        save(255 * masks[-1], f"own/masks/{number}.jpg", quality=90)

    source = load_masks(Run(data="own"))

    assert "4 of 4 masks are JPEG" in caplog.text
    assert len(source.class_names) == 2 and set(np.unique(source.train.targets)) == {0, 1}
    assert np.mean(source.train.targets == np.stack(masks)) > 0.98


def test_a_rare_class_of_jpeg_masks_stays_a_class_if_it_is_named(caplog):
    rows, columns = np.mgrid[:64, :64]
    for number in range(4):
        lesion = (rows - 30) ** 2 + (columns - 25 - 3 * number) ** 2 < 4
        save(SHADES[lesion.astype(int)], f"own/images/{number}.png")
        save(255 * lesion, f"own/masks/{number}.jpg", quality=95)

    source = load_masks(Run(data="own"), classes=("0:ground", "255:lesion"))

    assert 0.001 < source.train.targets.mean() < 0.005
    assert re.search(r"masks are JPEG.*: \d\.\d% .* than 0, 255, and take the nearest", caplog.text)
    with pytest.raises(InputError, match=r"two classes or more. Received: 0 alone"):
        load_masks(Run(data="own"))


def test_one_jpeg_among_the_masks_changes_nothing_for_the_others(caplog):
    write([0, 100, VOID])
    values = np.array([0, 100, VOID])[classes(0)]
    Path("own/masks/0.png").unlink()
    save(values, "own/masks/0.jpg", quality=98)
    names = ("0:ground", "100:pet")

    source = load_masks(Run(data="own"), classes=names)

    expected = np.array([0, 1, VOID])[targets()]
    np.testing.assert_array_equal(source.train.targets[1:], expected[1:])
    assert np.mean(source.train.targets[0] == expected[0]) > 0.9
    assert "1 of 4 masks are JPEG" in caplog.text
    save(np.array([0, 100, 7])[classes(2)], "own/masks/2.png")
    with pytest.raises(InputError, match=r"values of the classes, 0, 100. Received: 7 in .*2.png"):
        load_masks(Run(data="own"), classes=names)


def save_with_palette(values, path, colours):
    image = PIL.Image.fromarray(np.asarray(values, np.uint8))
    image.putpalette([channel for colour in colours for channel in colour])
    image.save(path)


def test_palettes_that_contradict_each_other_are_refused():
    write([0, 1, 2])
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    for number in range(4):
        path = f"own/masks/{number}.png"
        save_with_palette(classes(number), path, [red, green, blue])
    assert load_masks(Run(data="own")).class_names == ("0", "1", "2")

    save_with_palette(classes(3), "own/masks/3.png", [red, blue, green])
    with pytest.raises(InputError, match=r"one colour for an index.*for 1 #00ff00 in .*0000ff in"):
        load_masks(Run(data="own"))

    save(classes(3), "own/masks/3.png")
    with pytest.raises(InputError, match=r"a palette, or none.*0.png has one, .*3.png has not"):
        load_masks(Run(data="own"))


def test_a_mask_is_cropped_and_resized_as_its_picture():
    write([0, 1, 2], size=(60, 100))

    source = load_masks(Run(data="own"), image_size=32)

    assert source.train.targets.shape == (4, 32, 32)
    assert set(np.unique(source.train.targets)) == {0, 1, 2}
    nearest = np.abs(source.train.inputs.astype(int) - SHADES).argmin(axis=-1)
    assert np.mean(nearest == source.train.targets) > 0.95


def test_outlines_of_labelme_lie_beside_the_pictures():
    for number in range(3):
        save(SHADES[classes(number)], f"own/{number}.png")
        shapes = [
            {"label": "tree", "points": [[0, 0], [9, 0], [9, 23], [0, 23]]},
            {"label": "house", "shape_type": "rectangle", "points": [[20, 5], [25, 9]]},
            {"label": "__ignore__", "shape_type": "rectangle", "points": [[30, 0], [31, 1]]},
        ]
        content = {"imageHeight": 24, "imageWidth": 32, "shapes": shapes}
        Path(f"own/{number}.json").write_text(json.dumps(content))
    expected = np.zeros((24, 32), np.uint8)
    expected[:, :10], expected[5:10, 20:26], expected[:2, 30:] = 2, 1, VOID

    source = load_masks(Run(data="own"))
    named = load_masks(Run(data="own"), classes=("rest", "tree", "house"))

    assert source.class_names == ("background", "house", "tree")
    np.testing.assert_array_equal(source.train.targets[1], expected)
    assert named.class_names == ("rest", "tree", "house")
    assert (named.train.targets[0, :, :10] == 1).all()
    with pytest.raises(InputError, match=r"among the classes rest, tree.*house in own/0.json"):
        load_masks(Run(data="own"), classes=("rest", "tree"))
    Path("own/1.json").unlink()
    with pytest.raises(InputError, match=r"a target of its name in own.*own/1.png, without one"):
        load_masks(Run(data="own"))


def test_outlines_of_the_background_make_no_class_of_their_name():
    save(SHADES[classes(0)], "own/0.png")
    shapes = [
        {"label": "tree", "points": [[0, 0], [9, 0], [9, 23], [0, 23]]},
        {"label": "background", "shape_type": "rectangle", "points": [[2, 5], [5, 9]]},
    ]
    content = {"imageHeight": 24, "imageWidth": 32, "shapes": shapes}
    Path("own/0.json").write_text(json.dumps(content))

    source = load_masks(Run(data="own"))

    assert source.class_names == ("background", "tree")
    assert not source.train.targets[0, 5:10, 2:6].any()
    with pytest.raises(InputError, match=r"must have background first. Received: tree background"):
        load_masks(Run(data="own"), classes=("tree", "background"))


@pytest.mark.parametrize("beside", [True, False])
def test_outlines_of_coco_are_in_one_file(beside):
    for number in range(2):
        save(SHADES[classes(number)], f"own/{number}.png")
    size = {"height": 24, "width": 32}
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", **size} for n in range(2)],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "segmentation": [[2, 2, 5, 2, 5, 5, 2, 5]]}
        ],
    }
    file = Path("own/all.json" if beside else "elsewhere.json")
    file.write_text(json.dumps(content))

    source = load_masks(Run(data="own"), None if beside else file)

    assert source.class_names == ("background", "cell")
    assert source.train.targets.sum(axis=(1, 2)).tolist() == [0, 9]
    save(SHADES[classes(2)], "own/2.png")
    with pytest.raises(InputError, match=r"must name every picture.*own/2.png, without an entry"):
        load_masks(Run(data="own"), None if beside else file)
    content["annotations"][0]["segmentation"] = [["2", "x", "5", "2", "5", "5"]]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=file.name):
        load_masks(Run(data="own"), None if beside else file)


def test_outlines_for_a_picture_of_another_size_are_refused():
    save(SHADES[classes(0)], "own/0.png")
    shapes = [{"label": "tree", "points": [[0, 0], [9, 0], [9, 9]]}]
    content = {"imageHeight": 12, "imageWidth": 16, "shapes": shapes}
    Path("own/0.json").write_text(json.dumps(content))

    with pytest.raises(InputError, match=r"must have the size of own/0.png, 24 x 32"):
        load_masks(Run(data="own"))


@pytest.mark.parametrize("size", [-24, 0, 1e400])
def test_an_impossible_size_of_outlines_is_one_sentence(size):
    save(SHADES[classes(0)], "own/0.png")
    shapes = [{"label": "tree", "points": [[0, 0], [9, 0], [9, 9]]}]
    content = {"imageHeight": size, "imageWidth": 32, "shapes": shapes}
    Path("own/0.json").write_text(json.dumps(content))

    with pytest.raises(InputError, match=r"own/0.json"):
        load_masks(Run(data="own"))


def test_outlines_beyond_the_pictures_leave_one_class_and_are_refused():
    save(SHADES[classes(0)], "own/0.png")
    shapes = [{"label": "tree", "points": [[100, 100], [900, 100], [900, 900]]}]
    content = {"imageHeight": 24, "imageWidth": 32, "shapes": shapes}
    Path("own/0.json").write_text(json.dumps(content))

    with pytest.raises(InputError, match=r"two classes or more. Received: background alone in own"):
        load_masks(Run(data="own"))
    Path("own/0.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"own/0.json: RecursionError"):
        load_masks(Run(data="own"))


def test_masks_that_do_not_fit_are_refused():
    write([1, 2, 3])
    save(classes(0, 24, 33), "own/masks/2.png")
    with pytest.raises(InputError, match=r"own/masks/2.png must have the size.*24 x 33"):
        load_masks(Run(data="own"), classes=("0:x", "1:a", "2:b", "3:c"))

    write([1, 2, 3])
    with pytest.raises(InputError, match=r"values of the classes, 1, 2. Received: 3 in own/masks"):
        load_masks(Run(data="own"), classes=("1:a", "2:b"))
    with pytest.raises(InputError, match=r"`classes` must name as many.*2 names, and.* 1, 2, 3"):
        load_masks(Run(data="own"), classes=("a", "b"))

    save(np.dstack([np.zeros((24, 32, 3)), np.full((24, 32), 9)]), "own/masks/3.png")
    with pytest.raises(InputError, match=r"a mask must be opaque. Received: own/masks/3.png"):
        load_masks(Run(data="own"))

    write([1, 2, 3])
    Path("own/masks/3.png").unlink()
    with pytest.raises(InputError, match=r"own/images/3.png, without one"):
        load_masks(Run(data="own"))


def test_masks_of_one_class_and_of_too_many_are_refused():
    write([5, 5, 5])
    with pytest.raises(InputError, match=r"two classes or more. Received: 5 alone"):
        load_masks(Run(data="own"))

    ramp = np.arange(24 * 32).reshape(24, 32) % 256
    save(ramp, "own/masks/0.png")
    with pytest.raises(InputError, match=r"at most 200 values. Received: 255"):
        load_masks(Run(data="own"))


@pytest.mark.parametrize("names", [("1:a", "b"), ("a", "a"), ("1:a", "1:b")])
def test_names_that_contradict_each_other_are_refused(names):
    write([1, 2, 3])

    with pytest.raises(InputError, match="`classes` must"):
        load_masks(Run(data="own"), classes=names)


def test_pictures_alone_are_refused():
    save(SHADES[classes(0)], "own/0.png")

    with pytest.raises(InputError, match="a folder of pictures and one of masks"):
        load_masks(Run(data="own"))


def test_the_classes_of_an_export_count_alone():
    write([1, 2, 3], "old")
    write([1, 3, 3], "new")
    trained = load_masks(Run(data="old"))
    recorded = json.loads(json.dumps(dataclasses.asdict(trained.preparation)))

    again = load_masks(Run(data="new", preparation=recorded))

    assert again.preparation == trained.preparation
    assert again.class_names == trained.class_names
    np.testing.assert_array_equal(again.train.targets, np.array([0, 2, 2])[targets()])


def test_without_data_there_are_shapes(caplog):
    caplog.set_level(logging.INFO)

    source = load_masks(Run(), image_size=32)

    shapes = draw_shapes(400, 32, seed=0)
    np.testing.assert_array_equal(source.train.inputs, shapes.pictures)
    np.testing.assert_array_equal(source.train.targets, shapes.masks)
    assert source.name == "embedded:shapes" and source.class_names == CLASS_NAMES
    assert load_masks(Run(data="embedded"), image_size=16, channels=1).train.inputs.shape == (
        400,
        16,
        16,
        1,
    )


def test_masks_may_be_arrays():
    pictures = SHADES[targets()][..., None].astype(np.uint8)
    run = Run(arrays=Source(name="arrays", train=Examples(pictures, targets() == 1)))

    source = load_masks(run)
    smaller = load_masks(run, image_size=12)

    np.testing.assert_array_equal(source.train.targets, targets() == 1)
    assert source.class_names == ("0", "1")
    assert smaller.train.targets.shape == (4, 12, 12)
    assert load_masks(Run(arrays=source)) is source
    wrong = Source(name="arrays", train=Examples(pictures, np.zeros(4, int)))
    with pytest.raises(InputError, match="must be masks"):
        load_masks(Run(arrays=wrong))
