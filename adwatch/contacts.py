"""AD contacts: kept in the store beside the peers, and never one of them.

What a turn names is a debt, committed with its cursor; reading pays it, however often it takes.
"""

from __future__ import annotations

import logging

from adwatch.core.model import ALL_CONTACTS
from adwatch.core.phonebook import of_entry
from adwatch.core.words import line
from adwatch.edges.directory import Directory
from adwatch.edges.store import Store
from adwatch.errors import DirectoryError

log = logging.getLogger(__name__)


class Contacts:
    """Reads the contacts that are owed. `wanted` is false where the configuration has none."""

    def __init__(self, directory: Directory, store: Store, *, wanted: bool) -> None:
        self._directory = directory
        self._store = store
        self._wanted = wanted

    def begin(self) -> None:
        """Forgets the contacts that the configuration no longer asks for."""
        if not self._wanted:
            self._store.put_contacts({}, self._store.owed("contacts"))

    def owed(self) -> bool:
        """Whether some may have changed since they were read."""
        return bool(self._store.owed("contacts"))

    def read(self) -> None:
        """Reads what is owed. Raises DirectoryError where it can't, and the book stays as it was.

        That nobody is left of many is no answer to be believed: rights may be lost, or the base
        be wrong.
        """
        self.begin()
        owed = frozenset(self._store.owed("contacts"))
        if not owed:
            return
        everybody = owed >= ALL_CONTACTS
        found = self._directory.contacts(None if everybody else owed)
        known = self._store.contacts()
        if everybody and known and not found:
            raise DirectoryError(
                f"the directory shows none of the {len(known)} contacts of the phone books;"
                " they stay as they were",
                "look at contacts.base, contacts.filter and the account's rights; if there are"
                " none any more, take contacts out of the configuration",
            )
        kept = {} if everybody else {g: c for g, c in known.items() if g not in owed}
        contacts = kept | {entry.guid: of_entry(entry) for entry in found}
        self._store.put_contacts(contacts, owed)
        if contacts != known:
            log.info(line("contacts", count=len(contacts), before=len(known)))
