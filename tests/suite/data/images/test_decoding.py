import io
import struct

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from suite.data.images import decoding
from suite.data.images.decoding import allowed_size, decode_picture


def picture():
    return (
        np.random.default_rng(0)
        .integers(0, 256, (5, 7, 3))
        .astype(np.uint8)
        .repeat(16, 0)
        .repeat(16, 1)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("endian", ["<", ">"])
def test_the_exif_of_a_jpeg_says_what_is_up(orientation, endian):
    exif = PIL.Image.Exif()
    exif.endian = endian
    exif[0x010F] = "a maker"
    exif[0x0112] = orientation
    content = io.BytesIO()
    PIL.Image.fromarray(picture()).save(content, "JPEG", quality=95, exif=exif)

    upright = decode_picture(content.getvalue()).numpy()

    with PIL.Image.open(content) as image:
        expected = np.asarray(PIL.ImageOps.exif_transpose(image))
    assert upright.shape == expected.shape
    assert np.abs(upright.astype(int) - expected).mean() < 2


def test_a_picture_is_not_made_if_it_would_be_too_large():
    made = []

    @tf.function(input_signature=[tf.TensorSpec((2,), tf.int32)], autograph=False)
    def make(size):
        def pixels(allowed):
            made.append(allowed)
            return np.zeros(allowed, np.uint8)

        return tf.numpy_function(
            pixels, [allowed_size(size, 12, "a picture")], tf.uint8, stateful=False
        )

    for size in ((3, 4), (1, 12)):
        assert make(size).shape == size
    for size in ((3, 5), (2**20, 2**20)):  # whose pixels no int32 counts
        with pytest.raises(tf.errors.InvalidArgumentError, match="must have at most 12 pixels"):
            make(size)
    assert len(made) == 2


def test_broken_exif_is_ignored():
    plain, content = io.BytesIO(), io.BytesIO()
    PIL.Image.fromarray(picture()).save(plain, "JPEG")
    for exif in (b"", b"II", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" + b"\x12" * 40):
        content = io.BytesIO()
        PIL.Image.fromarray(picture()).save(content, "JPEG", exif=b"Exif\0\0" + exif)
        np.testing.assert_array_equal(
            decode_picture(content.getvalue()), decode_picture(plain.getvalue())
        )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_pngs_are_scaled_by_what_they_hold(bits, channels):
    white = 2**bits - 1
    levels = np.arange(256).repeat(channels).reshape(16, 16, channels)
    deep = (levels * white / 255).round().astype(np.uint16)

    pixels = decode_picture(tf.io.encode_png(deep).numpy()).numpy()

    np.testing.assert_array_equal(pixels, levels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_the_pixels_are_counted_before_they_are_decoded(kind, monkeypatch):
    file = io.BytesIO()
    PIL.Image.new("L", (300, 70), 200).save(file, kind)
    assert decode_picture(tf.constant(file.getvalue())).shape[:2] == (70, 300)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 300 * 70 - 1)

    with pytest.raises(tf.errors.InvalidArgumentError, match="must have at most 20,999 pixels"):
        decode_picture(tf.constant(file.getvalue()))


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_a_format_whose_pixels_nobody_counts_is_refused(kind):
    file = io.BytesIO()
    PIL.Image.new("RGB", (30, 20)).save(file, kind)

    with pytest.raises(tf.errors.InvalidArgumentError, match="must be a PNG, JPEG, GIF or BMP"):
        decode_picture(tf.constant(file.getvalue()))


def test_what_would_take_gigabytes_is_refused_by_its_header():
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 23_000, 23_000, 1, *[0] * 4)

    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 89,478,485 pixels"):
        decode_picture(tf.constant(header))
