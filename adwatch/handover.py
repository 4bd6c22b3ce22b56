"""Commands that other processes hand over: asked on threads, answered by the loop, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, Final

from adwatch.errors import AdwatchError

_LOOK_S: Final = 1.0  # whether the service ends meanwhile


@dataclass(slots=True)
class _Request:
    """`answered` is set once `answer` is there."""

    said: dict[str, Any]
    answer: dict[str, Any] = field(
        default_factory=lambda: {"exit": 1, "error": "adwatch met a bug"}
    )
    answered: Event = field(default_factory=Event)


class Requests:
    """A queue in front of the loop, which `wake` wakes and `stop` ends."""

    def __init__(self, wake: Event, stop: Event) -> None:
        self._wake, self._stop = wake, stop
        self._queue: SimpleQueue[_Request] = SimpleQueue()

    def ask(self, said: dict[str, Any]) -> dict[str, Any]:
        """On any thread: what the loop answers, whenever it does."""
        request = _Request(said)
        self._queue.put(request)
        self._wake.set()
        while not request.answered.wait(_LOOK_S):
            if self._stop.is_set():
                return {"exit": 1, "error": "adwatch is being stopped"}
        return request.answer

    def waiting(self) -> bool:
        """Whether somebody waits for an answer."""
        return not self._queue.empty()

    def answer(self, do: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """On the loop: does what has been asked for. A fault is an answer; a bug goes through."""
        while True:
            try:
                request = self._queue.get_nowait()
            except Empty:
                return
            try:
                request.answer = do(request.said)
            except AdwatchError as error:
                request.answer = {"exit": error.exit_code, "error": str(error)}
            finally:
                request.answered.set()
