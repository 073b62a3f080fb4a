"""Addition as text to text: "527+61" becomes "588", character by character.

A network reads a sum as it is typed, and writes the answer digit by digit, from the lowest on. It
is trained on half of all sums, and judged on every one: of numbers of up to three digits there are
a million.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics
from suite.cli import main
from suite.data import Data, Description, Examples
from suite.data.examples import fingerprint
from suite.data.pipelines import generated_batches, stream_seeds
from suite.data.sources import refuse_given_data
from suite.data.text.tokenizers import PADDING, Characters, Tokenizer
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports
from suite.knobs import BatchSize, Epochs, LearningRate, Rate, Share, Units
from suite.layers.sequences import encoder_decoder as networks
from suite.layers.sequences.recurrent import Cell
from suite.tasks import text_to_text as task

CHARACTERS = "+0123456789"
DIGITS = 3  # of the longest numbers, by default and at most
STEPS_PER_EPOCH = 100
MOST_VALIDATED = 5000  # sums
AT_ONCE = 2000  # sums that are judged in a batch
SPLIT_SEED = 0  # the same sums are held out for every seed


@settings
class Config(task.Config):
    """The settings of the training.

    Args:
        digits: Digits of the longest numbers.
        backwards: Whether sums are read, and answers written, from the last character on: the
            lowest digits come first, and the carry with them.
        test_share: Share of all sums that are never trained on. `a+b` and `b+a` stay together.
        short_share: Share of the training sums for which the digits of both numbers are drawn
            first, all as often; of all sums, hardly any are short.
        carry_share: Share of the training sums in which a carry is passed on to a second digit.
        epochs: Number of epochs of 100 optimizer steps.
        batch_size: Sums per optimizer step, over all replicas.
    """

    digits: Annotated[int, Field(ge=1, le=DIGITS)] = DIGITS
    backwards: bool = True
    test_share: Share = 0.5
    short_share: Rate = 0.3
    carry_share: Rate = 0.3
    epochs: Epochs = 30
    batch_size: BatchSize = 256
    learning_rate: LearningRate = 3e-3
    warmup: Share = 0.05


class Backwards(Tokenizer):
    """The characters of a text from the last on."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.size, self.blank = tokenizer.size, tokenizer.blank
        self.resources = tokenizer.resources

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings `(batch,)` to ids `(batch, None)`."""
        return self.tokenizer.encode(texts)[:, ::-1]

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids `(batch, time)` to strings `(batch,)`."""
        characters = tf.strings.unicode_split(self.tokenizer.decode(ids), "UTF-8")
        return tf.strings.reduce_join(characters[:, ::-1], axis=-1)

    def pieces(self) -> list[str]:
        """The text of every id, in order."""
        return self.tokenizer.pieces()

    def vocabulary(self) -> str:
        """The characters."""
        return self.tokenizer.vocabulary()

    def notes(self) -> dict[str, Any]:
        """Kind, size and fingerprint of the vocabulary."""
        return self.tokenizer.notes()


def languages(config: Config) -> task.Languages:
    """Both languages are characters, from the first or from the last on."""
    characters = Characters(CHARACTERS)
    tokenizer = Backwards(characters) if config.backwards else characters
    return task.Languages(tokenizer, tokenizer)


def addends(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Both numbers of every sum, `(sums,)`."""
    count = 10**config.digits
    first, second = np.divmod(np.arange(count**2), count)
    return first, second


def split_rows(config: Config) -> dict[str, np.ndarray]:
    """The sums of every split by their places among all, the same ones for every seed of a run."""
    first, second = addends(config)
    random = np.random.default_rng(SPLIT_SEED)
    draws = random.random(len(first))
    # One draw for a pair of numbers, in whichever order.
    draws = draws[np.minimum(first, second) * 10**config.digits + np.maximum(first, second)]
    held_out = np.flatnonzero(draws < config.test_share)
    validated = np.zeros(len(held_out), bool)
    count = min(MOST_VALIDATED, max(1, len(held_out) // 5))
    validated[random.permutation(len(held_out))[:count]] = True
    return {
        "train": np.flatnonzero(draws >= config.test_share),
        "validation": held_out[validated],
        "test": held_out[~validated],
    }


def load_data(config: Config, run: Run) -> Data:
    """Characters of sums and of their answers; a batch is drawn by the seed and the step.

    Raises:
        InputError: `run.data` names a source, or a split is left without sums.
    """
    refuse_given_data(run, "the sums are")
    if config.short_share + config.carry_share > 1:
        raise InputError(
            "`short_share` and `carry_share` must add up to at most 1",
            f"{config.short_share} and {config.carry_share}",
        )
    first, second = addends(config)
    rows_of = split_rows(config)
    if not all(map(len, rows_of.values())):
        raise InputError("`test_share` must leave sums to train and to test on", config.test_share)
    texts = [f"{a}+{b}" for a, b in zip(first, second, strict=True)]
    totals = [str(total) for total in first + second]
    source, target = (
        language.encode(tf.constant(column))
        for language, column in zip(languages(config), (texts, totals), strict=True)
    )
    padded = keras.tree.map_structure(
        lambda ids: ids.to_tensor(PADDING).numpy(), tuple(task.examples(source, target))
    )
    sums = Examples(*padded)
    splits = {name: sums.rows(rows) for name, rows in rows_of.items()}
    groups, shares = training_groups(config, rows_of["train"])
    read = sums.reader()
    (seed,) = stream_seeds(run.seed, 1)

    def batch(step: tf.Tensor) -> tuple[Any, ...]:
        return read(drawn_rows(groups, shares, config.batch_size, tf.stack([step, seed])))

    return Data(
        train=generated_batches(batch),
        steps_per_epoch=STEPS_PER_EPOCH,
        batch_size=config.batch_size,
        even_shards=True,
        splits=splits,
        evaluation_batch_size=AT_ONCE,
        description=Description(
            source="synthetic:sums",
            fingerprint=fingerprint(*splits.values()),
            train=len(rows_of["train"]),
            validation=len(rows_of["validation"]),
            test=len(rows_of["test"]),
        ),
    )


def training_groups(config: Config, rows: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """Groups of training sums that are drawn from, and how often each.

    Args:
        config: The settings.
        rows: The training sums, by their places among all.
    """
    first, second = (numbers[rows] for numbers in addends(config))
    lengths = number_of_digits(first) * 10 + number_of_digits(second)
    by_length = [rows[lengths == length] for length in np.unique(lengths)]
    chains = rows[carries_passed_on(first, second, config.digits)]
    carry_share = config.carry_share if len(chains) else 0.0
    groups = [(rows, 1 - config.short_share - carry_share)]
    groups += [(group, config.short_share / len(by_length)) for group in by_length]
    groups += [(chains, carry_share)] if len(chains) else []
    return [group for group, _ in groups], [share for _, share in groups]


def number_of_digits(numbers: np.ndarray) -> np.ndarray:
    """The number of digits of numbers from 0 on."""
    return 1 + sum((numbers >= 10**place).astype(int) for place in range(1, DIGITS + 1))


def carries_passed_on(first: np.ndarray, second: np.ndarray, digits: int) -> np.ndarray:
    """Whether a carry passes through a digit of a sum: two digits add up to 9, and one comes in."""
    carry, passed = np.zeros(first.shape, int), np.zeros(first.shape, bool)
    for place in range(digits):
        total = first // 10**place % 10 + second // 10**place % 10
        passed |= (total == 9) & (carry == 1)
        carry = (total + carry) // 10
    return passed


def drawn_rows(
    groups: Sequence[np.ndarray], shares: Sequence[float], count: int, seed: tf.Tensor
) -> tf.Tensor:
    """Draws rows, each from a group that is drawn by its share.

    Args:
        groups: Rows of each group.
        shares: How often a group is drawn, in any unit.
        count: Number of rows.
        seed: A pair of integers; the same pair gives the same rows.
    """
    sizes = np.array([len(group) for group in groups])
    begins = np.cumsum(sizes) - sizes
    limits = np.cumsum(shares) / np.sum(shares)
    draws = tf.random.stateless_uniform((2, count), seed, dtype=tf.float64)
    group = tf.minimum(tf.searchsorted(limits, draws[0], side="right"), len(groups) - 1)
    places = tf.cast(draws[1] * tf.gather(tf.cast(sizes, tf.float64), group), tf.int64)
    return tf.gather(np.concatenate(groups), tf.gather(begins, group) + places)


@checked
def build_model(
    *,
    network: networks.Network = "transformer",
    encoder_layers: networks.NumLayers = 1,
    decoder_layers: networks.NumLayers = 2,
    units: Units = 64,
    num_heads: networks.NumHeads = 4,
    hidden_factor: networks.HiddenFactor = 4,
    positions: networks.Positions = "sinusoidal",
    cell: Cell = "gru",
    attention: networks.Attention = "luong",
    dropout: Rate = 0.0,
) -> keras.Model:
    """Builds the network: from a sum, and the digits of its answer so far, to the next digit.

    Args:
        network: `seq2seq` is a recurrent encoder and decoder; with `attention` the decoder looks
            at the whole sum; `transformer` is attention alone.
        encoder_layers: Layers of the encoder.
        decoder_layers: Layers of the decoder.
        units: Features of a character, and units of every layer.
        num_heads: Heads of the Transformer's attention.
        hidden_factor: Hidden units of the Transformer's feed-forward networks, over `units`.
        positions: How the Transformer sees the order of the characters.
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
        Vaswani et al., 2017, Attention Is All You Need, https://arxiv.org/abs/1706.03762
        Lee et al., 2023, Teaching Arithmetic to Small Transformers (answers from the lowest digit
        on), https://arxiv.org/abs/2307.03381
    """
    size = Characters(CHARACTERS).size
    return networks.build(
        "addition_seq2seq",
        size,
        size,
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


def decoding_of(config: Config) -> task.Decoding:
    """The greedy search, as long as the longest sum."""
    return task.Decoding(longest=2 * config.digits + 1)


def pattern(digits: int) -> str:
    """The regular expression of a sum."""
    number = f"(0|[1-9][0-9]{{0,{digits - 1}}})"
    return rf"{number}\+{number}"


def endpoints(fitted: Fitted) -> dict[str, Endpoint]:
    """`serve`: `text` such as 527+61, with spaces or without, to `answer`, text.

    `valid` says whether the text is a sum of two numbers that are not too long; the answer to
    another text is empty. `score` and the rest: see `suite.tasks.text_to_text.answering`.
    """
    [model] = fitted.networks.values()
    endpoint = task.answering(model, languages(fitted.config), decoding_of(fitted.config), "answer")
    expression = pattern(fitted.config.digits)

    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        text = tf.strings.regex_replace(text, " ", "")
        outputs = endpoint.function(text)
        valid = tf.strings.regex_full_match(text, expression)
        return {**outputs, "answer": tf.where(valid, outputs["answer"], ""), "valid": valid}

    return {"serve": endpoint._replace(function=serve)}


def example(fitted: Fitted) -> np.ndarray:
    """Sums of several lengths, and a text that is none."""
    high = 10**fitted.config.digits - 1
    return np.array([f"{high}+1", "0+0", f"{high} + {high}", "two+two", f"1+{high}"], object)


def evaluate(fitted: Fitted) -> Metrics:
    """Exact answers among the sums that were never trained on, and among all.

    `test_exact` is the share of right answers on the test split, and `exact` among all sums.
    `wrong_sums` is the number of wrong ones, `wrong_unseen_sums` that of those which were not
    trained on. `exact_by_digits` is the share of right answers by the digits of both numbers.
    """
    first, second = addends(fitted.config)
    right = np.zeros(len(first), bool)
    rows_of = split_rows(fitted.config)
    for name, rows in rows_of.items():
        right[rows] = right_answers(fitted.model, fitted.data.splits[name].in_memory())
    lengths = [number_of_digits(numbers) for numbers in (first, second)]
    by_digits = {
        f"{one}+{two}": float(right[(lengths[0] == one) & (lengths[1] == two)].mean())
        for one in np.unique(lengths[0])
        for two in np.unique(lengths[1])
    }
    unseen = np.concatenate([rows_of["validation"], rows_of["test"]])
    return {
        "test_exact": float(right[rows_of["test"]].mean()),
        "exact": float(right.mean()),
        "wrong_sums": int((~right).sum()),
        "wrong_unseen_sums": int((~right[unseen]).sum()),
        "exact_by_digits": by_digits,
    }


def right_answers(model: keras.Model, sums: Examples) -> np.ndarray:
    """Which answers greedy decoding gets right, `(sums,)`; see `suite.tasks.text_to_text.exact`."""
    right = []
    for begin in range(0, sums.num_examples, AT_ONCE):
        part = sums.rows(np.arange(begin, min(begin + AT_ONCE, sums.num_examples)))
        logits = model.predict_on_batch(part.inputs)
        right.append(ops.convert_to_numpy(task.exact(part.targets, logits)))
    return np.concatenate(right)


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws which digits of a sum the network looks at for which digit of the answer."""
    [model] = fitted.networks.values()
    if not networks.has_attention(model):
        return {}
    number = "7" * fitted.config.digits
    endpoint = task.aligning(model, languages(fitted.config), decoding_of(fitted.config))
    outputs = endpoint.function(tf.constant([f"{number}+{number}"]))
    return {"attention": task.draw_alignment({n: v.numpy() for n, v in outputs.items()})}


def add(app: App, *sums: str, exports: Exports = Exports()) -> None:
    """Add two numbers.

    Args:
        sums: Sums of two numbers each, such as 527+61.
    """
    if not sums:
        raise InputError("there must be one sum or more, such as 527+61", "none")
    exported = exports.open(app.name)
    digits = exported.metadata()["config"]["digits"]
    for text in sums:
        if not re.fullmatch(pattern(digits), text.replace(" ", "")):
            raise InputError(
                f"a sum must be like 527+61, of whole numbers of up to {digits} digits", text
            )
    answers = exported.call(np.array(sums, object))["answer"]
    for text, answer in zip(sums, answers, strict=True):
        print(f"{text} = {answer.decode()}")


app = App(
    name="addition_seq2seq",
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
    figures=draw,
    commands={"add": add},
    try_next=lambda report: f"add {'527'[: report['config']['digits']]}+6",
    objective="val_exact",
    objective_mode="max",
    tiny={
        "epochs": 1,
        "batch_size": 8,
        "digits": 1,
        "decoder_layers": 1,
        "units": 16,
        "num_heads": 2,
    },
)

if __name__ == "__main__":
    main(app)
