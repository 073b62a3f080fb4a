import keras
import numpy as np
import pytest

from suite.layers.noisy import NoisyDense


def built(units=3, features=4, **options):
    inputs = keras.Input((features,))
    return keras.Model(inputs, NoisyDense(units, seed=0, **options)(inputs))


def test_without_training_it_is_a_dense_layer():
    model = built(activation="relu")
    kernel, kernel_scale, bias, bias_scale = model.get_weights()
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("f4")

    outputs = keras.ops.convert_to_numpy(model(x))

    np.testing.assert_allclose(outputs, np.maximum(x @ kernel + bias, 0), rtol=1e-5, atol=1e-6)
    assert (kernel_scale == 0.25).all() and (bias_scale == 0.25).all()  # 0.5 / sqrt(4)
    assert (np.abs(kernel) <= 0.5).all() and kernel.std() > 0.1


def test_noise_has_the_scale_that_the_weights_say_and_no_mean():
    model = built(units=2, features=3)
    kernel, kernel_scale, bias, bias_scale = (np.zeros(w.shape, "f4") for w in model.get_weights())
    kernel_scale[1, 0], bias_scale[1] = 2, 3
    model.set_weights([kernel, kernel_scale, bias, bias_scale])
    x = np.tile(np.float32([[1, 10, 1]]), (40_000, 1))

    outputs = keras.ops.convert_to_numpy(model(x, training=True))

    # The square root keeps E[f(noise)^2] = E|noise| = sqrt(2 / pi).
    share = np.sqrt(2 / np.pi)
    np.testing.assert_allclose(outputs.mean(axis=0), [0, 0], atol=0.3)
    np.testing.assert_allclose(outputs.std(axis=0), [2 * 10 * share, 3 * share**0.5], rtol=0.05)


def test_every_example_and_every_call_draws_noise_of_its_own():
    model = built()
    x = np.ones((2, 4), "f4")

    one, other = (keras.ops.convert_to_numpy(model(x, training=True)) for _ in range(2))

    assert (one[0] != one[1]).all() and (one != other).all()


def test_the_noise_of_a_weight_is_a_product():
    model = built(units=2, features=2)
    kernel, kernel_scale, bias, bias_scale = (np.zeros(w.shape, "f4") for w in model.get_weights())
    model.set_weights([kernel, np.ones_like(kernel_scale), bias, bias_scale])
    seeds = model.layers[-1].seed_generator.state
    start, columns = keras.ops.convert_to_numpy(seeds).copy(), []
    for x in np.eye(2, dtype="f4"):
        seeds.assign(start)
        columns.append(keras.ops.convert_to_numpy(model(x[None], training=True))[0])

    assert abs(np.linalg.det(np.stack(columns))) < 1e-6  # a matrix of rank 1
    assert np.abs(np.stack(columns)).min() > 0


def test_the_scales_of_the_noise_are_learnt():
    model = built(units=1)
    model.compile(keras.optimizers.Adam(0.02), "mse")
    x = np.random.default_rng(0).normal(size=(256, 4)).astype("f4")

    model.fit(x, x[:, :1], epochs=40, verbose=0)

    _, kernel_scale, _, bias_scale = model.get_weights()
    assert np.abs(kernel_scale).max() < 0.1 and np.abs(bias_scale).max() < 0.1


@pytest.mark.parametrize("activation", [None, "tanh"])
def test_it_is_saved_and_cloned(activation, tmp_path):
    model = built(activation=activation, noise=0.3)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    x = np.ones((2, 4), "f4")

    for other in (copy, clone):
        np.testing.assert_array_equal(model(x), other(x))
        assert other.layers[-1].noise == 0.3
