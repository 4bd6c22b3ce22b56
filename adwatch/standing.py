"""The status that other threads are handed: made anew only where what it tells of is another.

An idle tick alters nothing but times, and these are looked up when somebody asks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from adwatch.core.incidents import Incident
from adwatch.core.model import Reach
from adwatch.report import Health, status, times
from adwatch.service import Service


class Standing:
    """How the service stands. `renew` and `forget` are the loop's, `now` is any thread's."""

    def __init__(self, service: Service, health: Health) -> None:
        self._service = service
        self._health = health
        self._said: dict[str, Any] = {}
        self._made_of: tuple[Any, ...] = ()
        self.news = False
        """Whether anything but times has become another since this was set back."""

    def __bool__(self) -> bool:
        """Whether there is a status yet."""
        return bool(self._said)

    def now(self) -> dict[str, Any]:
        """The object of `status --json` but for the trace; empty before the first one is made."""
        said = self._said
        if not said:
            return {}
        return {**said, "directory": {**said["directory"], **times(self._health, time.time())}}

    def traced(self) -> dict[str, Any]:
        """The same with what the parts of turns took."""
        names = ("p50", "p95", "max")
        trace = {
            part: {"count": one.count, **{n: round(getattr(one, n), 6) for n in names}}
            for part, one in self._health.trace(time.monotonic()).items()
        }
        return {**self.now(), "trace": trace}

    def forget(self) -> None:
        """Word that the store, the configuration or a file may be another without a sign of it."""
        self._made_of = ()

    def renew(
        self, reach: Reach, listens: frozenset[str], incidents: Mapping[str, Incident] | None
    ) -> bool:
        """Brings it up to date; gives whether anything but times is another."""
        health = self._health
        health.reach, health.listens, health.incidents = reach, listens, incidents
        changes, faults = self._service.store.changes, tuple(health.faults.items())
        made_of = (
            *(changes, reach, listens, incidents, faults),
            *(health.turned, health.last_reconcile),
        )
        if made_of == self._made_of:
            return False
        self._said = status(self._service, health, time.time())
        self._made_of, self.news = made_of, True
        return True
