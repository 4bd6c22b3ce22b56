"""What adwatch remembers: rows in, rows out, one transaction a turn.

SQL stays within what PostgreSQL takes too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from adwatch.core.model import (
    Batch,
    Candidate,
    Change,
    Contact,
    Cursor,
    Debt,
    Hold,
    Known,
    Plan,
    Rejection,
    Served,
)
from adwatch.edges.store import rows
from adwatch.edges.store.census import Census
from adwatch.edges.store.damage import Left, asides, salvage

NAME: Final = "adwatch.db"
_PART: Final = 500
_NONE: Final = (None, "{}")


class Store(Census):
    """The rows. `open()` for the one writer, `open_copy()` for anybody who only looks.

    Every method raises StoreError where SQLite refuses.
    """

    def __init__(self, state: Path) -> None:
        super().__init__(state / NAME)

    def exists(self) -> bool:
        """Whether there is a file at all; an empty one counts as none."""
        return self.path.exists() and self.path.stat().st_size > 0

    def used(self) -> bool:
        """Whether there is a store, or was one that had to be set aside."""
        return self.exists() or bool(asides(self.path))

    def begun(self) -> bool:
        """Whether anything has ever been written to it."""
        return bool(self._rows("SELECT 1 FROM meta LIMIT 1"))

    def left(self) -> Left:
        """What can be read of the store that was set aside last; nothing where there is none."""
        found = asides(self.path)
        return salvage(found[-1]) if found else Left()

    def restore(
        self, left: Left, served: Iterable[Served], debts: Iterable[Debt], fault: str
    ) -> None:
        """Begins a store with what is left of another.

        Of the peers only those given, and of the holds only theirs; `fault` stands under
        `damaged` until the directory has been read.
        """
        numbers = {one.peer.key: one for one in served}
        peers = {one.peer.guid: one for one in numbers.values()}
        with self._transaction():
            self._put_served(peers.values())
            self._put_holds(hold for hold in left.holds if hold.guid in peers)
            self._many("INSERT INTO losses VALUES (?, ?)", left.losses.items())
            self._many("INSERT INTO contacts VALUES (?, ?)", map(rows.contact_row, left.contacts))
            self._record(left.history)
            self.tell(left.incidents, left.letters)
            for debt in debts:
                self.owe(debt)
            self.remember("damaged", fault)

    def _where(self, table: str, column: str, values: Iterable[str] | None) -> Iterator[Any]:
        """Rows whose column is among the values; None means every row."""
        if values is None:
            yield from self._rows(f"SELECT * FROM {table}")  # noqa: S608 - our names
            return
        ordered = sorted(values)
        for at in range(0, len(ordered), _PART):
            part = ordered[at : at + _PART]
            marks = ",".join("?" * len(part))
            sql = f"SELECT * FROM {table} WHERE {column} IN ({marks})"  # noqa: S608
            yield from self._rows(sql, part)

    def meta(self, key: str) -> str:
        """A remembered value, empty where there is none."""
        sql = "SELECT value FROM meta WHERE key = ?"
        if key == "cursor":  # which every turn begins with, so that a damaged file shows
            self._look_for_touch()
        found = self._same(sql, key)
        return found[0][0] if found else ""

    def remember(self, key: str, value: str) -> None:
        """Keeps a value under a key."""
        self._run(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )

    def cursor(self) -> Cursor | None:
        """Up to where the directory is known, None before the first full read.

        A damaged one is nobody's, so that everything is read again.
        """
        text = self.meta("cursor")
        return rows.cursor(text) if text else None

    def known(self, guids: frozenset[str] | None, claims: Iterable[str], since: float) -> Known:
        """Everything about the users named, and whoever has or wants one of their numbers.

        `guids` None means everybody; `claims` are numbers (as `Peer.key`) asked for now;
        losses count from `since` on.
        """
        if guids is not None:
            guids = self._neighbours(guids, frozenset(claims))
        candidates = {
            c.guid: c for c in map(rows.candidate, self._where("candidates", "guid", guids))
        }
        served = {r[0]: rows.served(r) for r in self._where("served", "guid", guids)}
        rejections: dict[str, tuple[Rejection, ...]] = {}
        for row in self._where("rejections", "guid", guids):
            rejections[row[0]] = (*rejections.get(row[0], ()), rows.rejection(row))
        holds = {row[0]: Hold(*row) for row in self._where("holds", "guid", guids)}
        lost, gone = self._losses(since)
        total, outputs = self.count(), frozenset(json.loads(self.meta("outputs") or "{}"))
        return Known(candidates, served, holds, rejections, lost, total, total + len(gone), outputs)

    def _neighbours(self, guids: frozenset[str], claims: frozenset[str]) -> frozenset[str]:
        """The users named, and all that are tied to them by a number, however indirectly."""
        reached: set[str] = set()
        fresh, wanted = set(guids), set(claims)
        while fresh or wanted:
            reached |= fresh
            numbers = set(wanted)
            for table in ("candidates", "served"):
                at = 4 if table == "candidates" else 1
                numbers |= {row[at] for row in self._where(table, "guid", fresh) if row[at]}
            found: set[str] = set()
            for table in ("candidates", "served"):
                found |= {row[0] for row in self._where(table, "claim", numbers)}
            fresh, wanted = found - reached, set()
        return frozenset(reached)

    def _losses(self, since: float) -> tuple[frozenset[str], frozenset[str]]:
        """The users lost since then, held ones and those of one output too; who is really gone."""
        found = self._rows(
            "SELECT l.guid, s.guid, h.guid, s.refused FROM losses l"
            " LEFT JOIN served s ON s.guid = l.guid"
            " LEFT JOIN holds h ON h.guid = l.guid WHERE l.at >= ?",
            (since,),
        )
        gone = frozenset(guid for guid, served, _, _ in found if served is None)
        kept = frozenset(guid for guid, _, hold, refused in found if hold or refused not in _NONE)
        return gone | kept, gone

    def apply(
        self,
        plan: Plan,
        batch: Batch,
        outputs: Iterable[str],
        forget: float,
        *,
        compared: bool = False,
        marks: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Commits a turn: rows, cursor, history and what is owed for it, or nothing of it.

        Losses before `forget` no longer count and are dropped; `compared` pays for the
        comparison that was owed; `marks` are remembered under their keys.
        """
        with self._transaction():
            self._delete("candidates", plan.drop)
            self._put_candidates(plan.put)
            self._delete("served", plan.end | {s.peer.guid for s in plan.serve})
            self._put_served(plan.serve)
            self._delete("holds", plan.release | {hold.guid for hold in plan.hold})
            self._put_holds(plan.hold)
            self._run("DELETE FROM losses WHERE at < ?", (forget,))
            self._delete("losses", plan.losses)
            self._many("INSERT INTO losses VALUES (?, ?)", ((g, batch.at) for g in plan.losses))
            self._delete("rejections", plan.touched)
            self._many(
                "INSERT INTO rejections VALUES (?, ?, ?, ?, ?, ?)", rows.rejection_rows(plan)
            )
            self._record(plan.history)
            if plan.changes_peers:
                for output in outputs:
                    self.owe(Debt("publish", output, batch.at))
            if compared:
                self._run("DELETE FROM debts WHERE kind = 'compare'")
            if batch.compare:
                what = "values" if batch.values else "users"
                self.owe(Debt("compare", what, batch.at, batch.compare))
            for guid in batch.contacts:
                self.owe(Debt("contacts", guid, batch.at))
            for key, value in {**marks, "cursor": rows.cursor_text(batch.cursor)}.items():
                self.remember(key, value)

    def _delete(self, table: str, guids: Collection[str]) -> None:
        if guids and not self._is_empty(table):
            sql = f"DELETE FROM {table} WHERE guid = ?"  # noqa: S608 - our names
            self._many(sql, ((guid,) for guid in guids))

    def _put_candidates(self, candidates: Iterable[Candidate]) -> None:
        new = map(rows.candidate_row, candidates)
        if self._is_empty("candidates"):
            self._fill("candidates", rows.ADD_CANDIDATE, new)
        else:
            self._many(rows.PUT_CANDIDATE, new)

    def _put_served(self, served: Iterable[Served]) -> None:
        new = map(rows.served_row, served)
        self._fill("served", "INSERT INTO served VALUES (?, ?, ?, ?)", new)

    def _put_holds(self, holds: Iterable[Hold]) -> None:
        self._many(
            "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?)",
            (tuple(asdict(hold).values()) for hold in holds),
        )

    def _record(self, changes: Iterable[Change]) -> None:
        self._many(
            "INSERT INTO history (at, what, guid, number, login, fields, reason)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            map(rows.change_row, changes),
        )

    def judge(self, verdict: str, at: float) -> list[Hold]:
        """Writes a person's verdict, `approved` or `dismissed`, on what is held; gives that."""
        with self._transaction():
            held = self.pending()
            self._delete("losses", [hold.guid for hold in held])
            self._run("UPDATE holds SET verdict = ? WHERE verdict = ''", (verdict,))
            self._record(Change(at, verdict, h.guid, h.number, h.login, (), h.reason) for h in held)
        return held

    def contacts(self) -> dict[str, Contact]:
        """Every contact of AD, by GUID."""
        return {row[0]: rows.contact(row) for row in self._where("contacts", "guid", None)}

    def put_contacts(self, contacts: Mapping[str, Contact], paid: Iterable[str]) -> None:
        """Replaces all contacts, and strikes off the debts of theirs that this pays."""
        with self._transaction():
            for subject in paid:
                self.settle("contacts", subject)
            if contacts != self.contacts():
                self._run("DELETE FROM contacts")
                self._many(
                    "INSERT INTO contacts VALUES (?, ?)", map(rows.contact_row, contacts.values())
                )
                self.remember("contacts", str(int(self.meta("contacts") or 0) + 1))

    def people(self) -> str:
        """Another text whenever a peer or a contact is another."""
        (last,) = self._same("SELECT MAX(id) FROM history")[0]
        return f"{last} {self.meta('contacts')}"

    def count(self) -> int:
        """How many peers are served."""
        return int(self._same("SELECT COUNT(*) FROM served")[0][0])

    def count_rejected(self) -> int:
        """How many users have a value that some output, or all of them, can't use."""
        return int(self._same("SELECT COUNT(DISTINCT guid) FROM rejections")[0][0])

    def served(self) -> list[Served]:
        """Every peer served."""
        return [rows.served(row) for row in self._where("served", "guid", None)]

    def rejections(self) -> list[Rejection]:
        """Every user without a peer, or without one in some output, and why."""
        return [rows.rejection(row) for row in self._where("rejections", "guid", None)]

    def holds(self) -> list[Hold]:
        """What the safety stop holds, judged or not, by number."""
        found = self._same("SELECT * FROM holds ORDER BY number, guid")
        return [Hold(*row) for row in found]

    def approved(self) -> frozenset[str]:
        """The users whose loss a person has let through, and that are served still."""
        found = self._same("SELECT guid FROM holds WHERE verdict = 'approved'")
        return frozenset(row[0] for row in found)

    def pending(self) -> list[Hold]:
        """What the safety stop holds and nobody has judged yet."""
        return [hold for hold in self.holds() if not hold.verdict]

    def find(self, who: str) -> frozenset[str]:
        """The GUIDs of whoever `who` (number, login, mail, DN or GUID) names, now or before."""
        asked = who.lower()
        named = {
            c.guid
            for c in map(rows.candidate, self._where("candidates", "guid", None))
            if asked in (c.key, c.login.lower(), c.dn.lower(), c.guid)
            or (c.peer and asked == c.peer.email.lower())
        }
        found = self._rows(
            "SELECT DISTINCT guid FROM history WHERE number = ? OR lower(login) = ? OR guid = ?",
            (who, asked, asked),
        )
        return frozenset(named | {row[0] for row in found})

    def history(self, guids: Iterable[str] | None, limit: int) -> list[Change]:
        """The latest changes, oldest first: all of them, or those of some users."""
        where, values = "", list[Any]()
        if guids is not None:
            values = sorted(guids)
            where = f"WHERE guid IN ({','.join('?' * len(values)) or 'NULL'})"
        found = self._rows(
            "SELECT at, what, guid, number, login, fields, reason FROM history"  # noqa: S608
            f" {where} ORDER BY id DESC LIMIT ?",
            (*values, limit),
        )
        return [rows.change(row) for row in reversed(found)]

    def latest(self, limit: int) -> list[tuple[int, Change]]:
        """The latest changes, oldest first, each with its number, which only grows."""
        found = self._rows(
            "SELECT at, what, guid, number, login, fields, reason, id FROM history"
            " ORDER BY id DESC LIMIT ?",
            (limit,),
        )
        return [(row[-1], rows.change(row[:-1])) for row in reversed(found)]

    def owe(self, debt: Debt) -> None:
        """Writes a debt down; an older one of the same kind and subject stands."""
        self._run(
            "INSERT INTO debts VALUES (?, ?, ?, ?) ON CONFLICT (kind, subject) DO NOTHING",
            (debt.kind, debt.subject, debt.since, debt.reason),
        )

    def settle(self, kind: str, subject: str) -> None:
        """Strikes a debt off: it has been paid."""
        self._run("DELETE FROM debts WHERE kind = ? AND subject = ?", (kind, subject))

    def published(self, output: str, mark: str) -> None:
        """Strikes off the debt of publishing an output, whose text `mark` tells from others."""
        with self._transaction():
            self.settle("publish", output)
            self.remember(f"published {output}", mark)

    def owed(self, kind: str) -> dict[str, Debt]:
        """The debts of a kind by subject."""
        found = self._same("SELECT * FROM debts WHERE kind = ? ORDER BY subject", kind)
        return {row[1]: Debt(*row) for row in found}
