"""Why somebody has a peer or none, on the thread of whoever asks: of AD, else of what is known.

Nothing here touches what the loop uses: the store is read from a copy, AD by a connection of its
own, as the command `explain` does. Where AD can't be read it is not asked, and after a refusal not
for as long as the loop would wait: AD locks accounts whose password is tried again and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import BoundedSemaphore, Event, Thread
from typing import Any, Final

from adwatch.core.board import Explanation, Found
from adwatch.core.model import Change
from adwatch.core.pace import REFUSED_S
from adwatch.edges.directory import Directory
from adwatch.edges.store import Store
from adwatch.errors import AdwatchError, CredentialsError
from adwatch.parts import Parts
from adwatch.report import explain, recall
from adwatch.service import Service
from adwatch.wiring import make_directory

_AT_ONCE: Final = 2
_WITHIN_S: Final = 20.0
_HISTORY: Final = 5


class Inquiry:
    """Answers on many threads, to few at a time."""

    def __init__(self) -> None:
        self._room = BoundedSemaphore(_AT_ONCE)
        self._refusal: tuple[Directory, float, str] | None = None

    def __call__(self, parts: Parts, who: str, unreadable: str | None) -> Explanation:
        """`unreadable` is why AD can't be read just now, as the loop found it."""
        if not self._room.acquire(blocking=False):
            return Explanation(who, fault="others are being answered just now; ask again")
        try:
            return self._answer(parts, who, unreadable)
        finally:
            self._room.release()

    def _answer(self, parts: Parts, who: str, unreadable: str | None) -> Explanation:
        store = Store(parts.config.state)
        directory = make_directory(parts.config, parts.mapper, store.cursor)
        service = Service(replace(parts, directory=directory), store, dry=True)
        try:
            store.open_copy()
            unreadable = unreadable or self._refused(parts)
            if unreadable is None:
                try:
                    return Explanation(who, _asked(service, who))
                except AdwatchError as error:
                    unreadable = str(error)
                    if isinstance(error, CredentialsError) and error.counts:
                        self._refusal = parts.directory, time.monotonic() + REFUSED_S, unreadable
            found = (Found(said, _history(store, said)) for said in recall(store, who))
            return Explanation(who, tuple(found), unreadable)
        except AdwatchError as error:  # the store's, too
            return Explanation(who, fault=str(error))
        finally:
            service.close()

    def _refused(self, parts: Parts) -> str | None:
        """Why the account was refused lately; another password makes the directory another."""
        if self._refusal is None:
            return None
        directory, until, why = self._refusal
        return why if directory is parts.directory and time.monotonic() < until else None


def _asked(service: Service, who: str) -> tuple[Found, ...]:
    with _ended_by(_WITHIN_S, service.directory.abort):
        findings = service.directory.find(who, service.mapper.number_attributes)
    explained = (explain(service, finding) for finding in findings)
    return tuple(Found(said, _history(service.store, said)) for said in explained)


def _history(store: Store, said: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(reversed(store.history([said["guid"]], _HISTORY)))


@contextmanager
def _ended_by(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Calls `end` again and again once it has lasted too long: it may begin another wait."""
    done = Event()

    def watch() -> None:
        over = done.wait(seconds)
        while not over:
            end()
            over = done.wait(0.2)

    Thread(target=watch, name="deadline", daemon=True).start()
    try:
        yield
    finally:
        done.set()
