"""Tokenizers: what goes in comes out, in the graph and after an export."""

import numpy as np
import pytest
import tensorflow as tf

from suite.data.text import tokenizers
from suite.data.text.tokenizers import (
    END,
    PADDING,
    START,
    UNKNOWN,
    Characters,
    Pieces,
    Tokenizer,
    Words,
    fit_tokenizer,
    restore_tokenizer,
    unknown_tokens,
)
from suite.errors import InputError

TEXT = "To be, or not to be:\nthat is to be the question.\n\nWhether 'tis nobler 雨が降る\n"
KINDS = ("characters", "words", "pieces")


def fitted(kind, size=120, text=TEXT):
    if kind == "pieces":
        pytest.importorskip("tensorflow_text")
        pytest.importorskip("sentencepiece")
    return fit_tokenizer(kind, [text], size)


def round_trip(tokenizer: Tokenizer, texts: list[str]) -> list[str]:
    ids = tokenizer.encode(tf.constant(texts)).to_tensor()
    return [text.decode() for text in tokenizer.decode(ids).numpy()]


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind):
    texts = ["to be", "or not\nto be\n\nthat", "雨が降る", ""]
    assert round_trip(fitted(kind), texts) == texts


@pytest.mark.parametrize("kind", ("characters", "pieces"))
def test_spaces_are_kept(kind):
    texts = ["to  be", " or\n  not", "be\n", "\n\nbe"]
    assert round_trip(fitted(kind), texts) == texts


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_int32_and_within_the_size(kind):
    tokenizer = fitted(kind)
    ids = tokenizer.encode(tf.constant([TEXT, "zzz"])).to_tensor().numpy()
    assert ids.dtype == np.int32
    assert ids.max() < tokenizer.size == len(tokenizer.pieces())
    assert START not in ids
    assert END not in ids


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_training_text_lacks_is_unknown(kind):
    ids = fitted(kind).encode(tf.constant(["Ω"])).to_tensor().numpy()
    assert UNKNOWN in ids


@pytest.mark.parametrize("kind", KINDS)
def test_spaces_between_unknown_words_make_no_known_text(kind):
    tokenizer = fitted(kind)
    ids = tokenizer.encode(tf.constant(["ΩΨ", "Ω Ψ\n Ω", "Ω be", "be", ""]))

    unknown = unknown_tokens(tokenizer, ids).numpy()

    lengths = ids.row_lengths().numpy()
    assert unknown[:2].tolist() == lengths[:2].tolist()
    assert unknown[2:].tolist() == [1, 0, 0] and lengths[2] > 1


@pytest.mark.parametrize("kind", KINDS)
def test_text_ends_before_the_end_token(kind):
    tokenizer = fitted(kind)
    to, be = tokenizer.encode(tf.constant(["to", "be"])).to_list()
    ids = [[START, *to, END, *be], [*be, END, *([PADDING] * len(to)), END]]
    decoded = tokenizer.decode(tf.constant(ids, tf.int32)).numpy()
    assert decoded.tolist() == [b"to", b"be"]


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_is_a_function_of_the_text(kind):
    first, second = fitted(kind), fitted(kind)
    assert first.notes() == second.notes()
    assert first.notes() != fitted(kind, text=TEXT + "Ha, ha, ha!").notes()


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizer_is_restored_from_its_vocabulary(kind):
    tokenizer = fitted(kind)
    restored = restore_tokenizer(kind, tokenizer.vocabulary())
    assert restored.notes() == tokenizer.notes()
    texts = tf.constant([TEXT])
    assert restored.encode(texts).to_list() == tokenizer.encode(texts).to_list()


@pytest.mark.parametrize("kind", KINDS)
def test_export_holds_the_tokenizer(kind, tmp_path):
    tokenizer = fitted(kind)
    module = tf.Module()
    module.resources = tokenizer.resources
    module.encode = tf.function(
        lambda texts: tokenizer.encode(texts).to_tensor(),
        input_signature=[tf.TensorSpec((None,), tf.string)],
    )
    module.decode = tf.function(
        tokenizer.decode, input_signature=[tf.TensorSpec((None, None), tf.int32)]
    )
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    texts = tf.constant(["to be", "not to be"])
    assert loaded.decode(loaded.encode(texts)).numpy().tolist() == texts.numpy().tolist()


def test_most_frequent_tokens_are_kept():
    assert fit_tokenizer("characters", ["aabbbc"], 6).pieces()[4:] == ["a", "b"]
    assert fit_tokenizer("words", ["b a a c b", "b"], 6).pieces()[4:] == ["b", "a"]


def test_characters_in_the_order_of_code_points():
    tokenizer = Characters("cab")
    assert tokenizer.encode(tf.constant(["abcd"])).to_list() == [[4, 5, 6, UNKNOWN]]
    assert tokenizer.decode(tf.constant([[4, UNKNOWN, 6]])).numpy()[0].decode() == "a\ufffdc"


def test_words_between_any_spaces():
    tokenizer = Words(["a", "b", "\n"])
    assert tokenizer.encode(tf.constant([" a\t b\n\na "])).to_list() == [[4, 5, 6, 6, 4]]


def test_line_begins_as_a_word_within_it():
    tokenizer = fitted("pieces", 200, "\n".join(["the king is dead", "is the king dead"] * 50))
    first, second = tokenizer.encode(tf.constant(["is the king", "is\nthe\nking"])).to_list()
    newline = tokenizer.pieces().index("\n")
    assert [i for i in second if i != newline] == first


def test_short_text_gives_fewer_pieces():
    assert fitted("pieces", 5000).size < 5000


def test_vocabulary_smaller_than_the_characters():
    with pytest.raises(InputError, match="`vocabulary_size` must be larger"):
        fitted("pieces", 10)
    with pytest.raises(InputError, match="`vocabulary_size` must be more than 4"):
        fitted("words", 4)


@pytest.mark.parametrize("kind", KINDS)
def test_text_without_tokens(kind):
    with pytest.raises(InputError, match=r"the training text must have (characters|words)"):
        fitted(kind, text="")


def test_pieces_without_their_packages(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(tokenizers.importlib, "import_module", missing)
    with pytest.raises(InputError, match=r"pip install '.\[text\]'"):
        fit_tokenizer("pieces", [TEXT], 100)
    with pytest.raises(InputError, match="tensorflow_text"):
        Pieces(b"")
