"""Pictures that stay on disk are the same examples as those that are read into memory."""

import numpy as np
import PIL.Image
import pytest

from suite import InputError, Run
from suite.data.images.sources import load_pictures
from suite.data.stored import Stored


@pytest.fixture
def photos(tmp_path):
    """Two classes of noise, light and dark, in colour."""
    random = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "photos" / ("light" if number % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 100, (20 + number, 30, 3)) + 150 * (number % 2)
        PIL.Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_pictures_on_disk_are_those_in_memory(photos):
    on_disk, in_memory = (
        load_pictures(Run(data=str(photos), in_memory=choice), image_size=16)
        for choice in ("no", "yes")
    )

    assert isinstance(on_disk.train, Stored) and not isinstance(in_memory.train, Stored)
    np.testing.assert_array_equal(on_disk.train.in_memory().inputs, in_memory.train.inputs)
    np.testing.assert_array_equal(on_disk.train.targets, in_memory.train.targets)
    assert on_disk.train.fingerprint_of == "sizes and times"


def test_other_formats_need_memory(photos):
    PIL.Image.new("RGB", (9, 9)).save(photos / "dark" / "new.webp")

    with pytest.raises(InputError, match=r"PNG or JPEG; others need `in_memory` yes"):
        load_pictures(Run(data=str(photos), in_memory="no"), image_size=16)
