"""What other processes ask of the running service: handed to its loop, which answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any, Final

from adwatch.core.pace import NEVER
from adwatch.errors import AdwatchError

_BUSY: Final = "adwatch is reading AD just now and did not get round to it; nothing was done"


@dataclass(slots=True)
class _Request:
    """A command that another process hands over; `answered` is set once `answer` is there."""

    said: dict[str, Any]
    answer: dict[str, Any] = field(default_factory=dict)
    answered: Event = field(default_factory=Event)
    begun: Lock = field(default_factory=Lock)
    """Taken once: by the loop that begins it, or by who asked and waits no longer."""


class Requests:
    """A queue of them. `stop` ends the waiting of whoever asked."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._queue: SimpleQueue[_Request] = SimpleQueue()

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for an answer."""
        return not self._queue.empty()

    def hand_over(
        self, said: dict[str, Any], wake: Callable[[], None], within_s: float = NEVER
    ) -> dict[str, Any]:
        """On any thread: wakes the loop, and waits for its answer.

        What the loop has not begun `within_s` is not done at all.
        """
        until = time.monotonic() + within_s
        request = _Request(said)
        self._queue.put(request)
        wake()
        while not request.answered.wait(min(1.0, within_s)):
            if self._stop.is_set():
                return {"exit": 1, "error": "adwatch is being stopped"}
            if time.monotonic() >= until and request.begun.acquire(blocking=False):
                return {"exit": 1, "error": _BUSY}
        return request.answer

    def answer(
        self, do: Callable[[dict[str, Any]], dict[str, Any]], done: Callable[[], None]
    ) -> None:
        """On the loop's thread: does everything that is asked for; `done` follows each."""
        while not self._queue.empty():  # nobody else takes any
            request = self._queue.get_nowait()
            if not request.begun.acquire(blocking=False):
                continue
            try:
                request.answer = do(request.said)
            except AdwatchError as error:
                request.answer = {"exit": error.exit_code, "error": str(error)}
            finally:
                request.answer = request.answer or {"exit": 1, "error": "adwatch met a bug"}
                try:
                    done()
                finally:
                    request.answered.set()
