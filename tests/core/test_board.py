"""The state in words, and whom the page lists."""

from __future__ import annotations

from typing import Any

import pytest

from adwatch.core.board import (
    SHOWN,
    headline,
    held_digest,
    in_order,
    rejected,
    search,
    seconds,
    troubles,
    visible,
)
from adwatch.core.model import Peer, Rejection, Served


def said(state: str, **changes: Any) -> dict[str, Any]:
    return {
        "state": state,
        "directory": {"fault": changes.get("directory")},
        "outputs": [{"name": "users", "fault": changes.get("output")}],
        "faults": changes.get("faults", {}),
        "peers": {"served": changes.get("served", 20_312), "rejected": 0, "held": 1},
        "known": changes.get("known", True),
        "alerts": {"open": changes.get("open", [])},
    }


@pytest.mark.parametrize(
    ("status", "word", "cause", "commands"),
    [
        (said("online"), "Online", "20\u202f312 peers are served, as AD has them.", ()),
        (said("starting", served=1), "Starting", "1 peer from before is served", 1),
        (said("starting", known=False), "Starting", "no peer is known yet", 1),
        (said("held"), "Held", "1 removal is held back until a person decides", 2),
        (said("degraded", directory="x"), "Degraded", "AD can't be read. The 20\u202f312", 1),
        (said("degraded", directory="x", served=0), "Degraded", "No peer is served.", 1),
        (said("degraded", output="full"), "Degraded", "Output users has a fault.", 1),
        (said("degraded", faults={"store": "y"}), "Degraded", "Store has a fault.", 1),
    ],
)
def test_the_state_is_a_word_with_a_cause_and_what_to_do(
    status: dict[str, Any], word: str, cause: str, commands: Any
) -> None:
    found = headline(status)
    assert found.word == word
    assert cause in found.cause
    assert len(found.commands) == (commands or 0)
    assert headline(status, 61.0).word == "Stuck"
    assert headline(status, 59.0).word == word


def test_a_fault_that_is_an_incident_already_is_told_once() -> None:
    one = {"kind": "directory", "subject": None, "level": "error", "since": "x", "cause": "down"}
    found = troubles(said("degraded", directory="down", output="full", open=[one]))
    assert [(it["kind"], it["cause"]) for it in found] == [
        ("Output users", "full"),
        ("directory", "down"),
    ]


def people(count: int) -> list[Served]:
    return [
        Served(Peer(str(n), str(n), f"Ä{n}", f"m{n}@x", "users", "1", "1", "", f"CN={n}", f"u{n}"))
        for n in range(count)
    ]


def test_a_search_finds_every_word_anywhere_without_regard_to_case() -> None:
    listed = in_order(people(SHOWN * 2))
    assert len(search(listed, "")[0]) == SHOWN
    assert search(listed, "")[1] == SHOWN * 2
    assert [one.peer.number for one in search(listed, "ä7 U77 ")[0]] == ["77"]
    assert search(listed, "ä7 u8") == ([], 0)


def test_who_has_no_peer_is_found_too() -> None:
    all_ = [Rejection("g", "CN=a", "a", "", "is empty"), Rejection("h", "CN=b", "b", "7", "double")]
    assert [one.login for one in rejected(all_, "")[0]] == ["a", "b"]
    assert [one.login for one in rejected(all_, "DOUB 7")[0]] == ["b"]


@pytest.mark.parametrize("one", "\u202e\u2066\u200f\x00\x1b\x9b\u2028\u200b\ufeff\ud800\U000e0041")
def test_what_nobody_would_see_is_written_out(one: str) -> None:
    assert visible(f"a{one}b") == f"a⟨U+{ord(one):04X}⟩b"


def test_what_people_write_is_left_alone() -> None:
    text = "Zoë O’Hara Þórsson Иванова 山田 مريم 👩\u00a0\u202f\n\t"
    assert visible(text) == text


def test_a_set_of_losses_is_told_from_any_other() -> None:
    a, b = {"guid": "1", "reason": "gone", "print": "p"}, {"guid": "2", "reason": "gone"}
    assert held_digest([a, b]) == held_digest([b, a])
    assert len({held_digest(x) for x in ([], [a], [a, b], [{**a, "print": "q"}, b])}) == 4


def test_moments() -> None:
    assert seconds("1970-01-01T00:01:00+00:00") == 60
    assert seconds(None) == 0
    assert seconds(7.5) == 7.5
