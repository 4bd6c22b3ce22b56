"""What adwatch remembers: one SQLite file, one writer, one transaction a turn.

The rollback journal is used rather than WAL: the store is small, and the SQLite versions in
use today can corrupt a WAL (fixed in 3.51.3). SQL stays within what PostgreSQL takes too.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from adwatch.core.model import (
    Batch,
    Candidate,
    Change,
    Cursor,
    Debt,
    Hold,
    Known,
    Plan,
    Rejection,
    Seen,
    Served,
)
from adwatch.edges.store import rows
from adwatch.edges.store.migrations import MIGRATIONS
from adwatch.errors import StoreError

NAME: Final = "adwatch.db"
_BUSY_S: Final = 10.0
_PART: Final = 500
_NONE: Final = (None, "{}")


class Store:
    """The rows. `open()` for the one writer, `open_copy()` for anybody who only looks.

    Every method raises StoreError where SQLite refuses.
    """

    def __init__(self, state: Path) -> None:
        self.path = state / NAME
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Opens the file, makes it where it is missing, and brings an older one up to date."""
        with self._translated():
            made = not self.path.exists()
            self._db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            if made:
                self.path.chmod(0o600)
                _give_to_owner_of(self.path.parent, self.path)
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()

    def open_copy(self) -> None:
        """Opens a copy in memory, to try on it what the file must not see."""
        with self._translated():
            self._db = sqlite3.connect(":memory:", isolation_level=None)
            if self.exists():
                uri = f"{self.path.absolute().as_uri()}?mode=ro"
                with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as source:
                    source.backup(self._db)
            self._migrate()

    def exists(self) -> bool:
        """Whether there is a file at all; an empty one counts as none."""
        return self.path.exists() and self.path.stat().st_size > 0

    def close(self) -> None:
        """Closes the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _migrate(self) -> None:
        (version,) = self._rows("PRAGMA user_version")[0]
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{self.path} was written by a newer adwatch (schema {version})",
                "install that version again, or move the file away and sync",
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            with self._transaction():
                for statement in script.split(";"):
                    self._run(statement)
                self._run(f"PRAGMA user_version = {number}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = "look at the directory's owner, its free space and its mode"
            raise StoreError(f"the store {self.path} can't be used: {error}", hint) from error
        except sqlite3.DatabaseError as error:
            hint = "move it away and run adwatch sync: the key keeps every secret"
            raise StoreError(f"the store {self.path} is damaged: {error}", hint) from error
        except OSError as error:
            raise StoreError(
                f"{self.path}: {error.strerror}", "see who owns the state directory"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            assert self._db is not None
            if self._db.in_transaction:
                self._db.rollback()
            raise
        self._run("COMMIT")

    def _run(self, sql: str, values: Sequence[Any] = ()) -> None:
        assert self._db is not None, "open() first"
        with self._translated():
            self._db.execute(sql, values)

    def _many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        assert self._db is not None, "open() first"
        with self._translated():
            self._db.executemany(sql, rows)

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        assert self._db is not None, "open() first"
        with self._translated():
            return self._db.execute(sql, values).fetchall()

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
        found = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
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
        if not text:
            return None
        try:
            said = json.loads(text)
            return Cursor(**{**said, "cookie": bytes.fromhex(said["cookie"])})
        except (ValueError, TypeError, KeyError):
            return Cursor(server="", invocation="", usn=0, cookie=b"", question="")

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
        found = self._rows("SELECT MIN(expires) FROM candidates WHERE expires > 0")
        return float(found[0][0]) if found[0][0] is not None else None

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
            self._many("INSERT INTO served VALUES (?, ?, ?, ?)", map(rows.served_row, plan.serve))
            self._delete("holds", plan.release | {hold.guid for hold in plan.hold})
            self._many(
                "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?)",
                (tuple(asdict(hold).values()) for hold in plan.hold),
            )
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
            cursor = {**asdict(batch.cursor), "cookie": batch.cursor.cookie.hex()}
            for key, value in {**marks, "cursor": json.dumps(cursor)}.items():
                self.remember(key, value)

    def _delete(self, table: str, guids: Iterable[str]) -> None:
        self._many(f"DELETE FROM {table} WHERE guid = ?", ((guid,) for guid in guids))  # noqa: S608

    def _put_candidates(self, candidates: Iterable[Candidate]) -> None:
        self._many(
            "INSERT INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (guid) DO UPDATE"
            " SET dn = excluded.dn, login = excluded.login, created = excluded.created,"
            " claim = excluded.claim, peer = excluded.peer, reason = excluded.reason,"
            " fault = excluded.fault, usn = excluded.usn, expires = excluded.expires,"
            " shown = excluded.shown, hidden = excluded.hidden",
            map(rows.candidate_row, candidates),
        )

    def _record(self, changes: Iterable[Change]) -> None:
        self._many(
            "INSERT INTO history (at, what, guid, number, login, fields, reason)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (c.at, c.what, c.guid, c.number, c.login, json.dumps(c.values), c.reason)
                for c in changes
            ),
        )

    def judge(self, verdict: str, at: float) -> list[Hold]:
        """Writes a person's verdict, `approved` or `dismissed`, on what is held; gives that."""
        with self._transaction():
            held = self.pending()
            self._delete("losses", (hold.guid for hold in held))
            self._run("UPDATE holds SET verdict = ? WHERE verdict = ''", (verdict,))
            self._record(Change(at, verdict, h.guid, h.number, h.login, (), h.reason) for h in held)
        return held

    def count(self) -> int:
        """How many peers are served."""
        return int(self._rows("SELECT COUNT(*) FROM served")[0][0])

    def count_rejected(self) -> int:
        """How many users have a value that some output, or all of them, can't use."""
        return int(self._rows("SELECT COUNT(DISTINCT guid) FROM rejections")[0][0])

    def served(self) -> list[Served]:
        """Every peer served."""
        return [rows.served(row) for row in self._where("served", "guid", None)]

    def rejections(self) -> list[Rejection]:
        """Every user without a peer, or without one in some output, and why."""
        return [rows.rejection(row) for row in self._where("rejections", "guid", None)]

    def holds(self) -> list[Hold]:
        """What the safety stop holds, judged or not, by number."""
        found = self._rows("SELECT * FROM holds ORDER BY number, guid")
        return [Hold(*row) for row in found]

    def approved(self) -> frozenset[str]:
        """The users whose loss a person has let through, and that are served still."""
        found = self._rows("SELECT guid FROM holds WHERE verdict = 'approved'")
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

    def owe(self, debt: Debt) -> None:
        """Writes a debt down; an older one of the same kind and subject stands."""
        self._run(
            "INSERT INTO debts VALUES (?, ?, ?, ?) ON CONFLICT (kind, subject) DO NOTHING",
            (debt.kind, debt.subject, debt.since, debt.reason),
        )

    def settle(self, kind: str, subject: str) -> None:
        """Strikes a debt off: it has been paid."""
        self._run("DELETE FROM debts WHERE kind = ? AND subject = ?", (kind, subject))

    def owed(self, kind: str) -> dict[str, Debt]:
        """The debts of a kind by subject."""
        found = self._rows("SELECT * FROM debts WHERE kind = ? ORDER BY subject", (kind,))
        return {row[1]: Debt(*row) for row in found}


def _give_to_owner_of(directory: Path, path: Path) -> None:
    """Lets root's commands and the service's user share the state: files get its owner."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
