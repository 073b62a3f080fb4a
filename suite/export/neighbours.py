"""An index of training examples that travels with an export, and finds those nearest to a new one.

The index is a table of codes: what a network makes of every training example. It is searched whole,
so that what it finds is exact, with TensorFlow ops only, so that it can be exported.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from suite.export.endpoints import Endpoint, arguments

MOST_EXAMPLES = 10_000  # in an index, which are written with every export
AT_ONCE = 500  # examples whose codes are computed together

Measure = Literal["euclidean", "cosine"]


def nearest(
    embed: Endpoint,
    output: str,
    inputs: np.ndarray,
    facts: Mapping[str, np.ndarray],
    *,
    rows: np.ndarray | None = None,
    measure: Measure = "euclidean",
    count: int = 8,
) -> Endpoint:
    """An endpoint that finds the examples whose codes are nearest to that of its input.

    It takes what `embed` takes, and returns `index` `(batch, neighbours)`, int32, the row of each
    neighbour, the nearest first; `distance` `(batch, neighbours)`, Euclidean, or
    `similarity`, the cosine of the angle between two codes; and the facts of the neighbours,
    `(batch, neighbours, ...)`.

    Args:
        embed: Computes the codes; it has one input.
        output: Which of its outputs is the code, `(batch, units)`.
        inputs: The examples of the index, `(examples, ...)`, as `embed` takes them.
        facts: What is returned of a neighbour beside its row: arrays `(examples, ...)` by name,
            such as the pictures themselves or the names of their classes.
        rows: The row of each of `inputs` in what they were taken from; by default that in `inputs`.
        measure: What nearness is. By cosine only the direction of a code matters; the code 0 is
            similar to nothing.
        count: Number of neighbours; fewer if there are fewer examples.
    """
    codes = codes_of(embed, output, inputs)
    # Distances are the same from any origin, and most precise from the middle.
    origin = codes.mean(axis=0) if measure == "euclidean" else np.zeros_like(codes[0])
    codes = codes - origin
    if measure == "cosine":
        codes /= np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
    table = tf.Variable(codes, trainable=False)
    columns = {name: _column(values) for name, values in facts.items()}
    columns["index"] = _column(np.arange(len(codes), dtype=np.int32) if rows is None else rows)
    count = min(count, len(codes))

    def find(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        known = tf.convert_to_tensor(table)
        code = tf.cast(embed.function(*tensors)[output], known.dtype) - origin
        if measure == "cosine":
            code = tf.math.l2_normalize(code, axis=1)
        products = tf.matmul(code, known, transpose_b=True)
        if measure == "cosine":
            similarity, places = tf.math.top_k(products, count)
            answer = {"similarity": similarity}
        else:
            # Minus half the squared distance, without the term of the code, which all rows share.
            scores = products - tf.reduce_sum(tf.square(known), axis=1) / 2
            places = tf.math.top_k(scores, count).indices
            # From the difference, which does not cancel where two codes are alike.
            answer = {"distance": tf.norm(tf.gather(known, places) - code[:, None], axis=-1)}
        for name, column in columns.items():
            answer[name] = tf.gather(tf.convert_to_tensor(column), places)
        return answer

    variables = [column for column in columns.values() if isinstance(column, tf.Variable)]
    return Endpoint(find, embed.inputs, [*embed.resources, table, *variables])


def codes_of(embed: Endpoint, output: str, inputs: np.ndarray) -> np.ndarray:
    """An output of an endpoint of one input for many examples, `(examples, ...)`.

    Args:
        embed: The endpoint.
        output: Name of the output.
        inputs: `(examples, ...)`.
    """
    function = embed.as_graph()
    parts = [
        function(*arguments(embed.inputs, inputs[begin : begin + AT_ONCE]).values())[output]
        for begin in range(0, len(inputs), AT_ONCE)
    ]
    return np.concatenate([part.numpy() for part in parts])


def _column(values: np.ndarray) -> Any:
    """Facts as part of an export: text in the graph, numbers beside it, where they may be large."""
    if values.dtype.kind in "OSU":
        return tf.constant(values.tolist(), tf.string)
    return tf.Variable(values, trainable=False)
