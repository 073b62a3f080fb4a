"""Interrupted anywhere, a training ends with the same bytes as one that was not."""

import dataclasses
import os
import signal
import threading

import keras
import numpy as np
import pytest

from apps.dcgan import app as dcgan
from apps.iris import app as iris
from apps.mnist_cnn import app as mnist_cnn
from apps.vae import app as vae
from suite import InputError, Interrupted, Run, train
from suite.training.state import Progress, StopSignals, TrainingState, states


class SignalAt(keras.callbacks.Callback):
    """Sends this process a signal after some batches or epochs."""

    def __init__(self, batch=None, epoch=None, number=signal.SIGINT):
        super().__init__()
        self.batch, self.epoch, self.number = batch, epoch, number
        self.seen = -1  # a counter: not part of what is compared

    def on_train_batch_end(self, batch, logs=None):
        last = self.params["steps"] - 1
        if self.batch is not None and batch >= (last if self.batch == "last" else self.batch):
            self.batch = None
            os.kill(os.getpid(), self.number)

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.epoch = None
            os.kill(os.getpid(), self.number)


def with_callback(app, callback):
    return dataclasses.replace(app, callbacks=lambda *given: [*app.callbacks(*given), callback])


CASES = {
    "in an epoch": (iris, {"batch_size": 32}, {"batch": 30}),
    "in the last step of an epoch": (iris, {"batch_size": 32}, {"batch": "last"}),
    "at the end of an epoch": (iris, {"batch_size": 32}, {"epoch": 0}),
    "at the very end": (iris, {"batch_size": 32}, {"epoch": 1}),
    "with dropout and augmentation": (mnist_cnn, {"batch_size": 32}, {"batch": 25}),
    "of two networks and an average": (
        dcgan,
        {"batch_size": 32, "discriminator_steps": 2},
        {"batch": 25},
    ),
    "with noise of its own": (vae, {"batch_size": 32, "nll_samples": 1}, {"batch": 25}),
}
SMALL = {
    "iris": {},
    "mnist_cnn": {"filters": (4, 8), "dropout": 0.2},
    "dcgan": {"generator_filters": (8, 4), "discriminator_filters": (4, 8), "latent_dim": 8},
    "vae": {"filters": (4,), "units": (8,)},
}


@pytest.mark.parametrize("case", CASES)
def test_resumed_run_equals_the_uninterrupted_one(case, tmp_path):
    app, recipe, when = CASES[case]
    config = dataclasses.replace(app.config(), epochs=2, **recipe)
    knobs = SMALL[app.name]
    base = Run(data="embedded", quiet=True, seed=5)
    quiet = with_callback(app, SignalAt())

    whole = train(quiet, config, dataclasses.replace(base, run_dir=tmp_path / "whole"), knobs)
    run = dataclasses.replace(base, run_dir=tmp_path / "broken")
    with pytest.raises(Interrupted, match="--resume") as stopped:
        train(with_callback(app, SignalAt(**when)), config, run, knobs)
    # Everything is found in the folder: no knob is given again.
    resumed = train(quiet, None, Run(run_dir=run.run_dir, resume=True, quiet=True))

    assert stopped.value.signal_number == signal.SIGINT
    for a, b in zip(whole.model.variables, resumed.model.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("optimizer", "discriminator_optimizer"):
        one, other = (getattr(run.model, name, None) for run in (whole, resumed))
        for a, b in zip(*([] if one is None else (one.variables, other.variables)), strict=True):
            np.testing.assert_array_equal(a, b)
    assert whole.history == resumed.history
    assert whole.report["metrics"] == resumed.report["metrics"]
    logs = [(t.folder / "log.csv").read_bytes() for t in (whole, resumed)]
    assert logs[0] == logs[1]


def test_sigterm_is_told_apart():
    app = with_callback(iris, SignalAt(batch=10, number=signal.SIGTERM))

    with pytest.raises(Interrupted) as stopped:
        train(app, iris.config(epochs=1), Run(data="embedded", quiet=True))

    assert stopped.value.signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_second_signal_stops_at_once():
    # A shell has what it starts in the background ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_training_outside_the_main_thread_leaves_signals_alone():
    before = signal.getsignal(signal.SIGINT)

    def enter():
        with StopSignals():
            assert signal.getsignal(signal.SIGINT) is before

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()


def compiled(units):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(units)(inputs))
    model.compile("adam", "mse")
    return model


def fit(model, state):
    model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=1, verbose=0, callbacks=[state])


def test_counters_of_companions_are_part_of_the_state(tmp_path):
    stopping = keras.callbacks.EarlyStopping(monitor="loss", patience=3)
    state = TrainingState(tmp_path, [stopping])
    model = compiled(1)
    model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, verbose=0, callbacks=[stopping, state])
    best = stopping.best

    fresh = keras.callbacks.EarlyStopping(monitor="loss", patience=3)
    again = TrainingState(tmp_path, [fresh])
    found = again.find()
    again.set_model(compiled(1))
    again.restore()

    assert (found.epoch, found.step, len(found.rows)) == (2, 0, 2)
    assert fresh.best == best


def test_best_weights_are_part_of_the_state(tmp_path):
    def keeping():
        return keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)

    best, model = keeping(), compiled(1)
    state = TrainingState(tmp_path, [best])
    ones = np.ones((4, 2)), np.ones((4, 1))
    model.fit(*ones, epochs=1, verbose=0, callbacks=[best, state])
    # Afterwards it only gets worse.
    model.optimizer.learning_rate = -1.0
    model.fit(*ones, epochs=3, initial_epoch=1, verbose=0, callbacks=[best, state])
    kept = best.best_weights

    fresh = keeping()
    again = TrainingState(tmp_path, [fresh])
    again.find()
    again.set_model(compiled(1))
    again.restore()

    assert any((a != b).any() for a, b in zip(kept, again.model.get_weights(), strict=True))
    for a, b in zip(kept, fresh.best_weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_state_of_another_model_is_refused(tmp_path):
    fit(compiled(1), TrainingState(tmp_path))
    state = TrainingState(tmp_path)
    state.find()
    state.set_model(compiled(2))

    with pytest.raises(InputError, match="of another model"):
        state.restore()


def test_the_state_before_a_damaged_one_is_taken(tmp_path, caplog):
    model, state = compiled(1), TrainingState(tmp_path)
    model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=3, verbose=0, callbacks=[state])
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
    model, state = compiled(1), TrainingState(tmp_path)
    model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, verbose=0, callbacks=[state])
    for number in (3, 4):
        (tmp_path / f"ckpt-{number}.data-00000-of-00001").write_bytes(b"torn")
        (tmp_path / f"ckpt-{number}_temp").mkdir()
        (tmp_path / f"ckpt-{number}_temp" / "part.tempstate1").write_bytes(b"torn")
    others = {"ckpt-1.index.orig", "ckpt-2.notes", "ckpt-9.index.mine", "ckpt-007.index"}
    for name in others:
        (tmp_path / name).write_text("somebody else's")

    state = TrainingState(tmp_path)
    assert state.find().epoch == 2
    fit(compiled(1), state)

    assert states(tmp_path) == [str(tmp_path / "ckpt-2"), str(tmp_path / "ckpt-5")]
    endings = (".index", ".data-00000-of-00001")
    kept = {f"ckpt-{number}{ending}" for number in (2, 5) for ending in endings}
    assert {path.name for path in tmp_path.iterdir()} == kept | others
    (tmp_path / "ckpt-5.index").unlink()
    assert TrainingState(tmp_path).find().epoch == 2


def test_lost_state_is_no_reason_to_begin_anew(tmp_path):
    run = Run(data="embedded", quiet=True, run_dir=tmp_path / "run")
    train(iris, iris.config(epochs=1), run)
    for path in (run.run_dir / "checkpoints").iterdir():
        path.unlink()

    with pytest.raises(InputError, match="a saved state that is whole"):
        train(iris, run=Run(run_dir=run.run_dir, resume=True, quiet=True))


def test_a_run_killed_in_its_first_epoch_begins_anew(tmp_path, caplog):
    run = Run(data="embedded", quiet=True, run_dir=tmp_path / "run")

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(with_callback(iris, Kill()), iris.config(epochs=1), run)
    trained = train(iris, run=Run(run_dir=run.run_dir, resume=True, quiet=True))

    assert "it begins anew" in caplog.text
    assert len(trained.history["loss"]) == 1
