"""Remembers SIGINT and SIGTERM during a training, so that its state can be saved first."""

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from suite.errors import Interrupted

log = logging.getLogger(__name__)


class StopSignals:
    """A `with` block that remembers the first SIGINT or SIGTERM in `received`.

    A second signal goes to the handler that was set before, which usually ends the process.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Python lets only the main thread set handlers: in other threads no signal is remembered.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def interrupt(self) -> None:
        """Ends the training.

        Raises:
            Interrupted: Always; with SIGTERM on a worker where no signal came, but on another one.
        """
        raise Interrupted("stopped, state saved", self.received or signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
        log.warning("Stopping after this step with the state saved; a second signal stops at once.")

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
