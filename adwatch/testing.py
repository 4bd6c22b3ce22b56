"""Fakes that ship: they promise what the real things promise, and pass the same tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from uuid import UUID

from adwatch.core.model import ALL_CONTACTS, HIDDEN, Batch, Cursor, Entry, Finding, Reach, Seen
from adwatch.errors import DirectoryError

_CREATED = "20260101000000.0Z"


class FakeClock:
    """A clock that only moves when told to."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now


class MemoryDirectory:
    """A domain in memory, seen through DirSync by an account that may see deletions, or not.

    `matches` tests an entry as `directory.filter` would; `base` is the one base. Contacts below
    `contact_base` are followed where it is given.
    """

    def __init__(
        self,
        base: str = "DC=example,DC=test",
        matches: Callable[[Entry], bool] = lambda entry: bool(entry.first("telephonenumber")),
        *,
        sees_deletions: bool = True,
        clock: Callable[[], float] = FakeClock(),  # noqa: B008 - one that never moves
        contact_base: str = "",
    ) -> None:
        self.base = base
        self.matches = matches
        self.sees_deletions = sees_deletions
        self.clock = clock
        self.contact_base = contact_base
        self.fault: DirectoryError | None = None
        self.invocation = str(UUID(int=1))
        self.searches = 0
        self._entries: dict[str, Entry] = {}
        self._changed: dict[str, int] = {}
        self._usn = 100
        self._guids = itertools.count(1)

    def _touch(self, guid: str) -> None:
        self._usn += 1
        self._changed[guid] = self._usn
        if guid in self._entries:
            entry = self._entries[guid]
            values = {**entry.attributes, "usnchanged": (str(self._usn),)}
            self._entries[guid] = replace(entry, attributes=values)

    def add_user(self, login: str, parent: str | None = None, **attributes: str) -> str:
        """Adds a user; gives its DN."""
        guid = str(UUID(int=next(self._guids)))
        dn = f"CN={login},{parent or self.base}"
        values = {"samaccountname": (login,), "whencreated": (_CREATED,)}
        values |= {name.lower(): (value,) for name, value in attributes.items()}
        values.setdefault("useraccountcontrol", ("512",))
        self._entries[guid] = Entry(guid, dn, values)
        self._touch(guid)
        return dn

    def add_contact(self, dn: str, **attributes: str) -> None:
        """Adds a contact, which is nobody's account."""
        guid = str(UUID(int=next(self._guids)))
        values = {"objectclass": ("contact",), "name": (dn.partition(",")[0].partition("=")[2],)}
        values |= {name.lower(): (value,) for name, value in attributes.items()}
        self._entries[guid] = Entry(guid, dn, values)
        self._touch(guid)

    def _guid(self, dn: str) -> str:
        return next(e.guid for e in self._entries.values() if e.dn.lower() == dn.lower())

    def modify(self, dn: str, **changes: str | None) -> None:
        """Sets attributes of a user, or clears those given as None."""
        entry = self._entries[self._guid(dn)]
        values = dict(entry.attributes)
        for name, value in changes.items():
            values.pop(name.lower(), None)
            if value is not None:
                values[name.lower()] = (value,)
        self._entries[entry.guid] = replace(entry, attributes=values)
        self._touch(entry.guid)

    def rename(self, dn: str, new_rdn: str) -> str:
        """Renames a user; gives its new DN."""
        return self._moved(dn, f"{new_rdn},{dn.partition(',')[2]}")

    def move(self, dn: str, new_parent: str) -> str:
        """Moves a user; gives its new DN."""
        return self._moved(dn, f"{dn.partition(',')[0]},{new_parent}")

    def _moved(self, dn: str, new: str) -> str:
        guid = self._guid(dn)
        self._entries[guid] = replace(self._entries[guid], dn=new)
        self._touch(guid)
        return new

    def delete(self, dn: str) -> None:
        """Deletes a user."""
        guid = self._guid(dn)
        del self._entries[guid]
        self._touch(guid)

    def disable(self, dn: str) -> None:
        """Disables an account."""
        self.modify(dn, userAccountControl="514")

    def enable(self, dn: str) -> None:
        """Enables an account."""
        self.modify(dn, userAccountControl="512")

    def open(self) -> None:
        """Raises the fault that was set, if any."""
        if self.fault:
            raise self.fault

    def close(self) -> None:
        """Nothing is open."""

    def abort(self) -> None:
        """Nothing ever waits."""

    def listen(self, wake: Callable[[], None]) -> None:
        """Pushes nothing."""

    def check(self) -> None:
        """It answers unless it has a fault."""
        self.open()

    def prefer(self) -> None:
        """There is but one."""

    def reach(self) -> Reach:
        """As if connected."""
        if self.fault:
            return Reach()
        return Reach("memory", "dirsync", "memory", False, 1.0, self.sees_deletions, self.searches)

    def read(
        self,
        since: Cursor | None,
        known: Callable[[], Mapping[str, Seen]],
        take: Callable[[Entry], Entry] | None = None,
        also: frozenset[str] = frozenset(),
    ) -> Batch:
        """As `ActiveDirectory.read`."""
        self.open()
        self.searches += 1
        if since is None or since.invocation != self.invocation or since.usn > self._usn:
            return self._full(known, take)
        named = also | {g for g, usn in self._changed.items() if usn > since.usn}
        hidden = {g for g in named - also if g not in self._entries and not self.sees_deletions}
        found = {g: self._entries[g] for g in named - hidden if self._in_scope(g)}
        return Batch(
            entries=tuple(found.values()),
            asked=frozenset(named - hidden),
            full=False,
            cursor=self._cursor(),
            at=self.clock(),
            gone={g: self._why(g) for g in named - hidden - set(found)},
            compare=f"{len(hidden)} writes are not visible" if hidden else "",
            contacts=frozenset(named - also if self.contact_base else ()),
        )

    def _full(
        self, known: Callable[[], Mapping[str, Seen]], take: Callable[[Entry], Entry] | None
    ) -> Batch:
        found = {g: e for g, e in self._entries.items() if self._in_scope(g)}
        gone = {g: self._why(g) for g in known() if g not in found}
        if take:
            found = {guid: take(entry) for guid, entry in found.items()}
        return Batch(
            tuple(found.values()),
            frozenset(found),
            True,
            self._cursor(),
            self.clock(),
            gone,
            contacts=self._all_contacts(),
        )

    def _all_contacts(self) -> frozenset[str]:
        return ALL_CONTACTS if self.contact_base else frozenset()

    def contacts(self, guids: frozenset[str] | None) -> list[Entry]:
        """As `ActiveDirectory.contacts`."""
        self.open()
        return [
            entry
            for guid, entry in self._entries.items()
            if (guids is None or guid in guids)
            and _is_contact(entry)
            and entry.dn.lower().endswith("," + self.contact_base.lower())
        ]

    def compare(self, since: Cursor, known: Callable[[], Mapping[str, Seen]]) -> Batch:
        """As `ActiveDirectory.compare`."""
        self.open()
        have = known()
        listed = {g: Seen(e.dn, e.usn) for g, e in self._entries.items() if self._in_scope(g)}
        odd = {g for g, seen in listed.items() if have.get(g) != seen} | (set(have) - set(listed))
        found = tuple(self._entries[g] for g in sorted(odd) if g in listed)
        gone = {g: self._why(g) for g in odd if g not in listed}
        contacts = self._all_contacts()
        return Batch(found, frozenset(odd), False, since, self.clock(), gone, contacts=contacts)

    def find(self, who: str, number_attributes: Iterable[str]) -> list[Finding]:
        """As `ActiveDirectory.find`."""
        self.open()
        names = ["samaccountname", "mail", "userprincipalname", *number_attributes]
        return [
            Finding(e, self._in_scope(g), "" if self._in_scope(g) else self._why(g))
            for g, e in self._entries.items()
            if who.lower() in {g, e.dn.lower(), *(e.first(n.lower()).lower() for n in names)}
        ]

    def _cursor(self) -> Cursor:
        return Cursor("memory", self.invocation, self._usn, b"", "memory")

    def _in_scope(self, guid: str) -> bool:
        entry = self._entries.get(guid)
        if entry is None or _is_contact(entry):
            return False
        return self._below(entry) and self.matches(entry)

    def _below(self, entry: Entry) -> bool:
        return entry.dn.lower().endswith("," + self.base.lower())

    def _why(self, guid: str) -> str:
        entry = self._entries.get(guid)
        if entry is None:
            return "deleted in AD" if self.sees_deletions else HIDDEN
        if not self._below(entry):
            return f"outside of the base, at {entry.dn}"
        return "no longer matches the filter"


def _is_contact(entry: Entry) -> bool:
    return entry.first("objectclass") == "contact"
