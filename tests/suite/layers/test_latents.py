import keras
import numpy as np

from suite.layers.latents import choice
from suite.trainers.latents import sample_latents


def test_alternatives_are_chosen_as_often_as_their_shares():
    numbers = keras.Input((3,))
    model = keras.Model(numbers, choice(numbers, (0.6, 0.3, 0.1)))

    chosen = keras.ops.convert_to_numpy(model(sample_latents(20_000, 3, seed=0)))

    np.testing.assert_allclose(np.bincount(chosen) / 20_000, (0.6, 0.3, 0.1), atol=0.01)
    extreme = np.float32([[-40, 40, 0], [40, 0, -40], [-40, -40, -40], [0, -8, 8]])
    assert list(model(extreme))[:2] == [1, 0] and list(model(extreme))[3] == 2
    copy = keras.models.model_from_json(model.to_json())
    assert np.array_equal(copy(sample_latents(9, 3, seed=1)), model(sample_latents(9, 3, seed=1)))
