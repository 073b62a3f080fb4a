"""BLEU: how many words, pairs, triples and quadruples of words a translation has in common."""

import importlib.util
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

Tokenize = Literal["none", "13a", "intl", "char", "zh"]


class Bleu(NamedTuple):
    """BLEU of a set of translations.

    Args:
        score: From 0 to 100.
        signature: Sacrebleu's description of how it was computed, which makes it comparable.
    """

    score: float
    signature: str


def available() -> bool:
    """Whether sacrebleu is installed, which comes with the extra `text`."""
    return importlib.util.find_spec("sacrebleu") is not None


def corpus_bleu(
    translations: Sequence[str], references: Sequence[str], tokenize: Tokenize = "13a"
) -> Bleu:
    """BLEU of translations, each with one reference; needs sacrebleu.

    Args:
        translations: At least one.
        references: As many.
        tokenize: How words are told apart: at spaces (`none`), as mteval does (`13a`), or others of
            sacrebleu's.

    Reference:
        Papineni et al., 2002, BLEU: a Method for Automatic Evaluation of Machine Translation,
        https://aclanthology.org/P02-1040
        Post, 2018, A Call for Clarity in Reporting BLEU Scores, https://arxiv.org/abs/1804.08771
    """
    metric = _metric(tokenize)
    score = metric.corpus_score(list(translations), [list(references)]).score
    return Bleu(float(score), str(metric.get_signature()))


def sentence_bleu(
    translations: Sequence[str], references: Sequence[str], tokenize: Tokenize = "13a"
) -> np.ndarray:
    """BLEU of every translation alone, `(translations,)`, from 0 to 100.

    Only n-grams up to the length of a translation count, which sacrebleu calls `effective_order`.
    """
    metric = _metric(tokenize, effective_order=True)
    pairs = zip(translations, references, strict=True)
    return np.array([metric.sentence_score(one, [reference]).score for one, reference in pairs])


def _metric(tokenize: Tokenize, **options: Any) -> Any:
    sacrebleu = importlib.import_module("sacrebleu")
    # `force`: translations that are tokenised already are what `none` is for.
    return sacrebleu.BLEU(tokenize=tokenize, force=True, **options)
