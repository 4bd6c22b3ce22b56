"""One message when it begins, some while it lasts, one when it is over; and none for a hiccup."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.incidents import KINDS, Condition, Incident, Notice, Rules, step

RULES = Rules(after=30, remind=240)
DOWN = Condition("directory", "no domain controller can be used")
FULL = Condition("output", "the disk is full", "users")
STALE = Condition("stale", "nothing was read for an hour")


class Clock:
    """Plays conditions second by second."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.now = 1_000_000.0
        self.rules = rules
        self.known: dict[str, Incident] = {}
        self.notices: list[Notice] = []
        self.watched = 0.0

    def restart(self, away: float) -> None:
        """Nothing looks for so long."""
        self.now += away
        self.watched = self.now

    def play(self, seconds: int, *wrong: Condition) -> list[str]:
        """What is said while something is wrong for so long."""
        said = []
        for _ in range(seconds):
            self.now += 1
            done = step(self.known, wrong, self.now, self.rules, self.watched)
            self.known = dict(done.incidents)
            self.notices += done.notices
            said += [f"{n.occasion} {n.incident.condition.key}" for n in done.notices]
        return said


def test_ten_minutes_are_told_once_then_at_humane_intervals_then_once_more() -> None:
    clock = Clock()
    assert clock.play(600, DOWN) == ["opened directory", "reminder directory", "reminder directory"]
    assert clock.play(600) == ["closed directory"]
    assert clock.notices[-1].lasted == pytest.approx(600, abs=2)
    assert clock.known == {}


def test_what_is_over_within_after_is_never_told() -> None:
    clock = Clock()
    assert clock.play(20, DOWN) == []
    assert clock.play(600) == []


def test_what_comes_and_goes_is_one_incident() -> None:
    clock = Clock()
    said = [word for _ in range(6) for word in (*clock.play(31, DOWN), *clock.play(10))]
    assert said == ["opened directory"]
    assert clock.play(60) == ["closed directory"]


def test_an_unreachable_directory_silences_what_follows_from_it() -> None:
    clock = Clock()
    assert clock.play(100, DOWN, STALE) == ["opened directory"]
    assert clock.play(20, STALE) == ["opened stale"]  # it is not over with the other


def test_a_consequence_that_was_told_before_its_cause_is_not_closed_while_that_lasts() -> None:
    clock = Clock()
    assert clock.play(60, STALE) == ["opened stale"]
    assert clock.play(600, DOWN) == ["opened directory", "reminder directory", "reminder directory"]
    assert sorted(clock.play(60)) == ["closed directory", "closed stale"]


def test_things_that_have_nothing_to_do_with_each_other_are_told_each() -> None:
    clock = Clock()
    two = Condition("output", "it is read-only", "sip")
    assert clock.play(40, DOWN, FULL, two) == ["opened directory", "opened output sip",
                                               "opened output users"]  # fmt: skip


def test_more_people_are_told_of_and_fewer_are_not() -> None:
    clock = Clock()
    held = Condition("held", "5 losses wait", members=("501", "502"))
    more = Condition("held", "6 losses wait", members=("501", "502", "503"))
    assert clock.play(60, held) == ["opened held"]
    assert clock.play(60, more) == ["grew held"]
    assert clock.play(60, held) == []


def test_a_restart_neither_repeats_the_opening_nor_forgets_the_end() -> None:
    clock = Clock()
    clock.play(60, DOWN)
    assert clock.play(60, DOWN) == []
    clock.restart(5_000)  # and meanwhile it ended
    assert clock.play(60) == ["closed directory"]
    assert clock.notices[-1].lasted == pytest.approx(120, abs=2)


def test_what_is_still_wrong_after_a_restart_was_not_over_meanwhile() -> None:
    """A reload that fails, say, is only known to fail once it was tried again."""
    clock = Clock()
    clock.play(60, DOWN)
    clock.restart(5_000)
    assert clock.play(20) == []
    assert clock.play(60, DOWN) == ["reminder directory"]


@pytest.mark.parametrize("jump", [-86_400, 86_400])
def test_a_clock_that_jumped_over_a_restart_makes_no_storm(jump: int) -> None:
    clock = Clock()
    clock.play(60, DOWN)
    clock.now += jump
    assert len(clock.play(200, DOWN)) <= 1
    assert clock.play(40) == ["closed directory"]


def test_every_kind_has_a_level() -> None:
    for kind in KINDS:
        assert Incident(Condition(kind, "x"), 0, 0).level in ("info", "warning", "error")


_CONDITIONS = st.sets(st.sampled_from([DOWN, FULL, STALE, Condition("held", "x", members=("1",))]))


@given(st.lists(st.tuples(st.integers(1, 90), _CONDITIONS), max_size=25))
def test_each_opening_has_one_end_and_reminders_keep_their_distance(
    story: list[tuple[int, set[Condition]]],
) -> None:
    clock = Clock()
    for seconds, wrong in story:
        clock.play(seconds, *wrong)
    clock.play(200)
    assert clock.known == {}
    for key in {n.incident.condition.key for n in clock.notices}:
        mine = [n for n in clock.notices if n.incident.condition.key == key]
        words = Counter(n.occasion for n in mine)
        assert words["opened"] == words["closed"]
        is_open, told = False, 0.0
        for notice in mine:
            assert (notice.occasion == "opened") != is_open
            is_open = notice.occasion != "closed"
            if notice.occasion == "reminder":
                assert notice.at - told >= RULES.remind
            told = notice.at
