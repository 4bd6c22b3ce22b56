"""What listens on an address: opened at the start, and again and again where it can't be.

A port that somebody else holds costs neither the peers nor the other listeners anything; neither
does a name server that does not answer, for each is opened on a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Event, Lock, Thread
from typing import Protocol

from adwatch.core.pace import NEVER, delay
from adwatch.errors import AdwatchError


class Listener(Protocol):
    """Answers others on threads of its own."""

    def open(self) -> None:
        """Begins to listen, or raises AdwatchError."""

    def close(self) -> None:
        """Stops listening, and waits for nobody; also where opening it failed."""


class _Opening:
    """One try to open a listener; `woken` is called at its end."""

    def __init__(self, name: str, listener: Listener, woken: Callable[[], None]) -> None:
        self._listener = listener
        self._woken = woken
        self._fault: BaseException | None = None
        self._ended = Event()
        self._given_up = False
        self._lock = Lock()
        Thread(target=self._run, name=f"open {name}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._listener.open()
        except BaseException as error:  # noqa: BLE001 - `outcome` gives or raises it
            self._fault = error
        with self._lock:
            self._ended.set()
            if self._given_up:
                self._listener.close()
        self._woken()

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._ended.is_set()

    def outcome(self) -> AdwatchError | None:
        """What it failed by, None where it listens; a bug is raised."""
        if self._fault is not None and not isinstance(self._fault, AdwatchError):
            raise self._fault
        return self._fault

    def give_up(self) -> None:
        """Closes the listener; one that is still being opened as soon as that has ended."""
        with self._lock:
            self._given_up = True
            if self._ended.is_set():
                self._listener.close()


class Listeners:
    """Listeners by name, which is the part of the configuration that they come from, if any.

    `woken` is called when a listener has been opened, or could not be.
    """

    def __init__(
        self, listeners: Mapping[str, Listener | None], woken: Callable[[], None] = lambda: None
    ) -> None:
        self._woken = woken
        self._listeners = {name: one for name, one in listeners.items() if one is not None}
        self._due = dict.fromkeys(self._listeners, 0.0)
        self._failures = dict.fromkeys(self._listeners, 0)
        self._openings: dict[str, _Opening] = {}

    @property
    def names(self) -> frozenset[str]:
        """All of them, open or not."""
        return frozenset(self._listeners)

    @property
    def listening(self) -> frozenset[str]:
        """Those that are open."""
        return frozenset(name for name, due in self._due.items() if due == NEVER)

    def open(self, now: float, jitter: float) -> Iterator[tuple[str, AdwatchError | None]]:
        """Begins to open what is due, and waits for nothing.

        Gives the name of each that has come to an end, and its fault, None where it listens now.
        """
        for name, due in self._due.items():
            if due <= now and name not in self._openings:
                self._openings[name] = _Opening(name, self._listeners[name], self._woken)
        for name in [name for name, one in self._openings.items() if one.done()]:
            fault = self._openings.pop(name).outcome()
            if fault is not None:
                self._failures[name] += 1
            self._due[name] = NEVER if fault is None else now + delay(self._failures[name], jitter)
            yield name, fault

    def change(self, listeners: Mapping[str, Listener | None]) -> None:
        """Goes on with other listeners; those that are the same go on listening.

        One that does not listen yet is tried at once, for what it lacked may be there now.
        """
        before = self._listeners
        self._listeners = {name: one for name, one in listeners.items() if one is not None}
        for name in before.keys() | self._listeners.keys():
            if before.get(name) is not self._listeners.get(name):
                if name in before:
                    self._close(name, before[name])
                self._due.pop(name, None)
        listening = self.listening
        self._due = {name: NEVER if name in listening else 0.0 for name in self._listeners}
        self._failures = {name: self._failures.get(name, 0) for name in self._listeners}

    def _close(self, name: str, listener: Listener) -> None:
        opening = self._openings.pop(name, None)
        if opening is not None:
            opening.give_up()
        else:
            listener.close()

    def wait(self, now: float) -> float:
        """Seconds until another try is due; the end of one that is under way wakes."""
        due = (due for name, due in self._due.items() if name not in self._openings)
        return max(0.0, min(due, default=NEVER) - now)

    def close(self) -> None:
        """Closes them all."""
        for name, listener in self._listeners.items():
            self._close(name, listener)
