"""Caller names from the store: what the FastAGI server reads is made here, and frozen."""

from __future__ import annotations

from adwatch.core.callers import Callers, listing
from adwatch.core.model import Change
from adwatch.edges.agi import Agi
from adwatch.edges.store import Store


class CallerNames:
    """Keeps whom the FastAGI server knows in step with the store."""

    def __init__(self, store: Store, agi: Agi | None) -> None:
        self._store = store
        self._agi = agi
        self._known: list[Change] | None = None

    def renew(self) -> None:
        """Makes the index anew where a peer is another than before."""
        if self._agi is None or (last := self._store.history(None, 1)) == self._known:
            return
        self._known = last
        self._agi.show(Callers.of(listing(served.peer) for served in self._store.served()))
