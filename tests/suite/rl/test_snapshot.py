import enum
from collections import Counter, defaultdict, deque, namedtuple

import numpy as np
import pytest

from suite.rl.environments import Environments
from suite.rl.snapshot import Opaque, restore_into, snapshot

Pair = namedtuple("Pair", "left right")


class Board:
    def __init__(self, seed=0):
        self.pieces, self.turn = np.zeros((2, 3), np.int8), 0
        self.table = {0: [(1.0, False)], "name": None, (1, 2): np.float32(0.5)}
        self.words = np.array([[b"S", b"FG"]], dtype="S2"), np.array(["ä", "b"])
        self.last, self.pair = deque([1, 2], maxlen=3), Pair(1, (2, 3))
        self.random = np.random.default_rng(seed)
        self.old_random = np.random.RandomState(seed)
        self.shared_random = self.old_random
        self.me = self


def copy_of(state):
    """A copy of a state; asserts that it has only dicts, lists, arrays and values of JSON."""
    match state:
        case dict():
            assert all(isinstance(name, str) for name in state)
            return {name: copy_of(part) for name, part in state.items()}
        case list():
            return [copy_of(item) for item in state]
        case np.ndarray():
            assert state.dtype == np.uint8
            return state.copy()
    assert state is None or isinstance(state, (bool, int, float, str))
    return state


def test_object_comes_back_as_it_was():
    board, target = Board(1), Board(2)
    board.pieces[1, 2], board.turn = 7, float("inf")
    board.last.append(3)
    board.random.random(5)
    board.old_random.normal(size=3)

    back = restore_into(target, copy_of(snapshot(board)))

    assert back is target and back.me is target
    assert back.turn == float("inf") and back.pieces.dtype == np.int8
    np.testing.assert_array_equal(back.pieces, board.pieces)
    assert back.table == board.table and isinstance(back.table[1, 2], np.float32)
    for one, two in zip(back.words, board.words, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype and one.flags.writeable
    assert back.last == board.last and back.last.maxlen == 3
    assert back.pair == Pair(1, (2, 3)) and isinstance(back.pair, Pair)
    assert back.random.random() == board.random.random()
    assert back.shared_random is back.old_random
    assert back.old_random.normal(size=4).tolist() == board.old_random.normal(size=4).tolist()


@pytest.mark.parametrize("thing", [open, 1j, {1, 2}, np.array([object()]), deque, memoryview(b"")])
def test_only_what_can_be_seen_is_taken(thing):
    if callable(thing):  # was made alike, and stays
        assert restore_into(thing, copy_of(snapshot(thing))) is thing
    else:
        with pytest.raises(Opaque):
            snapshot(thing)


class Phase(enum.Enum):
    HIDE, SEEK = range(2)


class Chase:
    def __init__(self):
        self.ghosts = [Board(1), Board(2)]
        self.target = self.ghosts[0]
        self.field = np.zeros(4)
        self.same_field, self.fields = self.field, [self.field]
        self.speed, self.phase = np.float64(1.5), Phase.HIDE
        self.visits, self.counts = defaultdict(int), Counter("a")


def test_what_is_one_object_stays_one():
    chase, target = Chase(), Chase()
    chase.target, chase.phase = chase.ghosts[1], Phase.SEEK
    chase.visits[3] += 2
    chase.counts["b"] += 1

    back = restore_into(target, copy_of(snapshot(chase)))

    assert back.target is back.ghosts[1]
    assert back.same_field is back.field and back.fields[0] is back.field
    assert (np.ones(1, np.float32) * back.speed).dtype == np.float64
    assert back.phase is Phase.SEEK
    assert back.visits[3] == 2 and back.visits["never"] == 0
    assert back.counts == chase.counts and isinstance(back.counts, Counter)


def test_views_of_an_array_cannot_be_seen():
    chase = Chase()
    chase.fields = [chase.field[1:-1]]
    with pytest.raises(Opaque, match="share memory"):
        snapshot(chase)


def test_a_list_within_itself_cannot_be_seen():
    items = []
    items.append({"items": items})
    with pytest.raises(Opaque, match="holds itself"):
        snapshot(items)


def test_types_without_a_module_cannot_be_seen():
    class Swig(type):
        @property
        def __module__(cls):
            raise AttributeError("__module__")

    class Body(metaclass=Swig):
        __slots__ = ()

    with pytest.raises(Opaque, match="Body"):
        snapshot(Body())


def test_processes_cannot_be_seen():
    environments = Environments("CartPole-v1", 2, "async")
    with pytest.raises(Opaque):
        environments.state()
    environments.close()


@pytest.mark.parametrize("saved", [{"object": {"x": 1}}, {"nothing": 1}, {"random": {}}, {}])
def test_what_is_no_snapshot_is_refused(saved):
    with pytest.raises((ValueError, AttributeError, TypeError, StopIteration)):
        restore_into(len, saved)


@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "FrozenLake-v1"])
@pytest.mark.parametrize("vectorization", ["auto", "sync"])
def test_environments_go_on_as_if_nothing_had_happened(name, vectorization):
    one, other = (Environments(name, 3, vectorization) for _ in range(2))
    one.reset(5)
    actions = [one._vector.action_space.sample() for _ in range(300)]
    # Once with an action of its own, which must leave no trace.
    other.reset(6)
    other.step(actions[0])
    for action in actions[:150]:
        one._vector.step(action)

    other.restore(copy_of(one.state()))

    for action in actions[150:]:
        for a, b in zip(one._vector.step(action), other._vector.step(action), strict=True):
            np.testing.assert_equal(a, b)
