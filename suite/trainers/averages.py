"""A moving average of the weights, which is judged and kept in place of the last weights."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from suite.app import Fitted
from suite.placement.replicas import average_statistics


def weight_average_callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """The moving average of the weights, if the settings' `weight_average` is not 0."""
    decay = fitted.config.weight_average
    return [AverageWeights(decay)] if decay else []


class AverageWeights(keras.callbacks.Callback):
    """Averages the weights over the training; validates with the average, and ends with it.

    What enters are the weights at the end of every execution, which may have several steps
    (`steps_per_execution`); one of k steps leaves the share `decay ** k` of the average. In the
    first steps the decay is at most `(1 + step) / (10 + step)`, so that early weights are
    forgotten. Batch statistics are averaged as well. Keras's `use_ema` ends every call of `fit`
    with the average, and leaves batch statistics alone.

    Args:
        decay: Share of the average that a step keeps, in (0, 1).

    Reference:
        Polyak and Juditsky, 1992, Acceleration of Stochastic Approximation by Averaging
        Tarvainen and Valpola, 2017, Mean teachers are better role models (the exponential form),
        https://arxiv.org/abs/1703.01780
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self._averages: Sequence[np.ndarray] = ()
        self._trained: Sequence[np.ndarray] = ()
        self._steps = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        # Every phase of a training has an average of its own; a resume restores it after this.
        self._averages, self._steps = (), 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        average_statistics(self.model)  # or else they would be those of the first replica
        variables = self._variables()
        if not self._averages:
            self._averages = [variable.numpy() for variable in variables]
        # An execution may have several steps.
        done = int(self.model.optimizer.iterations.numpy())
        decay = min(self.decay, (1 + done) / (10 + done)) ** max(done - self._steps, 1)
        self._steps = done
        self._averages = [
            average + (1 - decay) * (variable.numpy() - average)  # equal ones stay so to the bit
            for average, variable in zip(self._averages, variables, strict=True)
        ]

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._averages:
            self._trained = [variable.numpy() for variable in self._variables()]
            self._assign(self._averages)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._trained:
            self._assign(self._trained)
            self._trained = ()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.finish()

    def finish(self) -> None:
        """Gives the model the average."""
        if self._averages:
            self._assign(self._averages)

    def state(self) -> Any:
        """The averages, and the steps that they are of."""
        return {"averages": self._averages, "steps": self._steps}

    def restore(self, state: Any) -> None:
        """Continues with saved averages."""
        self._averages = state["averages"]
        self._steps = state["steps"]

    def _variables(self) -> list[keras.Variable]:
        """The weights that are averaged; not, for example, the states of random generators."""
        return [v for v in self.model.variables if keras.backend.is_float_dtype(v.dtype)]

    def _assign(self, values: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
