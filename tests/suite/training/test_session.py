import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.dcgan import app as dcgan
from suite import InputError, Run, train
from suite.app import Phase
from tests.suite.small import QUIET, app, variant


def test_a_builder_s_refusal_names_the_knob():
    with pytest.raises(InputError, match=r"^`units` should be .* Received: 0$"):
        train(app, app.recipe(units=0), QUIET)


def test_a_fault_of_a_builder_keeps_its_traceback(tmp_path):
    def build_model(*, units: int = 4):
        return np.zeros(3).reshape(2, units)

    with pytest.raises(ValueError, match="cannot reshape") as fault:
        train(variant(app, build=build_model), run=QUIET)

    assert not isinstance(fault.value, InputError)
    assert fault.traceback[-1].name == "build_model"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "no memory")]
)
def test_a_model_that_does_not_fit_into_memory_is_bad_input(error):
    def build_model(*, units: int = 4):
        raise error

    broken = variant(app, build=build_model)

    with pytest.raises(InputError, match=r"must fit into memory\. Received: units=5"):
        train(broken, broken.recipe(units=5), QUIET)


def test_xla_is_refused_where_a_model_cannot_have_it():
    def compile_model(model, config, steps):
        model.supports_jit = False
        return app.compile(model, config, steps)

    with pytest.raises(InputError, match="`jit` must be left out: small cannot be compiled"):
        train(variant(app, compile=compile_model), run=dataclasses.replace(QUIET, jit=True))


def test_an_optimizer_is_refused_where_a_model_has_several():
    with pytest.raises(InputError, match="must be left out: dcgan trains with 2 optimizers"):
        train(dcgan, run=Run(data="embedded", quiet=True), optimizer="sgd", until="open")


def test_every_phase_has_an_optimizer_of_its_own_and_the_steps_of_its_own():
    compiled = []

    def compile_model(model, config, steps):
        compiled.append(steps)
        return app.compile(model, config, steps)

    phases = [Phase(name="first", epochs=2), Phase(name="second", epochs=3)]
    app_of_two = variant(app, compile=compile_model, phases=lambda config: phases)
    optimizers = []

    class Note(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            optimizers.append(self.model.optimizer)

    chosen = keras.optimizers.SGD(0.1)
    trained = train(app_of_two, run=QUIET, until="fit", callbacks=[Note()], optimizer=chosen)

    steps = trained.data.steps_per_epoch
    assert compiled == [2 * steps, 3 * steps]
    assert len({id(optimizer) for optimizer in [*optimizers, chosen]}) == 3
    assert all(isinstance(optimizer, keras.optimizers.SGD) for optimizer in optimizers)
