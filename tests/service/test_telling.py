"""From what is wrong to what is delivered: a real store, the real Apprise, a real webhook."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from inboxes import Hook, inboxes
from program import wait_for

from adwatch.core.incidents import Rules
from adwatch.core.model import Rejection
from adwatch.edges.alerts import Target
from adwatch.edges.store import Store
from adwatch.errors import (
    AdwatchError,
    AsteriskError,
    CertificateError,
    ConfigError,
    CredentialsError,
    DirectoryError,
    Fault,
    OutputError,
    StoreError,
)
from adwatch.telling import Telling, conditions

WORDS = yaml.safe_load(Path("adwatch/languages/en.yaml").read_text())
NOW = 1_800_000_000.0
DOWN = {"directory": DirectoryError("no domain controller can be used")}
WELL: dict[str, Any] = {
    "directory": {
        "server": "ldaps://dc1", "feed": "dirsync", "why": "", "slower": False, "missed": [],
        "certificate_ends": None, "last_success": None,
    },
    "outputs": [{"name": "users", "path": "/u", "refused": [], "fault": None}],
    "held": [],
    "peers": {"served": 3, "rejected": 0, "held": 0},
}  # fmt: skip


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.at = NOW
        self.set_by = 0.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at + self.set_by


class Site:
    """A telling with targets of one webhook, by level."""

    def __init__(self, state: Path, hook: Hook, levels: tuple[str, ...]) -> None:
        self.clock = Clock()
        self.store = Store(state)
        self.store.open()
        targets = [Target(level, level, level, lambda: hook.url) for level in levels]
        rules = Rules(10, 100)
        self.telling = Telling(self.store, targets, WORDS, rules, "pbx", self.clock)  # type: ignore[arg-type]

    def look(self, seconds: float, faults: dict[str, AdwatchError]) -> None:
        self.clock.at += seconds
        self.telling.look(WELL, faults)

    def deliver(self) -> None:
        wait_for("delivery", self._done)

    def _done(self) -> bool:
        self.telling.deliver()
        return not (self.store.count_letters() or self.telling._unwritten)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with inboxes() as (_, made):
        yield made


@pytest.fixture
def site(tmp_path: Path, hook: Hook) -> Iterator[Site]:
    made = Site(tmp_path, hook, ("info", "error"))
    yield made
    made.telling.close()
    made.store.close()


def test_a_target_gets_what_is_grave_enough_for_it(site: Site, hook: Hook) -> None:
    contacts: dict[str, AdwatchError] = {"contacts": AdwatchError("they can't be read")}
    site.look(0, contacts)
    site.look(11, contacts)
    assert [letter.target for letter in site.store.letters()] == ["info"]
    site.look(0, {**DOWN})
    site.look(11, {**DOWN})
    assert sorted(letter.target for letter in site.store.letters()) == ["error", "info", "info"]
    site.deliver()
    assert len(hook.said) == 3


def test_what_the_store_refuses_is_told_all_the_same(
    site: Site, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = StoreError("the store can't be used: disk full")

    def refuse(*_: object) -> None:
        raise fault

    site.look(0, {"store": fault})
    monkeypatch.setattr(site.store, "tell", refuse)
    site.look(11, {"store": fault})
    site.deliver()
    assert [": the store has a fault" in title for title in hook.titles()] == [True, True]


def test_a_letter_for_a_target_that_is_gone_or_that_is_too_old_is_dropped(
    site: Site, hook: Hook
) -> None:
    site.look(0, {**DOWN})
    site.look(11, {**DOWN})
    site.telling.targets = site.telling.targets[:1]
    site.clock.at += 4 * 86_400
    site.deliver()
    assert hook.said == []


def test_a_target_that_fails_is_tried_again_and_no_other_waits_for_it(
    tmp_path: Path, hook: Hook
) -> None:
    with inboxes() as (_, other):
        site = Site(tmp_path, hook, ("info",))
        second = Target("other", "other", "info", lambda: other.url)
        site.telling.targets = [*site.telling.targets, second]
        hook.mode = "error"
        site.look(0, {**DOWN})
        site.look(11, {**DOWN})
        wait_for(
            "the other, and the failure",
            lambda: (
                site.telling.deliver()
                or [(one.target, one.tries > 0) for one in site.store.letters()] == [("info", True)]
            ),
        )
        (letter,) = site.store.letters()
        assert (letter.target, letter.tries) == ("info", 1)
        assert letter.due > site.clock.at
        hook.mode = "well"
        site.clock.at = letter.due
        site.deliver()
        assert len(hook.said) == len(other.said) == 1
        site.telling.close()
        site.store.close()


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_clock_that_is_set_is_no_incident_and_messages_tell_its_new_time(
    site: Site, hook: Hook, jump: float
) -> None:
    site.look(0, {**DOWN})
    site.clock.set_by = jump
    site.look(11, {**DOWN})
    site.deliver()
    begun = datetime.fromtimestamp(NOW + jump).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert f"Since: {begun}" in hook.said[0]["message"]
    hook.said.clear()
    read = datetime.fromtimestamp(site.clock.wall() - 1, UTC).isoformat()
    for _ in range(5):
        site.clock.at += 10
        site.telling.look(directory(last_success=read), {})
    site.deliver()
    assert [": over: " in title for title in hook.titles()] == [True, True]


def test_where_it_is_read_every_hour_nothing_is_stale_in_between() -> None:
    status = directory(last_success=datetime.fromtimestamp(NOW - 3000, UTC).isoformat())
    assert [one.key for one in conditions(status, {}, [], NOW)] == ["stale"]
    assert conditions(status, {}, [], NOW, stale_s=3 * 3600.0) == []


def test_outputs_of_one_directory_that_cannot_be_written_are_one_incident() -> None:
    paths = {"users": "/etc/a/users.conf", "voicemail": "/etc/a/vm.conf", "sip": "/mnt/sip.conf"}
    status = changed(
        outputs=[{**WELL["outputs"][0], "name": n, "path": p} for n, p in paths.items()]
    )
    faults: dict[str, AdwatchError] = {
        f"output {name}": OutputError(f"{name} is read-only") for name in paths
    }
    told = conditions(status, faults, [], NOW)
    assert [one.key for one in told] == ["output /etc/a", "output sip"]
    assert [one.members for one in told] == [
        ("users: users is read-only", "voicemail: voicemail is read-only"), (),
    ]  # fmt: skip
    del faults["output users"]
    assert [one.key for one in conditions(status, faults, [], NOW)] == [one.key for one in told]


def changed(**parts: Any) -> dict[str, Any]:
    return {**WELL, **parts}


def directory(**parts: Any) -> dict[str, Any]:
    return changed(directory={**WELL["directory"], **parts})


@pytest.mark.parametrize(
    ("status", "faults", "kind"),
    [
        (WELL, {"directory": CredentialsError("no")}, "credentials"),
        (WELL, {"directory": CertificateError("no")}, "certificate"),
        (WELL, {"output users": OutputError("no")}, "output users"),
        (WELL, {"asterisk": AsteriskError("no")}, "reload"),
        (WELL, {"http": AdwatchError("no")}, "listener http"),
        (WELL, {"configuration": ConfigError("c", [Fault(1, 1, "x", "no")])}, "configuration"),
        (directory(slower=True), {}, "feed"),
        (directory(missed=["anna"]), {}, "difference"),
        (
            changed(
                directory={**WELL["directory"], "certificate_ends": "2027-01-20T00:00:00+00:00"}
            ),
            {},
            "certificate_ends",
        ),
        (
            directory(last_success="2027-01-15T07:40:00+00:00"),
            {},
            "stale",
        ),
        (changed(outputs=[{**WELL["outputs"][0], "refused": ["502"]}]), {}, "refused users"),
        (changed(outputs=[{**WELL["outputs"][0], "fault": "lingers"}]), {}, "reload"),
    ],
)
def test_each_thing_that_can_be_wrong_is_an_incident_of_its_own(
    status: dict[str, Any], faults: dict[str, AdwatchError], kind: str
) -> None:
    (one,) = conditions(status, faults, [], NOW)
    assert one.key == kind
    if one.values:  # the sentence of the English messages is the one of the log and the status
        assert WORDS["causes"][one.kind].format(**dict(one.values)) == one.cause


def test_conflicts_are_one_incident_and_other_rejections_another() -> None:
    told = conditions(
        WELL,
        {},
        [
            Rejection("g1", "CN=a", "a", "502", "number 502 is held by b"),
            Rejection("g4", "CN=e", "e", "504", "number 504 is held by f"),
            Rejection("g2", "CN=c", "c", "1;2", "number '1;2' is not made of …"),
            Rejection("g3", "CN=d", "d", "503", "name holds …", "users"),
        ],
        NOW,
    )
    assert [one.key for one in told] == ["conflict", "rejected"]
    assert [len(one.members) for one in told] == [2, 2]
    assert conditions(WELL, {}, [], NOW) == []


def test_it_rests_while_nothing_is_wrong_or_on_its_way(site: Site) -> None:
    telling = site.telling
    site.look(0, {})
    telling.deliver()
    assert telling.rests()
    site.look(1, {**DOWN})
    assert not telling.rests()
    site.look(11, {**DOWN})
    assert telling.store.count_letters()
    site.look(11, {})
    site.look(11, {})
    assert not telling.rests(), "the letters are not delivered yet"
    site.deliver()
    site.look(0, {})
    telling.deliver()
    assert telling.rests()


def test_what_time_alone_makes_wrong_is_looked_for(site: Site) -> None:
    site.look(0, {})
    site.telling.deliver()
    site.clock.at += 29
    assert site.telling.rests()
    site.clock.at += 2
    assert not site.telling.rests()
    site.look(0, {})
    assert site.telling.rests()
    site.telling.change(site.telling)
    assert not site.telling.rests(), "the rules may be others"
