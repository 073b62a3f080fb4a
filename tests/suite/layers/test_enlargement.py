import keras
import numpy as np
import pytest

from suite.data.images.bicubic import resize
from suite.layers.enlargement import enlarge


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(2, 2, 3), (9, 7, 1), (5, 12, 3)])
def test_a_convolution_enlarges_as_the_matrices_do(scale, shape):
    pictures = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype("float32")
    height, width, _ = shape

    enlarged = keras.ops.convert_to_numpy(enlarge(pictures, scale))

    np.testing.assert_allclose(enlarged, resize(pictures, scale * height, scale * width), atol=1e-3)


def test_it_is_part_of_a_model_of_any_size_that_can_be_saved(tmp_path):
    picture = keras.Input((None, None, 3), name="image")
    model = keras.Model(picture, enlarge(picture, 3))
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 4, 6, 3)).astype("float32")

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)

    assert model.output_shape == (None, None, None, 3)
    np.testing.assert_allclose(again(pixels), resize(pixels, 12, 18), atol=1e-3)
