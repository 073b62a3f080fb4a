"""What a saved state holds, and how it is restored."""

import keras
import numpy as np
import pytest

from suite import InputError
from suite.training.state import KerasCallbackState, Progress, TrainingState, checkpoint_paths

ONES = np.ones((4, 2)), np.ones((4, 1))


def compiled(units=1, optimizer="adam"):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(units)(inputs))
    model.compile(optimizer, "mse")
    return model


def new_state(folder, model, *callbacks, epochs=99, resumed=True, **options):
    """The state of a training of one phase, with what an earlier training has saved in a folder."""
    state = TrainingState(folder, **options)
    state.find()
    state.attach({"network": model}, model, callbacks, epochs, resumed)
    return state


def fit(state, *callbacks, epochs=1, examples=ONES, **options):
    first = state.progress.epoch
    state.model.fit(
        *examples,
        initial_epoch=first,
        epochs=first + epochs,
        verbose=0,
        callbacks=[*callbacks, state],
        **options,
    )


class Counter(keras.callbacks.Callback):
    """A callback that remembers a value of every type that a state may hold."""

    def __init__(self):
        super().__init__()
        self.memory = {"epochs": 0, "best": None, "losses": [], "buffer": np.zeros((2, 3), "u1")}

    def on_epoch_end(self, epoch, logs=None):
        memory = self.memory
        memory["epochs"] += 1
        memory["best"] = np.float32(logs["loss"])
        memory["losses"] = [*memory["losses"], {"loss": float(logs["loss"])}]
        memory["buffer"] = memory["buffer"] + 1

    def state(self):
        return self.memory

    def restore(self, state):
        self.memory = state


class RememberingModel(keras.Model):
    """A model that remembers more than its weights."""

    position = np.array([1, 2])

    def state(self):
        return {"position": self.position, "name": "west"}

    def restore(self, state):
        self.position = state["position"]


def test_a_resumable_callback_goes_on_from_what_it_remembers(tmp_path):
    counter = Counter()
    fit(new_state(tmp_path, compiled(), counter), counter, epochs=3)

    again = Counter()
    new_state(tmp_path, compiled(), again).restore()

    assert again.memory["epochs"] == 3
    assert again.memory["best"] == counter.memory["best"]
    assert again.memory["losses"] == counter.memory["losses"] and len(again.memory["losses"]) == 3
    assert again.memory["buffer"].dtype == np.uint8
    np.testing.assert_array_equal(again.memory["buffer"], np.full((2, 3), 3))


def test_a_model_goes_on_from_what_it_remembers(tmp_path):
    def remembering():
        inputs = keras.Input((2,))
        model = RememberingModel(inputs, keras.layers.Dense(1)(inputs))
        model.compile("adam", "mse")
        return model

    model = remembering()
    model.position = np.array([3, 4])
    fit(new_state(tmp_path, model))

    again = remembering()
    new_state(tmp_path, again).restore()

    np.testing.assert_array_equal(again.position, [3, 4])


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.callbacks.EarlyStopping("loss", patience=9),
        lambda: keras.callbacks.ReduceLROnPlateau("loss", patience=9, cooldown=2),
        lambda: keras.callbacks.ModelCheckpoint("b.keras", "loss", save_best_only=True),
    ],
    ids=["EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"],
)
def test_a_callback_of_keras_s_goes_on_from_what_it_remembers(make, tmp_path):
    # At a negative learning rate it only gets worse: the first epoch is the best.
    first = make()
    fit(new_state(tmp_path, compiled(optimizer=keras.optimizers.SGD(-0.1)), first), first, epochs=3)

    again = make()
    state = new_state(tmp_path, compiled(optimizer=keras.optimizers.SGD(-0.1)), again)
    fit(state, again, epochs=1)

    assert again.best == first.best
    if hasattr(first, "wait"):
        assert (first.wait, again.wait) == (2, 3)


def test_best_weights_are_part_of_the_state(tmp_path):
    def keeping():
        return keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)

    best, model = keeping(), compiled()
    state = new_state(tmp_path, model, best)
    fit(state, best)
    # Afterwards it only gets worse.
    model.optimizer.learning_rate = -1.0
    fit(state, best, epochs=2)
    best_weights = best.best_weights

    fresh = keeping()
    again = new_state(tmp_path, compiled(), fresh)
    again.restore()

    assert any((a != b).any() for a, b in zip(best_weights, again.model.get_weights(), strict=True))
    for a, b in zip(best_weights, fresh.best_weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_callbacks_are_no_part_of_the_state(tmp_path):
    state = new_state(tmp_path, compiled(), keras.callbacks.History(), Counter())

    assert list(state.resumables) == ["1:Counter"]
    assert not isinstance(state.resumables["1:Counter"], KerasCallbackState)


def test_weights_optimizer_and_progress_are_put_back(tmp_path):
    model = compiled()
    fit(new_state(tmp_path, model, epochs=9), epochs=2)

    state = new_state(tmp_path, compiled(), epochs=9)
    state.restore()

    assert state.progress[:3] == (0, 2, 0)
    assert [row["loss"] for row in state.progress.rows] == model.history.history["loss"][-2:]
    for one, other in ((model, state.model), (model.optimizer, state.model.optimizer)):
        for a, b in zip(one.variables, other.variables, strict=True):
            np.testing.assert_array_equal(a, b)


def test_of_the_phase_before_only_the_networks_are_taken_up(tmp_path):
    model, counter = compiled(), Counter()
    fit(new_state(tmp_path, model, counter, epochs=1), counter)

    fresh, again = compiled(optimizer="sgd"), Counter()
    state = new_state(tmp_path, fresh, again, resumed=False)
    state.restore()

    assert state.progress.phase == 1
    for a, b in zip(model.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert fresh.optimizer.iterations == 0 and again.memory["epochs"] == 0


def test_the_last_epoch_ends_the_phase_and_so_does_an_early_stop(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    ended = new_state(tmp_path / "ended", compiled(), epochs=2)
    fit(ended, epochs=2)
    stopped = new_state(tmp_path / "stopped", compiled(), epochs=5)
    fit(stopped, Stop(), epochs=5)

    assert ended.progress[:3] == (1, 2, 0)
    assert stopped.progress[:3] == (1, 1, 0)
    assert (len(ended.progress.rows), len(stopped.progress.rows)) == (2, 1)


@pytest.mark.parametrize(("seconds", "saved"), [(0, 4), (3600, 1)])
def test_a_state_is_saved_in_the_middle_of_an_epoch_when_the_last_is_old(seconds, saved, tmp_path):
    examples = np.ones((8, 2)), np.ones((8, 1))
    steps = []

    class Note(TrainingState):
        def _save(self, progress):
            super()._save(progress)
            steps.append(progress.step)

    model = compiled()
    state = Note(tmp_path, save_seconds=seconds)
    state.attach({"network": model}, model, [], 9, False)
    fit(state, examples=examples, batch_size=2)

    # After each step, and at the end; the last step's own is that of the end.
    assert steps == [1, 2, 3, 0][-saved:]
    assert TrainingState(tmp_path).find()[:3] == (0, 1, 0)


def test_state_of_another_model_is_refused(tmp_path):
    fit(new_state(tmp_path, compiled(1)))
    state = new_state(tmp_path, compiled(2))

    with pytest.raises(InputError, match="of another model"):
        state.restore()


def test_the_state_before_a_damaged_one_is_taken(tmp_path, caplog):
    fit(new_state(tmp_path, compiled()), epochs=3)
    newest, before = (sorted(tmp_path.glob("*.data-*"))[i] for i in (-1, -2))
    whole = newest.read_bytes()

    assert len(list(tmp_path.glob("*.index"))) == 2
    for damaged in (whole[:-20], bytes(255 - byte for byte in whole), b""):
        newest.write_bytes(damaged)
        assert TrainingState(tmp_path).find().epoch == 2
        assert "is damaged" in caplog.text
    before.write_bytes(b"")
    assert TrainingState(tmp_path).find() == Progress()


def test_what_a_killed_save_has_left_goes_and_the_state_before_it_stays(tmp_path):
    fit(new_state(tmp_path, compiled()), epochs=2)
    for number in (3, 4):
        (tmp_path / f"ckpt-{number}.data-00000-of-00001").write_bytes(b"torn")
        (tmp_path / f"ckpt-{number}_temp").mkdir()
        (tmp_path / f"ckpt-{number}_temp" / "part.tempstate1").write_bytes(b"torn")
    others = {"ckpt-1.index.orig", "ckpt-2.notes", "ckpt-9.index.mine", "ckpt-007.index"}
    for name in others:
        (tmp_path / name).write_text("somebody else's")

    state = new_state(tmp_path, compiled())
    assert state.progress.epoch == 2
    fit(state)

    assert checkpoint_paths(tmp_path) == [str(tmp_path / "ckpt-2"), str(tmp_path / "ckpt-5")]
    endings = (".index", ".data-00000-of-00001")
    kept = {f"ckpt-{number}{ending}" for number in (2, 5) for ending in endings}
    assert {path.name for path in tmp_path.iterdir()} == kept | others
    (tmp_path / "ckpt-5.index").unlink()
    assert TrainingState(tmp_path).find().epoch == 2
