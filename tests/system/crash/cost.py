"""What looking at the store costs at 20,000 peers. `FIGURES` as in soak.py; the mark is `store`."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

from adwatch.core.model import Batch, Candidate, Change, Cursor, Peer, Plan, Served
from adwatch.edges.store import Store
from adwatch.edges.store.damage import Tally
from system.crash.soak import publish

COUNT = 20_000
TIMES = 5


def peer(number: int) -> Peer:
    """One of many, as long as people's are."""
    login = f"u{number}"
    dn = f"CN={login},OU=Staff,DC=example,DC=test"
    values = (str(10_000 + number), f"Name {number}", f"{login}@example.test", "users", "1", "1")
    return Peer(str(UUID(int=number)), *values, f"+49{number}", dn, login)


def plan() -> Plan:
    """A first reading."""
    peers = [peer(number) for number in range(COUNT)]
    return Plan(
        put=tuple(Candidate(p.guid, p.dn, p.login, "20260101000000.0Z", p) for p in peers),
        serve=tuple(Served(p) for p in peers),
        history=tuple(
            Change(
                1.0, "added", p.guid, p.number, p.login, tuple((n, "", v) for n, v in p.values())
            )
            for p in peers
        ),
    )


def best(do: Callable[[], object]) -> float:
    """Milliseconds, the least of some times."""
    took = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        do()
        took.append(time.perf_counter() - begun)
    return 1000 * min(took)


def opened(folder: Path) -> None:
    (folder / "adwatch.db.seal").unlink(missing_ok=True)  # as after a crash
    with closing(Store(folder)) as store:
        store.open()
        assert store.aside is None


def rows(folder: Path) -> list[tuple[str, str]]:
    """The table."""
    batch = Batch((), frozenset(), True, Cursor("a", "b", 1, b"c", "d"), 1.0)
    with closing(Store(folder)) as store:
        store.open()
        whole, begun = plan(), time.perf_counter()
        store.apply(whole, batch, ["users"], 0.0)
        first = 1000 * (time.perf_counter() - begun)
        one = Plan(serve=(Served(peer(7)),), touched=frozenset({peer(7).guid}))
        small = best(lambda: store.apply(one, batch, ["users"], 0.0))
    path = folder / "adwatch.db"
    with closing(sqlite3.connect(path)) as db:
        checks = [
            (f"`PRAGMA {name}`", best(lambda name=name: db.execute(f"PRAGMA {name}").fetchall()))
            for name in ("quick_check", "integrity_check")
        ]
        checks.append(("the digest of all rows, made anew", best(lambda: Tally().count(db))))
    times = [
        *checks,
        ("all of opening it", best(lambda: opened(folder))),
        ("committing the first reading", first),
        ("committing a turn that changes one peer", small),
    ]
    size = ("the file", f"{path.stat().st_size / 1e6:.0f} MB")
    return [size, *((what, f"{took:.0f} ms") for what, took in times)]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = rows(Path(folder))
    lines = [f"| a store of {COUNT:,} peers | best of {TIMES} |", "| --- | ---: |"]
    publish("store", "\n".join([*lines, *(f"| {what} | {took} |" for what, took in found)]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
