import logging

import keras
import numpy as np
import pytest

from suite.errors import Diverged
from suite.training.callbacks import Callbacks, LogFile, ProgressBar, StopOnNaN, Throughput


def fit(*callbacks, epochs=2, target=1.0, steps_per_execution=1):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", steps_per_execution=steps_per_execution)
    rows, targets = np.ones((32, 2)), np.full((32, 1), target)
    return model.fit(
        rows, targets, batch_size=4, epochs=epochs, verbose=0, callbacks=list(callbacks)
    )


def test_log_file_holds_earlier_rows_and_new_ones(tmp_path):
    path = tmp_path / "log.csv"

    history = fit(LogFile(path, rows=[{"loss": 9.0}])).history

    lines = path.read_text().splitlines()
    assert lines[0] == "epoch,loss"
    assert lines[1] == "1,9.0"
    assert [float(line.split(",")[1]) for line in lines[2:]] == history["loss"]
    assert list(tmp_path.iterdir()) == [path]


def test_nan_ends_the_training_with_a_sentence():
    with pytest.raises(Diverged, match=r"became nan in epoch 1, between its steps 1 and 1; try"):
        fit(StopOnNaN(), target=np.nan)


def test_nan_of_a_validation_does_so_too():
    with pytest.raises(Diverged, match="the val_loss became nan in epoch 1, at its end; try"):
        fit(
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda _, logs: logs.update(val_loss=np.nan)
            ),
            StopOnNaN(),
        )


def test_throughput_is_a_rate():
    throughput = Throughput(examples_per_step=4)
    fit(throughput)

    assert throughput.examples_per_second > 0


def test_throughput_of_epochs_of_a_single_execution_leaves_the_compilation_out():
    alone, both = Throughput(examples_per_step=4), Throughput(examples_per_step=4)
    fit(alone, epochs=1, steps_per_execution=8)
    fit(both, epochs=2, steps_per_execution=8)

    assert alone.examples_per_second is None
    assert both.examples_per_second > 0


def test_progress_prints_a_line_an_epoch(caplog):
    with caplog.at_level(logging.INFO, "suite"):
        fit(ProgressBar(epochs=2, steps=8))

    assert [r.message.split("  ")[0] for r in caplog.records] == ["epoch 1/2", "epoch 2/2"]
    assert "loss" in caplog.text


def test_two_fits_are_one_training_whose_steps_are_counted_on():
    calls = []

    class Noting(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            calls.append("begin")

        def on_train_batch_begin(self, batch, logs=None):
            calls.append(batch)

        def on_train_batch_end(self, batch, logs=None):
            calls.append(batch)

        def on_train_end(self, logs=None):
            calls.append("end")

    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    callbacks = Callbacks([Noting()], model, epochs=2, steps=6, done=5)
    for _ in range(2):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=callbacks)
    callbacks.close()

    assert calls == ["begin", 5, 5, 0, 0, "end"]
