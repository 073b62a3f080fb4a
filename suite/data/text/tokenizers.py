"""Text to numbers and back, inside the graph: characters, words, or pieces of words.

A vocabulary is made from training text alone. Tokenizers run as TensorFlow operations, so that they
become part of an export, whose signatures take text and answer with text.
"""

import base64
import hashlib
import importlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import tensorflow as tf

from suite.errors import InputError

PADDING, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL_PIECES = ("<pad>", "<s>", "</s>", "<unk>")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # the character that stands for one out of vocabulary
SPACES = r"[ \t\r\f\v]+"
WORD = re.compile(r"\n|[^ \t\r\n\f\v]+")
LONGEST_LINE = 2**30  # bytes, the most that SentencePiece takes; it would leave longer lines out
# Largest share of unknown tokens in text for an export. It is below a third, since a known space
# and a known end of a line may stand beside every unknown piece of foreign text.
MOST_UNKNOWN = 0.3
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # in the pieces of SentencePiece
THREADS = 2  # a constant, since sums of floats depend on it

Tokens = Literal["characters", "words", "pieces"]


def refuse_other_vocabulary(ids: np.ndarray) -> None:
    """Refuses text for an export whose vocabulary was made of other text, in another language.

    Args:
        ids: Those of all tokens of a split, `(tokens,)`.

    Raises:
        InputError: More than `MOST_UNKNOWN` of them are `UNKNOWN`.
    """
    share = float(np.mean(ids == UNKNOWN))
    if share > MOST_UNKNOWN:
        raise InputError(
            "`data` must have text in the tokens of the export's vocabulary",
            f"a test split of which it does not know {share:.0%}",
        )


class Tokenizer(Protocol):
    """Text to the numbers of its tokens, and back.

    The first four ids of every vocabulary are `PADDING`, `START`, `END` and `UNKNOWN`.

    Args:
        size: Number of ids.
        blank: The ids of spaces and ends of lines, int32.
        resources: Objects that an endpoint must save with the functions that use the tokenizer.
    """

    size: int
    blank: tf.Tensor
    resources: Sequence[Any]

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings `(batch,)` to ids `(batch, None)`, int32, without `START` and `END`."""
        ...

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids `(batch, time)`, int32, to strings `(batch,)`.

        A text ends before its first `END`; `PADDING` and `START` are left out.
        """
        ...

    def pieces(self) -> list[str]:
        """The text of every id, in order."""
        ...

    def vocabulary(self) -> str:
        """What `restore_tokenizer` makes the same tokenizer of."""
        ...

    def notes(self) -> dict[str, Any]:
        """Kind, size and fingerprint of the vocabulary, for reports and exports."""
        ...


class Characters(Tokenizer):
    """Unicode characters, in the order of their code points.

    Args:
        characters: The vocabulary, one character each.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = sorted(set(characters))
        self.size = len(SPECIAL_PIECES) + len(self.characters)
        self.blank = _blank(self.pieces())
        self.resources: Sequence[Any] = ()
        self._code_points = tf.constant([ord(character) for character in self.characters])
        self._texts = tf.constant(["", "", "", REPLACEMENT, *self.characters])

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings `(batch,)` to ids `(batch, None)`, int32, one for each character."""
        points = tf.strings.unicode_decode(texts, "UTF-8")
        places = tf.searchsorted(self._code_points, points.flat_values)
        places = tf.minimum(places, len(self.characters) - 1)
        known = tf.gather(self._code_points, places) == points.flat_values
        ids = tf.where(known, places + len(SPECIAL_PIECES), UNKNOWN)
        return points.with_flat_values(ids)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids `(batch, time)` to strings `(batch,)`; an unknown character becomes U+FFFD."""
        return tf.strings.reduce_join(tf.gather(self._texts, text_ids(ids)), axis=-1)

    def pieces(self) -> list[str]:
        """The text of every id, in order."""
        return [*SPECIAL_PIECES, *self.characters]

    def vocabulary(self) -> str:
        """The characters, one behind the other."""
        return "".join(self.characters)

    def notes(self) -> dict[str, Any]:
        """Kind, size and fingerprint of the vocabulary."""
        return _notes("characters", self)


class Words(Tokenizer):
    """Words between spaces, for text that is tokenised already. The end of a line is a word, too.

    Args:
        words: The vocabulary, in the order of the ids.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.size = len(SPECIAL_PIECES) + len(self.words)
        self.blank = _blank(self.pieces())
        ids = tf.range(len(SPECIAL_PIECES), self.size)
        initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(self.words, tf.string), ids)
        self._table = tf.lookup.StaticHashTable(initializer, UNKNOWN)
        self.resources: Sequence[Any] = (self._table,)
        self._texts = tf.constant(["", "", "", SPECIAL_PIECES[UNKNOWN], *self.words])

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings `(batch,)` to ids `(batch, None)`, int32, one for each word."""
        lines = tf.strings.regex_replace(texts, "\n", " \n ")
        words = tf.strings.split(tf.strings.regex_replace(lines, SPACES, " "), " ")
        words = tf.ragged.boolean_mask(words, words != "")
        return words.with_flat_values(self._table.lookup(words.flat_values))

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids `(batch, time)` to strings `(batch,)`, with a space between two words."""
        words = tf.gather(self._texts, text_ids(ids))
        text = tf.strings.reduce_join(words, axis=-1, separator=" ")
        return tf.strings.regex_replace(text, " ?\n ?", "\n")

    def pieces(self) -> list[str]:
        """The text of every id, in order."""
        return [*SPECIAL_PIECES, *self.words]

    def vocabulary(self) -> str:
        """The words, with a space between two."""
        return " ".join(self.words)

    def notes(self) -> dict[str, Any]:
        """Kind, size and fingerprint of the vocabulary."""
        return _notes("words", self)


class Pieces(Tokenizer):
    """Pieces of words by SentencePiece, which cut any text, also one without spaces.

    A space belongs to the piece behind it. The end of a line is a piece of its own. The first word
    of a line is cut as if a space stood before it.

    Args:
        model: A trained model of SentencePiece, serialised, with the ids of this module.

    Raises:
        InputError: The package `tensorflow-text` is missing.

    Reference:
        Kudo and Richardson, 2018, SentencePiece: A simple and language independent subword
        tokenizer and detokenizer for Neural Text Processing, https://arxiv.org/abs/1808.06226
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._tokenizer = _package("tensorflow_text").SentencepieceTokenizer(model, tf.int32)
        self.size = int(self._tokenizer.vocab_size())
        self.blank = _blank([piece.replace(SPACE, " ") for piece in self.pieces()])
        self.resources: Sequence[Any] = (self._tokenizer,)

    @classmethod
    def train(
        cls, texts: Iterable[str], size: int, kind: Literal["unigram", "bpe"] = "unigram"
    ) -> "Pieces":
        """Trains a vocabulary; the same texts give the same one.

        Args:
            texts: The training text, in any parts.
            size: Number of ids; short texts may give fewer.
            kind: `unigram` keeps the pieces by which the text is most likely; `bpe` joins the most
                frequent pairs.

        Raises:
            InputError: The size is less than the characters of the text need, the text is empty, or
                a package is missing.

        Reference:
            Kudo, 2018, Subword Regularization, https://arxiv.org/abs/1804.10959
            Sennrich et al., 2016, Neural Machine Translation of Rare Words with Subword Units,
            https://arxiv.org/abs/1508.07909
        """
        sentencepiece = _package("sentencepiece")
        lines = [f" {line}" for text in texts for line in text.split("\n") if line.strip()]
        num_characters = len(set().union(*lines))
        if not num_characters:
            raise InputError("the training text must have characters", "none")
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type=kind,
                vocab_size=size,
                hard_vocab_limit=False,
                # Thousands of characters, as in Japanese, would leave no room for pieces.
                character_coverage=1.0 if num_characters < size / 4 else 0.9995,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,  # it would be put before the first line alone
                user_defined_symbols=["\n"],
                pad_id=PADDING,
                bos_id=START,
                eos_id=END,
                unk_id=UNKNOWN,
                pad_piece=SPECIAL_PIECES[PADDING],
                max_sentence_length=LONGEST_LINE,
                num_threads=THREADS,
                minloglevel=2,
            )
        except RuntimeError:
            raise InputError(
                f"`vocabulary_size` must be larger for a text of {num_characters} different "
                "characters",
                size,
            ) from None
        return cls(model.getvalue())

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings `(batch,)` to ids `(batch, None)`, int32, one for each piece."""
        lines = tf.strings.regex_replace(texts, "(^|\n)([^\n])", r"\1 \2")
        return self._tokenizer.tokenize(lines)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids `(batch, time)` to strings `(batch,)`."""
        lines = self._tokenizer.detokenize(text_ids(ids))
        return tf.strings.regex_replace(lines, "(^|\n) ", r"\1")

    def pieces(self) -> list[str]:
        """The text of every id, in order; a space is `SPACE`."""
        texts = self._tokenizer.id_to_string(tf.range(self.size)).numpy()
        return [text.decode() for text in texts]

    def vocabulary(self) -> str:
        """The trained model of SentencePiece, in base64."""
        return base64.b64encode(self.model).decode()

    def notes(self) -> dict[str, Any]:
        """Kind, size and fingerprint of the vocabulary."""
        return _notes("pieces", self)


def fit_tokenizer(tokens: Tokens, texts: Iterable[str], size: int) -> Tokenizer:
    """Makes the vocabulary of a training text.

    Args:
        tokens: What a token is.
        texts: The training text, in any parts.
        size: Largest number of ids; the most frequent characters or words get one.

    Raises:
        InputError: The text is empty, a package is missing, or `size` leaves no id beside the four
            special ones, or fewer than pieces need.
    """
    if tokens == "pieces":
        return Pieces.train(texts, size)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text if tokens == "characters" else WORD.findall(text))
    if not counts:
        raise InputError(f"the training text must have {tokens}", "none")
    by_frequency = sorted(counts, key=lambda token: (-counts[token], token))
    kept = by_frequency[: size - len(SPECIAL_PIECES)]
    if not kept:
        raise InputError(f"`vocabulary_size` must be more than {len(SPECIAL_PIECES)}", size)
    return Characters(kept) if tokens == "characters" else Words(kept)


def restore_tokenizer(tokens: Tokens, vocabulary: str) -> Tokenizer:
    """Makes a tokenizer again, such as that of an export.

    Args:
        tokens: What a token is.
        vocabulary: What the tokenizer's `vocabulary()` returned.

    Raises:
        InputError: A package is missing.
    """
    if tokens == "pieces":
        return Pieces(base64.b64decode(vocabulary))
    return Characters(vocabulary) if tokens == "characters" else Words(vocabulary.split(" "))


def unknown_tokens(tokenizer: Tokenizer, ids: tf.RaggedTensor) -> tf.Tensor:
    """The number of tokens that are not in the vocabulary, `(batch,)`, int32.

    If all other tokens of a text are spaces, they count as unknown, too: the number is that of all
    its tokens.
    """
    unknown = tf.reduce_sum(tf.cast(ids == UNKNOWN, tf.int32), axis=1)
    is_blank = tf.reduce_any(ids.flat_values[:, None] == tokenizer.blank, axis=1)
    blanks = tf.reduce_sum(tf.cast(ids.with_flat_values(is_blank), tf.int32), axis=1)
    count = tf.cast(ids.row_lengths(), tf.int32)
    return tf.where((unknown > 0) & (unknown + blanks == count), count, unknown)


def text_ids(ids: tf.Tensor) -> tf.RaggedTensor:
    """The ids `(batch, time)` that stand for text: those before `END`, and neither special."""
    before_end = tf.cumsum(tf.cast(ids == END, tf.int32), axis=1) == 0
    return tf.ragged.boolean_mask(ids, before_end & (ids != PADDING) & (ids != START))


def _blank(pieces: Sequence[str]) -> tf.Tensor:
    return tf.constant([i for i, piece in enumerate(pieces) if piece.isspace()], tf.int32)


def _notes(tokens: Tokens, tokenizer: Tokenizer) -> dict[str, Any]:
    fingerprint = hashlib.sha256(tokenizer.vocabulary().encode()).hexdigest()
    return {"tokens": tokens, "vocabulary_size": tokenizer.size, "vocabulary_sha256": fingerprint}


def _package(name: str) -> Any:
    """A package that only pieces of words need, imported when they are used.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(
            "`tokens` must be characters or words where the packages of the extra [text] are not "
            "installed: pip install '.[text]'",
            f"pieces, and no {name}",
        ) from None
