"""One SQLite file: opened whole or set aside, and written by one connection in transactions.

The rollback journal is used rather than WAL: the store is small, and the SQLite versions in
use today can corrupt a WAL (fixed in 3.51.3).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from adwatch.edges.store.damage import (
    Aside,
    Tally,
    believed,
    hold_journal,
    release_journal,
    seal,
    sealed,
    set_aside,
    verify,
)
from adwatch.edges.store.migrations import MIGRATIONS
from adwatch.errors import DamagedError, StoreError

_BUSY_S: Final = 10.0
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_HOT: Final = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)  # with mode=ro
_PUT_DIGEST: Final = (
    "INSERT INTO meta VALUES ('digest', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


class Connection:
    """The file at `path`. `aside` tells of the damaged one that `open()` found in its place.

    Every method raises StoreError where SQLite refuses, DamagedError where the file is broken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.aside: Aside | None = None
        self._db: sqlite3.Connection | None = None
        self._tally: Tally | None = None
        self._inode = 0
        self._sealed = False
        self._touched: tuple[int, ...] | None = None
        self._known: dict[tuple[str, tuple[Any, ...]], tuple[int, list[Any]]] = {}

    def open(self) -> None:
        """Opens the file, makes it where it is missing, and brings an older one up to date.

        A damaged one is set aside, and a new one begun in its place.
        """
        self.aside = None
        try:
            self._open()
        except DamagedError as error:
            self.close()
            with self._translated():
                cause = error.message.partition(" is damaged: ")[2]
                self.aside = set_aside(self.path, cause or error.message)
            self._open()

    def _open(self) -> None:
        with self._translated():
            made = not self.path.exists()
            self._sealed = not made and sealed(self.path)
            hold_journal(self.path)
            self._db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            if made:
                self.path.chmod(0o600)
                _give_to_owner_of(self.path.parent, self.path)
            self._inode = self.path.stat().st_ino
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA temp_store = MEMORY")
            (mode,) = self._db.execute("PRAGMA journal_mode = DELETE").fetchone()
            if mode != "delete":
                raise StoreError(
                    f"the store {self.path} is in journal mode {mode}, which another program set",
                    "end the programs that have it open, and start adwatch again",
                )
            self._tally = self._verified(self._db)
            release_journal(self.path)
            self._migrate()
            self._tally.follow(self._db)
            if not self._tally.written:
                with self._transaction():  # which writes the digest of an older file
                    pass

    def open_copy(self) -> None:
        """Opens a copy in memory, to try on it what the file must not see."""
        with self._translated():
            self._db = sqlite3.connect(":memory:", isolation_level=None)
            if self.path.exists() and self.path.stat().st_size > 0:
                whole = sealed(self.path)
                self._read_into(self._db)
                if not whole:
                    verify(self._db, self._version())
            self._migrate()

    def open_nothing(self) -> None:
        """Opens an empty copy, to say what can be said where the file can't be read."""
        self.close()
        with self._translated():
            self._db = sqlite3.connect(":memory:", isolation_level=None)
            self._migrate()

    def _read_into(self, copy: sqlite3.Connection) -> None:
        """Copies the file; a transaction that a crash cut short is taken back for it."""
        uri = self.path.absolute().as_uri()
        try:
            with closing(sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=_BUSY_S)) as source:
                source.backup(copy)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _HOT:
                raise
            with closing(sqlite3.connect(f"{uri}?mode=rw", uri=True, timeout=_BUSY_S)) as source:
                source.backup(copy)

    def _verified(self, db: sqlite3.Connection) -> Tally:
        """The digest of the open file. Raises DamagedError where it is not whole."""
        version = self._version()
        tally = believed(db) if version and self._sealed else None
        return tally or verify(db, version)

    def close(self) -> None:
        """Closes the file, and notes how it was left."""
        whole, self._tally = self._tally is not None, None
        self._known.clear()
        if self._db is not None:
            whole = whole and not self._db.in_transaction
            self._db.close()
            if whole:
                with suppress(OSError):  # then the next start looks at every row
                    seal(self.path)
            self._db = None

    @property
    def changes(self) -> int:
        """Another number whenever something has been written since `open()`."""
        assert self._db is not None, "open() first"
        return self._db.total_changes

    def _version(self) -> int:
        """The schema's version. Raises StoreError where this adwatch is too old for it."""
        version = int(self._rows("PRAGMA user_version")[0][0])
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{self.path} was written by a newer adwatch (schema {version})",
                "install that version again, or move the file away and sync",
            )
        return version

    def _migrate(self) -> None:
        """Takes every step that is missing, all of them or none."""
        missing = MIGRATIONS[self._version() :]
        if not missing:
            return
        with self._transaction():
            assert self._db is not None
            for script in missing:
                for statement in script.split(";"):
                    self._run(statement)
            self._run(f"PRAGMA user_version = {len(MIGRATIONS)}")
            if self._tally is not None:
                self._tally.count(self._db)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a bug
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
                hint = "adwatch run and adwatch sync set it aside and make another"
                raise DamagedError(f"the store {self.path} is damaged: {error}", hint) from error
            hint = "look at the directory's owner, its free space and its mode"
            raise StoreError(f"the store {self.path} can't be used: {error}", hint) from error
        except OSError as error:
            raise StoreError(
                f"{self.path}: {error.strerror}", "see who owns the state directory"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing, together with its digest; within another one a part of that."""
        assert self._db is not None, "open() first"
        if self._db.in_transaction:
            yield
            return
        self._look_for_file()
        before = self._tally.sum if self._tally else 0
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._translated():
                if self._tally is not None and self._tally.owed(before):
                    self._db.execute(_PUT_DIGEST, (self._tally.text(),))
                self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if self._db.in_transaction:  # on a full disk SQLite has rolled back itself
                    self._db.rollback()
            self._known.clear()  # SQLite counts on, so it may tell of what was taken back
            if self._tally is not None:
                self._tally.sum = before
            raise
        if self._tally is not None:
            self._tally.written = True

    def _look_for_file(self) -> None:
        """Raises DamagedError where the open file is no longer the one that a start would find."""
        if self._tally is None:
            return
        with suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                return
        raise DamagedError(
            f"the store {self.path} was taken away while it was in use",
            "stop adwatch before you move or restore it",
        )

    def _look_for_touch(self) -> None:
        """Forgets what is known by heart where the file is not as it was at the last such look.

        SQLite, asked at each look, would read it again only where its head is another.
        """
        touched = None
        with suppress(OSError):
            found = self.path.stat()
            touched = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        if touched != self._touched:
            self._touched = touched
            self._known.clear()

    def _run(self, sql: str, values: Sequence[Any] = ()) -> None:
        assert self._db is not None, "open() first"
        with self._transaction(), self._translated():
            self._db.execute(sql, values)

    def _many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        assert self._db is not None, "open() first"
        with self._transaction(), self._translated():
            self._db.executemany(sql, rows)

    def _fill(self, table: str, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Inserts rows that the table does not have; an empty one is filled several times quicker.

        `sql` is a plain INSERT in all columns: what is given is exactly what is counted.
        """
        assert self._db is not None, "open() first"
        if self._tally is None or not self._is_empty(table):
            self._many(sql, rows)
            return
        counting = self._tally.counting(self._db, table, rows)
        with self._transaction(), self._translated(), counting as counted:
            self._db.executemany(sql, counted)

    def _is_empty(self, table: str) -> bool:
        return not self._rows(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608 - our names

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """What a question gives; a statement that writes goes through `_run`, which counts it."""
        assert self._db is not None, "open() first"
        before = self._tally.sum if self._tally else 0
        with self._translated():
            found = self._db.execute(sql, values).fetchall()
        assert self._tally is None or self._tally.sum == before, "not written with its digest"
        return found

    def _same(self, sql: str, *values: Any) -> list[Any]:
        """The same as `_rows`, from memory while nothing has been written since.

        Nobody else writes, so what an idle tick asks costs the same whatever the store's size.
        """
        assert self._db is not None, "open() first"
        before = self._known.get((sql, values))
        if before is not None and before[0] == self._db.total_changes:
            return before[1]
        found = self._rows(sql, values)
        self._known[sql, values] = self._db.total_changes, found
        return found


def _give_to_owner_of(directory: Path, path: Path) -> None:
    """Lets root's commands and the service's user share the state: files get its owner."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
