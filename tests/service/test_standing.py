"""The status that is kept tells at any moment what one made anew would tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from service.test_turn import Site

from adwatch import standing
from adwatch.core.incidents import Condition, Incident
from adwatch.core.model import Debt, Reach
from adwatch.report import Health, status
from adwatch.standing import Standing


class Watched:
    """A service with a status that is kept; `seen` brings it up to date as the loop does."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.service = site.start()
        self.health = Health(pid=1, started=site.clock(), turned=True, last_success=site.clock())
        self.standing = Standing(self.service, self.health)
        self.reach = self.service.directory.reach()
        self.listens = frozenset[str]()
        self.incidents: dict[str, Incident] = {}

    def seen(self) -> bool:
        return self.standing.renew(self.reach, self.listens, self.incidents)

    def turn(self) -> None:
        self.site.turn()
        self.reach = self.service.directory.reach()
        self.health.last_success = self.site.clock()

    def is_told(self) -> bool:
        """Whether it says what one made anew says."""
        now = self.site.clock()
        return self.standing.now() == status(self.service, self.health, now)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    site = Site(tmp_path)
    site.users(9)
    monkeypatch.setattr(standing.time, "time", site.clock)  # type: ignore[attr-defined]
    one = Watched(site)
    one.turn()
    assert one.seen()
    yield one
    site.stop()


def added(one: Watched) -> None:
    one.site.domain.add_user("new", telephoneNumber="300")
    one.turn()


def rejected(one: Watched) -> None:
    one.site.domain.add_user("new", telephoneNumber="[300]")
    one.turn()


def held(one: Watched) -> None:
    for number in range(100, 104):
        one.site.domain.modify(f"CN=u{number},{one.site.domain.base}", telephoneNumber=None)
    one.turn()


def judged(one: Watched) -> None:
    held(one)
    one.seen()
    one.service.judge("approved")


def comparing(one: Watched) -> None:
    one.service.store.owe(Debt("compare", "values", 0.0, "the connection is new"))


def reload_owed(one: Watched) -> None:
    one.service.store.owe(Debt("reload", "users", 0.0, "sip reload"))


def reconnected(one: Watched) -> None:
    one.reach = replace(one.reach, connected_since=2.0, tried={"ldaps://dc2": "it is down"})


def push_lost(one: Watched) -> None:
    one.reach = replace(one.reach, push=not one.reach.push)


def away(one: Watched) -> None:
    one.reach = Reach()
    one.health.faults["directory"] = "it is away"


def faulty(one: Watched) -> None:
    one.health.faults["output users"] = "the disk is full"


def listening(one: Watched) -> None:
    one.listens = frozenset({"http"})


def alerted(one: Watched) -> None:
    condition = Condition("held", "2 removals are held")
    one.incidents = {"held": Incident(condition, 1.0, 2.0, 2.0, opened=True)}


def reconciled(one: Watched) -> None:
    one.health.last_reconcile = one.site.clock.now = one.site.clock() + 7


def starting(one: Watched) -> None:
    one.health.turned = False


CHANGES: tuple[Callable[[Watched], Any], ...] = (
    *(added, rejected, held, judged, comparing, reload_owed, reconnected, push_lost, away),
    *(faulty, listening, alerted, reconciled, starting),
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_changes_is_told(watched: Watched, change: Callable[[Watched], Any]) -> None:
    watched.standing.news, before = False, watched.standing.now()
    change(watched)
    assert watched.seen()
    assert watched.is_told()
    assert watched.standing.now() != before, "else the change proves nothing"
    assert watched.standing.news


def test_a_fault_that_is_over_is_told_no_more(watched: Watched) -> None:
    faulty(watched)
    watched.seen()
    watched.health.faults.clear()
    assert watched.seen()
    assert watched.is_told()


def test_of_an_idle_turn_only_the_times_are_told(watched: Watched) -> None:
    watched.standing.news = False
    for _ in range(3):
        watched.site.clock.now += 1
        watched.turn()
        watched.site.clock.now += 0.25
        assert not watched.seen()
        assert watched.is_told()
    assert watched.standing.now()["directory"]["lag_seconds"] == 0.25
    assert not watched.standing.news


def test_a_file_that_another_hand_touches_is_told_once_it_is_looked_at(watched: Watched) -> None:
    watched.service.publisher.written.clear()  # as after a start that had nothing to write
    watched.standing.forget()
    watched.seen()
    watched.site.path.touch()
    watched.site.path.write_text("")
    watched.service.restore()
    watched.standing.forget()
    assert watched.seen()
    assert watched.is_told()
