"""Examples that are made when a batch needs them, each by its number.

Like `Examples` they are a `Split`, and the same pipelines feed them. There may be more of them than
the memory holds, and equal numbers give equal examples, so a training on them resumes and shards
like any other.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from suite.data.examples import BY_CONTENT, Examples, content_digest, gatherer, take_rows


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GeneratedExamples:
    """Examples that code makes, row by row.

    Args:
        numbers: The numbers of the rows, `(examples,)`, int64.
        make: `make(numbers)` returns arrays `(inputs, targets)`, a row for each number.
        made_of: Arrays and settings that decide what `make` returns, for the digest.
        new_targets: Targets `(examples, ...)` that replace those of `make`; None if none do.
    """

    numbers: np.ndarray
    make: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    made_of: Sequence[Any]
    new_targets: Any = None

    fingerprint_of = BY_CONTENT

    @property
    def targets(self) -> Any:
        """The targets that replaced others; None if they are still to be made."""
        return self.new_targets

    @property
    def num_examples(self) -> int:
        """Number of rows."""
        return len(self.numbers)

    def rows(self, index: np.ndarray) -> "GeneratedExamples":
        """The examples at these rows, in this order."""
        targets = take_rows(self.new_targets, index)
        return dataclasses.replace(self, numbers=self.numbers[index], new_targets=targets)

    def with_targets(self, targets: Any) -> "GeneratedExamples":
        """The same inputs with other targets."""
        return dataclasses.replace(self, new_targets=targets)

    def reader(self) -> Callable[[tf.Tensor], tuple[Any, ...]]:
        """A TensorFlow function of row numbers that returns `(inputs, targets)`."""
        numbers, targets = tf.constant(self.numbers), gatherer(self.new_targets)
        specs = [tf.TensorSpec(part.shape[1:], part.dtype) for part in self.make(self.numbers[:1])]

        def read(rows: tf.Tensor) -> tuple[Any, ...]:
            parts = tf.numpy_function(
                self.make, [tf.gather(numbers, rows)], [spec.dtype for spec in specs], False
            )
            for part, spec in zip(parts, specs, strict=True):
                part.set_shape([rows.shape[0], *spec.shape])
            return tuple(parts) if self.new_targets is None else (parts[0], targets(rows))

        return read

    def parts(self) -> tuple[Any, ...]:
        """`(inputs, targets)` as arrays, as `fit` takes them."""
        return self.in_memory().parts()

    def in_memory(self) -> Examples:
        """All examples as arrays."""
        inputs, targets = self.make(self.numbers)
        return Examples(inputs, targets if self.new_targets is None else self.new_targets)

    def digest(self) -> str:
        """SHA-256 over what the examples are made of, their numbers, and replaced targets."""
        targets = [] if self.new_targets is None else self.new_targets
        return hashlib.sha256(
            content_digest(([*map(np.asarray, self.made_of)], self.numbers, targets)).encode()
        ).hexdigest()
