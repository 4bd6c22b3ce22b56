"""A store's first rows are counted as they are given: it is whole afterwards, or as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwatch.core.model import Batch, Candidate, Change, Cursor, Peer, Plan, Served
from adwatch.edges.store import Store
from adwatch.errors import DamagedError, StoreError

CURSOR = Cursor("ldaps://dc.example.test", "i", 7, b"\0\xff", "q")
BATCH = Batch((), frozenset(), True, CURSOR, 1_000_000.5)


def peer(guid: str, number: str, name: str = "A B") -> Peer:
    return Peer(guid, number, name, "", "lan", "", "", "", f"CN={name},DC=x", f"login{number}")


def plan(*peers: Peer, odd: tuple[Candidate, ...] = ()) -> Plan:
    return Plan(
        put=(
            *(Candidate(p.guid, p.dn, p.login, "2026", p, usn=3, expires=9.0) for p in peers),
            *odd,
        ),
        serve=tuple(Served(p, {}) for p in peers),
        history=tuple(Change(1.0, "added", p.guid, p.number, p.login) for p in peers),
    )


def reopened(state: Path) -> Store:
    """The store as a start finds it that has to look at every row."""
    (state / "adwatch.db.seal").unlink()
    store = Store(state)
    store.open()
    assert store.aside is None
    return store


ODD = (
    Candidate("g8", "CN='\\\"\x01 é 電,DC=x", "", "", None, 'it\'s "odd" \\', True, 2**62, 0.25),
    Candidate("g9", "", "", "", None, "", False, 0, 1e300, ("a", "b"), ("c",)),
)


def test_what_was_filled_is_whole_and_so_is_what_comes_after(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    store.apply(plan(peer("g1", "10", "é'"), peer("g2", "11"), odd=ODD), BATCH, ["users"], 0)
    store.close()
    store = reopened(tmp_path)
    store.apply(plan(peer("g1", "12"), peer("g3", "13")), BATCH, ["users"], 0)
    store.close()
    store = reopened(tmp_path)
    assert {s.peer.number for s in store.served()} == {"11", "12", "13"}
    known = store.known(None, (), 0).candidates
    assert tuple(known[c.guid] for c in ODD) == ODD
    store.close()


def test_one_that_could_not_be_filled_is_as_it_was_and_counts_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    with pytest.raises(StoreError):
        store.apply(plan(peer("g1", "10"), peer("g2", "10")), BATCH, ["users"], 0)
    assert not store.begun()
    assert not store.served()
    store.apply(plan(peer("g1", "10")), BATCH, ["users"], 0)
    store.apply(plan(peer("g2", "11")), BATCH, ["users"], 0)
    store.close()
    store = reopened(tmp_path)
    assert {s.peer.number for s in store.served()} == {"10", "11"}
    store.close()


def test_a_changed_value_of_a_filled_store_shows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    store.apply(plan(peer("g1", "10"), odd=ODD), BATCH, ["users"], 0)
    store.close()
    path = tmp_path / "adwatch.db"
    octets = path.read_bytes()
    assert octets.count(b"login10") > 1
    path.write_bytes(octets.replace(b"login10", b"login11", 1))
    store.open()
    assert store.aside is not None
    store.close()


def test_a_file_that_was_spoilt_meanwhile_shows_at_the_next_turn(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    store.apply(plan(peer("g1", "10")), BATCH, ["users"], 0)
    assert store.cursor() == CURSOR
    assert store.cursor() == CURSOR
    file = tmp_path / "adwatch.db"
    file.write_bytes(b"\xa5" * file.stat().st_size)
    with pytest.raises(DamagedError, match="is damaged"):
        store.cursor()
    store.close()
