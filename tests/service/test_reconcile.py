"""A reading of everybody: it costs memory for what is new, and finds what anything else finds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from service.test_turn import Site

from adwatch.core.render import Renderer
from adwatch.edges.store import Store
from adwatch.edges.store.census import Census
from adwatch.turn import Turn

LOGINS = "abcdefgh"
TABLES = {
    "candidates": "*",
    "served": "*",
    "holds": "*",
    "losses": "*",
    "rejections": "*",
    "history": "at, what, guid, number, login, fields, reason",
}


class Drawn:
    """An installation to which things happen by chance."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir()
        self.site = Site(folder)
        self.site.outputs = "  - {name: mail, path: voicemail.conf, format: voicemail.conf}"
        self.random = random.Random(seed)
        self.dns: dict[str, str] = {}

    def happen(self) -> None:
        """Something in AD that nobody is told of."""
        domain, login = self.site.domain, self.random.choice(LOGINS)
        number = str(self.random.randrange(100, 106))
        dn, kind = self.dns.get(login), self.random.randrange(6)
        if dn is None:
            self.dns[login] = domain.add_user(login, telephoneNumber=number, displayName=login)
        elif kind == 0:
            domain.delete(self.dns.pop(login))
        elif kind == 1:
            domain.modify(dn, telephoneNumber=number)
        elif kind == 2:
            domain.modify(dn, displayName=self.random.choice(["a,b", "Ann", "Bob", None]))
        elif kind == 3:
            domain.disable(dn)
        elif kind == 4:
            domain.enable(dn)
        else:
            domain.modify(dn, telephoneNumber=self.random.choice([None, "not a number"]))

    def turn(self) -> None:
        """All that happened is found by a reading of everybody; at times a person judges it."""
        for _ in range(self.random.randrange(4)):
            self.happen()
        self.site.clock.now += self.random.choice([1, 700])
        if self.random.random() < 0.1:
            self.site.start()
        self.site.turn("reconcile")
        if self.random.random() < 0.2:
            assert self.site.service
            self.site.service.judge(self.random.choice(["approved", "dismissed"]))

    def lines(self) -> list[str]:
        """The output, but for the secrets, which no two installations share."""
        return [one for one in self.site.path.read_text().splitlines() if "secret = " not in one]

    def rows(self) -> dict[str, list[Any]]:
        assert self.site.service
        store = self.site.service.store
        return {
            table: sorted(store._rows(f"SELECT {columns} FROM {table}"), key=repr)
            for table, columns in TABLES.items()
        }


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_same_as_one_that_takes_nobody_for_known(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow, wide = Drawn(tmp_path / "narrow", seed), Drawn(tmp_path / "wide", seed)
    has, found = Census.has, 0
    for _ in range(50):
        with monkeypatch.context() as patched:

            def counted(self: Store, one: Any) -> bool:
                nonlocal found
                same = has(self, one)
                found += same
                return same

            patched.setattr(Census, "has", counted)
            narrow.turn()
        with monkeypatch.context() as patched:
            patched.setattr(Census, "has", lambda *_: False)
            wide.turn()
        assert narrow.rows() == wide.rows()
        assert narrow.lines() == wide.lines()
    assert found > 50
    for one in (narrow, wide):
        one.site.stop()


def test_it_mends_what_the_store_has_otherwise_than_the_users_want_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.users(3)
    assert site.turn().exit_code == 0
    assert site.service
    with site.service.store._transaction():
        site.service.store._run("DELETE FROM served WHERE claim = '101'")
    site.start()
    site.turn("reconcile")
    assert site.numbers() == ["100", "101", "102"]
    assert site.service.store.count() == 3
    site.stop()


def test_another_version_judges_every_peer_anew_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    site.users(3)
    site.turn()
    refusal = Renderer.refusal
    monkeypatch.setattr("adwatch.output.__version__", "next")
    monkeypatch.setattr(
        Renderer, "refusal", lambda one, peer: "odd" if peer.key == "101" else refusal(one, peer)
    )
    service = site.start()
    service.publish(Turn())
    assert site.numbers() == ["100", "102"]
    assert [one.reason for one in service.store.rejections()] == ["odd"]
    site.stop()
