"""The block of which Transformers are made."""

from typing import Any

import keras

from suite.errors import InputError
from suite.layers.sequences.attention import Cache, MultiHeadAttention, apply_dense


# Keras itself has no such block, nor positions that are added or turned.
@keras.saving.register_keras_serializable(package="suite")
class TransformerBlock(keras.layers.Layer):
    """Attention and a feed-forward network, both normalised before and added to their inputs.

    An encoder's block is `layer(x, x_mask=mask)`. A decoder's is `causal`; if it has
    `cross_attention`, it looks at a memory, `layer(x, memory, memory_mask=mask)`. Features `x` are
    `(batch, time, features)`, a memory is `(batch, keys, other features)`, and masks are
    `(batch, time)` and `(batch, keys)`, true where there is a token. A causal block needs no
    `x_mask` if the padding comes last. The outputs have the shape of `x` and are not normalised:
    another `keras.layers.LayerNormalization` belongs behind the last block.

    `layer(x, cache=cache, index=index, memory_mask=mask)` is one step of a causal block, with one
    token in each row, `(batch, 1, features)`, at the position `index`. It returns the outputs and
    the next cache. The first cache is `start_cache(rows, length, memory)`.

    With `return_attention_scores=True` the block returns its outputs and the weights of the
    attention to the memory, or without memory to itself, `(batch, heads, time, keys)`.

    Args:
        num_heads: Number of heads, which divides the number of features.
        hidden_dim: Units of the hidden layer of the feed-forward network.
        causal: Whether tokens see only themselves and those before.
        cross_attention: Whether there is an attention to a memory.
        rotary: Whether positions turn queries and keys of the self-attention.
        dropout: The rate at which outputs of attention and feed-forward network are dropped.
        attention_dropout: The rate at which weights of the attention are dropped.
        activation: Of the hidden layer, such as `gelu` or `relu`.

    Raises:
        InputError: `num_heads` does not divide the number of features.

    Differs from the paper, which normalises after adding: this block does so before, which needs no
    warm-up of the learning rate.

    Reference:
        Vaswani et al., 2017, Attention Is All You Need, https://arxiv.org/abs/1706.03762; Xiong et
        al., 2020, On Layer Normalization in the Transformer Architecture,
        https://arxiv.org/abs/2002.04745
    """

    def __init__(
        self,
        num_heads: int,
        hidden_dim: int,
        *,
        causal: bool = False,
        cross_attention: bool = False,
        rotary: bool = False,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: str = "gelu",
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.num_heads, self.hidden_dim, self.activation = num_heads, hidden_dim, activation
        self.causal, self.cross_attention, self.rotary = causal, cross_attention, rotary
        self.attention_dropout = attention_dropout
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(
        self, x_shape: tuple[int | None, ...], memory_shape: tuple[int | None, ...] | None = None
    ) -> None:
        width = x_shape[-1]
        if width is None or width % self.num_heads:
            raise InputError(f"`num_heads` must divide the {width} features", self.num_heads)
        policy = self.dtype_policy
        self.self_attention = self._attention("self_attention", width, self.causal, self.rotary)
        self.self_attention.build(x_shape)
        norms = ["self_attention_norm", "feed_forward_norm"]
        if self.cross_attention:
            self.memory_attention = self._attention("memory_attention", width)
            self.memory_attention.build(x_shape, memory_shape)
            norms.append("memory_attention_norm")
        for name in norms:
            norm = keras.layers.LayerNormalization(epsilon=1e-5, name=name, dtype=policy)
            norm.build(x_shape)
            setattr(self, name, norm)
        self.hidden = keras.layers.Dense(
            self.hidden_dim, self.activation, name="hidden", dtype=policy
        )
        self.hidden.build(x_shape)
        self.output_dense = keras.layers.Dense(width, name="output", dtype=policy)
        self.output_dense.build((*x_shape[:-1], self.hidden_dim))

    def call(
        self,
        x: Any,
        memory: Any = None,
        x_mask: Any = None,
        memory_mask: Any = None,
        *,
        cache: dict[str, Cache] | None = None,
        index: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> Any:
        normed = self.self_attention_norm(x)
        if cache is None:
            attended, scores = self.self_attention(
                normed, value_mask=x_mask, return_attention_scores=True, training=training
            )
        else:
            attended, filled = self.self_attention(normed, cache=cache["self"], index=index)
            cache = {**cache, "self": filled}
        x = x + self.dropout(attended, training=training)
        if self.cross_attention:
            attended, scores = self.memory_attention(
                self.memory_attention_norm(x),
                memory,
                value_mask=memory_mask,
                cache=cache and cache["memory"],
                return_attention_scores=True,
                training=training,
            )
            x = x + self.dropout(attended, training=training)
        hidden = apply_dense(self.hidden, self.feed_forward_norm(x))
        x = x + self.dropout(apply_dense(self.output_dense, hidden), training=training)
        if cache is not None:
            return x, cache
        return (x, scores) if return_attention_scores else x

    def start_cache(self, rows: Any, length: int, memory: Any = None) -> dict[str, Cache]:
        """The cache before the first step.

        Args:
            rows: Number of sequences.
            length: Number of tokens whose keys and values it has room for.
            memory: What the block looks at, if it has `cross_attention`.
        """
        cache = {"self": self.self_attention.start_cache(rows, length)}
        if self.cross_attention:
            cache["memory"] = self.memory_attention.project(memory)
        return cache

    def _attention(
        self, name: str, width: int, causal: bool = False, rotary: bool = False
    ) -> MultiHeadAttention:
        return MultiHeadAttention(
            self.num_heads,
            width // self.num_heads,
            causal=causal,
            rotary=rotary,
            dropout=self.attention_dropout,
            name=name,
            dtype=self.dtype_policy,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "causal": self.causal,
            "cross_attention": self.cross_attention,
            "rotary": self.rotary,
            "dropout": self.dropout.rate,
            "attention_dropout": self.attention_dropout,
            "activation": self.activation,
        }
