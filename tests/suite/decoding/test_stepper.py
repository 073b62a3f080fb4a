import keras
import numpy as np
import pytest
import tensorflow as tf

from suite.data.text.tokenizers import START
from suite.decoding.sampling import sample
from suite.decoding.search import beam, greedy
from tests.suite.decoding.steppers import (
    VOCABULARY,
    plain_greedy,
    recurrent,
    recurrent_stepper,
    transformer,
    transformer_stepper,
)

LENGTH = 9
SOURCE = np.array([[4, 5, 6, 7, 8], [9, 4, 0, 0, 0], [10, 0, 0, 0, 0]], "int32")
NETWORKS = ["transformer", "gru"]


def made(name, depth=2):
    keras.utils.set_random_seed(1)
    model = transformer(depth=depth) if name == "transformer" else recurrent(name)
    for weight in model.trainable_weights:  # so that what is most probable is far from chance
        weight.assign(weight * 2)
    if name == "transformer":
        return model, transformer_stepper(model, LENGTH)
    return model, recurrent_stepper(model)


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_give_the_logits_of_the_forward_pass(name):
    model, stepper = made(name)
    target = np.random.default_rng(0).integers(3, VOCABULARY, (3, LENGTH)).astype("int32")
    target[:, 0] = START

    state, steps = stepper.start(tf.constant(SOURCE)), []
    for index in range(LENGTH):
        logits, state = stepper.step(tf.constant(target[:, index]), tf.constant(index), state)
        steps.append(logits)

    np.testing.assert_allclose(np.stack(steps, 1), model([SOURCE, target]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_saved_answers_as_before(name, tmp_path):
    model, stepper = made(name, depth=1)

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)])
    def serve(source):
        rows = tf.shape(source)[0]
        state = stepper.start(source)
        knobs = {"seed": tf.range(rows), "temperature": tf.fill((rows,), 2.0), "top_p": 0.9}
        return {
            "greedy": greedy(stepper, state, rows, LENGTH)._asdict(),
            "beam": beam(stepper, state, rows, LENGTH, beams=4, length_penalty=0.6)._asdict(),
            "sampled": sample(stepper, state, rows, LENGTH, **knobs)._asdict(),
        }

    before = serve(SOURCE)
    module = tf.Module()
    module.model, module.serve = model, serve
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    after = loaded.serve(tf.constant(SOURCE))

    tf.nest.map_structure(np.testing.assert_array_equal, before, after)
    ids, _ = plain_greedy(model, SOURCE, LENGTH)
    length = after["greedy"]["ids"].shape[1]
    np.testing.assert_array_equal(after["greedy"]["ids"], ids[:, :length])
    for row in range(3):  # alone as among others
        alone = loaded.serve(tf.constant(SOURCE[row : row + 1]))
        for kind in ("greedy", "beam"):
            length = alone[kind]["ids"].shape[1]
            np.testing.assert_array_equal(alone[kind]["ids"][0], after[kind]["ids"][row, :length])


def test_decoding_in_bfloat16(tmp_path):
    keras.utils.set_random_seed(1)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = transformer()
        lstm = recurrent("lstm")
    finally:
        keras.config.set_dtype_policy(policy)

    for stepper in (transformer_stepper(model, LENGTH), recurrent_stepper(lstm)):
        state = stepper.start(tf.constant(SOURCE))
        floats = [x for x in tf.nest.flatten(state) if x.dtype.is_floating]
        decoded = tf.function(lambda s, t: beam(s, t, 3, LENGTH, beams=2), autograph=False)(
            stepper, state
        )

        assert {x.dtype for x in floats} == {tf.bfloat16}
        assert decoded.scores.dtype == tf.float32 and np.isfinite(decoded.scores).all()
