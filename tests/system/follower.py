"""adwatch's own edge of the directory on the real domain, with a dictionary for a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from adwatch.core.model import Batch, Cursor, Entry, Seen
from adwatch.edges.directory.active import ActiveDirectory
from adwatch.edges.directory.security import Security
from adwatch.edges.directory.session import Session
from adwatch.edges.directory.settings import Settings
from system.samba import SambaDC

STAFF = "OU=Staff,DC=example,DC=test"
SALES = f"OU=Sales,{STAFF}"
LEAVERS = "OU=Leavers,DC=example,DC=test"
FILTER = "(&(telephoneNumber=*)(objectCategory=person)(objectClass=user)(sAMAccountName=*))"
ORDINARY, SYNC = "svc-adwatch", "svc-adwatch-sync"


def security(dc: SambaDC, user: str, timeout_s: float = 8.0) -> Security:
    return Security("ldaps", f"{user}@{dc.realm}", str(dc.ca_file), True, timeout_s)


def session(dc: SambaDC, user: str = ORDINARY) -> Session:
    """An open session, yours to close."""
    opened = Session(dc.ldaps_url, security(dc, user), dc.service_password)
    opened.open()
    return opened


def edge(
    dc: SambaDC, user: str = ORDINARY, feed: str = "dirsync", **changes: Any
) -> ActiveDirectory:
    """The edge as the service wires it; `changes` are fields of its settings."""
    wanted = Settings(
        servers=(dc.ldaps_url,),
        domain=None,
        security=security(dc, user),
        password=lambda: dc.service_password,
        bases=(STAFF,),
        filter=FILTER,
        feed=feed,
        attributes=("telephoneNumber", "mobile"),
    )
    return ActiveDirectory(replace(wanted, **changes))


class Follower:
    """Reads as the service does: polls, makes the comparisons called for, keeps who is in."""

    def __init__(self, make: Callable[[], ActiveDirectory]) -> None:
        self._make = make
        self.directory = make()
        self.people: dict[str, Entry] = {}
        self.cursor: Cursor | None = None

    def known(self) -> dict[str, Seen]:
        return {guid: Seen(entry.dn, entry.usn) for guid, entry in self.people.items()}

    def begin(self, take: Callable[[Entry], Entry] | None = None) -> Batch:
        """A full read."""
        return self.take(self.directory.read(None, self.known, take))

    def poll(self) -> Batch:
        """One reading since the last, and the comparison that it calls for."""
        batch = self.take(self.directory.read(self.cursor, self.known))
        if batch.compare and batch.values:
            self.begin()
        elif batch.compare:
            assert self.cursor is not None
            self.take(self.directory.compare(self.cursor, self.known))
        return batch

    def take(self, batch: Batch) -> Batch:
        """Applies a batch as the store does: who was asked for and not given is out."""
        kept = {} if batch.full else self.people
        kept = {guid: entry for guid, entry in kept.items() if guid not in batch.asked}
        self.people = kept | {entry.guid: entry for entry in batch.entries}
        self.cursor = batch.cursor
        return batch

    def of(self, login: str) -> Entry | None:
        return next((e for e in self.people.values() if e.login == login), None)

    def guid(self, login: str) -> str:
        found = self.of(login)
        assert found is not None, f"{login} is not there"
        return found.guid

    def is_right(self) -> bool:
        """Whether it holds what a fresh full read by a new connection gives.

        uSNChanged moves with attributes, too, that nobody asked for.
        """
        other = self._make()
        try:
            fresh = other.read(None, dict)
        finally:
            other.close()
        return _told(self.people.values()) == _told(fresh.entries)


def _told(entries: Iterable[Entry]) -> dict[str, tuple[str, dict[str, tuple[str, ...]]]]:
    return {
        entry.guid: (
            entry.dn,
            {name: v for name, v in entry.attributes.items() if name != "usnchanged"},
        )
        for entry in entries
    }
