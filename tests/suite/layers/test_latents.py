import keras
import numpy as np

from suite.layers.latents import choice
from suite.trainers.latents import sample_latents


def test_alternatives_are_chosen_as_often_as_their_shares():
    numbers = keras.Input((3,))
    chooses = keras.Model(numbers, choice(numbers, (0.6, 0.3, 0.1)))

    chosen = keras.ops.convert_to_numpy(chooses(sample_latents(20_000, 3, seed=0)))

    np.testing.assert_allclose(np.bincount(chosen) / 20_000, (0.6, 0.3, 0.1), atol=0.01)
    extreme = np.float32([[-40, 40, 0], [40, 0, -40], [-40, -40, -40], [0, -8, 8]])
    assert list(chooses(extreme))[:2] == [1, 0] and list(chooses(extreme))[3] == 2
    again = keras.models.model_from_json(chooses.to_json())
    assert np.array_equal(
        again(sample_latents(9, 3, seed=1)), chooses(sample_latents(9, 3, seed=1))
    )
