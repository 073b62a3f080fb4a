from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from suite import InputError
from suite.trainers.optimizers import Adam, Muon, OptimizerName, make_optimizer


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_optimizer_follows_the_gradient_and_decays_weights(name):
    def weight_after(weight_decay, gradient):
        weight = keras.Variable(np.full((4, 4), 2.0, "float32"), name="kernel")
        optimizer = make_optimizer(name, 0.1, weight_decay)
        optimizer.build([weight])
        optimizer.apply([keras.ops.full((4, 4), gradient)])
        return np.asarray(weight).mean()

    assert weight_after(0.0, 1.0) < 2 < weight_after(0.0, -1.0)
    assert weight_after(0.5, 1.0) < weight_after(0.0, 1.0)


def test_vectors_are_no_matrices_to_muon():
    shapes = {(4, 4): False, (1, 4): True, (4, 1): True, (4,): True, (3, 3, 2, 4): False}

    for shape, by_adam in shapes.items():
        variable = keras.Variable(np.zeros(shape, "float32"), name="kernel")
        assert Muon()._should_use_adamw(variable) == by_adam


def weights_after_steps(optimizer, strategy=None, choose_rows=np.random.Generator.permutation):
    """A matrix, and an embedding of which every batch has four rows, after 20 steps."""
    random = np.random.default_rng(0)
    batches = [(random.normal(size=(4, 3)), choose_rows(random, 6)[:4]) for _ in range(20)]
    with (strategy or tf.distribute.get_strategy()).scope():
        matrix = keras.Variable(np.ones((3, 2), "float32"), name="matrix")
        embedding = keras.Variable(np.ones((6, 2), "float32"), name="embedding")
        optimizer.build([matrix, embedding])

    @tf.function
    def step(features, rows):
        with tf.GradientTape() as tape:
            outputs = tf.cast(features, tf.float32) @ matrix.value + tf.gather(
                embedding.value, rows
            )
            loss = tf.reduce_mean(tf.square(outputs - 3))
        variables = [matrix.value, embedding.value]
        optimizer.apply(tape.gradient(loss, variables), [matrix, embedding])

    if strategy is None:
        for batch in batches:
            step(*batch)
        return [weight.numpy() for weight in (matrix, embedding)]
    for features, rows in batches:
        # The second replica has a batch of its own.
        strategy.run(
            step,
            [
                strategy.experimental_distribute_values_from_function(
                    lambda context, part=part: tf.constant(part[context.replica_id_in_sync_group])
                )
                for part in zip((features, rows), (2 * features[::-1], (rows + 1) % 6), strict=True)
            ],
        )
    return [
        replica.numpy()
        for weight in (matrix, embedding)
        for replica in strategy.experimental_local_results(weight.value)
    ]


class KerasAdamOfSums(keras.optimizers.Adam):
    """Keras's Adam on dense gradients, in which those of a row are added up."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(tf.convert_to_tensor(gradient), variable, learning_rate)


ADAMS = [
    {},
    {"weight_decay": 0.1},
    {"global_clipnorm": 0.01},
    {"amsgrad": True},
    {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
]


@pytest.mark.parametrize("knobs", ADAMS)
def test_adam_makes_the_steps_of_keras(knobs):
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, 30, 0.01)

    ours = weights_after_steps(Adam(schedule, **knobs))

    expected = weights_after_steps(keras.optimizers.Adam(schedule, **knobs))
    for weight, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


def test_adam_adds_up_the_gradients_of_a_row_that_a_batch_has_twice():
    def twice(random, count):
        return np.repeat(random.permutation(count)[:2], 2)

    weights, expected = (
        weights_after_steps(optimizer(0.1), choose_rows=twice)
        for optimizer in (Adam, KerasAdamOfSums)
    )

    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


def test_adam_of_two_replicas_makes_the_steps_of_keras():
    def after(optimizer):
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            return weights_after_steps(optimizer(0.1), strategy)

    weights = after(Adam)

    np.testing.assert_array_equal(weights[0], weights[1])
    for weight, other in zip(weights, after(KerasAdamOfSums), strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


def test_adam_updates_a_weight_by_one_operation(monkeypatch):
    weight = keras.Variable(np.ones((3, 2), "float32"))

    def operations(optimizer):
        optimizer.build([weight])
        step = tf.function(lambda: optimizer.apply([tf.ones((3, 2))])).get_concrete_function()
        return [operation.type for operation in step.graph.get_operations()]

    assert operations(Adam(0.1)).count("ResourceApplyAdam") == 1
    assert "Sqrt" not in operations(Adam(0.1))
    assert "Sqrt" in operations(keras.optimizers.Adam(0.1))
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")  # which has no such operation
    assert "ResourceApplyAdam" not in operations(Adam(0.1))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_saved_model_remembers_its_optimizer(name, tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(make_optimizer(name, 0.1, 0.01), "mse")
    model.fit(np.ones((2, 3)), np.ones((2, 2)), verbose=0)
    model.save(tmp_path / "model.keras")

    optimizer = keras.models.load_model(tmp_path / "model.keras").optimizer

    assert type(optimizer) is type(model.optimizer)
    assert optimizer.get_config() == model.optimizer.get_config()


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_no_decay_is_no_decay_of_zero(name):
    assert make_optimizer(name, 0.1, 0.0).weight_decay is None


def steps_of_sgd(gradients, **clipping):
    weights = [keras.Variable(np.zeros(len(gradient), "float32")) for gradient in gradients]
    optimizer = make_optimizer("sgd", 1.0, 0.0, **clipping)
    optimizer.build(weights)
    optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients])
    return [np.asarray(weight).tolist() for weight in weights]


def test_gradients_are_clipped_by_value_or_by_their_common_norm():
    gradients = [[3.0, -0.5], [4.0]]

    assert steps_of_sgd(gradients) == [[-3.0, 0.5], [-4.0]]
    assert steps_of_sgd(gradients, clip_value=1.0) == [[-1.0, 0.5], [-1.0]]
    # The norm of [3, 4] is 5, of which 1 remains.
    [first], [second] = steps_of_sgd([[3.0], [4.0]], clip_norm=1.0)
    assert (first, second) == pytest.approx((-0.6, -0.8), abs=1e-6)
    assert steps_of_sgd([[3.0], [4.0]], clip_norm=6.0) == [[-3.0], [-4.0]]


def test_gradients_are_clipped_in_one_way():
    with pytest.raises(InputError, match="`clip_value` must be left out with `clip_norm`"):
        make_optimizer("sgd", 1.0, 0.0, clip_value=1.0, clip_norm=1.0)


def test_momentum_and_nesterov_differ_from_sgd_and_from_each_other():
    def places(name):
        weight = keras.Variable(np.zeros(1, "float32"))
        optimizer = make_optimizer(name, 1.0, 0.0)
        optimizer.build([weight])
        for _ in range(2):
            optimizer.apply([keras.ops.ones(1)])
        return float(np.asarray(weight)[0])

    assert places("sgd") == pytest.approx(-2.0)
    assert places("momentum") == pytest.approx(-2.9)
    assert places("nesterov") < places("momentum")


def test_muon_turns_the_kernel_of_a_convolution_like_a_matrix():
    """The singular values of a step are alike, however different those of the gradient are."""
    gradient = np.random.default_rng(0).normal(size=(3, 3, 4, 8)) * 1.5 ** np.arange(8)
    kernel = keras.Variable(np.zeros((3, 3, 4, 8), "float32"), name="kernel")
    optimizer = make_optimizer("muon", 1.0, 0.0)
    optimizer.build([kernel])

    optimizer.apply([keras.ops.convert_to_tensor(gradient.astype("float32"))])

    values = np.linalg.svd(np.asarray(kernel).reshape(36, 8), compute_uv=False)
    assert values.max() / values.min() < 2
    assert values.max() == pytest.approx(0.2 * 6, rel=0.3)  # a fifth, times the root of 36


def test_muon_needs_no_known_shape_of_a_gradient():
    """That of a convolution behind a gather has none in a graph."""
    kernel = keras.Variable(np.zeros((3, 3, 4, 8), "float32"), name="kernel")
    optimizer = make_optimizer("muon", 1.0, 0.0)
    optimizer.build([kernel])

    @tf.function(input_signature=[tf.TensorSpec(None)])
    def step(gradient):
        optimizer.apply([gradient])

    step(tf.ones((3, 3, 4, 8)))

    assert np.all(np.asarray(kernel) < 0)


def test_muon_leaves_scales_logits_and_depthwise_kernels_to_adam():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            keras.layers.DepthwiseConv2D(3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(5, use_bias=False),
            keras.layers.Dense(2, use_bias=False, name="logits"),
            keras.layers.Dense(2, use_bias=False, name="auxiliary_1"),
        ]
    )
    optimizer = make_optimizer("muon", 0.1, 0.0)
    optimizer.build(model.trainable_variables)

    by_adam = [velocity is not None for velocity in optimizer.adam_velocities]
    names = [variable.path.split("/")[-2] for variable in model.trainable_variables]
    chosen = dict(zip(names, by_adam, strict=True))
    assert [*chosen.values()] == [False, True, True, False, True, True], chosen
    assert Muon.from_config(optimizer.get_config()).momentum == optimizer.momentum == 0.6


def test_muon_leaves_maps_of_logits_to_adam():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(3, 3, name="features"),
            keras.layers.Conv2D(2, 1, name="logits"),
        ]
    )
    optimizer = make_optimizer("muon", 0.1, 0.0)
    optimizer.build(model.trainable_variables)

    by_adam = [velocity is not None for velocity in optimizer.adam_velocities]
    assert by_adam == [False, True, True, True]  # of each layer the kernel and the bias


@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_may_look_ahead(nesterov):
    """The second direction is the momentum, or that of a step further."""
    gradients = [np.float32([[2.0, 0.0], [0.0, 1.0]]), np.float32([[0.0, -1.0], [2.0, 0.0]])]
    weight = keras.Variable(np.zeros((2, 2), "float32"), name="kernel")
    optimizer = Muon(1.0, momentum=0.5, nesterov=nesterov)
    optimizer.build([weight])
    optimizer.apply([gradients[0]])
    before = np.array(weight)
    optimizer.apply([gradients[1]])

    velocity = 0.5 * gradients[0] + gradients[1]
    direction = gradients[1] + 0.5 * velocity if nesterov else velocity
    u, _, v = np.linalg.svd(direction)
    change = np.array(weight) - before
    cosine = np.sum(-change * (u @ v)) / np.linalg.norm(change) / np.linalg.norm(u @ v)
    assert cosine > 0.97  # Newton and Schulz are not exact
