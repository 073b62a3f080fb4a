"""Combines requests that arrive together into batches, so that one call answers many clients."""

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
    """Limits on the requests for a signature, and on its batches.

    Args:
        max_batch_size: Most examples in a batch. A single request with more is a batch by itself.
        batch_timeout: Seconds that an idle model waits for more requests.
        max_queue: Most requests for a signature at a time; the server refuses further ones.
    """

    max_batch_size: int = 64
    batch_timeout: float = 0.0
    max_queue: int = 1000


class _Request(NamedTuple):
    inputs: Arrays
    num_examples: int
    shapes: tuple[tuple[int, ...], ...]
    outputs: asyncio.Future[dict[str, np.ndarray]]


class Batcher:
    """Calls a function for many requests at a time.

    Requests that arrive during a call wait for the next call. A function that has once returned
    another number of rows than it got is called for every request alone from then on: which rows
    are whose cannot be known.

    Args:
        function: Takes and returns arrays by name, whose first axis is the batch.
        limits: The size of a batch, and the time to wait for one.
        executor: Runs the function.
    """

    def __init__(self, function: Function, limits: Limits, executor: Executor) -> None:
        self._function, self._limits, self._executor = function, limits, executor
        self._queue: deque[_Request] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._full = asyncio.Event()
        self._is_row_by_row = True  # as long as every call has returned as many rows as it got

    async def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Adds one request to the queue, and waits for its outputs.

        Args:
            inputs: Arrays by name, `(examples, ...)`, all with the same number of examples.

        Raises:
            Exception: Whatever the function raises for these inputs alone.
        """
        outputs = asyncio.get_running_loop().create_future()
        num_examples = len(next(iter(inputs.values())))
        shapes = tuple(array.shape[1:] for array in inputs.values())
        self._queue.append(_Request(inputs, num_examples, shapes, outputs))
        if self._limits.batch_timeout and self._num_examples() >= self._limits.max_batch_size:
            self._full.set()
        if self._worker is None:
            self._worker = asyncio.create_task(self._empty_queue())
        return await outputs

    async def _empty_queue(self) -> None:
        """Answers batch after batch, until no request waits."""
        try:
            if self._limits.batch_timeout:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._limits.batch_timeout)
            while self._queue:
                batch = self._next_batch()
                if batch:
                    await self._answer(batch)
        finally:
            self._full.clear()
            self._worker = None

    def _num_examples(self) -> int:
        return sum(request.num_examples for request in self._queue)

    def _next_batch(self) -> list[_Request]:
        """Removes the oldest requests from the queue, as many as fit into one batch."""
        batch: list[_Request] = []
        room = self._limits.max_batch_size if self._is_row_by_row else 1
        while self._queue:
            request = self._queue[0]
            if batch and (request.num_examples > room or request.shapes != batch[0].shapes):
                break
            self._queue.popleft()
            if not request.outputs.done():  # the client may have disconnected
                batch.append(request)
                room -= request.num_examples
        return batch

    async def _answer(self, batch: list[_Request]) -> None:
        """Answers the requests of a batch, one by one if they cannot be answered together."""
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(
                self._executor, self._function, _concatenate(batch)
            )
        except Exception as error:  # a model may raise anything
            if len(batch) == 1:
                if not batch[0].outputs.done():
                    batch[0].outputs.set_exception(error)
                return
            can_split = False  # one request may have caused the error: the others still get answers
        else:
            num_examples = sum(request.num_examples for request in batch)
            can_split = all(len(array) == num_examples for array in outputs.values())
            self._is_row_by_row &= can_split
        if len(batch) == 1:
            if not batch[0].outputs.done():
                batch[0].outputs.set_result(outputs)
            return
        if not can_split:
            for request in batch:
                await self._answer([request])
            return
        begin = 0
        for request in batch:
            end = begin + request.num_examples
            if not request.outputs.done():
                rows = {name: array[begin:end] for name, array in outputs.items()}
                request.outputs.set_result(rows)
            begin = end


def _concatenate(batch: list[_Request]) -> Arrays:
    if len(batch) == 1:
        return batch[0].inputs
    names = batch[0].inputs
    return {name: np.concatenate([request.inputs[name] for request in batch]) for name in names}
