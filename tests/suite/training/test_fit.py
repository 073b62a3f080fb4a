"""Interrupted anywhere, a training ends with the same bytes as one that was not."""

import dataclasses
import os
import random
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.dcgan import app as dcgan
from apps.iris import app as iris
from apps.mnist_cnn import app as mnist_cnn
from apps.vae import app as vae
from suite import InputError, Interrupted, Run, train
from suite.app import Phase, serve_networks
from suite.trainers.averages import AverageWeights
from suite.training.batch_norm import fused_batch_normalization
from suite.training.state import TrainingState
from tests.suite.small import (
    QUIET,
    app,
    assert_equal_weights,
    compile_model,
    variant,
    with_callbacks,
)

EMBEDDED = Run(data="embedded", quiet=True, figures=False, seed=5)


class SignalAt(keras.callbacks.Callback):
    """Sends this process a signal after a batch or an epoch, counted over all phases.

    Trainings that are compared have one even where it sends nothing: the saved states of callbacks
    are found by their places.
    """

    def __init__(self, epoch=None, batch=None, number=signal.SIGINT):
        super().__init__()
        self.epoch, self.batch, self.number = epoch, batch, number

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        last = self.params["steps"] - 1
        target = last if self.batch == "last" else self.batch
        if self.now == self.epoch and target is not None and batch >= target:
            self.stop()

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.stop()

    def stop(self):
        self.epoch = None
        os.kill(os.getpid(), self.number)


def optimizers(model):
    return [model.optimizer, getattr(model, "discriminator_optimizer", None)]


def assert_same(whole, resumed):
    """Asserts that weights, optimizers, logs and metrics are the same to the last bit."""
    for a, b in zip(whole.model.variables, resumed.model.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for one, other in zip(optimizers(whole.model), optimizers(resumed.model), strict=True):
        if one is not None:
            for a, b in zip(one.variables, other.variables, strict=True):
                np.testing.assert_array_equal(a, b)
    assert whole.history == resumed.history
    assert whole.metrics == resumed.metrics
    logs = [(trained.folder / "log.csv").read_bytes() for trained in (whole, resumed)]
    assert logs[0] == logs[1]


def train_twice(app, recipe, run, when, until="fit", make_callbacks=list):
    """Trains twice, once without interruption, once stopped by a signal and resumed.

    Returns:
        The uninterrupted and the resumed training.
    """

    def training(run, recipe, callback):
        return train(app, recipe, run, until=until, callbacks=[*make_callbacks(), callback])

    whole = training(dataclasses.replace(run, run_dir=Path("whole")), recipe, SignalAt())
    with pytest.raises(Interrupted, match='resume=True, run_dir="broken"') as stopped:
        training(dataclasses.replace(run, run_dir=Path("broken")), recipe, SignalAt(**when))
    assert stopped.value.signal_number == signal.SIGINT
    # All settings come from the folder of the run: no knob is passed again.
    resumed = Run(run_dir=Path("broken"), resume=True, quiet=True)
    return whole, training(resumed, None, SignalAt())


def best_of_all():
    """Restores the weights of the first epoch at the end of a phase: its loss is the largest."""
    return [
        keras.callbacks.EarlyStopping("loss", mode="max", patience=9, restore_best_weights=True)
    ]


def test_stopped_at_the_end_of_a_phase_the_next_one_begins_with_the_best_weights():
    phases = [Phase(name="first", epochs=3), Phase(name="second", epochs=1)]
    in_phases = variant(app, phases=lambda config: phases)

    whole, resumed = train_twice(
        in_phases, app.recipe(), QUIET, {"epoch": 2}, make_callbacks=best_of_all
    )

    for a, b in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_killed_before_the_weights_of_a_phase_are_chosen_it_ends_with_the_same_bytes(monkeypatch):
    phases = [Phase(name="first", epochs=3), Phase(name="second", epochs=1)]
    in_phases = variant(app, phases=lambda config: phases)

    def training(run):
        callbacks = [AverageWeights(0.9), *best_of_all()]
        return train(in_phases, run=run, callbacks=callbacks, until="fit")

    whole = training(Run(quiet=True, run_dir=Path("whole")))
    run = Run(quiet=True, run_dir=Path("killed"))
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(TrainingState, "end_phase", lambda self: 1 / 0)
        training(run)
    resumed = training(dataclasses.replace(run, resume=True))

    assert_equal_weights(whole.model, resumed.model)


def test_best_weights_of_an_earlier_phase_do_not_undo_one_without_epochs():
    def to_zero(fitted):
        fitted.model.set_weights([np.zeros_like(part) for part in fitted.model.get_weights()])

    phases = [Phase(name="fit", epochs=2), Phase(name="closed form", begin=to_zero)]

    in_phases = variant(app, phases=lambda config: phases)
    trained = train(in_phases, None, QUIET, callbacks=best_of_all(), until="fit")

    assert not any(part.any() for part in trained.model.get_weights())


CASES = {
    "in an epoch": (iris, {"batch_size": 32}, {"epoch": 0, "batch": 30}),
    "in the last step of an epoch": (iris, {"batch_size": 32}, {"epoch": 0, "batch": "last"}),
    "at the end of an epoch": (iris, {"batch_size": 32}, {"epoch": 0}),
    "at the very end": (iris, {"batch_size": 32}, {"epoch": 1}),
    "with dropout and augmentation": (
        mnist_cnn,
        {"batch_size": 32, "filters": (4, 8), "dropout": 0.2},
        {"epoch": 0, "batch": 25},
    ),
    "of two networks and an average": (
        dcgan,
        {"batch_size": 32, "discriminator_steps": 2, "generator_filters": (8, 4)}
        | {"discriminator_filters": (4, 8), "latent_dim": 8},
        {"epoch": 0, "batch": 25},
    ),
    "with noise of its own": (
        vae,
        {"batch_size": 32, "nll_samples": 1, "filters": (4,), "units": (8,)},
        {"epoch": 0, "batch": 25},
    ),
}

# Tried in the long run only, since the contract and other cases are much alike.
ALIKE = (
    "in an epoch", "at the end of an epoch", "at the very end", "with dropout and augmentation",
    "with noise of its own",
)  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [pytest.param(n, marks=[pytest.mark.full] if n in ALIKE else []) for n in CASES],
)
def test_resumed_run_equals_the_uninterrupted_one(case):
    app, knobs, when = CASES[case]
    recipe = app.recipe(**{"epochs": 2, "min_steps_per_epoch": 60} | knobs)

    assert_same(*train_twice(app, recipe, EMBEDDED, when, until="judge"))


def test_sigterm_is_told_apart():
    with pytest.raises(Interrupted) as stopped:
        train(app, run=QUIET, callbacks=[SignalAt(0, 3, signal.SIGTERM)])

    assert stopped.value.signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# --- phases -----------------------------------------------------------------------------------


def compile_frozen(model, config, steps):
    """Only the last layer is trained, and by another optimizer."""
    model.get_layer("hidden").trainable = False
    model.compile(
        keras.optimizers.SGD(0.3, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def compile_thawed(model, config, steps):
    model.get_layer("hidden").trainable = True
    return compile_model(model, config, steps)


def phases(config):
    return [
        Phase(name="all", epochs=config.epochs, compile=compile_thawed),
        Phase(name="head", epochs=2, compile=compile_frozen),
    ]


of_two_phases = variant(app, phases=phases)


@pytest.mark.parametrize(
    "when",
    [{"epoch": 1}, {"epoch": 2, "batch": 3}, {"epoch": 3}],
    ids=str,
)
def test_a_training_of_two_phases_is_resumed_in_each(when):
    whole, resumed = train_twice(of_two_phases, app.recipe(), QUIET, when)

    assert_same(whole, resumed)
    assert len(whole.history["loss"]) == 4
    assert isinstance(resumed.model.optimizer, keras.optimizers.SGD)


def test_a_training_killed_in_its_second_phase_is_resumed():
    class Kill(SignalAt):
        def stop(self):
            raise ZeroDivisionError

    def training(callback, **flags):
        run = Run(quiet=True, run_dir=Path("run"), **flags)
        return train(of_two_phases, run=run, callbacks=[callback])

    whole = train(of_two_phases, run=Run(quiet=True, run_dir=Path("whole")), callbacks=[SignalAt()])
    with pytest.raises(ZeroDivisionError):
        training(Kill(epoch=3, batch=4))

    assert_same(whole, training(SignalAt(), resume=True))


def phases_with_features(config):
    """Everything; the last layer on what the layers before it have learnt by then; both again."""

    def compile_last(model, config, steps):
        last = keras.Model(model.get_layer("hidden").output, model.output)
        return compile_model(last, config, steps)

    def features(networks):
        [model] = networks.values()
        return keras.Model(model.input, model.get_layer("hidden").output)

    return [
        Phase(name="all", epochs=1),
        Phase(name="last", epochs=2, compile=compile_last, features=features),
        Phase(name="again"),
    ]


@pytest.mark.parametrize("when", [{"epoch": 0}, {"epoch": 1, "batch": 3}, {"epoch": 1}], ids=str)
def test_features_of_a_phase_are_those_of_the_phase_before_when_it_is_resumed(when):
    on_features = variant(app, phases=phases_with_features)

    whole, resumed = train_twice(on_features, app.recipe(), QUIET, when, until="judge")

    assert_same(whole, resumed)
    alone = variant(app, phases=lambda config: phases_with_features(config)[:1])
    first = train(alone, run=QUIET, until="fit")
    for name, same in (("hidden", True), ("logits", False)):
        before, after = (t.model.get_layer(name).get_weights()[0] for t in (first, whole))
        assert np.array_equal(before, after) is same, name


def test_frozen_weights_stay_and_the_others_move_on():
    first = train(variant(app, phases=lambda config: phases(config)[:1]), run=QUIET, until="fit")
    both = train(of_two_phases, run=QUIET, until="fit")

    for name, same in (("hidden", True), ("logits", False)):
        before, after = (
            trained.model.get_layer(name).get_weights()[0] for trained in (first, both)
        )
        assert np.array_equal(before, after) is same, name


def test_a_phase_without_epochs_is_done_by_its_beginning():
    calls = []

    def begin(fitted):
        calls.append(type(fitted).__name__)
        layer = fitted.networks["small"].get_layer("logits")
        layer.set_weights([np.ones_like(w) for w in layer.get_weights()])

    def app_with(*phases):
        return variant(app, phases=lambda config: phases)

    closed_form = Phase(name="closed form", begin=begin)
    trained = train(app_with(closed_form), run=QUIET)

    assert calls == ["Fitted"]
    assert (trained.history, trained.report["examples_per_second"]) == ({}, None)
    np.testing.assert_array_equal(trained.model.get_layer("logits").get_weights()[1], [1, 1])
    assert trained.saved_model.exists()

    # It is not done again where it was done already.
    train(
        app_with(closed_form), run=Run(resume=True, run_dir=trained.folder, quiet=True), until="fit"
    )
    assert len(calls) == 1
    two = app_with(closed_form, Phase(name="fit", epochs=2, begin=begin))
    assert_same(*train_twice(two, app.recipe(), QUIET, {"epoch": 0, "batch": 3}))
    assert len(calls) == 1 + 2 + 2


def test_no_batch_of_a_phase_comes_in_the_next_one():
    first_steps = []

    def load(config, run):
        data = app.data(config, run)

        def train_on(step, *shard):
            first_steps.append(step)
            return data.train(step, *shard)

        return dataclasses.replace(data, train=train_on)

    parts = [Phase(name=str(number), epochs=epochs) for number, epochs in enumerate((2, 1))]
    trained = train(variant(app, data=load, phases=lambda config: parts), run=QUIET, until="fit")

    assert first_steps == [0, 2 * trained.data.steps_per_epoch]


def test_a_phase_draws_the_same_seeds_after_a_resume():
    seeds = []

    def compile_phase(model, config, steps):
        seeds.append(random.random())
        return compile_model(model, config, steps)

    parts = [Phase(name=name, epochs=1, compile=compile_phase) for name in "abc"]
    in_phases = variant(app, phases=lambda config: parts)

    train_twice(in_phases, app.recipe(), QUIET, {"epoch": 1})

    assert len(set(seeds)) == 3 and seeds[2] == seeds[-1]


def test_a_callback_of_the_caller_keeps_its_state_over_the_end_of_a_phase():
    class Counting(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1
            logs["counted"] = self.epochs

        def state(self):
            return self.epochs

        def restore(self, state):
            self.epochs = state

    def callbacks():
        return [Counting()]

    whole, resumed = train_twice(
        of_two_phases, app.recipe(), QUIET, {"epoch": 1}, make_callbacks=callbacks
    )

    assert_same(whole, resumed)
    assert resumed.history["counted"] == [1, 2, 3, 4]


def test_every_phase_has_an_average_of_its_own():
    def compile_last(model, config, steps):
        last = model.get_layer("logits")
        point = keras.Input(last.input.shape[1:])
        return compile_model(keras.Model(point, last(point)), config, steps)

    def hidden(networks):
        [model] = networks.values()
        return keras.Model(model.input, model.get_layer("logits").input)

    parts = [
        Phase(name="last layer", epochs=1, compile=compile_last, features=hidden),
        Phase(name="all", epochs=1),
    ]

    trained = train(
        variant(app, phases=lambda config: parts),
        run=QUIET,
        callbacks=[AverageWeights(0.9)],
        until="fit",
    )

    assert len(trained.history["loss"]) == 2


def test_averages_are_refused_where_the_best_epoch_is_kept():
    keeping = variant(app, objective_mode="max", keep_best=True)

    with pytest.raises(InputError, match=r"small keeps .* best epoch\. Received: AverageWeights"):
        train(keeping, run=QUIET, callbacks=[AverageWeights(0.9)])


def test_logs_of_phases_share_a_table():
    trained = train(of_two_phases, run=QUIET, until="fit")

    lines = (trained.folder / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3", "4"]


def test_a_model_without_a_name_is_resumed():
    def build(*, units: int = 4):
        named = app.build(units=units)
        return keras.Model(named.input, named.output)

    nameless = variant(app, build=build, endpoints=serve_networks)

    whole, resumed = train_twice(nameless, app.recipe(), QUIET, {"epoch": 0})

    assert_same(whole, resumed)
    assert whole.networks.keys() != resumed.networks.keys()


# --- callbacks --------------------------------------------------------------------------------


def test_keras_s_callbacks_go_on_where_they_were():
    """The rate falls after epochs without progress, counted over the interruption."""

    def plateau():
        return [keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=2, min_delta=9.0)]

    recipe = app.recipe(epochs=6)
    whole, resumed = train_twice(app, recipe, QUIET, {"epoch": 1}, make_callbacks=plateau)

    assert_same(whole, resumed)
    assert len(set(whole.history["learning_rate"])) > 1


@pytest.mark.parametrize("when", [{"epoch": 1}, {"epoch": 2, "batch": 3}], ids=str)
def test_a_rate_that_is_set_from_that_before_falls_once_an_epoch(when):
    def falling():
        return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate)]

    whole, resumed = train_twice(app, app.recipe(epochs=4), QUIET, when, make_callbacks=falling)

    assert_same(whole, resumed)
    rates = whole.history["learning_rate"]
    np.testing.assert_allclose(rates[1:], np.array(rates[:-1]) / 2)


@pytest.mark.parametrize("when", [{"epoch": 1}, {"epoch": 2, "batch": 3}], ids=str)
def test_an_early_stop_comes_when_it_would_have_come(when):
    def patience():
        return [keras.callbacks.EarlyStopping("loss", patience=3, min_delta=9.0)]

    recipe = app.recipe(epochs=9)
    whole, resumed = train_twice(app, recipe, QUIET, when, make_callbacks=patience)

    assert_same(whole, resumed)
    assert len(whole.history["loss"]) == 4


def test_the_best_weights_of_an_early_stop_are_there_after_a_resume():
    def keeping():
        return keras.callbacks.EarlyStopping(
            "loss", mode="max", patience=2, restore_best_weights=True
        )

    run = Run(quiet=True, run_dir=Path("here"))
    recipe = app.recipe(epochs=9)
    whole = train(app, recipe, run, until="fit", callbacks=[keeping()])
    resumed = train(
        app, None, dataclasses.replace(run, resume=True), until="fit", callbacks=[keeping()]
    )

    assert len(whole.history["loss"]) == 3
    assert_equal_weights(whole.model, resumed.model)


@pytest.mark.parametrize(
    ("mode", "qualities", "best"),
    [("max", [2.0, 3.0, 1.0, 2.0], 1), ("min", [2.0, 3.0, 1.0, 2.0], 2), ("max", [1, 3, 3, 2], 2)],
)
def test_the_last_epoch_with_the_best_objective_is_kept(mode, qualities, best):
    weights = []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["quality"] = qualities[epoch]
            weights.append(self.model.get_weights())

    keeping = variant(
        with_callbacks(app, Note()), objective="quality", objective_mode=mode, keep_best=True
    )

    trained = train(keeping, app.recipe(epochs=4), QUIET, until="fit")

    assert any((a != b).any() for a, b in zip(weights[best], weights[3], strict=True))
    for a, b in zip(weights[best], trained.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_epoch_is_kept_over_an_interruption():
    keeping = variant(app, objective_mode="max", keep_best=True)
    recipe = app.recipe(epochs=4)

    assert_same(*train_twice(keeping, recipe, QUIET, {"epoch": 2}))


# --- states -----------------------------------------------------------------------------------


def test_a_state_is_saved_every_few_minutes(monkeypatch):
    steps = []

    def save(self, progress):
        steps.append((progress.epoch, progress.step))
        original_save(self, progress)

    original_save = TrainingState._save
    monkeypatch.setattr(TrainingState, "_save", save)

    train(app, app.recipe(epochs=1), dataclasses.replace(QUIET, save_minutes=1e-9), until="fit")
    frequent, steps[:] = steps[:], []
    train(app, app.recipe(epochs=1), QUIET, until="fit")

    assert len(frequent) > 1 and frequent[0][1] > 0
    assert steps == [(1, 0)]


def test_a_run_killed_after_such_a_save_goes_on_from_there():
    class Kill(keras.callbacks.Callback):
        batches = 0

        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1
            if batch == 6:
                raise ZeroDivisionError

    class Count(Kill):
        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1

    run = dataclasses.replace(QUIET, run_dir=Path("here"), save_minutes=1e-9)
    whole = train(app, run=dataclasses.replace(QUIET, run_dir=Path("whole")), until="fit")
    with pytest.raises(ZeroDivisionError):
        train(app, run=run, callbacks=[Kill()])
    state = TrainingState(Path("here/checkpoints")).find()
    count = Count()
    resumed = train(
        app,
        run=Run(resume=True, quiet=True, run_dir=Path("here")),
        callbacks=[count],
        until="fit",
    )

    assert (state.epoch, state.step > 0) == (0, True)
    assert whole.history == resumed.history
    assert_equal_weights(whole.model, resumed.model)
    assert 0 < count.batches < 2 * 37


def test_lost_state_is_no_reason_to_begin_anew(tmp_path):
    run = Run(quiet=True, run_dir=tmp_path / "run")
    train(app, run=run, until="fit")
    for path in (run.run_dir / "checkpoints").iterdir():
        path.unlink()

    with pytest.raises(InputError, match="a saved state that is whole"):
        train(app, run=Run(run_dir=run.run_dir, resume=True, quiet=True))


def test_a_run_killed_in_its_first_epoch_begins_anew(tmp_path, caplog):
    run = Run(quiet=True, run_dir=tmp_path / "run")

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(app, app.recipe(epochs=1), run, callbacks=[Kill()])
    trained = train(app, run=Run(run_dir=run.run_dir, resume=True, quiet=True), until="fit")

    assert "it starts again" in caplog.text
    assert len(trained.history["loss"]) == 1


def test_a_finished_run_is_prolonged():
    run = Run(quiet=True, run_dir=Path("here"))
    finished = train(app, app.recipe(epochs=2), run)
    again = dataclasses.replace(run, resume=True)
    prolonged = train(app, app.recipe(epochs=5), again)
    whole = train(app, app.recipe(epochs=5), Run(quiet=True, run_dir=Path("whole")))

    assert (len(finished.history["loss"]), len(prolonged.history["loss"])) == (2, 5)
    assert_same(whole, prolonged)
    assert train(app, None, again, until="fit").history == prolonged.history
    with pytest.raises(InputError, match=r"`epochs` must stay as it was .*: 5\. Received: 4"):
        train(app, app.recipe(epochs=4), again)


def test_an_early_phase_that_stopped_early_is_counted_as_it_was():
    def stops_first_phase():
        return [keras.callbacks.EarlyStopping("loss", min_delta=9.0, patience=1)]

    def in_phases(config):
        return [Phase(name="first", epochs=5), Phase(name="last", epochs=config.epochs)]

    of_phases = variant(app, phases=in_phases)
    run = Run(quiet=True, run_dir=Path("here"))
    first = train(of_phases, app.recipe(epochs=1), run, until="fit", callbacks=stops_first_phase())
    again = dataclasses.replace(run, resume=True)

    prolonged = train(of_phases, app.recipe(epochs=2), again, until="fit")

    assert len(first.history["loss"]) == 2 + 1
    assert len(prolonged.history["loss"]) == 2 + 2


def test_a_run_that_ended_with_averaged_weights_goes_on_from_those_that_were_trained():
    averaging = variant(app, callbacks=lambda fitted: [AverageWeights(0.9)])
    run = Run(quiet=True, run_dir=Path("here"))
    finished = train(averaging, app.recipe(epochs=2), run, until="fit")
    again = dataclasses.replace(run, resume=True)

    assert_equal_weights(finished.model, train(averaging, None, again, until="fit").model)
    prolonged = train(averaging, app.recipe(epochs=5), again)
    whole = train(averaging, app.recipe(epochs=5), Run(quiet=True, run_dir=Path("whole")))

    assert_same(whole, prolonged)


def test_a_last_phase_that_had_no_epochs_is_prolonged():
    def phases(config):
        return [Phase(name="first", epochs=1), Phase(name="second", epochs=config.epochs - 1)]

    of_phases = variant(app, phases=phases)
    run = Run(quiet=True, run_dir=Path("run"))
    train(of_phases, app.recipe(epochs=1), run, until="fit")

    again = dataclasses.replace(run, resume=True)
    prolonged = train(of_phases, app.recipe(epochs=3), again, until="fit")

    assert (len(prolonged.history["loss"]), prolonged.last_epochs) == (3, 2)


def test_a_prolonged_run_that_is_killed_at_once_is_as_long_afterwards():
    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise ZeroDivisionError

    run = Run(quiet=True, run_dir=Path("here"))
    train(app, app.recipe(epochs=2), run, until="fit")
    again = dataclasses.replace(run, resume=True)
    with pytest.raises(ZeroDivisionError):
        train(app, app.recipe(epochs=5), again, callbacks=[Kill()])

    resumed = train(app, None, again, until="fit")

    assert len(resumed.history["loss"]) == 5


def test_settings_of_the_computation_are_taken_over_by_a_resumed_run(monkeypatch):
    enabled = []

    def recorded(model, fused):
        enabled.append(fused)
        return fused_batch_normalization(model, fused)

    monkeypatch.setattr("suite.training.fit.fused_batch_normalization", recorded)
    run = Run(quiet=True, run_dir=Path("here"), fused=False)
    train(app, app.recipe(epochs=1), run, until="fit")
    assert enabled == [False]

    resumed = train(app, None, Run(quiet=True, run_dir=Path("here"), resume=True))

    assert resumed.report["run"]["fused"] is False


def test_a_stopped_run_is_prolonged():
    run = Run(quiet=True, run_dir=Path("here"))
    with pytest.raises(Interrupted):
        train(app, app.recipe(epochs=2), run, callbacks=[SignalAt(0, 3)])

    again = dataclasses.replace(run, resume=True)
    prolonged = train(app, app.recipe(epochs=4), again, until="fit")

    assert len(prolonged.history["loss"]) == 4


@pytest.mark.parametrize(
    "phases",
    [
        lambda config: [Phase(name="fit", epochs=config.epochs), Phase(name="solve")],
        lambda config: [Phase(name=name, epochs=config.epochs) for name in ("one", "other")],
        lambda config: [Phase(name="solve")],
    ],
    ids=["closed form after it", "two phases", "closed form"],
)
def test_a_run_is_not_prolonged_in_phases_before_the_last(phases):
    app_of_phases = variant(app, phases=phases)
    run = Run(quiet=True, run_dir=Path("here"))
    train(app_of_phases, app.recipe(epochs=1), run)
    recorded = Path("here", "run.json").read_bytes()

    with pytest.raises(InputError, match=r"`epochs` must stay as it was .*: 1\. Received: 3"):
        train(app_of_phases, app.recipe(epochs=3), dataclasses.replace(run, resume=True))

    assert Path("here", "run.json").read_bytes() == recorded


# --- replicas ---------------------------------------------------------------------------------


def test_two_replicas_learn_what_one_device_learns():
    """Equal losses and gradients: a loss scaled twice would show at once."""
    recipe = iris.recipe(epochs=1, batch_size=108, weight_decay=0, noise=0.0)

    one, two = (
        train(iris, recipe, dataclasses.replace(EMBEDDED, strategy=strategy), until="judge")
        for strategy in ("one_device", "mirrored")
    )

    assert one.history["loss"] == pytest.approx(two.history["loss"], rel=1e-4)
    assert one.metrics["test_loss"] == pytest.approx(two.metrics["test_loss"], rel=1e-3)
    for a, b in zip(one.model.get_weights(), two.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_training_of_two_phases_on_two_replicas_is_taken_up_on_one_device():
    run = Run(quiet=True, strategy="mirrored", run_dir=Path("here"))
    with pytest.raises(Interrupted):
        train(of_two_phases, run=run, callbacks=[SignalAt(2)])

    trained = train(of_two_phases, run=Run(quiet=True, resume=True, run_dir=Path("here")))

    assert len(trained.history["loss"]) == 4
    assert trained.report["saved_model"]["reload_difference"] < 1e-4


def test_a_batch_that_does_not_fit_into_memory_is_told(monkeypatch, tmp_path):
    def exhausted(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(keras.Model, "fit", exhausted)

    with pytest.raises(InputError, match=r"`batch_size` must let .* into memory\. Received: \d"):
        train(iris, run=EMBEDDED, until="fit")
