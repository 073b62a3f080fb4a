"""Documents: texts of any length, perhaps with a class each; and how often terms occur in them."""

import dataclasses
import functools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from suite.data import sources
from suite.data.examples import Examples, Source
from suite.data.folders import composed, files_in, split_folders
from suite.data.text.files import read_text, texts_in
from suite.data.text.tokenizers import SPECIAL_PIECES, Words
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

log = logging.getLogger(__name__)

SHORTEST_TERM = 2  # characters
TEXT_ENDINGS = ("", ".txt", ".text", ".md")  # of files that are surely documents
MADE = 900  # documents, where there are no others
WORDS_OF_TOPIC = 0.35  # share of the words of a made document that belong to its subject
WORDS_OF_OTHERS = 0.1  # share that belong to other subjects
# Subjects of made documents, with words that belong to them.
SUBJECTS = {
    "baseball": "pitcher inning batter homer league glove umpire season catcher stadium bullpen "
    "shortstop rookie playoffs strikeout mound dugout coach roster fastball",
    "cooking": "oven butter garlic simmer recipe flour pepper saucepan onion whisk dough basil "
    "roast vinegar spoon kitchen tomato cream bake chop",
    "medicine": "patient doctor symptom dose vaccine surgery clinic infection therapy diagnosis "
    "hospital nurse fever tumor antibiotic immune chronic bandage pulse syringe",
    "motorcycles": "helmet throttle clutch exhaust rider brake tank gear chain highway engine "
    "tyre piston carburettor saddle sidecar handlebar mileage kickstand leather",
    "music": "guitar chord melody rhythm violin concert tempo drummer orchestra singer piano "
    "harmony studio lyrics trumpet octave stage album audience bass",
    "space": "orbit rocket lunar satellite telescope launch shuttle astronaut planet gravity "
    "mission crater probe comet galaxy payload nebula eclipse asteroid cosmic",
}
COMMON = (
    "the of and to in that is was for on with as it at by from this have not are but one all "
    "they you about there when will more would time some people which their what could other "
    "than only now over also back after use two how work first well even want because any give "
    "day most new way good think year know look take into your make like just him see come"
)


def load_documents(run: "Run") -> Source:
    """Loads documents: inputs are strings `(documents,)`, and targets their classes, if any.

    Args:
        run: The run, for its `data`, `skip_broken`, `min_per_class` and `arrays`. `data` is a
            folder of text files, or of `train/`, `validation/` and `test/` with such; the folders
            in it are the classes, if all files lie in one. Or it is one file, whose documents are
            its paragraphs, if blank lines divide it into several, and else its lines. By default
            documents are made, about six subjects.

    Raises:
        InputError: The files cannot be found or read, or hold no text.
    """
    return sources.load(
        run,
        embedded=generate_documents,
        from_path=lambda path: read_documents(path, run.skip_broken),
        from_arrays=_checked,
    )


def generate_documents() -> Source:
    """Documents of 30 to 80 words about six subjects, the same ones each time.

    A word is drawn from those of the subject, from those of all subjects, or from common ones, of
    which a few are much more frequent than others.
    """
    random = np.random.default_rng(0)
    names = tuple(SUBJECTS)
    subjects = [words.split() for words in SUBJECTS.values()]
    of_all, common = [word for words in subjects for word in words], COMMON.split()
    frequency = 1 / np.arange(1, len(common) + 1)
    labels = np.arange(MADE) % len(names)
    texts = []
    for label in labels:
        count = int(random.integers(30, 81))
        about, others = random.multinomial(
            count, [WORDS_OF_TOPIC, WORDS_OF_OTHERS, 1 - WORDS_OF_TOPIC - WORDS_OF_OTHERS]
        )[:2]
        words = np.concatenate(
            [
                random.choice(subjects[label], about),
                random.choice(of_all, others),
                random.choice(common, count - about - others, p=frequency / frequency.sum()),
            ]
        )
        texts.append(" ".join(random.permutation(words)))
    return _source("embedded:documents", {"train": texts}, {"train": labels.tolist()}, names)


def read_documents(path: Path, skip_broken: bool = False) -> Source:
    """Reads the documents of a folder or a file.

    Args:
        path: As `data` of `load_documents`.
        skip_broken: Whether files that are no UTF-8 are left out, which is logged, or else an
            error.

    Raises:
        InputError: A file is no UTF-8, there are no two documents, or a split has a class that the
            training split has not.
    """
    if not path.is_dir():
        return _source(str(path), {"train": _parts(read_text(path))}, None, ())
    folders = split_folders(path, _has_texts) or {"train": path}
    read = {split: _read_folder(folder, skip_broken) for split, folder in folders.items()}
    texts = {split: texts for split, (texts, _) in read.items()}
    names = tuple(sorted(set(read["train"][1])))
    if len(names) < 2 or "" in names:
        return _source(str(path), texts, None, ())
    for split, (_, classes) in read.items():
        if unknown := sorted(set(classes) - set(names)):
            raise InputError(
                f"all documents of {folders[split]} must lie in folders of the training split: "
                f"{', '.join(names)}",
                ", ".join(name or "some in none" for name in unknown),
            )
    labels = {
        split: [names.index(name) for name in classes] for split, (_, classes) in read.items()
    }
    return _source(str(path), texts, labels, names)


def _has_texts(folder: Path) -> bool:
    return any(file.suffix.lower() in TEXT_ENDINGS for file in files_in(folder))


def _read_folder(folder: Path, skip_broken: bool) -> tuple[list[str], list[str]]:
    """The documents of a folder, and the names of the folders in it where they lie, or else ""."""
    texts, classes = [], []
    for file in sorted(files_in(folder)):
        try:
            text = read_text(file)
        except InputError as error:
            if not skip_broken:
                raise
            log.warning("%s is left out: %s.", file, error)
            continue
        if text.strip():
            texts.append(text)
            inside = file.relative_to(folder).parts[:-1]
            classes.append(composed(inside[0]) if inside else "")
    return texts, classes


def _parts(text: str) -> list[str]:
    """The paragraphs of a text, or else its lines."""
    paragraphs = [part.strip() for part in re.split(r"\n[ \t]*\n", text) if part.strip()]
    if len(paragraphs) > 1:
        return paragraphs
    return [line.strip() for line in text.split("\n") if line.strip()]


def _source(
    name: str,
    texts: Mapping[str, Sequence[str]],
    labels: Mapping[str, Sequence[int]] | None,
    names: tuple[str, ...],
) -> Source:
    """A source of documents, and their classes if they have any, both by split."""
    count = len(texts["train"])
    if count < 2:
        raise InputError("`data` must hold two documents or more", f"{count} in {name}")
    splits: dict[str, Any] = {
        split: Examples(
            np.array(documents, object), np.asarray(labels[split], np.int32) if labels else None
        )
        for split, documents in texts.items()
        if documents
    }
    return Source(name=name, class_names=names, comparable=False, **splits)


def _checked(source: Source) -> Source:
    """Refuses arrays that are no texts.

    Raises:
        InputError: An input is no string.
    """
    texts_in(source.train.in_memory().inputs, f"the inputs of {source.name}")
    return source


@dataclasses.dataclass(frozen=True)
class TermCounts:
    """Counts how often terms occur in texts, with TensorFlow ops only, so it can be exported.

    A term is a run of letters and digits, in lower case. Others than those given do not count.

    Args:
        terms: The terms, in the order of their counts.
    """

    terms: tuple[str, ...]

    @functools.cached_property
    def words(self) -> Words:
        """The terms as a tokenizer."""
        return Words(self.terms)

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Texts `(batch,)` to counts `(batch, terms)`, float32."""
        ids = self.words.encode(plain(texts))
        size, batch = self.words.size, ids.nrows(tf.int32)
        # `tf.math.bincount` would refuse `--deterministic` on a GPU.
        cells = tf.cast(ids.value_rowids(), tf.int32) * size + tf.cast(ids.values, tf.int32)
        ones = tf.ones_like(cells, tf.float32)
        counts = tf.reshape(tf.math.unsorted_segment_sum(ones, cells, batch * size), (batch, size))
        # The first ids stand for padding and for what is no term.
        return tf.ensure_shape(counts[:, len(SPECIAL_PIECES) :], (None, len(self.terms)))


def plain(texts: tf.Tensor) -> tf.Tensor:
    """Texts `(batch,)` in lower case, with a space for all but letters, marks and digits."""
    return tf.strings.regex_replace(tf.strings.lower(texts, "utf-8"), r"[^\pL\pM\pN]+", " ")


def choose_terms(
    texts: Iterable[Any], most: int, min_documents: int, max_share: float
) -> tuple[str, ...]:
    """The terms of documents: those in most documents, but not in too many, in alphabetic order.

    Args:
        texts: The training documents.
        most: Largest number of terms.
        min_documents: Smallest number of documents that must have a term.
        max_share: Largest share of documents that may have it.

    Raises:
        InputError: No term remains.
    """
    documents = [text.decode().split() for text in plain(tf.constant(list(texts))).numpy()]
    counts = Counter(term for terms in documents for term in set(terms))
    usable = [
        term
        for term, count in counts.items()
        if min_documents <= count <= max_share * len(documents) and len(term) >= SHORTEST_TERM
    ]
    if len(usable) < 2:
        raise InputError(
            "`min_documents` and `max_share` must leave two terms or more",
            f"{min_documents} and {max_share}, which leave {len(usable)} of {len(counts)}",
        )
    by_frequency = sorted(usable, key=lambda term: (-counts[term], term))
    return tuple(sorted(by_frequency[:most]))
