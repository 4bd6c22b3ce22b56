"""A sign that ends the loop's sleep, given by any thread; one that comes early is not lost."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock


class Wake:
    """A lock that whoever waits takes and whoever wakes lets go: a third of what an Event costs."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Ends the sleep, or the next one where nobody sleeps; safe from any thread."""
        with suppress(RuntimeError):  # it has been let go already
            self._lock.release()

    def wait(self, seconds: float) -> None:
        """Sleeps until somebody wakes, for so long at most."""
        self._lock.acquire(timeout=max(0.0, seconds))
