"""The task of text to text: examples, loss, metrics, and decoding inside of the export.

An application builds one of the networks of `suite.layers.sequences.encoder_decoder`, and has a
tokenizer for what is read and one for what is written. In training the network is shown the right
beginning of every answer (teacher forcing); the export writes its answers alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure

from suite.data import Examples
from suite.data.checks import accepted_texts
from suite.data.text.tokenizers import (
    END,
    PADDING,
    START,
    UNKNOWN,
    Tokenizer,
    unknown_tokens,
)
from suite.decoding.search import beam
from suite.decoding.stepper import Decoded
from suite.export.endpoints import Endpoint
from suite.figures.text import attention_map
from suite.knobs import BatchSize, Epochs, LearningRate, Rate, Share, WeightDecay, settings
from suite.layers.sequences.encoder_decoder import alignment, stepper
from suite.metrics.tokens import TokenMean
from suite.trainers.averages import weight_average_callbacks
from suite.trainers.crossentropy import TokenCrossentropy, nats
from suite.trainers.optimizers import Clip, Optimization, scheduled_optimizer

NEVER_WRITTEN = (PADDING, START, UNKNOWN)


@settings
class Config(Optimization):
    """The settings of the training from text to text.

    Args:
        batch_size: Pairs per optimizer step, over all replicas.
        weight_decay: Decoupled weight decay in a step, times the learning rate; of matrices only.
        label_smoothing: Share of the target probability that is spread over all tokens.
        weight_average: Share of a moving average of the weights that a step keeps; 0 keeps none.
            The validation uses the average, and the training ends with it.
    """

    epochs: Epochs = 10
    batch_size: BatchSize = 64
    learning_rate: LearningRate = 1e-3
    warmup: Share = 0.1
    weight_decay: WeightDecay = 0.0
    clip_norm: Clip | None = 1.0
    label_smoothing: Rate = 0.0
    weight_average: Rate = 0.0


class Languages(NamedTuple):
    """The tokenizers of what is read and of what is written."""

    source: Tokenizer
    target: Tokenizer


class Decoding(NamedTuple):
    """How answers are decoded.

    Args:
        longest: The most tokens that are read, and that are written, `END` left out.
        beams: Number of answers that are followed side by side; one is the greedy search.
        length_penalty: 0 prefers short answers, larger numbers long ones.
    """

    longest: int
    beams: int = 1
    length_penalty: float = 0.0


def examples(source: tf.RaggedTensor, target: tf.RaggedTensor) -> Examples:
    """Examples of teacher forcing: the right beginning of every answer, and the token after it.

    Args:
        source: Ids that are read, `(pairs, None)`.
        target: Ids that are to be written, `(pairs, None)`.

    Returns:
        Inputs `source`, which `END` closes, and `prefix`, the answer from `START` on; the targets
        are the answer with its `END`. A batch of them is padded.
    """
    end, start = (tf.fill([source.nrows(), 1], token) for token in (END, START))
    inputs = {"source": tf.concat([source, end], 1), "prefix": tf.concat([start, target], 1)}
    return Examples(inputs, tf.concat([target, end], 1))


def exact(y_true: Any, y_pred: Any) -> Any:
    """Whether all tokens of an answer are the most probable ones, `(batch,)`.

    These are the answers that greedy decoding gets right: as long as every token is right, the
    network reads the right beginning there, too.
    """
    y_true = ops.cast(y_true, "int32")
    right = ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), y_true)
    return ops.all(ops.logical_or(right, ops.equal(y_true, PADDING)), axis=-1)


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles with cross-entropy, and the optimizer and schedule of the settings.

    `nats` is the cross-entropy without label smoothing, `accuracy` the share of right tokens, and
    `exact` that of answers that are right as a whole, all after the right beginning.
    """
    model.compile(
        optimizer=scheduled_optimizer(config, steps, matrices_of=model),
        loss=TokenCrossentropy(config.label_smoothing),
        metrics=[
            TokenMean(nats, name="nats"),
            TokenMean(keras.metrics.sparse_categorical_accuracy, name="accuracy"),
            keras.metrics.MeanMetricWrapper(exact, name="exact"),
        ],
    )
    return model


callbacks = weight_average_callbacks


def search(model: keras.Model, source: tf.Tensor, decoding: Decoding) -> Decoded:
    """Writes the most probable answers.

    Args:
        model: A network of `suite.layers.sequences.encoder_decoder`.
        source: Ids that are read, `(batch, time)`.
        decoding: The search.
    """
    length = decoding.longest + 1
    steps = stepper(model, length)
    state, rows = steps.start(source), tf.shape(source)[0]
    return beam(
        steps,
        state,
        rows,
        length,
        beams=decoding.beams,
        length_penalty=decoding.length_penalty,
        never=NEVER_WRITTEN,
    )


class Reading(NamedTuple):
    """Texts as ids.

    Args:
        ids: `(batch, time)`, closed by `END`.
        lengths: Tokens of each text before a cut, `(batch,)`, int32.
        unknown: See `unknown_tokens`.
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    unknown: tf.Tensor


def read(tokenizer: Tokenizer, text: tf.Tensor, longest: int) -> Reading:
    """Texts `(batch,)` as ids, at most the first `longest` of each."""
    ids = tokenizer.encode(text)
    unknown = unknown_tokens(tokenizer, ids)
    end = tf.fill([ids.nrows(), 1], END)
    closed = tf.concat([ids[:, :longest], tf.cast(end, ids.dtype)], axis=1)
    return Reading(closed.to_tensor(PADDING), tf.cast(ids.row_lengths(), tf.int32), unknown)


def answering(
    model: keras.Model, languages: Languages, decoding: Decoding, output: str
) -> Endpoint:
    """An endpoint that takes `text` and answers with text.

    It returns the answer under the name `output`, and its `score`, the log-probability in nats;
    the numbers of `tokens_read` and of `unknown_tokens`, which are not in the vocabulary; and what
    is cut: whether the text was longer than what is read (`truncated`), and whether the answer had
    no end within what is written (`unfinished`). All are `(batch,)`. The answer to an empty text is
    empty.

    Args:
        model: A network of `suite.layers.sequences.encoder_decoder`.
        languages: The tokenizers.
        decoding: The search.
        output: Name of the answer.
    """

    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids, lengths, unknown = read(languages.source, accepted_texts(text), decoding.longest)
        decoded = search(model, ids, decoding)
        empty = lengths == 0
        endless = ~tf.reduce_any(decoded.ids == END, axis=1) & ~empty
        return {
            output: tf.where(empty, "", languages.target.decode(decoded.ids)),
            "score": tf.where(empty, 0.0, decoded.scores),
            "tokens_read": tf.minimum(lengths, decoding.longest),
            "unknown_tokens": unknown,
            "truncated": lengths > decoding.longest,
            "unfinished": endless,
        }

    resources = [*languages.source.resources, *languages.target.resources]
    return Endpoint(serve, [tf.TensorSpec((None,), tf.string, "text")], resources)


def aligning(model: keras.Model, languages: Languages, decoding: Decoding) -> Endpoint:
    """An endpoint that shows what each token of an answer looks at.

    It takes `text`, and returns `weights` `(batch, tokens written, tokens read)`, and the pieces of
    text of both, `written` and `read`, padded with empty text, as they are after `END`.

    Args:
        model: A network of `suite.layers.sequences.encoder_decoder`, with attention.
        languages: The tokenizers.
        decoding: The search.
    """
    names = [tf.constant(["", "", *language.pieces()[2:]]) for language in languages]

    def align(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = read(languages.source, accepted_texts(text), decoding.longest).ids
        written = search(model, ids, decoding).ids
        prefix = tf.pad(written[:, :-1], [[0, 0], [1, 0]], constant_values=START)
        return {
            "weights": alignment(model, ids, prefix),
            "read": tf.gather(names[0], ids),
            "written": tf.gather(names[1], written),
        }

    resources = [*languages.source.resources, *languages.target.resources]
    return Endpoint(align, [tf.TensorSpec((None,), tf.string, "text")], resources)


def draw_alignment(outputs: Mapping[str, np.ndarray]) -> Figure:
    """Draws the attention map of the first text among the outputs of `aligning`."""
    read, written = (
        [piece.decode() for piece in outputs[name][0] if piece] for name in ("read", "written")
    )
    return attention_map(outputs["weights"][0, : len(written), : len(read)], written, read)


def answers(endpoint: Endpoint, texts: Sequence[str], at_once: int = 64) -> dict[str, np.ndarray]:
    """The outputs of an endpoint of `text` for many texts, by name; similar lengths go together.

    Args:
        endpoint: Its outputs have one value for each text, `(batch,)`.
        texts: At least one.
        at_once: Texts of a call.
    """
    function = endpoint.as_graph()
    order = np.argsort([len(text) for text in texts], kind="stable")
    parts = [
        function(tf.constant([texts[row] for row in order[begin : begin + at_once]]))
        for begin in range(0, len(order), at_once)
    ]
    places = np.argsort(order)
    return {
        name: np.concatenate([part[name].numpy() for part in parts])[places] for name in parts[0]
    }
