"""The task of language modelling: data, loss, endpoints, metrics, figures and the command.

An application builds a network that predicts the next token, says how it reads on from a state, and
passes the functions of this module to its `App`.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure
from pydantic import Field
from pydantic.dataclasses import dataclass

from suite.app import App, Fitted, Metrics
from suite.data import Data, Examples, Source, sources
from suite.data.checks import accepted_texts, only_if
from suite.data.pipelines import MIN_STEPS, describe
from suite.data.text.files import read_text, read_texts, texts_in
from suite.data.text.tokenizers import (
    END,
    MOST_UNKNOWN,
    PADDING,
    START,
    UNKNOWN,
    Tokenizer,
    Tokens,
    fit_tokenizer,
    refuse_other_vocabulary,
    restore_tokenizer,
    unknown_tokens,
)
from suite.data.text.windows import consecutive_windows, shuffled_windows, windows
from suite.decoding.sampling import HOTTEST, sample
from suite.decoding.stepper import Stepper
from suite.errors import InputError
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports
from suite.figures.text import embedding_plane, perplexity_by_position
from suite.knobs import (
    BatchSize,
    Epochs,
    LearningRate,
    Rate,
    Seed,
    Share,
    Steps,
    WeightDecay,
    settings,
)
from suite.metrics.tokens import TokenMean
from suite.run import Run
from suite.trainers.averages import weight_average_callbacks
from suite.trainers.crossentropy import TokenCrossentropy, nats
from suite.trainers.optimizers import Clip, Optimization, scheduled_optimizer
from suite.trainers.truncated import Recurrence, TruncatedBackpropagation

log = logging.getLogger(__name__)

EMBEDDED = Path(__file__).parents[1] / "data" / "text" / "shakespeare.txt"
TFDS_NAME = "tiny_shakespeare"
TRAIN_SHARE = 0.9  # of a text without splits
SPECIAL = (PADDING, START, END, UNKNOWN)
WINDOWS_PER_ROW = 4  # which are judged as one where a network carries its state
MOST_NEXT = 10  # probable next tokens that `serve` names
MOST_SCORED = 10_000  # tokens of a text whose likelihood a server computes
MOST_GENERATED = 100_000
MOST_GENERATED_TOGETHER = 2**20  # tokens of all texts of a call
MOST_FLOATS = 2**24  # of the logits of a batch, when a model is judged
MOST_ANSWERED = 2**28  # of the logits of a call, when a server answers
MOST_WINDOWS = 64
SAMPLES = 3  # texts that a report ends with
SAMPLE_LENGTH = 200
ANY_TOKEN = 2**31 - 1

Length = Annotated[int, Field(ge=1, le=MOST_GENERATED)]
Temperature = Annotated[float, Field(gt=0, le=HOTTEST)]
TopK = Annotated[int, Field(ge=1, le=ANY_TOKEN)]
TopP = Annotated[float, Field(gt=0, le=1)]


@settings
class Config(Optimization):
    """The settings of the training of a language model.

    Args:
        tokens: What is predicted: the next of the `characters`, `words` or `pieces` of words, which
            SentencePiece makes of the training text.
        vocabulary_size: Largest number of tokens in the vocabulary, four special ones included.
        context: Tokens of a window, the longest past that a gradient reaches.
        carry: Whether a recurrent network begins a window with the state in which it ended the one
            before, or else with none.
        steps_per_epoch: Steps of an epoch. Defaults to those of a pass over the training text, of
            several if it is small.
        batch_size: Windows per optimizer step, over all replicas.
        weight_decay: Decoupled weight decay in a step, times the learning rate; of matrices only.
        weight_average: Share of a moving average of the weights that a step keeps; 0 keeps none.
            The validation uses the average, and the training ends with it.
    """

    tokens: Tokens = "characters"
    vocabulary_size: Annotated[int, Field(ge=5, le=1_000_000)] = 8000
    context: Annotated[int, Field(ge=1, le=65_536)] = 64
    carry: bool = False
    epochs: Epochs = 5
    steps_per_epoch: Steps | None = None
    batch_size: BatchSize = 32
    learning_rate: LearningRate = 3e-3
    warmup: Share = 0.1
    weight_decay: WeightDecay = 0.1
    clip_norm: Clip | None = 1.0
    weight_average: Rate = 0.0


@dataclass(frozen=True)
class TextPreparation:
    """A vocabulary as it is recorded in an export, so that other text is read by the same one.

    Args:
        tokens: What a token is.
        vocabulary: What `restore_tokenizer` needs.
    """

    tokens: Tokens
    vocabulary: str

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of this vocabulary."""
        return restore_tokenizer(self.tokens, self.vocabulary)


def load_data(config: Config, run: Run) -> Data:
    """Windows of ids `(context,)` and the ids after each of theirs; see `suite.data.text.windows`.

    Of a text without splits the first 90 % of the characters are trained on. The rest is halved:
    validation, then test.

    Raises:
        InputError: The text cannot be found or read, or a split has fewer than two tokens.
    """
    texts, source = load_texts(run)
    if run.preparation is None:
        tokenizer = fit_tokenizer(config.tokens, [texts["train"]], config.vocabulary_size)
    else:
        tokenizer = TextPreparation(**run.preparation).tokenizer()
    ids = {name: encoded(tokenizer, text) for name, text in texts.items()}
    if run.preparation is not None:
        refuse_other_vocabulary(ids["test"])
    for name, part in ids.items():
        if len(part) < 2:
            raise InputError(f"`data` must have two tokens or more in its {name} split", len(part))
    unknown = {name: int((part == UNKNOWN).sum()) for name, part in ids.items()}
    if unknown["train"] > MOST_UNKNOWN * len(ids["train"]):
        log.warning(
            "%.0f%% of the training text are %s that are not in the vocabulary, and not learnt.",
            100 * unknown["train"] / len(ids["train"]),
            config.tokens,
        )
    if run.preparation is None:
        cut = consecutive_windows if config.carry else shuffled_windows
        train, one_pass = cut(ids["train"], config.context, config.batch_size, run.seed)
    else:  # of an export, which does not train: its text may be shorter than a window
        longest = min(config.context, len(ids["train"]) - 1)
        train, one_pass = shuffled_windows(ids["train"], longest, 1, run.seed)
    length = reach(config)
    overlap = config.context if config.carry else 0
    splits = {
        name: windows(part, length, 0 if name == "train" else overlap) for name, part in ids.items()
    }
    source = Source(
        name=source.name,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        preparation=TextPreparation(config.tokens, tokenizer.vocabulary()),
        notes={
            **tokenizer.notes(),
            "characters": {name: len(text) for name, text in texts.items()},
            "counts_of_tokens": {name: len(part) for name, part in ids.items()},
            "unknown_tokens": unknown,
        },
    )
    return Data(
        train=train,
        steps_per_epoch=config.steps_per_epoch or one_pass * math.ceil(MIN_STEPS / one_pass),
        batch_size=config.batch_size,
        even_shards=True,
        splits=splits,
        source=source,
        description=describe(source, splits),
        model_arguments={"num_tokens": tokenizer.size},
        evaluation_batch_size=max(
            1, min(MOST_WINDOWS, MOST_FLOATS // ((overlap + length) * tokenizer.size))
        ),
    )


def load_texts(run: Run) -> tuple[dict[str, str], Source]:
    """The text of every split, and the source that it is from.

    Raises:
        InputError: The text cannot be found or read, or is too short to be split.
    """
    source = sources.load(
        run,
        from_arrays=_of_arrays,
        tfds_name=TFDS_NAME,
        from_tfds=_from_tfds,
        embedded=lambda: Source(name="embedded:shakespeare", train=_rows([read_text(EMBEDDED)])),
        from_path=lambda path: _from_path(path, run.skip_broken),
    )
    texts = {
        name: "\n".join(map(str, part.in_memory().inputs))
        for name, part in source.splits().items()
        if part.num_examples
    }
    missing = [name for name in ("validation", "test") if name not in texts]
    if missing:
        text = texts["train"]
        begin = int(TRAIN_SHARE * len(text))
        size = -(-(len(text) - begin) // len(missing))
        texts["train"] = text[:begin]
        for number, name in enumerate(missing):
            texts[name] = text[begin + number * size : begin + (number + 1) * size]
    for name, text in texts.items():
        if not text:
            raise InputError(
                "`data` must be long enough to be split", f"no text in the {name} split"
            )
    return texts, source


def encoded(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The ids of a text, `(tokens,)`, int32."""
    return tokenizer.encode(tf.constant([text])).flat_values.numpy()


def _of_arrays(source: Source) -> Source:
    parts: dict[str, Any] = {
        name: Examples(texts_in(part.in_memory().inputs, f"the inputs of {source.name}"))
        for name, part in source.splits().items()
    }
    return dataclasses.replace(source, **parts)


def _rows(texts: Sequence[str]) -> Examples:
    return Examples(np.array(texts, object))


def _from_path(path: Path, skip_broken: bool) -> Source:
    parts: dict[str, Any] = {
        name: _rows(texts) for name, texts in read_texts(path, skip_broken).items() if texts
    }
    return Source(name=str(path), **parts)


def _from_tfds(builder: Any, name: str) -> Source:
    parts: dict[str, Any] = {
        split: _rows(
            [row["text"].decode() for row in builder.as_dataset(split=split).as_numpy_iterator()]
        )
        for split in builder.info.splits
    }
    return Source(name=name, **parts)


def compile_model(
    model: keras.Model, config: Config, steps: int, recurrence: Recurrence | None
) -> keras.Model:
    """Compiles with cross-entropy, and the optimizer and schedule of the settings.

    Args:
        model: Maps `ids` `(batch, time)` to logits `(batch, time, tokens)`.
        config: The settings.
        steps: Optimizer steps of the training.
        recurrence: How the network reads on from a state; None for one that has none.

    Raises:
        InputError: A state is to be carried over, and the network has none.
    """
    trained = model
    if config.carry:
        if recurrence is None:
            raise InputError("`carry` must be left out for a network without a state", True)
        trained = TruncatedBackpropagation(model, recurrence, config.batch_size)
    trained.compile(
        optimizer=scheduled_optimizer(config, steps, matrices_of=model),
        loss=TokenCrossentropy(),
        metrics=[
            TokenMean(nats, name="nats"),
            TokenMean(keras.metrics.sparse_categorical_accuracy, name="accuracy"),
        ],
    )
    return trained


callbacks = weight_average_callbacks


def evaluate(fitted: Fitted) -> Metrics:
    """`test_nats` of a token, `test_perplexity`, `test_bits_per_character`, `test_accuracy`.

    Bits of a character are None where the test text has unknown tokens: which characters those have
    is not predicted.
    `held_out_nats` is of validation and test together: for a text without splits, the last 10 %,
    which nanoGPT validates on.
    """
    notes = fitted.data.description.notes
    logs, predicted = {}, {}
    for name in ("validation", "test"):
        values = fitted.model.evaluate(fitted.data.one_pass(name), verbose=0, return_dict=True)
        logs[name], predicted[name] = values, notes["counts_of_tokens"][name] - 1
    test = float(logs["test"]["nats"])
    held_out = sum(float(logs[name]["nats"]) * predicted[name] for name in logs)
    bits = test * predicted["test"] / (math.log(2) * notes["characters"]["test"])
    return {
        "test_nats": test,
        "test_perplexity": math.exp(min(test, 700.0)),
        "test_bits_per_character": None if notes["unknown_tokens"]["test"] else bits,
        "test_accuracy": float(logs["test"]["accuracy"]),
        "held_out_nats": held_out / sum(predicted.values()),
    }


def reach(config: Config) -> int:
    """The tokens of the past that a network reads when it answers."""
    return config.context * (WINDOWS_PER_ROW if config.carry else 1)


def tokenizer_of(fitted: Fitted) -> Tokenizer:
    """The tokenizer of the data."""
    if fitted.data.source is None:
        raise TypeError("a tokenizer needs text: data that `load_data` has made")
    return fitted.data.source.preparation.tokenizer()


def first_id(fitted: Fitted, tokenizer: Tokenizer) -> int:
    """The id that is read before any text: of the end of a line, if the training text has one."""
    line_end = int(encoded(tokenizer, "\n")[0])
    return (
        line_end
        if line_end != UNKNOWN
        else int(fitted.data.splits["train"].in_memory().inputs[0, 0])
    )


def endpoints(fitted: Fitted, stepper: Stepper) -> dict[str, Endpoint]:
    """Signatures of text: what comes next, how likely a text is, and how it could go on.

    All read a text as if the end of a line were before it.

    `serve`: `text` to the most probable `next` tokens and their `probabilities`, `(batch, 10)` or
    fewer; `tokens_read` `(batch,)`, how many tokens were read, the last ones of a text that is
    longer than what the network can look back on; `truncated` `(batch,)`, whether it is; and
    `unknown_tokens` `(batch,)`, how many of those read are not in the vocabulary.

    `score`: `text` of at most 10,000 tokens to its `log_likelihood`, in nats, the number of
    `tokens` and of `unknown_tokens`, and `perplexity`, all `(batch,)`.

    `generate`: `text`, `length` in tokens, `temperature`, `top_k`, `top_p` and `seed`, all
    `(batch,)`, to the `text` with its continuation, the `continuation` alone, `tokens_read`,
    `truncated` and `unknown_tokens`.

    Args:
        fitted: The network and its data.
        stepper: The network, one token at a time; `stepper.start(batch)` is its first state.
    """
    [model] = fitted.networks.values()
    tokenizer = tokenizer_of(fitted)
    most_read, whole = reach(fitted.config), fitted.config.carry
    pieces = tf.constant(tokenizer.pieces())
    first = first_id(fitted, tokenizer)

    def read(text: tf.Tensor) -> tf.RaggedTensor:
        """The ids of texts, behind the one that is read first."""
        begin = tf.fill([tf.shape(text)[0], 1], first)
        return tf.concat([begin, tokenizer.encode(text)], axis=1)

    def counts(ids: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """The tokens of texts that a network reads, and those of them that it does not know."""
        read_ids = ids[:, 1:][:, -most_read:]
        return {
            "tokens_read": tf.cast(read_ids.row_lengths(), tf.int32),
            "truncated": ids.row_lengths() - 1 > most_read,
            "unknown_tokens": unknown_tokens(tokenizer, read_ids),
        }

    def allowed(padded: tf.Tensor, texts: tf.Tensor) -> tf.Tensor:
        """The ids `(batch, time)` of so many texts, if there is memory for all their logits."""
        is_small = tf.size(padded, tf.int64) * tokenizer.size <= MOST_ANSWERED
        requirement = "`text` must be fewer or shorter texts at a time"
        return only_if(is_small | (texts == 1), padded, requirement, texts)

    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = read(text)
        last = ids[:, -most_read:]
        logits = model(allowed(last.to_tensor(), tf.size(text)), training=False)
        probabilities = tf.nn.softmax(tf.gather(logits, last.row_lengths() - 1, batch_dims=1))
        most = tf.math.top_k(probabilities, min(MOST_NEXT, tokenizer.size))
        return {
            "next": tf.gather(pieces, most.indices),
            "probabilities": most.values,
            **counts(ids),
        }

    def score(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = read(text)
        tokens = tf.cast(ids.row_lengths(), tf.int32) - 1
        requirement = f"`text` must have at most {MOST_SCORED:,} tokens"
        padded = only_if(tf.reduce_all(tokens <= MOST_SCORED), ids, requirement).to_tensor()
        rows, time = tf.shape(padded)[0], tf.shape(padded)[1] - 1
        length = tf.maximum(time, 1) if whole else most_read
        count = tf.maximum(1, (time + length - 1) // length)
        padded = tf.pad(padded, [[0, 0], [0, count * length - time]])
        inputs, targets = (
            tf.reshape(part, [rows * count, length]) for part in (padded[:, :-1], padded[:, 1:])
        )
        losses = nats(targets, model(allowed(inputs, rows), training=False))
        losses = tf.where(targets == PADDING, 0.0, losses)
        likelihood = -tf.reduce_sum(tf.reshape(losses, [rows, count * length]), axis=1)
        return {
            "log_likelihood": likelihood,
            "tokens": tokens,
            "unknown_tokens": tf.reduce_sum(tf.cast(ids == UNKNOWN, tf.int32), axis=1),
            "perplexity": tf.exp(-likelihood / tf.cast(tf.maximum(tokens, 1), tf.float32)),
        }

    def generate(
        text: tf.Tensor,
        length: tf.Tensor,
        temperature: tf.Tensor,
        top_k: tf.Tensor,
        top_p: tf.Tensor,
        seed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        is_length = tf.reduce_all((length >= 1) & (length <= MOST_GENERATED))
        length = only_if(is_length, length, f"`length` must be from 1 to {MOST_GENERATED:,}")
        text = accepted_texts(text)
        rows = tf.shape(text)[0]
        requirement = f"texts times `length` must be at most {MOST_GENERATED_TOGETHER:,}"
        together = tf.cast(rows, tf.int64) * tf.cast(tf.reduce_max(length), tf.int64)
        text = only_if(together <= MOST_GENERATED_TOGETHER, text, requirement)
        ids = read(text)
        prompt = ids[:, -most_read:]
        drawn = sample(
            stepper,
            stepper.start(rows),
            rows,
            tf.reduce_max(length),
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            prompt=prompt.to_tensor(),
            never=SPECIAL,
        ).ids
        # Decoded together: a token's text may depend on the one before it.
        kept = tf.sequence_mask(length, tf.shape(drawn)[1])
        before = tokenizer.decode(prompt.to_tensor())
        after = tf.RaggedTensor.from_tensor(tf.where(kept, drawn, PADDING))
        both = tokenizer.decode(tf.concat([prompt, after], axis=1).to_tensor())
        continuation = tf.strings.substr(both, tf.strings.length(before), tf.strings.length(both))
        return {
            "text": tf.strings.join([text, continuation]),
            "continuation": continuation,
            **counts(ids),
        }

    text = tf.TensorSpec((None,), tf.string, "text")
    numbers = [
        tf.TensorSpec((None,), dtype, name)
        for name, dtype in {
            "length": tf.int32,
            "temperature": tf.float32,
            "top_k": tf.int32,
            "top_p": tf.float32,
            "seed": tf.int32,
        }.items()
    ]
    return {
        "serve": Endpoint(serve, [text], tokenizer.resources),
        "score": Endpoint(score, [text], tokenizer.resources),
        "generate": Endpoint(generate, [text, *numbers], tokenizer.resources),
    }


def example(fitted: Fitted) -> np.ndarray:
    """Texts of several lengths."""
    return np.array(["To be", "", "O Romeo, Romeo! wherefore art", "\n"], object)


def generation_inputs(
    texts: Sequence[str],
    *,
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
    seeds: Sequence[int],
) -> dict[str, np.ndarray]:
    """The inputs of `generate` by name, `(texts,)`."""
    count = len(texts)
    return {
        "text": np.array(texts, object),
        "length": np.full(count, length, np.int32),
        "temperature": np.full(count, temperature, np.float32),
        "top_k": np.full(count, top_k or ANY_TOKEN, np.int32),
        "top_p": np.full(count, top_p, np.float32),
        "seed": np.array(seeds, np.uint32).view(np.int32),
    }


def findings(fitted: Fitted, stepper: Stepper) -> dict[str, Any]:
    """`samples`: texts that the network makes of nothing, one for each seed from 0 on."""
    inputs = generation_inputs(
        [""] * SAMPLES,
        length=SAMPLE_LENGTH,
        temperature=0.8,
        top_k=None,
        top_p=1.0,
        seeds=range(SAMPLES),
    )
    function = tf.function(endpoints(fitted, stepper)["generate"].function)
    texts = function(*map(tf.constant, inputs.values()))["text"].numpy()
    return {"samples": [text.decode() for text in texts]}


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws the perplexity by the position in a window, and the embeddings of the tokens."""
    [model] = fitted.networks.values()
    length, tokenizer = fitted.config.context, tokenizer_of(fitted)
    test = fitted.data.splits["test"].in_memory()
    new = reach(fitted.config)  # tokens of a row that are not in the row before
    ids = np.concatenate([test.inputs[0, :new], test.inputs[1:, -new:].ravel()])
    inputs, targets = windows(ids[ids != PADDING], length)
    rows = np.arange(min(len(inputs), fitted.data.evaluation_batch_size))
    losses = ops.convert_to_numpy(nats(targets[rows], model.predict(inputs[rows], verbose=0)))
    losses = np.where(targets[rows] == PADDING, np.nan, losses)
    counts = np.bincount(
        fitted.data.splits["train"].in_memory().inputs.ravel(), minlength=tokenizer.size
    )
    counts[list(SPECIAL)] = 0
    frequent = np.argsort(-counts, kind="stable")[: max(3, int((counts > 0).sum()))]
    vectors = ops.convert_to_numpy(model.get_layer("tokens").embeddings)[frequent]
    pieces = tokenizer.pieces()
    names = [
        pieces[token].replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")
        for token in frequent
    ]
    return {
        "perplexity_by_position": perplexity_by_position(losses),
        "embeddings": embedding_plane(vectors, names),
    }


def generate(
    app: App,
    text: str = "",
    *,
    length: Length = 500,
    temperature: Temperature = 0.8,
    top_k: TopK | None = None,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    exports: Exports = Exports(),
) -> None:
    """Go on with a text.

    Args:
        text: The beginning of the text.
        length: Tokens that are added.
        temperature: Below 1, probable tokens become more probable; above 1, less.
        top_k: Number of most probable tokens that are drawn from; by default all.
        top_p: Tokens are drawn from the smallest set of most probable ones that have this
            probability together.
        seed: Decides what is drawn.
    """
    texts = texts_in([text], "the text").tolist()
    exported = exports.open(app.name)

    def go_on(length: int) -> dict[str, np.ndarray]:
        inputs = generation_inputs(
            texts, length=length, temperature=temperature, top_k=top_k, top_p=top_p, seeds=[seed]
        )
        return exported.call(inputs, signature="generate")

    outputs = go_on(1)  # soon refused where the text cannot be read
    unknown = int(outputs["unknown_tokens"][0])
    if text and unknown >= int(outputs["tokens_read"][0]):
        raise InputError("the text must have tokens of the model's vocabulary", repr(text))
    outputs = go_on(length)
    if outputs["truncated"][0]:
        log.warning("The text is longer than what the network looks back on: its end is read.")
    if unknown:
        log.warning("%d of the text's tokens are not in the model's vocabulary.", unknown)
    print(outputs["text"][0].decode())


COMMANDS: dict[str, Callable[..., None]] = {"generate": generate}
DATA_LAYOUTS = (
    "A file of UTF-8 text, or a folder of such files. The first 90 % of the characters are for "
    "training, then half of the rest for validation and half for the test; files of a folder that "
    "are named train, valid and test, as in wiki.valid.txt, are the splits themselves."
)
