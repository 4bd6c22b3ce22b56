"""Is a store's file whole? If not it is set aside, never deleted, and what can be read is read.

SQLite sees a page that is broken, but not a value that is another (measured: four octets changed
in a row pass its checks); so a digest of all rows but the history's is kept with them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, Final, TypeVar

from adwatch.core.incidents import Incident
from adwatch.core.model import Change, Contact, Hold, Served
from adwatch.edges.store import rows
from adwatch.edges.store.migrations import MIGRATIONS
from adwatch.edges.store.rows import Letter
from adwatch.errors import DamagedError

T = TypeVar("T")

_SIDES: Final = ("-journal", "-wal", "-shm")  # what SQLite keeps beside a file, by its name
_HELD: Final = "-journal.held"
_SEAL: Final = ".seal"
_NEWEST: Final = 4  # that are kept, beside the oldest, which is nearest to the cause
_UNCOUNTED: Final = ("history",)  # it only grows, and nothing is decided by it
_ROUND: Final = 1 << 128


@dataclass(frozen=True, slots=True)
class Aside:
    """A damaged store that was set aside, and what was wrong with it."""

    path: Path
    cause: str


def asides(path: Path) -> list[Path]:
    """The damaged stores kept beside `path`, oldest first."""
    found = path.parent.glob(f"{path.name}.damaged-*")
    return sorted(one for one in found if not one.name.endswith(_SIDES))


def hold_journal(path: Path) -> None:
    """Keeps a second name of a journal that a crash left: who opens the store takes it away.

    It may not belong to the file, and then it is what damages it.
    """
    with suppress(OSError):  # a file system without links: there is none then
        release_journal(path)
        os.link(path.with_name(path.name + "-journal"), path.with_name(path.name + _HELD))


def release_journal(path: Path) -> None:
    """Lets go of it: the store is whole."""
    path.with_name(path.name + _HELD).unlink(missing_ok=True)


def seal(path: Path) -> None:
    """Notes what a file holds that is whole and was closed, so that the next start believes it.

    Raises OSError where it can't be written.
    """
    sealed = path.with_name(path.name + _SEAL)
    descriptor = os.open(sealed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(_digest_of(path))
        owner = path.stat()
        if os.geteuid() == 0:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)


def sealed(path: Path) -> bool:
    """Whether a file is, octet for octet, what was closed as whole. To read it all is quicker
    than to look at its rows.
    """
    try:
        if path.with_name(path.name + "-journal").exists():
            return False
        return path.with_name(path.name + _SEAL).read_text() == _digest_of(path)
    except (OSError, UnicodeDecodeError):
        return False


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=32)).hexdigest()


def believed(db: sqlite3.Connection) -> Tally | None:
    """The digest of a sealed file as it stands there, None where none does."""
    row = db.execute("SELECT value FROM meta WHERE key = 'digest'").fetchone()
    if row is None:
        return None
    tally = Tally()
    tally.sum, tally.written = int(row[0], 16), True
    return tally


def set_aside(path: Path, cause: str) -> Aside:
    """Gives a damaged file, and what belongs to it, another name; gives that.

    Of those set aside before, the oldest and the newest few stay. The journal goes first: a new
    store that found it would delete it.
    """
    name = f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    held = (_HELD, "-journal")
    for side, new in (*((side, side) for side in _SIDES), held, ("", "")):
        with suppress(FileNotFoundError):
            path.with_name(path.name + side).rename(path.with_name(name + new))
    for old in asides(path)[1:-_NEWEST]:
        for side in ("", *_SIDES):
            old.with_name(old.name + side).unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Aside(path.with_name(name), cause)


def verify(db: sqlite3.Connection, version: int) -> Tally:
    """The digest of an open file of that schema. Raises DamagedError where it is not whole."""
    (said,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if said != "ok":
        raise _damaged(str(said).replace("\n", " "))
    wanted, latest, here = _schema(version), _schema(len(MIGRATIONS)), _columns(db)
    other = [name for name in latest if here.get(name) != wanted.get(name)]
    if other:
        raise _damaged(f"{', '.join(sorted(other))} are not as in schema {version}")
    tally = Tally()
    if version:
        tally.count(db)
        digest = db.execute("SELECT value FROM meta WHERE key = 'digest'").fetchone()
        tally.written = digest is not None
        if digest is not None and digest[0] != tally.text():
            raise _damaged("its rows are not those that were written")
    return tally


def _damaged(cause: str) -> DamagedError:
    hint = "adwatch run and adwatch sync set it aside and make another"
    return DamagedError(f"the store is damaged: {cause}", hint)


def _schema(version: int) -> dict[str, tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as model:
        for script in MIGRATIONS[:version]:
            model.executescript(script)
        return _columns(model)


def _columns(db: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """The tables and indexes of a file, each with its columns."""
    found = db.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    return {
        name: tuple(row[1] for row in db.execute(f"PRAGMA table_info({name})"))
        for kind, name in found.fetchall()
        if kind in ("table", "index")
    }


class Tally:
    """The digest of all rows, as a sum, so that each row that comes or goes is one step.

    It sums to the same whatever the order; `written` says that the file has it.
    """

    def __init__(self) -> None:
        self.sum = 0
        self.written = False
        self._triggers: dict[str, str] = {}

    def text(self) -> str:
        """As it is stored."""
        return f"{self.sum:032x}"

    def owed(self, before: int) -> bool:
        """Whether it has to be written, having been `before`."""
        return self.sum != before or (self.sum != 0 and not self.written)

    def count(self, db: sqlite3.Connection) -> None:
        """Makes it anew from all rows."""
        self.sum = 0
        tables = _counted(db)
        with _as_octets(db):
            for table in tables:
                for row in db.execute(f"SELECT * FROM {table}"):  # noqa: S608 - our names
                    if row[0] != b"digest":
                        self._step(1, table, *row)

    def follow(self, db: sqlite3.Connection) -> None:
        """Takes every step from now on, by triggers that only this connection has."""
        db.create_function("adwatch_step", -1, self._step)
        for table, columns in _counted(db).items():
            new, old = (", ".join(f"{one}.{name}" for name in columns) for one in ("NEW", "OLD"))
            plus, minus = (
                f"SELECT adwatch_step({sign}, '{table}', {values})"
                f" WHERE {one}.{columns[0]} IS NOT 'digest';"
                for sign, values, one in ((1, new, "NEW"), (-1, old, "OLD"))
            )
            for event, steps in (("INSERT", plus), ("DELETE", minus), ("UPDATE", minus + plus)):
                name = f"step_{table}_{event}"
                self._triggers[name] = (
                    f"CREATE TEMP TRIGGER {name} AFTER {event} ON main.{table} BEGIN {steps} END"
                )
                db.execute(self._triggers[name])

    @contextmanager
    def counting(
        self, db: sqlite3.Connection, table: str, rows: Iterable[Sequence[Any]]
    ) -> Iterator[Iterator[Sequence[Any]]]:
        """The rows to insert in a table, each counted as it is taken: quicker than by a trigger.

        Only within a transaction, which has to be rolled back where it fails: that gives back the
        trigger and the sum.
        """
        trigger = f"step_{table}_INSERT"
        db.execute(f"DROP TRIGGER temp.{trigger}")
        yield self._counted(table, rows)
        db.execute(self._triggers[trigger])

    def _counted(self, table: str, rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        for row in rows:
            self.sum += _digest(table, row)
            yield row
        self.sum %= _ROUND

    def _step(self, sign: int, table: str, *row: Any) -> None:
        self.sum = (self.sum + sign * _digest(table, row)) % _ROUND


def _digest(table: str, row: Sequence[Any]) -> int:
    values = [v.encode() if v.__class__ is str else _plain(v) for v in row]
    octets = repr((table, values)).encode()
    return int.from_bytes(blake2b(octets, digest_size=16).digest(), "big")


def _plain(value: Any) -> Any:
    """A value in the one form that it has in a trigger, in a result and before it is written."""
    if isinstance(value, str):
        return value.encode()
    whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return int(value) if whole else value


def _counted(db: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """The tables that the digest is of, with their columns."""
    found = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return {
        name: tuple(row[1] for row in db.execute(f"PRAGMA table_info({name})"))
        for (name,) in found.fetchall()
        if name not in _UNCOUNTED and not name.startswith("sqlite_")
    }


@contextmanager
def _as_octets(db: sqlite3.Connection) -> Iterator[None]:
    """Texts are read as octets, which need not be text where a file is damaged."""
    db.text_factory = bytes
    try:
        yield
    finally:
        db.text_factory = str


@dataclass(frozen=True, slots=True)
class Left:
    """What can be read of a damaged store, none of it proven; `name` is the file's."""

    name: str = ""
    served: tuple[Served, ...] = ()
    holds: tuple[Hold, ...] = ()
    losses: Mapping[str, float] = field(default_factory=dict)
    contacts: tuple[Contact, ...] = ()
    history: tuple[Change, ...] = ()
    incidents: Mapping[str, Incident] = field(default_factory=dict)
    letters: tuple[Letter, ...] = ()


def salvage(path: Path) -> Left:
    """Reads a file that was set aside, and changes nothing of it."""
    uri = f"{path.absolute().as_uri()}?immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as db:
        return Left(
            path.name,
            tuple(_whole(db, "served", rows.served)),
            tuple(_whole(db, "holds", lambda row: Hold(*row))),
            dict(_whole(db, "losses", lambda row: (str(row[0]), float(row[1])))),
            tuple(_whole(db, "contacts", rows.contact)),
            tuple(_whole(db, "history", lambda row: rows.change(row[1:]))),
            dict(_whole(db, "incidents", lambda row: (str(row[0]), rows.incident(row[1])))),
            tuple(_whole(db, "outbox", rows.letter)),
        )


def _whole(db: sqlite3.Connection, table: str, parse: Callable[[Sequence[Any]], T]) -> Iterator[T]:
    """The rows of a table that can be read and understood, one for each key."""
    found: dict[int, Sequence[Any]] = {}
    with _as_octets(db):
        for order in ("ASC", "DESC"):  # from both ends to what is broken
            with suppress(sqlite3.Error):
                sql = f"SELECT rowid, * FROM {table} ORDER BY rowid {order}"  # noqa: S608
                for rowid, *row in db.execute(sql):
                    found[rowid] = row
    keys = set()
    for _, row in sorted(found.items()):
        with suppress(ValueError, TypeError, KeyError, IndexError, AttributeError):
            one = parse([value.decode() if isinstance(value, bytes) else value for value in row])
            if row[0] not in keys:
                keys.add(row[0])
                yield one
