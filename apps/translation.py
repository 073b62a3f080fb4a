"""Translation: a sentence in one language becomes a sentence in another.

There are three networks: one hands on a single vector for a whole sentence, one adds attention, and
the Transformer is attention alone. They are judged by BLEU on sentences that they have never seen.
Without data of its own the application translates numbers in words from English into Japanese,
which count in different groups.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics, evaluate_on_test
from suite.cli import main
from suite.data import Data, Source, supervised
from suite.data.images.files import writable_picture
from suite.data.pipelines import MIN_STEPS
from suite.data.text.files import texts_in
from suite.data.text.pairs import Sides, load_pairs
from suite.data.text.tokenizers import (
    Tokenizer,
    Tokens,
    fit_tokenizer,
    refuse_other_vocabulary,
    restore_tokenizer,
)
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports
from suite.figures import curves
from suite.figures.text import by_length, embedding_plane
from suite.knobs import LearningRate, Rate, Share, Steps, Units
from suite.layers.sequences import encoder_decoder as networks
from suite.layers.sequences.recurrent import Cell
from suite.metrics import bleu
from suite.metrics.bleu import Tokenize
from suite.tasks import text_to_text as task

# Under `suite`, whose messages a training shows.
log = logging.getLogger("suite.translation")

TEST_SHARE = 0.05  # of pairs without splits
MOST_FLOATS = 2**25  # of the logits of a batch, or of its attention, when a model is judged
MOST_TOKENS = 10_000  # of a sentence
MOST_HEADS = 8  # by which the floats of attention are estimated
SHOWN = 10  # translations that a report ends with
MOST_NAMES = 60


@settings
class Config(task.Config):
    """The settings of the training.

    Args:
        translations: File whose lines are the translations of those of `data`, if `data` is a file
            of sentences.
        swap: Whether the second of a pair is translated into the first.
        tokens: What sentences are made of: `words` between spaces, `pieces` of words, which
            SentencePiece makes of the training sentences, or `characters`.
        vocabulary_size: Largest number of tokens of either language, four special ones included.
        longest: The most tokens of a sentence. Training pairs with longer ones are left out; of
            other longer ones the first tokens are read, which the export says and the command
            refuses.
        beams: Translations that are followed side by side when one is searched for; one is the
            greedy search.
        length_penalty: 0 prefers short translations, larger numbers long ones.
        bleu_tokenizer: What BLEU compares: words between spaces (`none`), words as mteval has them
            (`13a`), or others of sacrebleu's.
        tokens_per_batch: Largest number of tokens in a batch, of both languages, padding included:
            of short pairs more are in a batch, at most `batch_size`. None takes that many always.
        validation_split: Share of the training pairs that is held out, if there is no such file.
        steps_per_epoch: Steps of an epoch. Defaults to those of a pass over the training pairs, of
            several if there are few.
    """

    translations: Path | None = None
    swap: bool = False
    tokens: Tokens = "words"
    vocabulary_size: Annotated[int, Field(ge=5, le=1_000_000)] = 8000
    longest: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 64
    beams: Annotated[int, Field(ge=1, le=100)] = 4
    length_penalty: Annotated[float, Field(ge=0, le=10)] = 1.0
    bleu_tokenizer: Tokenize = "none"
    tokens_per_batch: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    validation_split: Share = 0.05
    steps_per_epoch: Steps | None = None
    learning_rate: LearningRate = 2e-3
    label_smoothing: Rate = 0.1
    weight_average: Rate = 0.99


@dataclass(frozen=True)
class PairPreparation:
    """Both vocabularies as they are recorded in an export, so that other text is read by them.

    Args:
        tokens: What a token is.
        source: What `restore_tokenizer` needs for the language that is read.
        target: The same for the language that is written.
    """

    tokens: Tokens
    source: str
    target: str

    def languages(self) -> task.Languages:
        """The tokenizers of these vocabularies."""
        return task.Languages(
            restore_tokenizer(self.tokens, self.source),
            restore_tokenizer(self.tokens, self.target),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs(Source):
    """A source of ids that knows the text of its pairs.

    Args:
        texts: The pairs of every split.
    """

    texts: dict[str, Sides] = dataclasses.field(default_factory=dict)


def load_data(config: Config, run: Run) -> Data:
    """Ids of sentences and of their translations, in batches of similar length.

    Vocabularies are made of the training pairs alone.

    Raises:
        InputError: The pairs cannot be found or read, or no training pair is short enough.
    """
    if not bleu.available():
        log.warning("BLEU needs sacrebleu: pip install '.[text]'")
    loaded = load_pairs(run, config.translations, config.swap)
    texts = {
        name: Sides(list(part.in_memory().inputs), list(part.in_memory().targets))
        for name, part in loaded.split(config.validation_split, TEST_SHARE).items()
    }
    if run.preparation is None:
        languages = task.Languages(
            *(fit_tokenizer(config.tokens, side, config.vocabulary_size) for side in texts["train"])
        )
    else:
        languages = PairPreparation(**run.preparation).languages()
    ids = {
        name: tuple(
            language.encode(tf.constant(side))
            for language, side in zip(languages, sides, strict=True)
        )
        for name, sides in texts.items()
    }
    if run.preparation is not None:
        for side in ids["test"]:
            refuse_other_vocabulary(side.values.numpy())
    refuse_endless(ids)
    lengths = [side.row_lengths().numpy() for side in ids["train"]]
    kept = np.flatnonzero(np.maximum(*lengths) <= config.longest)
    left_out = len(lengths[0]) - len(kept)
    if not len(kept):
        shortest = np.maximum(*lengths).min()
        raise InputError(
            f"`longest` must be at least {shortest}, the tokens of the shortest training pair",
            config.longest,
        )
    if left_out:
        log.warning(
            "%d training pairs of more than %d tokens are left out.", left_out, config.longest
        )
        ids["train"] = tuple(tf.gather(side, kept) for side in ids["train"])
        texts["train"] = Sides(*([side[row] for row in kept.tolist()] for side in texts["train"]))
    tokenizers = dict(zip(("source", "target"), languages, strict=True))
    splits: dict[str, Any] = {name: task.examples(*sides) for name, sides in ids.items()}
    source = Pairs(
        name=loaded.name,
        preparation=PairPreparation(
            config.tokens, *(language.vocabulary() for language in languages)
        ),
        notes={
            "languages": {name: language.notes() for name, language in tokenizers.items()},
            "pairs_left_out": left_out,
        },
        texts=texts,
        **splits,
    )
    data = supervised(
        source,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=MIN_STEPS,
        lengths=lambda _: 2 * longest_of(*ids["train"]),
        tokens_per_batch=config.tokens_per_batch,
        model_arguments=lambda _: {
            "source_tokens": languages.source.size,
            "target_tokens": languages.target.size,
        },
    )
    longest = max(int(longest_of(*sides).max()) for sides in ids.values())
    return dataclasses.replace(
        data,
        steps_per_epoch=config.steps_per_epoch or data.steps_per_epoch,
        evaluation_batch_size=max(
            1, min(128, MOST_FLOATS // (longest * max(languages.target.size, MOST_HEADS * longest)))
        ),
    )


def refuse_endless(ids: Mapping[str, Sequence[tf.RaggedTensor]]) -> None:
    """Refuses sentences for whose attention there is no memory.

    Raises:
        InputError: A sentence of a split has more than `MOST_TOKENS`.
    """
    for split, sides in ids.items():
        for side, language in zip(sides, ("source", "target"), strict=True):
            lengths = side.row_lengths().numpy()
            if lengths.max(initial=0) > MOST_TOKENS:
                place = int(lengths.argmax())
                raise InputError(
                    f"sentences must have at most {MOST_TOKENS:,} tokens",
                    f"{lengths[place]:,} in the {language} of pair {place + 1} of {split}",
                )


def longest_of(*sides: tf.RaggedTensor) -> np.ndarray:
    """The tokens of the longer sentence of every pair, closed by `END`: `(pairs,)`."""
    return np.maximum(*(side.row_lengths().numpy() for side in sides)) + 1


@checked
def build_model(
    source_tokens: PositiveInt = 33,
    target_tokens: PositiveInt = 18,
    *,
    network: networks.Network = "transformer",
    encoder_layers: networks.NumLayers = 2,
    decoder_layers: networks.NumLayers = 2,
    units: Units = 128,
    num_heads: networks.NumHeads = 4,
    hidden_factor: networks.HiddenFactor = 4,
    positions: networks.Positions = "sinusoidal",
    cell: Cell = "lstm",
    attention: networks.Attention = "luong",
    dropout: Rate = 0.1,
) -> keras.Model:
    """Builds the network: from a sentence, and its translation so far, to the next token.

    Args:
        source_tokens: Number of tokens of the language that is read.
        target_tokens: Number of tokens of the language that is written.
        network: `seq2seq` is a recurrent encoder and decoder; with `attention` the decoder looks
            at the whole sentence; `transformer` is attention alone.
        encoder_layers: Layers of the encoder.
        decoder_layers: Layers of the decoder.
        units: Features of a token, and units of every layer.
        num_heads: Heads of the Transformer's attention.
        hidden_factor: Hidden units of the Transformer's feed-forward networks, over `units`.
        positions: How the Transformer sees the order of the words: by waves that are added, or by
            turning what attention compares.
        cell: The recurrent layer.
        attention: How the recurrent decoder compares its state with what was read.
        dropout: Rate of dropout.

    Returns:
        A functional model, `source` `(batch, source time)` and `prefix` `(batch, time)`, int32, to
        logits `(batch, time, target tokens)` of what follows after every token of the prefix.

    Raises:
        InputError: An argument is out of range, or the units cannot be divided.

    Reference:
        Sutskever, Vinyals and Le, 2014, Sequence to Sequence Learning with Neural Networks,
        https://arxiv.org/abs/1409.3215
        Bahdanau, Cho and Bengio, 2014, Neural Machine Translation by Jointly Learning to Align and
        Translate, https://arxiv.org/abs/1409.0473
        Luong, Pham and Manning, 2015, Effective Approaches to Attention-based Neural Machine
        Translation, https://arxiv.org/abs/1508.04025
        Vaswani et al., 2017, Attention Is All You Need, https://arxiv.org/abs/1706.03762
    """
    return networks.build(
        "translation",
        source_tokens,
        target_tokens,
        network=network,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        units=units,
        num_heads=num_heads,
        hidden_factor=hidden_factor,
        positions=positions,
        cell=cell,
        attention=attention,
        dropout=dropout,
    )


def pairs_of(fitted: Fitted) -> Pairs:
    """The source of the data, which knows its texts and vocabularies."""
    if not isinstance(fitted.data.source, Pairs):
        raise TypeError("translations need pairs of text: data that `load_data` has made")
    return fitted.data.source


def decoding_of(config: Config) -> task.Decoding:
    """The search of the settings."""
    return task.Decoding(config.longest, config.beams, config.length_penalty)


def endpoints(fitted: Fitted) -> dict[str, Endpoint]:
    """`serve`: `text` to its `translation`, and what `suite.tasks.text_to_text.answering` adds.

    `align`, if the network has attention: `text` to the pieces `read` and `written`, and the
    `weights` by which the written ones look at those that were read.
    """
    [model] = fitted.networks.values()
    languages = pairs_of(fitted).preparation.languages()
    decoding = decoding_of(fitted.config)
    offered = {"serve": task.answering(model, languages, decoding, "translation")}
    if networks.has_attention(model):
        offered["align"] = task.aligning(model, languages, decoding)
    return offered


def example(fitted: Fitted) -> np.ndarray:
    """Sentences of the test split, and a text with words that nobody knows."""
    return np.array([*pairs_of(fitted).texts["test"].source[:5], "xyzzy \u2603", ""], object)


def translated(fitted: Fitted, split: str = "test") -> dict[str, np.ndarray]:
    """The outputs of `serve` for a split, by name."""

    def translate() -> dict[str, np.ndarray]:
        serve = endpoints(fitted)["serve"]
        return task.answers(serve, pairs_of(fitted).texts[split].source)

    return fitted.once(f"translations of {split}", translate)


def texts_of(outputs: dict[str, np.ndarray]) -> list[str]:
    """The translations among the outputs of `serve`."""
    return [text.decode() for text in outputs["translation"]]


def evaluate(fitted: Fitted) -> Metrics:
    """BLEU on the test split, and the loss after the right beginnings.

    `test_bleu_seen` is of sentences that stand in the training split as well, with another
    translation or the same, and `test_bleu_unseen` of the others; both are None where an export is
    evaluated on other data. `test_right` is the share of
    translations that are the reference, word for word. `test_truncated` is the number of sentences
    that are too long to be read as a whole, and `test_unfinished` that of translations without end.
    `val_bleu` is of the validation split, for the choice of the search. Without sacrebleu, which
    comes with the extra `text`, BLEU is None.
    """
    texts, outputs = pairs_of(fitted).texts, translated(fitted)
    test, translations = texts["test"], texts_of(outputs)
    scores = bleu_scores(texts, translations, fitted.config.bleu_tokenizer)
    if not fitted.learnt_from:
        scores |= {"bleu_seen": None, "bleu_unseen": None}
    pairs = list(zip(translations, test.target, strict=True))
    if fitted.config.tokens == "words":  # which do not keep the spaces between them
        right = [one.split() == other.split() for one, other in pairs]
    else:
        right = [one == other for one, other in pairs]
    return {
        **evaluate_on_test(fitted),
        "val_bleu": validation_bleu(fitted),
        **{f"test_{name}": score for name, score in scores.items()},
        "test_right": float(np.mean(right)),
        "test_truncated": int(outputs["truncated"].sum()),
        "test_unfinished": int(outputs["unfinished"].sum()),
    }


def validation_bleu(fitted: Fitted) -> float | None:
    """BLEU on the validation split; None without sacrebleu."""
    if not bleu.available():
        return None
    translations = texts_of(translated(fitted, "validation"))
    references = pairs_of(fitted).texts["validation"].target
    return bleu.corpus_bleu(translations, references, fitted.config.bleu_tokenizer).score


def bleu_scores(
    texts: Mapping[str, Sides], translations: Sequence[str], tokenize: Tokenize
) -> dict[str, float | None]:
    """BLEU of translations of the test split, of all and by whether their sentence is known.

    Args:
        texts: The sentences of `train` and of `test`, and their references.
        translations: As many as the test split has sentences.
        tokenize: See `suite.metrics.bleu.corpus_bleu`.

    Returns:
        `bleu`, `bleu_seen` of sentences that stand in the training split as well, and
        `bleu_unseen` of the others; None where there are none, or without sacrebleu.
    """
    known = set(texts["train"].source)
    seen = np.array([text in known for text in texts["test"].source])

    def score(rows: np.ndarray) -> float | None:
        if not bleu.available() or not rows.any():
            return None
        chosen = np.flatnonzero(rows).tolist()
        sides = (translations, texts["test"].target)
        ours, references = ([side[row] for row in chosen] for side in sides)
        return bleu.corpus_bleu(ours, references, tokenize).score

    return {
        "bleu": score(np.ones_like(seen)),
        "bleu_seen": score(seen),
        "bleu_unseen": score(~seen),
    }


def findings(fitted: Fitted) -> dict[str, Any]:
    """`bleu_signature`, by which BLEU can be compared, and `samples` from the test split."""
    test, translations = pairs_of(fitted).texts["test"], texts_of(translated(fitted))
    samples = [
        {"source": source, "reference": reference, "translation": translation}
        for source, reference, translation in zip(*test, translations, strict=True)
    ]
    signature = None
    if bleu.available():
        signature = bleu.corpus_bleu(
            translations, test.target, fitted.config.bleu_tokenizer
        ).signature
    return {"bleu_signature": signature, "samples": samples[:SHOWN]}


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws BLEU by the length of the sentence, an alignment, and embeddings of words."""
    [model] = fitted.networks.values()
    source, outputs = pairs_of(fitted), translated(fitted)
    drawings: dict[str, Figure] = {}
    if bleu.available():
        scores = bleu.sentence_bleu(
            texts_of(outputs), source.texts["test"].target, fitted.config.bleu_tokenizer
        )
        drawings["bleu_by_length"] = by_length(scores, outputs["tokens_read"])
    if align := endpoints(fitted).get("align"):
        longest = max(source.texts["test"].source[:SHOWN], key=len)
        shown = align.function(tf.constant([longest]))
        drawings["attention"] = task.draw_alignment({n: v.numpy() for n, v in shown.items()})
    language: Tokenizer = source.preparation.languages().target
    vectors = ops.convert_to_numpy(model.get_layer("target_tokens").embeddings)
    drawings["embeddings"] = embedding_plane(
        vectors[4 : 4 + MOST_NAMES], language.pieces()[4 : 4 + MOST_NAMES]
    )
    return drawings


def translate(
    app: App,
    *text: str,
    attention: Path | None = None,
    exports: Exports = Exports(),
) -> None:
    """Translate a sentence.

    Args:
        text: The sentence; several words are one sentence.
        attention: Image file that shows which words of the translation look at which of the text.
    """
    sentence = " ".join(text).strip()
    if not sentence:
        raise InputError("the text must have a word or more", "none")
    sentences = texts_in([sentence], "the text")
    if attention is not None:
        writable_picture(attention)
    exported = exports.open(app.name)
    if attention is not None and not networks.has_attention(exported.built()):
        raise InputError("`attention` must be left out for a network that has none", attention)
    outputs = {name: values[0] for name, values in exported.call(sentences).items()}
    longest, read = exported.metadata()["config"]["longest"], int(outputs["tokens_read"])
    if outputs["truncated"]:
        raise InputError(
            f"the text must have at most {longest} tokens", f"{len(sentence):,} characters"
        )
    if outputs["unknown_tokens"] >= read:
        raise InputError("the text must have words of the model's vocabulary", repr(sentence))
    if outputs["unknown_tokens"]:
        log.warning(
            "%d of the text's %d tokens are not in the model's vocabulary.",
            outputs["unknown_tokens"],
            read,
        )
    if outputs["unfinished"]:
        log.warning("The translation has no end after %d tokens: it is cut.", longest)
    print(outputs["translation"].decode())
    if attention is not None:
        curves.write(task.draw_alignment(exported.call(sentences, "align")), attention)
        print(attention)


# An hour of one core or two is what the sizes are for.
SMALL = {
    "encoder_layers": 3,
    "decoder_layers": 3,
    "units": 192,
    "hidden_factor": 2,
    "positions": "rotary",
    "dropout": 0.3,
    "weight_average": 0.999,
}
# Pre-tokenised sentences, whose tokens BLEU compares: English and Japanese.
# The rarest words have no id, so that the network learns what an unknown word is.
ENJA = {
    **SMALL,
    "tokens": "words",
    "vocabulary_size": 5000,
    "bleu_tokenizer": "none",
    "epochs": 22,
    "batch_size": 96,
}

app = App(
    name="translation",
    topic="sequences",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=task.compile_model,
    callbacks=task.callbacks,
    endpoints=endpoints,
    example=example,
    evaluate=evaluate,
    findings=findings,
    figures=draw,
    commands={"translate": translate},
    try_next=lambda report: (
        'translate "四 万 二 千 百"'
        if report["config"]["swap"]
        else 'translate "forty two thousand one hundred"'
    ),
    recipes={
        "enja": ENJA,
        "jaen": {**ENJA, "swap": True},
        "deen": {
            **SMALL,
            "encoder_layers": 4,
            "decoder_layers": 4,
            "units": 128,
            "tokens": "pieces",
            "vocabulary_size": 6000,
            "bleu_tokenizer": "13a",
            "longest": 80,
            "epochs": 32,
        },
        # The paper's size, for a GPU.
        "base": {
            "tokens": "pieces",
            "vocabulary_size": 37_000,
            "bleu_tokenizer": "13a",
            "longest": 256,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "units": 512,
            "num_heads": 8,
            "dropout": 0.1,
            "batch_size": 128,
            "learning_rate": 7e-4,
            "warmup": 0.04,
            "length_penalty": 0.6,
            "weight_average": 0.9995,
        },
    },
    objective="val_nats",
    objective_mode="min",
    data_layouts=(
        "A table of sentences and their translations with a tab between them (.tsv); a file of "
        "sentences, with --translations for the file of theirs, line by line; or a folder with two "
        "such files for each split, as train.en, train.ja, val.en, val.ja, test.en and test.ja."
    ),
    tiny={
        "epochs": 1,
        "steps_per_epoch": 20,
        "batch_size": 8,
        "longest": 20,
        "beams": 2,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "units": 16,
        "num_heads": 2,
    },
)

if __name__ == "__main__":
    main(app)
