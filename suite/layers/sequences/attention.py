"""Attention: sequences that look up what they need in another sequence, or in their past."""

from typing import Any

import keras
from keras import ops

from suite.errors import InputError
from suite.layers.sequences.positions import rotate

NEVER = -1e9  # instead of minus infinity, which would give a row without any token no numbers

Cache = tuple[Any, Any]


# Keras's layer of this name keeps no keys and values from one token to the next, and knows no
# rotary positions. It masks by a selection among all scores, (batch, heads, queries, keys), where
# adding a row or a triangle does. So does `ops.dot_product_attention` on TensorFlow, for which it
# has no fused kernel. Therefore the products and the softmax are written out here.
@keras.saving.register_keras_serializable(package="suite")
class MultiHeadAttention(keras.layers.Layer):
    """Attention of several heads, which can go on token by token with cached keys and values.

    `layer(query, value, value_mask=None)` takes features `(batch, queries, features)` and
    `(batch, keys, other features)`, and a mask `(batch, keys)` that is true where there is a token.
    It returns features of the shape of `query`. Without `value` a sequence attends to itself. With
    `causal` no mask is needed if the padding comes last, since no token sees what comes after it.

    With `return_attention_scores=True` it returns these and the weights
    `(batch, heads, queries, keys)`.

    In self-attention, `layer(query, cache=cache, index=index)` is one step: one query in each row,
    `(batch, 1, features)`, at the position `index` of its sequence. It returns the features and the
    next cache. The first cache is `start_cache(rows, length)`. After more than `length` tokens, the
    oldest are forgotten.

    The keys and values of another sequence, the memory, are computed once, by `project(memory)`.
    `layer(query, cache=layer.project(memory), value_mask=mask)` is then a step, or several, and
    returns the features alone.

    Args:
        num_heads: Number of heads.
        key_dim: Features of each head.
        causal: Whether a query sees only keys at its own position and before.
        rotary: Whether queries and keys are turned according to their positions. Then `key_dim`
            must be even, and only self-attention makes sense.
        dropout: The rate at which weights of the attention are dropped in training.
        use_bias: Whether the four projections have biases.

    Raises:
        InputError: `key_dim` is odd, with `rotary`.

    Reference:
        Vaswani et al., 2017, Attention Is All You Need, https://arxiv.org/abs/1706.03762
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        *,
        causal: bool = False,
        rotary: bool = False,
        dropout: float = 0.0,
        use_bias: bool = True,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        if rotary and key_dim % 2:
            raise InputError("`key_dim` must be even for rotary positions", key_dim)
        self.num_heads, self.key_dim = num_heads, key_dim
        self.causal, self.rotary, self.use_bias = causal, rotary, use_bias
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(
        self, query_shape: tuple[int | None, ...], value_shape: tuple[int | None, ...] | None = None
    ) -> None:
        value_shape = value_shape or query_shape
        units = self.num_heads * self.key_dim
        self.query_dense = self._dense("query", query_shape, units)
        self.key_dense = self._dense("key", value_shape, units)
        self.value_dense = self._dense("value", value_shape, units)
        self.output_dense = self._dense("output", (*query_shape[:-1], units), query_shape[-1])

    def call(
        self,
        query: Any,
        value: Any = None,
        value_mask: Any = None,
        *,
        cache: Cache | None = None,
        index: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> Any:
        first = 0 if index is None else index
        if cache is None or index is not None:
            keys, values = self.project(query if value is None else value, first)
            if cache is not None:
                keys, values = cache = _written(cache, (keys, values), index)
        else:
            keys, values = cache
        queries = self._heads(apply_dense(self.query_dense, query))
        queries = rotate(queries, first) if self.rotary else queries
        scores = _scores(queries * self.key_dim**-0.5, keys)
        weights = attention_weights(scores, value_mask, causal=self.causal, index=index)
        heads = _weighted(values, self.dropout(weights, training=training))
        outputs = apply_dense(self.output_dense, _joined(heads))
        if index is not None:
            return outputs, cache
        return (outputs, weights) if return_attention_scores else outputs

    def start_cache(self, rows: Any, length: int) -> Cache:
        """Room for the keys and values of `length` tokens, `(rows, heads, length, key_dim)`."""
        shape = (rows, self.num_heads, length, self.key_dim)
        return ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.compute_dtype)

    def project(self, value: Any, index: Any = 0) -> Cache:
        """Keys and values `(batch, heads, keys, key_dim)` of a sequence that begins at `index`."""
        keys = self._heads(apply_dense(self.key_dense, value))
        values = self._heads(apply_dense(self.value_dense, value))
        return rotate(keys, index) if self.rotary else keys, values

    def _heads(self, x: Any) -> Any:
        """`(batch, time, heads * key_dim)` to `(batch, heads, time, key_dim)`."""
        if x.shape[1] == 1:  # there is nothing to transpose
            return ops.reshape(x, (-1, self.num_heads, 1, self.key_dim))
        shape = (-1, ops.shape(x)[1], self.num_heads, self.key_dim)
        return ops.transpose(ops.reshape(x, shape), (0, 2, 1, 3))

    def _dense(self, name: str, shape: tuple[int | None, ...], units: Any) -> keras.layers.Dense:
        dense = keras.layers.Dense(
            units, use_bias=self.use_bias, name=name, dtype=self.dtype_policy
        )
        dense.build(shape)
        return dense

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "causal": self.causal,
            "rotary": self.rotary,
            "dropout": self.dropout.rate,
            "use_bias": self.use_bias,
        }


@keras.saving.register_keras_serializable(package="suite")
class BahdanauAttention(keras.layers.Layer):
    """Additive attention of a recurrent decoder to the outputs of an encoder.

    `layer(query, value, value_mask=None)` takes the states of the decoder
    `(batch, queries, features)`, the memory `(batch, keys, other features)`, and a mask
    `(batch, keys)` that is true where there is a token. It returns contexts
    `(batch, queries, other features)` and weights `(batch, queries, keys)`. A single step is a
    sequence of one query, for which `keys`, the projected memory `project(value)`, need not be
    computed again.

    Keras's `AdditiveAttention` has no projections of queries and keys.

    Differs from the paper: a query may be any state, so that all queries of a sequence can be
    answered at once. The paper takes the state before the step, for which the context is an input.

    Args:
        units: Features in which queries and keys are added.

    Reference:
        Bahdanau, Cho and Bengio, 2014, Neural Machine Translation by Jointly Learning to Align and
        Translate, https://arxiv.org/abs/1409.0473
    """

    def __init__(self, units: int, **layer: Any) -> None:
        super().__init__(**layer)
        self.units = units
        dense = keras.layers.Dense
        self.query_dense = dense(units, name="query", dtype=self.dtype_policy)
        self.key_dense = dense(units, use_bias=False, name="key", dtype=self.dtype_policy)
        self.score_dense = dense(1, use_bias=False, name="score", dtype=self.dtype_policy)

    def build(
        self, query_shape: tuple[int | None, ...], value_shape: tuple[int | None, ...]
    ) -> None:
        self.query_dense.build(query_shape)
        self.key_dense.build(value_shape)
        self.score_dense.build((None, None, None, self.units))

    def call(self, query: Any, value: Any, value_mask: Any = None, *, keys: Any = None) -> Any:
        keys = self.project(value) if keys is None else keys
        sums = self.query_dense(query)[:, :, None] + keys[:, None]
        scores = ops.squeeze(self.score_dense(ops.tanh(sums)), axis=-1)
        weights = attention_weights(scores, value_mask)
        return ops.matmul(weights, value), weights

    def project(self, value: Any) -> Any:
        """The keys of a memory, `(batch, keys, units)`."""
        return self.key_dense(value)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="suite")
class LuongAttention(keras.layers.Layer):
    """Multiplicative attention of a recurrent decoder to the outputs of an encoder.

    `layer(query, value, value_mask=None)` takes the states of the decoder
    `(batch, queries, features)`, the memory `(batch, keys, other features)`, and a mask
    `(batch, keys)` that is true where there is a token. It returns contexts
    `(batch, queries, other features)` and weights `(batch, queries, keys)`. A single step is a
    sequence of one query.

    This is the paper's score "general". The memory is projected to the features of the queries,
    `project(value)`, so that steps need not do it again with the same `keys`. Its score "dot" is
    `keras.layers.Attention`.

    Reference:
        Luong, Pham and Manning, 2015, Effective Approaches to Attention-based Neural Machine
        Translation, https://arxiv.org/abs/1508.04025
    """

    def build(
        self, query_shape: tuple[int | None, ...], value_shape: tuple[int | None, ...]
    ) -> None:
        self.key_dense = keras.layers.Dense(
            query_shape[-1], use_bias=False, name="key", dtype=self.dtype_policy
        )
        self.key_dense.build(value_shape)

    def call(self, query: Any, value: Any, value_mask: Any = None, *, keys: Any = None) -> Any:
        keys = self.project(value) if keys is None else keys
        weights = attention_weights(ops.einsum("bqd,bkd->bqk", query, keys), value_mask)
        return ops.matmul(weights, value), weights

    def project(self, value: Any) -> Any:
        """The keys of a memory, `(batch, keys, query features)`."""
        return self.key_dense(value)


def attention_weights(
    scores: Any, value_mask: Any = None, *, causal: bool = False, index: Any = None
) -> Any:
    """Softmax of scores over the keys that may be seen, computed in float32 at least.

    Args:
        scores: `(batch, queries, keys)` or `(batch, heads, queries, keys)`.
        value_mask: True where a key is a token, `(batch, keys)`.
        causal: Whether a query sees only keys at its own position and before.
        index: Position of the only query, whose keys lie in a cache that is written round and
            round, and is empty behind it at first; by default the queries have the positions from 0
            on.
    """
    if scores.shape[-1] == 1:  # Keras warns of such a softmax
        return ops.ones_like(scores)
    precise = keras.backend.result_type(scores.dtype, "float32")
    total = ops.cast(scores, precise)
    if value_mask is not None:
        shape = (-1, *[1] * (len(scores.shape) - 2), ops.shape(value_mask)[1])
        seen = ops.reshape(ops.cast(value_mask, "bool"), shape)
        total = total + ops.where(seen, 0.0, NEVER)
    if causal or index is not None:
        last = ops.arange(ops.shape(scores)[-2])[:, None] if index is None else index
        seen = ops.arange(ops.shape(scores)[-1]) <= last
        total = total + ops.where(seen, 0.0, NEVER)
    return ops.cast(_softmax(total), scores.dtype)


def apply_dense(dense: keras.layers.Dense, x: Any) -> Any:
    """A dense layer of `(batch, time, features)`.

    Where there is one token in each row, as in a step, it is spared the dozen small operations by
    which Keras finds out the shapes of a product of a sequence.
    """
    if x.shape[1] == 1:
        return ops.expand_dims(dense(ops.squeeze(x, axis=1)), axis=1)
    return dense(x)


# For a single query, products of matrices and a softmax of a row cost a processor more to hand to
# its threads than to compute: written as below, a step of decoding takes three fifths of the time.
def _scores(queries: Any, keys: Any) -> Any:
    """Products of queries `(batch, heads, queries, key_dim)` and keys, for each pair of them."""
    if queries.shape[2] == 1:
        return ops.expand_dims(ops.sum(queries * keys, axis=-1), axis=2)
    return ops.einsum("bhqd,bhkd->bhqk", queries, keys)


def _softmax(x: Any) -> Any:
    """The softmax of `(..., queries, keys)` over the keys."""
    return ops.exp(ops.log_softmax(x)) if x.shape[-2] == 1 else ops.softmax(x)


def _weighted(values: Any, weights: Any) -> Any:
    """Sums of values `(batch, heads, keys, key_dim)` by weights `(batch, heads, queries, keys)`."""
    if weights.shape[2] == 1:
        return ops.sum(ops.swapaxes(weights, 2, 3) * values, axis=2, keepdims=True)
    return ops.einsum("bhqk,bhkd->bhqd", weights, values)


def _joined(heads: Any) -> Any:
    """`(batch, heads, time, key_dim)` to `(batch, time, heads * key_dim)`."""
    if heads.shape[2] == 1:
        return ops.reshape(heads, (-1, 1, heads.shape[1] * heads.shape[3]))
    shape = (-1, ops.shape(heads)[2], heads.shape[1] * heads.shape[3])
    return ops.reshape(ops.transpose(heads, (0, 2, 1, 3)), shape)


def _written(cache: Cache, new: Cache, index: Any) -> Cache:
    """A cache `(batch, heads, length, key_dim)` with one more token, in place of its oldest."""
    length = ops.shape(cache[0])[2]
    # Not `slice_update`, an operation of XLA on TensorFlow, which not every server has.
    here = (ops.arange(length) == index % length)[:, None]
    keys, values = (ops.where(here, y, x) for x, y in zip(cache, new, strict=True))
    return keys, values
