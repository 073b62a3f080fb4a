import gc
import logging
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from suite import InputError
from suite.data.images.files import (
    read,
    read_encoded,
    read_opaque,
    read_picture,
    upright_size,
    write_animation,
)
from suite.data.images.preparation import Preparation

DIGIT = Preparation()


def seven(height=90, width=60, background=0, ink=255):
    picture = np.full((height, width), background, np.uint8)
    picture[15:22, 15:45] = ink
    for row in range(22, 75):
        column = 42 - (row - 22) // 3
        picture[row, column - 3 : column + 3] = ink
    return picture


def digit(name):
    return read_picture(Path(name), DIGIT)


def test_a_file_that_fails_while_it_is_read_is_closed():
    with pytest.raises(InputError, match="not a readable image"):
        digit("/proc/self/mem")
    gc.collect()


def test_size_and_polarity_do_not_matter():
    PIL.Image.fromarray(seven()).save("light.png")
    PIL.Image.fromarray(seven(background=255, ink=0)).save("dark.png")
    PIL.Image.fromarray(seven()).resize((240, 360)).convert("RGB").save("large.jpg")

    light, dark, large = (digit(n) for n in ("light.png", "dark.png", "large.jpg"))

    assert light.shape == (28, 28, 1) and light.dtype == np.uint8
    np.testing.assert_array_equal(light, dark)
    assert np.abs(light.astype(int) - large).mean() < 6


def test_ink_fills_twenty_pixels_and_is_centred_by_its_mass():
    PIL.Image.fromarray(seven()).save("seven.png")

    pixels = digit("seven.png")[..., 0].astype(float)

    rows = np.flatnonzero(pixels.sum(axis=1))
    assert rows[-1] - rows[0] + 1 == 20
    for axis in (0, 1):
        middle = (pixels.sum(axis=1 - axis) * np.arange(28)).sum() / pixels.sum()
        assert abs(middle - 13.5) <= 0.75


def test_specks_do_not_count():
    speckled = seven()
    speckled[2, 2] = speckled[-3, -4] = 255
    PIL.Image.fromarray(speckled).save("speckled.png")
    PIL.Image.fromarray(seven()).save("clean.png")

    difference = digit("speckled.png").astype(int) - digit("clean.png")
    assert np.abs(difference).max() <= 3


@pytest.mark.parametrize(
    "name",
    ["a.png", "a.bmp", "a.gif", "a.webp", "a.tif", "a.pgm", "palette.png", "bits.png", "bits.bmp"],
)
def test_every_format_says_the_same(name):
    image = PIL.Image.fromarray(seven())
    if name.startswith(("palette", "bits")):
        image = image.convert("P" if name.startswith("palette") else "1")
    options = {"lossless": True} if name == "a.webp" else {}
    image.save(name, **options)
    image.convert("L").save("expected.png")

    np.testing.assert_array_equal(digit(name), digit("expected.png"))
    np.testing.assert_array_equal(DIGIT(read_encoded(Path(name))), digit("expected.png"))


@pytest.mark.parametrize(
    ("mode", "name", "rounded"),
    [
        ("P", "palette.png", 0),
        ("P", "palette.gif", 0),
        ("RGBA", "opaque.png", 0),
        ("CMYK", "inks.tif", 0),
        ("CMYK", "inks.jpg", 6),
        ("YCbCr", "video.jpg", 6),
    ],
)
def test_colours_are_the_same_in_every_mode(mode, name, rounded):
    colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 200, 40], [90, 90, 90], [0, 0, 0]]
    colours = np.kron(np.uint8(colours).reshape(2, 3, 3), np.ones((16, 16, 1), np.uint8))
    image = PIL.Image.fromarray(colours).convert(mode)
    image.save(name, **({"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}))

    pixels = read_opaque(Path(name)).astype(int)

    assert np.abs(pixels - np.asarray(image.convert("RGB"))).max() <= rounded


@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.webp", "a.png"])
def test_exif_says_what_is_up(name):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    narrow = seven()[:, 4:-4]
    PIL.Image.fromarray(np.rot90(narrow).copy()).convert("RGB").save(name, exif=exif)

    assert read(Path(name)).pixels.shape[:2] == upright_size(Path(name)) == narrow.shape


def test_broken_exif_is_ignored(caplog):
    broken = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x05\0\0\0\x01\0\0\0\x99" + b"\x01" * 30
    PIL.Image.fromarray(seven()).save("broken.jpg", exif=broken)
    PIL.Image.fromarray(seven()).save("plain.jpg")

    np.testing.assert_array_equal(digit("broken.jpg"), digit("plain.jpg"))


def test_exif_that_fails_in_pillow_is_said(monkeypatch, caplog):
    def fail(self):
        raise TypeError

    monkeypatch.setattr(PIL.Image.Image, "getexif", fail)
    PIL.Image.fromarray(seven()).save("a.webp", lossless=True)

    with caplog.at_level(logging.WARNING):
        assert digit("a.webp").any()
    assert "its EXIF is broken" in caplog.text


@pytest.mark.parametrize("background", [255, 0])
def test_ink_on_a_transparent_background_is_seen(background):
    rgba = np.full((90, 60, 4), 255 - background, np.uint8)
    rgba[..., 3] = seven()
    PIL.Image.fromarray(rgba).save("transparent.png")
    PIL.Image.fromarray(seven(background=background, ink=255 - background)).save("opaque.png")

    np.testing.assert_array_equal(digit("transparent.png"), digit("opaque.png"))


@pytest.mark.parametrize(
    ("kind", "white"),
    [(np.uint16, 65535), (np.uint16, 4095), (np.uint16, 1023), (np.float32, 1), (np.float32, 255)],
)
def test_deeper_greys_say_what_bytes_say(kind, white):
    deep = seven(background=235, ink=35).astype(np.float64) / 255 * white
    PIL.Image.fromarray(seven(background=235, ink=35)).save("bytes.tif")
    PIL.Image.fromarray(deep.astype(kind)).save("deep.tif")

    difference = digit("deep.tif").astype(int) - digit("bytes.tif")
    assert np.abs(difference).max() <= 2


def test_what_shows_nothing_is_refused():
    PIL.Image.new("L", (50, 50), 200).save("even.png")
    Path("text.png").write_text("text")
    Path("half.png").write_bytes(encoded_half())
    PIL.Image.new("L", (28, 28)).save("blank.png")
    specks = np.full((1200, 1200), 255, np.uint8)
    specks[1, 1] = specks[1198, 1198] = 0
    PIL.Image.fromarray(specks).save("specks.png")

    for name, reason in (
        ("even.png", "even surface"),
        ("blank.png", "even surface"),
        ("specks.png", "even surface"),
        ("text.png", "not a readable image"),
        ("half.png", "not a readable image"),
        ("n" * 300, "not there"),
        ("missing.png", "not there"),
    ):
        with pytest.raises(InputError, match=reason):
            digit(name)


def encoded_half():
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80)).astype(np.uint8)).save(
        "whole.png"
    )
    return Path("whole.png").read_bytes()[:2000]


def test_decompression_bomb_is_refused():
    PIL.Image.new("1", (20000, 20000)).save("bomb.png")

    with pytest.raises(InputError, match="too many pixels"):
        digit("bomb.png")


def test_an_animation_needs_a_format_that_holds_one():
    frames = np.zeros((2, 8, 8, 1))

    with pytest.raises(InputError, match=r"must hold the image. Received: frames.jpg"):
        write_animation(frames, Path("frames.jpg"))
    assert not Path("frames.jpg").exists()


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_frames_may_come_one_by_one(ending, tmp_path):
    path = tmp_path / f"frames.{ending}"

    write_animation((np.full((4, 5, 3), 60 * n, np.uint8) for n in range(4)), path)

    with PIL.Image.open(path) as animation:
        assert animation.n_frames == 4
