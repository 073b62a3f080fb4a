from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate
from keras import ops

from suite import InputError
from suite.rl.spaces import (
    as_arrays,
    describe,
    environment_actions,
    stack_frames,
    within_bounds,
)

ONE = spaces.Discrete(2)


def description_of(observations=ONE, actions=ONE, **options):
    vector = SimpleNamespace(single_observation_space=observations, single_action_space=actions)
    return describe(vector, "Toy-v0", **options)


@pytest.mark.parametrize(
    ("space", "numbers", "scale"),
    [
        (spaces.Discrete(3, start=1), 3, (1, 1, 1)),
        (spaces.Box(np.array([-2.0, 0], "f4"), np.array([1.0, np.inf], "f4")), 2, (0.5, 1)),
        (spaces.Box(0, 255, (2, 2, 3), np.uint8), 12, (1 / 255,) * 12),
        (spaces.MultiDiscrete([3, 2]), 5, (1,) * 5),
        (spaces.MultiBinary(4), 4, (1,) * 4),
        (spaces.Tuple((spaces.Discrete(3), spaces.Box(-4, 4, (1,)))), 4, (1, 1, 1, 0.25)),
        (spaces.Dict({"hand": spaces.Box(-1, 1, (6,)), "n": spaces.Discrete(3)}), 9, (1,) * 9),
    ],
)
def test_observations_become_vectors(space, numbers, scale):
    description = description_of(space)
    batched = batch_space(space, 2)
    batched.seed(0)
    samples = batched.sample()

    vectors = as_arrays(space, batched, samples, description)

    assert description.observation_dim == numbers
    assert description.observation_scale == pytest.approx(scale)
    assert vectors.dtype == np.float32 and vectors.shape == (2, numbers)
    flat = [spaces.flatten(space, sample) for sample in iterate(batched, samples)]
    np.testing.assert_array_equal(vectors, np.asarray(flat, np.float32))


def test_a_hand_and_a_number_in_one_vector():
    space = spaces.Dict({"hand": spaces.MultiBinary(2), "number": spaces.Discrete(3, start=4)})
    hands = {"hand": np.array([[0, 1], [1, 1]], np.int8), "number": np.array([5, 4])}

    vectors = as_arrays(space, batch_space(space, 2), hands, description_of(space))

    assert vectors.tolist() == [[0, 1, 0, 1, 0], [1, 1, 1, 0, 0]]


def test_pictures_may_keep_their_shape_and_their_bytes():
    pictures = spaces.Box(0, 255, (4, 4, 3), np.uint8)
    description = description_of(pictures, flatten=False)

    arrays = as_arrays(pictures, None, np.full((2, 4, 4, 3), 7, np.uint8), description)

    assert description.observation_shape == (4, 4, 3)
    assert arrays.shape == (2, 4, 4, 3) and arrays.dtype == np.uint8
    assert description_of(spaces.Box(-1, 1, (2, 2)), flatten=False).observation_dtype == "float32"
    assert (
        description_of(spaces.Box(0, 1, (2, 2), bool), flatten=False).observation_dtype == "uint8"
    )


def test_frames_are_joined_along_the_last_axis():
    space = spaces.Box(np.array([[-2.0], [-4.0]], "f4"), np.array([[2.0], [4.0]], "f4"))

    pictures = description_of(space, flatten=False, frame_stack=3)
    choices = description_of(spaces.Discrete(3), frame_stack=2)

    assert pictures.observation_shape == (2, 3) and pictures.frame_shape == (2, 1)
    assert pictures.observation_scale == (0.5, 0.5, 0.5, 0.25, 0.25, 0.25)
    assert choices.observation_shape == (6,) and choices.frame_shape == (3,)
    with pytest.raises(InputError, match=r"`frame_stack` must be 1 .* Received: 2 for MultiBin"):
        description_of(spaces.MultiBinary(4), frame_stack=2)


def test_the_first_frame_of_an_episode_fills_its_stack():
    observations = np.array([[1, 2, 3], [4, 5, 6]])

    stacked = stack_frames(observations, np.array([[7], [8]]), np.array([False, True]))

    assert stacked.tolist() == [[2, 3, 7], [8, 8, 8]]


@pytest.mark.parametrize(
    ("space", "actions", "expected"),
    [
        (spaces.Discrete(3, start=-1), [0, 2], [-1, 1]),
        (spaces.MultiDiscrete([3, 2]), [[0, 1], [2, 0]], [[0, 1], [2, 0]]),
        (spaces.MultiDiscrete([3, 2], start=[1, 5]), [[0, 1], [2, 0]], [[1, 6], [3, 5]]),
        (spaces.MultiBinary((2, 1)), [[0, 1], [1, 1]], [[[0], [1]], [[1], [1]]]),
        (spaces.Box(-2, 3, (2,), np.int32), [[0, 5], [2, 1]], [[-2, 3], [0, -1]]),
    ],
)
def test_choices_are_counted_from_0(space, actions, expected):
    values = environment_actions(space, np.array(actions, np.int32))

    assert values.tolist() == expected and values.dtype == space.dtype
    assert all(space.contains(action) for action in values)
    description = description_of(actions=space)
    assert description.action_dtype == "int32"
    assert description.action_shape == np.shape(actions)[1:]


def test_a_box_of_integers_is_a_choice_for_each_number():
    assert description_of(actions=spaces.Box(-2, 3, (2,), np.int32)).action_choices == (6, 6)
    assert description_of(actions=spaces.MultiDiscrete([3, 2])).action_choices == (3, 2)
    assert description_of(actions=spaces.MultiBinary(3)).action_choices == (2, 2, 2)


@pytest.mark.parametrize("numpy", [np, ops])
def test_numbers_come_within_their_bounds(numpy):
    bounds = ((0.0, 1.0, None, None), (10.0, None, 1.0, None))
    numbers = np.array([[-7.0] * 4, [0.0] * 4, [0.5] * 4, [60.0] * 4], np.float32)

    values = np.asarray(within_bounds(numbers, bounds, numpy))

    soft = np.log1p(np.exp(numbers[:, 0], dtype=np.float64))
    expected = np.stack([[0, 5, 7.5, 10], 1 + soft, 1 - soft, numbers[:, 0]], axis=1)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize("numpy", [np, ops])
def test_rounding_does_not_lead_out_of_bounds(numpy):
    low, high = np.sort(np.random.default_rng(0).uniform(-3, 3, (2, 100)).round(1), axis=0)
    space = spaces.Box(low.astype("f4"), high.astype("f4"))
    bounds = description_of(actions=space).action_bounds

    for numbers in (-np.ones((1, 100), "f4"), np.ones((1, 100), "f4")):
        assert space.contains(np.asarray(within_bounds(numbers, bounds, numpy))[0])


def test_bounds_of_a_box_are_none_where_it_has_none():
    low, high = np.array([0, -np.inf], "f4"), np.array([np.inf, np.inf], "f4")

    description = description_of(actions=spaces.Box(low, high))

    assert description.action_bounds == ((0.0, None), (None, None))
    assert description.action_shape == (2,) and description.action_dtype == "float32"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Sequence(spaces.Discrete(2)), "can flatten. Received: Sequence.* of Toy-v0"),
        (spaces.Graph(spaces.Discrete(2), None), "can flatten. Received: Graph"),
    ],
)
def test_observations_without_a_fixed_size_are_refused(space, message):
    with pytest.raises(InputError, match=message):
        description_of(space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Tuple((ONE, ONE)), r"or Box actions. Received: Tuple.* of Toy-v0"),
        (spaces.Box(0, 5000, (1,), np.int32), "at most 1,024 choices.* Received: 5,001 in Box"),
    ],
)
def test_actions_that_no_distribution_has_are_refused(space, message):
    with pytest.raises(InputError, match=message):
        description_of(actions=space)
