"""What listens on an address: opened at the start, and again and again where it can't be.

A port that somebody else holds costs neither the peers nor the other listeners anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from adwatch.core.pace import NEVER, delay
from adwatch.errors import AdwatchError


class Listener(Protocol):
    """Answers others on threads of its own."""

    def open(self) -> None:
        """Begins to listen, or raises AdwatchError."""

    def close(self) -> None:
        """Stops listening, and waits for nobody."""


class Listeners:
    """Listeners by name, which is the part of the configuration that they come from, if any."""

    def __init__(self, listeners: Mapping[str, Listener | None]) -> None:
        self._listeners = {name: one for name, one in listeners.items() if one is not None}
        self._due = dict.fromkeys(self._listeners, 0.0)
        self._failures = dict.fromkeys(self._listeners, 0)

    @property
    def names(self) -> frozenset[str]:
        """All of them, open or not."""
        return frozenset(self._listeners)

    @property
    def listening(self) -> frozenset[str]:
        """Those that are open."""
        return frozenset(name for name, due in self._due.items() if due == NEVER)

    def open(self, now: float, jitter: float) -> Iterator[tuple[str, AdwatchError | None]]:
        """Opens what is due; gives each one's name and its fault, None where it listens now."""
        for name in [name for name, due in self._due.items() if due <= now]:
            try:
                self._listeners[name].open()
            except AdwatchError as error:
                self._failures[name] += 1
                self._due[name] = now + delay(self._failures[name], jitter)
                yield name, error
            else:
                self._due[name] = NEVER
                yield name, None

    def change(self, listeners: Mapping[str, Listener | None]) -> None:
        """Goes on with other listeners; those that are the same go on listening."""
        before = self._listeners
        self._listeners = {name: one for name, one in listeners.items() if one is not None}
        for name in before.keys() | self._listeners.keys():
            if before.get(name) is not self._listeners.get(name):
                if name in before:
                    before[name].close()
                self._due.pop(name, None)
        self._due = {name: self._due.get(name, 0.0) for name in self._listeners}
        self._failures = {name: self._failures.get(name, 0) for name in self._listeners}

    def wait(self, now: float) -> float:
        """Seconds until another try is due."""
        return max(0.0, min(self._due.values(), default=NEVER) - now)

    def close(self) -> None:
        """Closes them all."""
        for listener in self._listeners.values():
            listener.close()
