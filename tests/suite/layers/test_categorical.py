import keras
import numpy as np

from suite.layers.categorical import CategoricalMean, project


def loop(probabilities, rewards, discount, support):
    """The projection of the paper's first algorithm, atom by atom."""
    lowest, highest, number = support[0], support[-1], len(support)
    spacing = (highest - lowest) / (number - 1)
    projected = np.zeros_like(probabilities)
    for row, reward in enumerate(rewards):
        for atom in range(number):
            value = min(max(reward + discount[row] * support[atom], lowest), highest)
            place = (value - lowest) / spacing
            lower, upper = int(np.floor(place)), int(np.ceil(place))
            if lower == upper:
                projected[row, lower] += probabilities[row, atom]
                continue
            projected[row, lower] += probabilities[row, atom] * (upper - place)
            projected[row, upper] += probabilities[row, atom] * (place - lower)
    return projected


def test_the_projection_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    support = np.linspace(-3, 5, 17)
    probabilities = rng.dirichlet(np.ones(17), size=200)
    rewards = rng.normal(scale=4, size=200)
    rewards[:50] = np.round(rewards[:50])  # on atoms
    discount = rng.choice([0.0, 0.5, 0.99**3, 1.0], size=200)
    values = rewards[:, None] + discount[:, None] * support

    projected = keras.ops.convert_to_numpy(
        project(keras.ops.convert_to_tensor(probabilities), values, support)
    )

    np.testing.assert_allclose(
        projected, loop(probabilities, rewards, discount, support), atol=1e-12
    )
    np.testing.assert_allclose(projected.sum(axis=1), 1)


def test_means_stay_and_values_outside_go_to_the_edges():
    support = np.linspace(0, 10, 11)
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5]])
    values = np.array([[1.25, 7.5], [-3.0, 99.0]])

    projected = keras.ops.convert_to_numpy(
        project(keras.ops.convert_to_tensor(probabilities), values, support)
    )

    assert np.isclose(projected[0] @ support, 0.25 * 1.25 + 0.75 * 7.5)
    assert projected[1].tolist() == [0.5, *9 * [0], 0.5]


def test_the_mean_of_a_distribution_comes_from_its_logits(tmp_path):
    logits = keras.Input((2, 3))
    model = keras.Model(logits, CategoricalMean(-1, 3, 3)(logits))
    x = np.log(np.array([[[0.2, 0.3, 0.5], [1.0, 1e-12, 1e-12]]]))

    model.save(tmp_path / "model.keras")

    for one in (model, keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(one(x), [[-0.2 + 0.3 + 1.5, -1]], rtol=1e-5)
        assert one.layers[-1].support.tolist() == [-1, 1, 3]
