import io
import logging
import unicodedata
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from suite import InputError
from suite.data.folders import files_in
from suite.data.images.files import read_picture
from suite.data.images.folders import read_folder
from suite.data.images.layouts import InputOptions
from suite.data.images.preparation import Preparation


def letter(background=255, ink=0, height=60, width=50):
    picture = np.full((height, width), background, np.uint8)
    picture[10:50, 10:16] = picture[44:50, 10:36] = ink
    return picture


def save(pixels, path, **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


def photo(colour, seed=0, size=(90, 120)):
    noise = np.random.default_rng(seed).integers(-60, 60, (6, 8, 1))
    coarse = np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)
    coarse = coarse.repeat(3 // coarse.shape[-1], axis=-1)
    return np.asarray(PIL.Image.fromarray(coarse).resize(size[::-1], PIL.Image.Resampling.NEAREST))


def test_classes_are_folders_of_any_format_and_size():
    save(letter(), "own/cat/0.png")
    save(letter(height=90, width=80), "own/cat/1.webp", lossless=True)
    save(letter(0, 255)[:, ::-1], "own/dog/deep/er/2.png")
    content = io.BytesIO()
    PIL.Image.fromarray(letter(0, 255)[::-1]).save(content, "JPEG")
    Path("own/dog/3.jfif").write_bytes(content.getvalue())
    for left_behind in ("own/cat/._0.png", "own/cat/.DS_Store", "own/__MACOSX/cat/0.png"):
        Path(left_behind).parent.mkdir(parents=True, exist_ok=True)
        Path(left_behind).write_text("left behind")

    source = read_folder(Path("own"), InputOptions())

    assert source.class_names == ("cat", "dog")
    assert source.train.targets.tolist() == [0, 0, 1, 1]
    assert source.preparation == Preparation()
    assert source.notes["re_encoded"] == 1
    assert source.test is None and "passed_over" not in source.notes
    # Read just as `predict` will read them.
    expected = read_picture(Path("own/dog/3.jfif"), source.preparation)
    np.testing.assert_array_equal(source.train.inputs[2], expected)


def test_what_is_passed_over_is_counted(caplog):
    for name in "ab":
        save(letter(), f"own/{name}/0.png")
        Path("own", name, "1.heic").write_bytes(b"no picture that is read")
        Path("own", name, "Thumbs.db").write_text("")
    Path("own/b/README").write_text("about b")

    with caplog.at_level(logging.WARNING):
        source = read_folder(Path("own"), InputOptions())

    message = "5 of 7 files were skipped: 2 .heic, 2 .db, 1 without an ending"
    assert source.notes["passed_over"] == message
    assert caplog.text.count(message) == 1


@pytest.mark.parametrize("validation", ["val", "validation", "Valid"])
def test_splits_may_be_folders(validation):
    for split in ("train", "test", validation):
        for name in ("a", "b"):
            save(letter(), f"own/{split}/{name}/0.png")
    save(letter(), f"own/{validation}/b/1.png")

    source = read_folder(Path("own"), InputOptions())

    assert [s.num_examples for s in (source.train, source.validation, source.test)] == [2, 3, 2]


@pytest.mark.parametrize("flat", ["test", "val"])
def test_a_split_without_class_folders_is_refused(flat):
    for name in ("train/a/0.png", "train/b/0.png", "test/a/0.png", "val/b/0.png"):
        save(letter(), f"own/{name}")
    [inside] = Path("own", flat).iterdir()
    inside.joinpath("0.png").rename(Path("own", flat, "0.png"))
    inside.rmdir()

    with pytest.raises(
        InputError, match=f"own/{flat} must have the class folders .*: a, b. .*: none"
    ):
        read_folder(Path("own"), InputOptions())


def test_a_class_may_be_called_train():
    for name in ("bus", "car", "train"):
        save(letter(), f"own/{name}/0.png")

    assert read_folder(Path("own"), InputOptions()).class_names == ("bus", "car", "train")


def test_a_folder_without_pictures_beside_train_is_no_class():
    save(letter(), "own/train/0.png")
    Path("own/notes").mkdir()
    Path("own/notes/a.txt").write_text("a")

    source = read_folder(Path("own"), InputOptions())

    assert source.class_names == () and source.train.num_examples == 1


def test_names_that_look_the_same_are_the_same_class():
    size = "Gr\N{LATIN SMALL LETTER O WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e"
    for form, split in (("NFC", "train"), ("NFD", "test")):
        for name in (size, "a"):
            save(letter(), f"own/{split}/{unicodedata.normalize(form, name)}/0.png")

    source = read_folder(Path("own"), InputOptions())

    assert source.class_names == (size, "a") and source.test.targets.tolist() == [0, 1]


def test_links_to_folders_are_followed_and_cycles_end():
    save(letter(), "far/a/0.png")
    save(letter(), "own/b/0.png")
    Path("own/a").symlink_to(Path("far/a").absolute())
    Path("own/b/all").symlink_to(Path("own").absolute())

    assert [str(file) for file in files_in(Path("own"))] == ["own/a/0.png", "own/b/0.png"]
    source = read_folder(Path("own"), InputOptions())
    assert source.class_names == ("a", "b") and source.train.targets.tolist() == [0, 1]


def test_pictures_beside_class_folders_are_counted(caplog):
    for name in ("a/0", "b/0", "1", "2"):
        save(letter(), f"own/{name}.png")

    source = read_folder(Path("own"), InputOptions())

    assert source.notes["passed_over"] == "2 of 4 files were skipped: 2 outside of class folders"


def test_folders_that_say_too_little_are_refused():
    save(letter(), "one/a/0.png")
    save(letter(), "bare/test/a/0.png")
    for name in ("train/a", "train/b", "test/a", "test/c"):
        save(letter(), f"strange/{name}/0.png")
    save(letter(), "empty/a/0.png")
    Path("empty/b").mkdir()
    Path("empty/b/0.heic").write_text("")
    save(letter(), "blank/a/0.png")
    save(letter(), "blank/a/1.png")
    save(np.full((9, 9), 7), "blank/b/even.png")
    for number in range(140):  # more than the sample that decides on the layout
        save(letter(), f"damaged/{'ab'[number % 2]}/{number:03}.png")
    Path("damaged/a/006.png").write_text("")

    for name, reason in (
        ("one", "two class folders"),
        ("bare", "must hold a folder train"),
        ("strange", "training split: a, b. Received: c"),
        ("empty", r"empty/b must hold image files. Received: 1 \.heic"),
        ("blank", "even.png must show something drawn"),
        ("damaged", "not a readable image"),
    ):
        with pytest.raises(InputError, match=reason):
            read_folder(Path(name), InputOptions(layout="drawing"))


def test_pictures_alone_have_no_labels():
    for count in range(3):
        save(letter(), f"own/{count}.png")

    source = read_folder(Path("own"), InputOptions())

    assert source.train.inputs.shape == (3, 28, 28, 1)
    assert source.train.targets is None and source.class_names == ()


def test_photos_that_differ_in_colour_only_are_read_in_colour(caplog):
    for seed in range(4):
        save(photo((170, 60, 60), seed), f"own/red/{seed}.jpg")
        save(photo((60, 60, 170), seed), f"own/blue/{seed}.jpg")

    with caplog.at_level(logging.INFO):
        source = read_folder(Path("own"), InputOptions())

    assert source.preparation == Preparation(layout="photo", height=64, width=64, channels=3)
    assert "photos of 64 x 64 pixels, in colour" in caplog.text
    blue, red = (source.train.inputs[source.train.targets == label] for label in (0, 1))
    assert (red[..., 0].mean((1, 2)) > red[..., 2].mean((1, 2))).all()
    assert (blue[..., 0].mean((1, 2)) < blue[..., 2].mean((1, 2))).all()


def test_small_photos_keep_their_size_and_the_median_of_others_counts():
    for seed in range(4):
        for name in "ab":
            save(photo((120,), seed, (30, 40)), f"small/{name}/{seed}.png")
            save(photo((120,), seed, (30 + 5 * seed, 50 + seed)), f"mixed/{name}/{seed}.png")

    assert read_folder(Path("small"), InputOptions()).train.inputs.shape == (8, 30, 40, 1)
    assert read_folder(Path("mixed"), InputOptions()).train.inputs.shape == (8, 40, 40, 1)
    photos = InputOptions(layout="photo", image_size=16, channels=3)
    assert read_folder(Path("mixed"), photos).train.inputs.shape == (8, 16, 16, 3)


def test_coloured_letters_are_drawings_in_colour_and_yellow_paper_is_grey():
    for name, ink in (("red", (220, 30, 30)), ("green", (20, 150, 40))):
        picture = np.full((60, 50, 3), 255, np.uint8)
        picture[letter() == 0] = ink
        save(picture, f"own/{name}/0.png")
        paper = np.full((60, 50, 3), (250, 235, 190), np.uint8)
        paper[letter() == 0] = (30, 28, 25)
        save(paper, f"paper/{name}/0.png")

    assert read_folder(Path("own"), InputOptions()).preparation == Preparation(channels=3)
    assert read_folder(Path("paper"), InputOptions()).preparation == Preparation()


def broken_letters():
    """Two classes of four letters, of which two files are cut off."""
    for number in range(8):
        save(letter(height=60 + number), f"own/{'ab'[number % 2]}/{number}.png")
    for file in ("own/a/2.png", "own/b/5.png"):
        content = Path(file).read_bytes()
        Path(file).write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("in_memory", ["yes", "no"])
def test_broken_pictures_are_left_out_on_demand_and_counted(in_memory, caplog):
    broken_letters()

    source = read_folder(Path("own"), InputOptions(), in_memory, skip_broken=True)

    assert source.train.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.train.num_examples == 6
    assert source.notes["passed_over"] == "2 of 8 files were skipped: 2 broken"
    assert "Left out: own/a/2.png, not a readable image." in caplog.text


def test_a_broken_picture_is_named_and_the_others_are_counted():
    broken_letters()

    with pytest.raises(InputError) as caught:
        read_folder(Path("own"), InputOptions())

    assert str(caught.value) == (
        "an image file is needed; `skip_broken` leaves others out. "
        "Received: own/a/2.png, not a readable image, and 1 more"
    )


def test_a_class_of_nothing_but_broken_pictures_is_refused():
    broken_letters()
    for number in (1, 3, 7):
        Path(f"own/b/{number}.png").write_bytes(b"no picture")

    with pytest.raises(InputError, match=r"pictures that can be read\. Received: none of b$"):
        read_folder(Path("own"), InputOptions(), skip_broken=True)


def test_a_folder_of_nothing_but_broken_pictures_is_refused():
    for name in "ab":
        Path("own", name).mkdir(parents=True)
        Path("own", name, "0.png").write_bytes(b"no picture")

    with pytest.raises(InputError, match=r"that can be read\. Received: 2 broken ones"):
        read_folder(Path("own"), InputOptions(), skip_broken=True)


def test_pictures_that_tensorflow_cannot_decode_do_not_stay_on_disk():
    for name in ("a/0", "b/0", "b/1"):
        save(letter(), f"own/{name}.png")
    save(letter(), "own/a/1.webp", lossless=True)
    Path("own/a/1.webp").rename("own/a/1.png")

    with pytest.raises(InputError, match=r"`in_memory` yes. Received: own/a/1.png$"):
        read_folder(Path("own"), InputOptions(), "no", skip_broken=True)
    in_memory = read_folder(Path("own"), InputOptions(), "yes", skip_broken=True)
    assert in_memory.notes["re_encoded"] == 1
