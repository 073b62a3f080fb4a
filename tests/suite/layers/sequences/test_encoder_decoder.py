import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from suite.data.text.tokenizers import END, PADDING, START, UNKNOWN
from suite.errors import InputError
from suite.layers.sequences import encoder_decoder as networks
from suite.tasks import text_to_text as task

SOURCE = np.array([[5, 6, 7, END, 0], [8, END, 0, 0, 0], [9, 4, 5, 6, END]], np.int32)
PREFIX = np.array([[START, 4, 5, 6], [START, 7, 0, 0], [START, 8, 8, 4]], np.int32)
NETWORKS = [
    {"network": "seq2seq", "cell": "lstm"},
    {"network": "seq2seq", "cell": "gru", "encoder_layers": 1, "decoder_layers": 3},
    {"network": "attention", "cell": "lstm", "attention": "bahdanau"},
    {"network": "attention", "cell": "rnn", "attention": "luong", "encoder_layers": 3},
    {"network": "transformer", "positions": "sinusoidal"},
    {"network": "transformer", "positions": "rotary", "encoder_layers": 1, "decoder_layers": 3},
]
every_network = pytest.mark.parametrize(
    "knobs", NETWORKS, ids=lambda k: " ".join(map(str, k.values()))
)


def build(**knobs):
    defaults = {"encoder_layers": 2, "decoder_layers": 2, "units": 16, "num_heads": 2}
    defaults |= {"hidden_factor": 2, "positions": "rotary", "cell": "gru", "attention": "luong"}
    return networks.build("net", 10, 9, **{**defaults, "dropout": 0.0, **knobs})


@functools.cache
def _built_once(knobs):
    return build(**dict(knobs))


def network(knobs):
    """A network that tests share, since they only ask it."""
    return _built_once(tuple(knobs.items()))


def logits(model, source=SOURCE, prefix=PREFIX):
    return model({"source": source, "prefix": prefix}).numpy()


@every_network
def test_steps_with_what_was_kept_equal_the_whole_sequence(knobs):
    model = network(knobs)
    steps = networks.stepper(model, PREFIX.shape[1])

    state, stepped = steps.start(SOURCE), []
    for index in range(PREFIX.shape[1]):
        after, state = steps.step(PREFIX[:, index], index, state)
        stepped.append(after)

    np.testing.assert_allclose(np.stack(stepped, axis=1), logits(model), atol=1e-5)
    assert np.ptp(logits(model), axis=1).max() > 1e-3  # the steps differ


@every_network
def test_padding_moves_nothing(knobs):
    model = network(knobs)

    padded = logits(model, np.pad(SOURCE, [(0, 0), (0, 3)]), np.pad(PREFIX, [(0, 0), (0, 2)]))

    np.testing.assert_allclose(padded[:, :4], logits(model), atol=1e-5)


@every_network
def test_what_comes_later_is_not_seen_and_what_was_read_is(knobs):
    model = network(knobs)
    later, other = PREFIX.copy(), SOURCE.copy()
    later[:, 3], other[:, 0] = 3, 4

    np.testing.assert_allclose(logits(model, prefix=later)[:, :3], logits(model)[:, :3], atol=1e-5)
    assert np.abs(logits(model, other) - logits(model)).max() > 1e-4


@every_network
def test_greedy_decoding_takes_the_most_probable_of_the_plain_network(knobs):
    model = network(knobs)

    decoded = task.search(model, SOURCE, task.Decoding(longest=5)).ids.numpy()

    prefix = np.full((3, 1), START, np.int32)
    for index in range(decoded.shape[1]):
        scores = logits(model, prefix=prefix)[:, -1]
        scores[:, [PADDING, START, UNKNOWN]] = -np.inf
        alive = ~(decoded[:, :index] == END).any(axis=1)
        np.testing.assert_array_equal(decoded[alive, index], scores[alive].argmax(axis=-1))
        prefix = np.concatenate([prefix, decoded[:, index : index + 1]], axis=1)


@pytest.mark.parametrize("knobs", NETWORKS[2:], ids=str)
def test_alignments_are_weights_of_what_was_read(knobs):
    weights = networks.alignment(network(knobs), SOURCE, PREFIX).numpy()

    assert weights.shape == (3, 4, 5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
    assert (weights[:, None] * (SOURCE == PADDING)[:, None, None] == 0).all()


def test_without_attention_there_is_no_alignment():
    with pytest.raises(InputError, match="`network` must be attention or transformer"):
        networks.alignment(build(network="seq2seq"), SOURCE, PREFIX)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"network": "transformer", "units": 10, "num_heads": 4}, "twice `num_heads`"),
        ({"network": "seq2seq", "units": 7}, "`units` must be even"),
    ],
)
def test_units_that_cannot_be_divided_are_one_sentence(knobs, message):
    with pytest.raises(InputError, match=message):
        build(**knobs)


@every_network
def test_it_is_saved_in_the_format_of_keras(knobs, tmp_path):
    model = network(knobs)
    model.save(tmp_path / "net.keras")

    np.testing.assert_allclose(
        logits(keras.models.load_model(tmp_path / "net.keras")), logits(model), atol=1e-6
    )


def test_half_precision_keeps_logits_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    for knobs in NETWORKS:
        model = build(**knobs)
        assert model.output.dtype == "float32"
        decoded = task.search(model, tf.constant(SOURCE), task.Decoding(longest=3, beams=2))
        assert np.isfinite(decoded.scores.numpy()).all()
