import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from suite.data.text.tokenizers import END, PADDING, START, UNKNOWN, Words
from suite.tasks import text_to_text as task
from tests.suite.layers.sequences.test_encoder_decoder import (
    PREFIX,
    SOURCE,
    build,
    every_network,
    network,
)

TARGETS = np.array([[4, 5, END, 0], [END, 0, 0, 0]], np.int32)
LANGUAGES = task.Languages(Words(["a", "b", "c"]), Words(["x", "y"]))


def test_examples_show_the_right_beginning_and_ask_for_what_comes_next():
    source, target = tf.ragged.constant([[5], [6, 7]]), tf.ragged.constant([[4, 4], [8]])

    inputs, targets = task.examples(source, target)

    assert inputs["source"].to_list() == [[5, END], [6, 7, END]]
    assert inputs["prefix"].to_list() == [[START, 4, 4], [START, 8]]
    assert targets.to_list() == [[4, 4, END], [8, END]]


def test_an_answer_is_exact_as_a_whole_without_its_padding():
    logits = np.zeros((2, 4, 7), np.float32)
    for row, time in np.ndindex(2, 4):
        logits[row, time, TARGETS[row, time]] = 1
    logits[1, 2, 3] = 5  # in the padding

    assert task.exact(TARGETS, logits).numpy().tolist() == [True, True]
    logits[0, 2, 5] = 5
    assert task.exact(TARGETS, logits).numpy().tolist() == [False, True]


def endpoint(network="transformer", **search):
    model = build(network=network)
    return task.answering(model, LANGUAGES, task.Decoding(**search), "answer")


@pytest.fixture
def small_languages(monkeypatch):
    """Vocabularies of the sizes of the network of the tests."""
    words = task.Languages(Words(list("abcdef")), Words(list("uvwxy")))
    monkeypatch.setattr("tests.suite.tasks.test_text_to_text.LANGUAGES", words)


@pytest.mark.usefixtures("small_languages")
def test_what_is_cut_or_unknown_is_told():
    outputs = task.answers(endpoint(longest=3), ["a b", "", "z z a", "a b c d"], at_once=2)

    assert outputs["tokens_read"].tolist() == [2, 0, 3, 3]
    assert outputs["truncated"].tolist() == [False, False, False, True]
    assert outputs["unknown_tokens"].tolist() == [0, 0, 2, 0]
    assert outputs["answer"][1] == b"" and not outputs["unfinished"][1]


@pytest.mark.usefixtures("small_languages")
@pytest.mark.parametrize("search", [{"beams": 1}, {"beams": 3, "length_penalty": 0.6}], ids=str)
def test_a_text_is_answered_alike_in_any_batch(search):
    texts, serve = ["a b", "c", "d e f a b", "f f"], endpoint(longest=5, **search)
    serve = serve._replace(function=serve.as_graph())  # traced once

    together = task.answers(serve, texts)
    alone = task.answers(serve, texts, at_once=1)

    assert together["answer"].tolist() == alone["answer"].tolist()
    np.testing.assert_allclose(together["score"], alone["score"], rtol=1e-4)


@every_network
def test_padding_changes_neither_loss_nor_metrics(knobs):
    model = task.compile_model(build(**knobs), task.Config(label_smoothing=0.1), 10)
    targets = np.array([[4, 5, 6, END], [7, END, 0, 0], [8, 8, 4, END]], np.int32)
    batch = {"source": SOURCE, "prefix": PREFIX}, targets
    padded = (
        {"source": np.pad(SOURCE, [(0, 0), (0, 3)]), "prefix": np.pad(PREFIX, [(0, 0), (0, 2)])},
        np.pad(targets, [(0, 0), (0, 2)]),
    )

    one, other = (model.test_on_batch(*examples, return_dict=True) for examples in (batch, padded))

    assert {"loss", "nats", "accuracy", "exact"} <= one.keys()
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=1e-4), name


@every_network
def test_the_score_of_an_answer_is_its_probability_in_the_plain_forward_pass(knobs):
    model = network(knobs)

    decoded = task.search(model, tf.constant(SOURCE), task.Decoding(longest=5, beams=3))

    written = decoded.ids.numpy()
    prefix = np.pad(written[:, :-1], [(0, 0), (1, 0)], constant_values=START)
    logits = np.array(model({"source": SOURCE, "prefix": prefix}))
    likelihood = np.take_along_axis(log_softmax(logits, axis=-1), written[..., None], -1)[..., 0]
    expected = np.where(written == PADDING, 0, likelihood).sum(axis=1)
    np.testing.assert_allclose(decoded.scores, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_the_unknown_word_is_never_written(beams):
    model = build(network="transformer")
    table = model.get_layer("target_tokens")
    [weights] = table.get_weights()
    weights[UNKNOWN] = 100 * weights[4]  # the most probable, or else the least probable word
    table.set_weights([weights])

    rows = tf.constant([[row, END] for row in range(4, 10)])
    decoded = task.search(model, rows, task.Decoding(longest=6, beams=beams))
    assert UNKNOWN not in decoded.ids.numpy()


@pytest.mark.usefixtures("small_languages")
def test_pieces_and_weights_of_an_answer_belong_together():
    align = task.aligning(build(network="attention"), LANGUAGES, task.Decoding(longest=4))

    outputs = align.function(tf.constant(["a b c", "d"]))

    assert [piece.decode() for piece in outputs["read"][0].numpy()] == ["a", "b", "c", "</s>"]
    assert [piece.decode() for piece in outputs["read"][1].numpy()] == ["d", "</s>", "", ""]
    assert outputs["weights"].shape == (2, outputs["written"].shape[1], 4)


def test_metrics_are_of_tokens_and_of_whole_answers():
    model = build(network="seq2seq", units=4)
    task.compile_model(model, task.Config(label_smoothing=0.1), 10)
    inputs = {"source": np.array([[4, END]]), "prefix": np.array([[START, 4]])}

    logs = model.evaluate(inputs, np.array([[4, END]]), verbose=0, return_dict=True)

    assert set(logs) == {"loss", "nats", "accuracy", "exact"}
