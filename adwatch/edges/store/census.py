"""What is asked of the users one by one, or of all without taking their rows out."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from adwatch.core.model import Candidate, Seen, Served
from adwatch.edges.store import rows
from adwatch.edges.store.outbox import Outbox

_AT_ONCE: Final = 500

# All but those who are served exactly what they ask for, in every output, or ask for nothing.
_UNSETTLED: Final = """
    SELECT c.guid FROM candidates c LEFT JOIN served s ON s.guid = c.guid
    WHERE COALESCE(c.peer, '') <> COALESCE(s.peer, '') OR COALESCE(s.refused, '{}') <> '{}'
    UNION SELECT s.guid FROM served s LEFT JOIN candidates c ON c.guid = s.guid
    WHERE c.guid IS NULL
    UNION SELECT guid FROM holds UNION SELECT guid FROM rejections
"""


class Census(Outbox):
    """The users as they are known."""

    def has(self, candidate: Candidate) -> bool:
        """Whether a user is known exactly so."""
        found = self._rows("SELECT * FROM candidates WHERE guid = ?", (candidate.guid,))
        return found == [rows.candidate_row(candidate)]

    def unsettled(self) -> frozenset[str]:
        """The users of whom there is more to say than that they are served as they ask for it."""
        return frozenset(row[0] for row in self._rows(_UNSETTLED))

    def others(self, here: Collection[str]) -> frozenset[str]:
        """The users known, or served, that are not among these."""
        sql = "SELECT guid FROM candidates UNION SELECT guid FROM served"
        return frozenset(guid for (guid,) in self._rows(sql) if guid not in here)

    def seen(self) -> dict[str, Seen]:
        """Every user in scope as it was last read, by GUID; and who is held, being out of it."""
        held = {row[0]: Seen("", 0) for row in self._rows("SELECT guid FROM holds")}
        found = self._rows("SELECT guid, dn, usn FROM candidates")
        return held | {guid: Seen(dn, usn) for guid, dn, usn in found}

    def expired(self, at: float) -> frozenset[str]:
        """The users whose account has expired by then, which nobody has looked at since."""
        found = self._rows("SELECT guid FROM candidates WHERE expires > 0 AND expires <= ?", (at,))
        return frozenset(row[0] for row in found)

    def next_expiry(self) -> float | None:
        """When the next account expires, in seconds since the epoch."""
        found = self._same("SELECT MIN(expires) FROM candidates WHERE expires > 0")
        return float(found[0][0]) if found[0][0] is not None else None

    def each_served(self) -> Iterator[Served]:
        """Every peer served, some at a time."""
        last, sql = "", "SELECT * FROM served WHERE guid > ? ORDER BY guid LIMIT ?"
        while found := self._rows(sql, (last, _AT_ONCE)):
            yield from map(rows.served, found)
            last = found[-1][0]
