"""Requests that arrive together are answered together: one call of a model for many clients."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]
Function = Callable[[Arrays], dict[str, np.ndarray]]


class Limits(NamedTuple):
    """How many requests are taken, and how they are put together.

    Args:
        batch_size: Most examples in a call, where no single request has more.
        patience: Seconds that an idle model waits for more requests.
        queue: Most requests for a signature at a time; further ones are refused.
    """

    batch_size: int = 64
    patience: float = 0.0
    queue: int = 1000


class _Waiting(NamedTuple):
    inputs: Arrays
    num_examples: int
    shapes: tuple[tuple[int, ...], ...]
    answer: asyncio.Future[dict[str, np.ndarray]]


class Batcher:
    """Calls a function of arrays for many at a time.

    While one call runs, what arrives is gathered for the next.

    Args:
        function: Of inputs by name, with as many examples in all of them as in all outputs.
        limits: See there.
        executor: Where the function is called.
    """

    def __init__(self, function: Function, limits: Limits, executor: Executor) -> None:
        self._function, self._limits, self._executor = function, limits, executor
        self._waiting: deque[_Waiting] = deque()
        self._calling: asyncio.Task[None] | None = None
        self._enough = asyncio.Event()

    async def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs for these inputs."""
        answer = asyncio.get_running_loop().create_future()
        count = len(next(iter(inputs.values())))
        shapes = tuple(each.shape[1:] for each in inputs.values())
        self._waiting.append(_Waiting(inputs, count, shapes, answer))
        if self._limits.patience and self._examples() >= self._limits.batch_size:
            self._enough.set()
        if self._calling is None:
            self._calling = asyncio.create_task(self._call_while_any_wait())
        return await answer

    async def _call_while_any_wait(self) -> None:
        try:
            if self._limits.patience:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), self._limits.patience)
            while self._waiting:
                taken = self._taken()
                if taken:
                    await self._answer(taken)
        finally:
            self._enough.clear()
            self._calling = None

    def _examples(self) -> int:
        return sum(each.num_examples for each in self._waiting)

    def _taken(self) -> list[_Waiting]:
        """The next ones, oldest first, as many as fit together."""
        taken: list[_Waiting] = []
        room = self._limits.batch_size
        while self._waiting:
            each = self._waiting[0]
            if taken and (each.num_examples > room or each.shapes != taken[0].shapes):
                break
            self._waiting.popleft()
            if not each.answer.done():  # its client may have gone
                taken.append(each)
                room -= each.num_examples
        return taken

    async def _answer(self, taken: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(self._executor, self._function, _joined(taken))
        except Exception as error:  # the model's own
            if len(taken) == 1:
                if not taken[0].answer.done():
                    taken[0].answer.set_exception(error)
                return
            # One of them is to blame, the others are not.
            for each in taken:
                await self._answer([each])
            return
        begin = 0
        for each in taken:
            end = begin + each.num_examples
            if not each.answer.done():
                each.answer.set_result({name: own[begin:end] for name, own in outputs.items()})
            begin = end


def _joined(taken: list[_Waiting]) -> Arrays:
    if len(taken) == 1:
        return taken[0].inputs
    names = taken[0].inputs
    return {name: np.concatenate([each.inputs[name] for each in taken]) for name in names}
