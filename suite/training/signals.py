"""SIGINT and SIGTERM during a training: noted, so that the state can be saved first."""

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from suite.errors import Interrupted

log = logging.getLogger(__name__)


class StopSignals:
    """While entered, notes the first SIGINT or SIGTERM; the second has its usual effect."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Only the main thread may handle signals: elsewhere a training just cannot be signalled.
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
            Interrupted: Always; a worker that follows another's signal counts as terminated.
        """
        raise Interrupted("stopped, state saved", self.received or signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
        log.warning("Stopping after this step; the state is saved. Once more stops at once.")

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
