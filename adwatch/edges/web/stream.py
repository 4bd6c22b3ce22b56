"""Answers that go on: server-sent events (HTML Living Standard, 9.2), a thread for each reader.

Whoever has news puts them in place and waits for nobody. A reader that is slow misses what was
overtaken; one that stalls is hung up on, and costs nobody anything but its own place.
"""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Callable
from threading import Event
from typing import Final, Generic, TypeVar

import h11

T = TypeVar("T")

Follow = Callable[[float], str]
"""Waits for news, so many seconds at most; gives the events that tell them, or an empty text."""

_TICK_S: Final = 0.5  # how soon an end is seen
_BEAT_S: Final = 15.0  # proxies and browsers give up on a silence
_SEND_S: Final = 10.0
_LIFE_S: Final = 600.0  # the browser then comes again by itself


class News(Generic[T]):
    """A value that is replaced, and the wish to know when."""

    def __init__(self, value: T) -> None:
        self._now = _Issue(value)

    @property
    def latest(self) -> T:
        """The value as it is."""
        return self._now.value

    def publish(self, value: T) -> None:
        """Replaces it; who waits for it goes on."""
        before, self._now = self._now, _Issue(value)
        before.overtaken.set()

    def wait(self, known: T, seconds: float) -> T:
        """The value, once it is not the one that is known; that again where it lasts so long."""
        now = self._now
        if now.value is known:
            now.overtaken.wait(seconds)
        return self._now.value


class _Issue(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value
        self.overtaken = Event()


def stream(connection: socket.socket, talk: h11.Connection, follow: Follow, ended: Event) -> None:
    """Sends events until the reader is gone, `ended` is set, or it has lasted long enough.

    The answer's head has been sent.
    """
    connection.settimeout(_SEND_S)
    now = time.monotonic()
    until, spoke = now + _LIFE_S * random.uniform(0.8, 1), now  # noqa: S311 - no secret
    while not ended.is_set() and now < until:
        said = follow(_TICK_S)
        now = time.monotonic()
        if not said and now - spoke >= _BEAT_S:
            said = ": here\n\n"
        if said:
            connection.sendall(talk.send(h11.Data(data=said.encode())) or b"")
            spoke = now
        elif _gone(connection):
            return
    connection.sendall(talk.send(h11.EndOfMessage()) or b"")


def _gone(connection: socket.socket) -> bool:
    """Whether the other side has ended the connection; it has nothing more to say."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0)) and connection.recv(1, socket.MSG_PEEK) == b""
