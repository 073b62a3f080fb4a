import gc
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from suite import InputError, Run
from suite.data.pictures import load_digits, read_picture, write_picture


def seven(height=90, width=60, ground=0, ink=255):
    picture = np.full((height, width), ground, np.uint8)
    picture[15:22, 15:45] = ink
    for row in range(22, 75):
        column = 42 - (row - 22) // 3
        picture[row, column - 3 : column + 3] = ink
    return picture


def test_a_file_that_fails_while_it_is_read_is_closed():
    with pytest.raises(InputError, match="not a readable image"):
        read_picture(Path("/proc/self/mem"))
    gc.collect()


def test_size_and_polarity_do_not_matter():
    PIL.Image.fromarray(seven()).save("light.png")
    PIL.Image.fromarray(seven(ground=255, ink=0)).save("dark.png")
    PIL.Image.fromarray(seven()).resize((240, 360)).convert("RGB").save("large.jpg")

    light, dark, large = (read_picture(Path(n)) for n in ("light.png", "dark.png", "large.jpg"))

    assert light.shape == (28, 28, 1) and light.dtype == np.uint8
    np.testing.assert_array_equal(light, dark)
    assert np.abs(light.astype(int) - large).mean() < 6


def test_ink_fills_twenty_pixels_and_is_centred_by_its_mass():
    PIL.Image.fromarray(seven()).save("seven.png")

    digit = read_picture(Path("seven.png"))[..., 0].astype(float)

    rows = np.flatnonzero(digit.sum(axis=1))
    assert rows[-1] - rows[0] + 1 == 20
    for axis in (0, 1):
        middle = (digit.sum(axis=1 - axis) * np.arange(28)).sum() / digit.sum()
        assert abs(middle - 13.5) <= 0.75


def test_mnist_s_own_format_is_left_alone():
    image = load_digits(Run(data="embedded")).train.inputs[5]
    PIL.Image.fromarray(image[..., 0]).save("own.png")

    np.testing.assert_array_equal(read_picture(Path("own.png")), image)


def test_transparent_ground_counts_as_white():
    rgba = np.zeros((90, 60, 4), np.uint8)
    rgba[..., 3] = seven()
    PIL.Image.fromarray(rgba).save("transparent.png")
    PIL.Image.fromarray(seven(ground=255, ink=0)).save("white.png")

    found, expected = (read_picture(Path(n)) for n in ("transparent.png", "white.png"))

    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("kind", "white"), [(np.uint16, 65535), (np.float32, 1)])
def test_deeper_greys_say_what_bytes_say(kind, white):
    deep = seven(ground=235, ink=35).astype(np.float64) / 255 * white
    PIL.Image.fromarray(seven(ground=235, ink=35)).save("bytes.tif")
    PIL.Image.fromarray(deep.astype(kind)).save("deep.tif")

    np.testing.assert_array_equal(read_picture("deep.tif"), read_picture("bytes.tif"))


def test_light_ink_on_a_transparent_ground_is_seen():
    rgba = np.full((90, 60, 4), 255, np.uint8)
    rgba[..., 3] = seven()
    PIL.Image.fromarray(rgba).save("transparent.png")
    PIL.Image.fromarray(seven()).save("black.png")

    found, expected = (read_picture(Path(n)) for n in ("transparent.png", "black.png"))

    np.testing.assert_array_equal(found, expected)


def test_what_shows_no_digit_is_refused():
    PIL.Image.new("L", (50, 50), 200).save("even.png")
    Path("text.png").write_text("text")

    PIL.Image.new("L", (28, 28)).save("blank.png")
    specks = np.full((4000, 4000), 255, np.uint8)
    specks[1, 1] = specks[3998, 3998] = 0
    PIL.Image.fromarray(specks).save("specks.png")

    for name, reason in (
        ("even.png", "even surface"),
        ("blank.png", "even surface"),
        ("specks.png", "nothing but specks"),
        ("text.png", "not a readable image"),
        ("n" * 300, "not there"),
    ):
        with pytest.raises(InputError, match=reason):
            read_picture(Path(name))
    with pytest.raises(InputError, match="not there"):
        read_picture(Path("missing.png"))


def test_decompression_bomb_is_refused():
    PIL.Image.new("1", (20000, 20000)).save("bomb.png")

    with pytest.raises(InputError, match="too many pixels"):
        read_picture(Path("bomb.png"))


def test_own_npz_is_read():
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
    labels = np.arange(30) % 10
    np.savez("own.npz", x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])

    examples = load_digits(Run(data="own.npz"))

    assert examples.source == "own.npz"
    np.testing.assert_array_equal(examples.train.inputs[..., 0], images)
    assert examples.test.num_examples == 9


def test_own_folder_names_its_classes():
    drawn = {"cat": seven(), "dog": seven(ground=255, ink=0)[:, ::-1]}
    for name, picture in drawn.items():
        Path("own", name).mkdir(parents=True)
        for copy in range(3):
            PIL.Image.fromarray(picture).save(f"own/{name}/{copy}.png")
        Path("own", name, "._0.png").write_text("what a file system left behind")

    examples = load_digits(Run(data="own"))

    assert examples.class_names == ("cat", "dog")
    assert examples.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    # Read just as `predict` will read them.
    np.testing.assert_array_equal(examples.train.inputs[5], read_picture(Path("own/dog/2.png")))
    assert examples.test is None


def test_own_folder_may_bring_its_test_split():
    for split in ("train", "test"):
        for name in ("a", "b"):
            Path("own", split, name).mkdir(parents=True)
            PIL.Image.fromarray(seven()).save(f"own/{split}/{name}/0.png")

    assert load_digits(Run(data="own")).test.num_examples == 2


def test_an_animation_needs_a_format_that_holds_one():
    frames = np.zeros((2, 8, 8, 1))

    with pytest.raises(InputError, match=r"must hold the image. Received: frames.jpg"):
        write_picture(frames, Path("frames.jpg"))
    assert not Path("frames.jpg").exists()
