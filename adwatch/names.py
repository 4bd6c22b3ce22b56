"""Caller names from the store: what the FastAGI server reads is made here, and frozen."""

from __future__ import annotations

from itertools import chain

from adwatch.core.callers import Callers, Listing, listing
from adwatch.edges.agi import Agi
from adwatch.edges.store import Store


class CallerNames:
    """Keeps whom the FastAGI server knows in step with the store."""

    def __init__(self, store: Store, agi: Agi | None) -> None:
        self._store = store
        self._agi = agi
        self._people = ""

    def renew(self) -> None:
        """Makes the index anew where a peer or a contact is another than before."""
        if self._agi is None or (people := self._store.people()) == self._people:
            return
        self._people = people
        peers = (listing(served.peer) for served in self._store.served())
        contacts = (
            Listing(contact.name, tuple(number for _, number in contact.numbers))
            for contact in self._store.contacts().values()
        )
        self._agi.show(Callers.of(chain(peers, contacts)))
