import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.som import build_model
from suite import InputError
from suite.trainers.self_organizing import (
    ExponentialDecay,
    SelfOrganizingMap,
    pca_initialization,
    positions_of,
    u_matrix,
)

SHAPE = (2, 2, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (30, *SHAPE)).astype("float32")
ROWS = IMAGES.reshape(30, 4).astype(float) / 255


def map_of(rows=2, columns=3, lattice="square", **knobs):
    network = build_model(SHAPE, rows=rows, columns=columns, lattice=lattice)
    knobs = {"radius": ExponentialDecay(1.5, 0.5), "steps": 3, **knobs}
    model = SelfOrganizingMap(network, positions_of(rows, columns, lattice), **knobs)
    model.compile(keras.optimizers.SGD(1.0), auto_scale_loss=False)
    return model


def codes_of(model):
    return np.array(keras.ops.convert_to_numpy(model.codebook.codes), float)


def squared_distances(rows, codes):
    return ((rows[:, None] - codes) ** 2).sum(axis=-1)


def fit(model, images, batch_size, epochs=1):
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(batch_size)
    return model.fit(dataset, epochs=epochs, shuffle=False, verbose=0).history


# --- lattices -------------------------------------------------------------------------------


@pytest.mark.parametrize(("lattice", "most", "corner"), [("hexagonal", 6, 2), ("square", 8, 3)])
def test_units_have_the_neighbours_of_their_lattice(lattice, most, corner):
    positions = positions_of(5, 5, lattice)
    apart = np.linalg.norm(positions[:, None] - positions, axis=-1)

    near = ((apart > 0) & (apart < 1.5)).sum(axis=1)

    assert near.max() == most and near[12] == most and near[0] == corner
    assert apart[apart > 0].min() == pytest.approx(1)


def test_codes_on_the_plane_span_the_principal_components():
    random = np.random.default_rng(1)
    rows = random.normal(size=(500, 2)) * [3, 1] @ np.linalg.qr(random.normal(size=(4, 2)))[0].T

    codes = pca_initialization(rows + 7, positions_of(3, 5, "square"))

    assert codes.shape == (15, 4)
    np.testing.assert_allclose(codes.mean(axis=0), rows.mean(axis=0) + 7)
    # The five columns lie along the first component, the three rows along the second.
    assert np.linalg.norm(codes[4] - codes[0]) / 2 == pytest.approx(3, rel=0.1)
    assert np.linalg.norm(codes[10] - codes[0]) / 2 == pytest.approx(1, rel=0.1)
    assert np.linalg.matrix_rank(codes - codes.mean(axis=0), tol=1e-6) == 2


def test_one_row_and_one_column_lie_on_a_line():
    codes = pca_initialization(ROWS, positions_of(1, 4, "hexagonal"))

    assert np.linalg.matrix_rank(codes - codes.mean(axis=0), tol=1e-6) == 1


def test_the_u_matrix_is_the_mean_distance_from_neighbours():
    codes = np.array([[0.0], [1.0], [5.0]])

    np.testing.assert_allclose(u_matrix(codes, positions_of(1, 3, "square")), [1, 2.5, 4])


# --- the batch rule -------------------------------------------------------------------------


def test_a_step_with_all_examples_is_kohonen_s():
    model = map_of()
    before = codes_of(model)

    fit(model, IMAGES, len(IMAGES))

    winners = squared_distances(ROWS, before).argmin(axis=1)
    positions = positions_of(2, 3, "square")
    shares = np.exp(-squared_distances(positions, positions) / (2 * 1.5**2))[winners]
    np.testing.assert_allclose(
        codes_of(model), shares.T @ ROWS / shares.sum(axis=0)[:, None], atol=1e-5
    )


def test_the_radius_falls_from_the_first_step_to_the_last():
    model = map_of()

    fit(model, IMAGES, len(IMAGES), epochs=2)
    before = codes_of(model)
    fit(model, IMAGES, len(IMAGES))

    winners = squared_distances(ROWS, before).argmin(axis=1)
    positions = positions_of(2, 3, "square")
    shares = np.exp(-squared_distances(positions, positions) / (2 * 0.5**2))[winners]
    np.testing.assert_allclose(
        codes_of(model), shares.T @ ROWS / shares.sum(axis=0)[:, None], atol=1e-5
    )


def test_older_batches_are_remembered():
    model = map_of(memory=0.25, radius=ExponentialDecay(1.0, 1.0))
    fit(model, IMAGES[:20], 20)
    sums, counts = (np.array(keras.ops.convert_to_numpy(v)) for v in (model.sums, model.counts))
    before = codes_of(model)

    fit(model, IMAGES[20:], 10)

    winners = squared_distances(ROWS[20:], before).argmin(axis=1)
    won = np.eye(6)[winners]
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.sums), 0.25 * sums + won.T @ ROWS[20:], atol=1e-5
    )
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.counts), 0.25 * counts + won.sum(axis=0), atol=1e-6
    )


def test_a_unit_far_from_all_examples_keeps_its_code():
    model = map_of(1, 6, radius=ExponentialDecay(0.1, 0.1))
    codes = codes_of(model)
    codes[5] = 100
    model.codebook.set_weights([codes])

    fit(model, IMAGES, len(IMAGES))

    np.testing.assert_array_equal(codes_of(model)[5], codes[5])


def test_examples_of_weight_zero_do_not_count():
    one, other = map_of(), map_of()
    other.set_weights(one.get_weights())

    one.train_step((tf.constant(IMAGES[:10]), None, None))
    weights = tf.constant([1.0] * 10 + [0.0])
    other.train_step((tf.constant(IMAGES[:11]), None, weights))

    np.testing.assert_allclose(codes_of(one), codes_of(other), atol=1e-6)
    assert float(one.quantization_error.result()) == pytest.approx(
        float(other.quantization_error.result()), rel=1e-6
    )


# --- the online rule ------------------------------------------------------------------------


def test_online_every_example_moves_the_codes():
    model = map_of(rate=ExponentialDecay(0.5, 0.1), radius=ExponentialDecay(1.5, 0.5))
    codes = codes_of(model)
    positions = positions_of(2, 3, "square")

    fit(model, IMAGES, 10)

    for number, row in enumerate(ROWS):
        done = number / 30
        winner = ((codes - row) ** 2).sum(axis=1).argmin()
        radius, rate = 1.5 * (0.5 / 1.5) ** done, 0.5 * (0.1 / 0.5) ** done
        apart = ((positions - positions[winner]) ** 2).sum(axis=1)
        codes += rate * np.exp(-apart / (2 * radius**2))[:, None] * (row - codes)
    np.testing.assert_allclose(codes_of(model), codes, atol=1e-4)


def test_online_is_refused_on_several_replicas():
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice()
    )

    with (
        strategy.scope(),
        pytest.raises(InputError, match=r"^`update` must be batch on several replicas\."),
    ):
        map_of(rate=ExponentialDecay(0.5, 0.1))


# --- errors ---------------------------------------------------------------------------------


def test_errors_are_those_computed_by_hand():
    model = map_of(3, 3)

    logs = model.evaluate(
        tf.data.Dataset.from_tensor_slices(IMAGES).batch(7), verbose=0, return_dict=True
    )

    squared = squared_distances(ROWS, codes_of(model))
    first, second = squared.argsort(axis=1)[:, :2].T
    positions = positions_of(3, 3, "square")
    apart = np.linalg.norm(positions[first] - positions[second], axis=1)
    assert logs["quantization_error"] == pytest.approx(np.sqrt(squared.min(1)).mean(), rel=1e-4)
    assert logs["topographic_error"] == pytest.approx((apart > 1.5).mean())
    assert set(logs) == {"quantization_error", "topographic_error"}


def test_the_objective_falls_when_the_codes_move_against_its_gradient():
    model = map_of()
    objective = model.objectives((tf.constant(IMAGES), None))["distortion"]

    with tf.GradientTape() as tape:
        loss = objective.loss()
    [gradient] = tape.gradient(loss, [variable.value for variable in objective.variables])

    codes = codes_of(model)
    positions = positions_of(2, 3, "square")
    winners = squared_distances(ROWS, codes).argmin(axis=1)
    shares = np.exp(-squared_distances(positions, positions) / (2 * 1.5**2))[winners]
    expected = -(shares[..., None] * (ROWS[:, None] - codes)).mean(axis=0)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
