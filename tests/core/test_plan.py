"""Who holds a number, who waits for a person; `World` applies plans as the store does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.model import (
    HIDDEN,
    Batch,
    Candidate,
    Change,
    Cursor,
    Entry,
    Hold,
    Known,
    Peer,
    Plan,
    Rejection,
    Seen,
    Served,
)
from adwatch.core.plan import UNSEEN, Rules, Safety, differences, make_plan, passed_over

NO_NUMBER = "its number is empty"
CURSOR = Cursor("dc", "invocation", 1, b"", "question")


def guid(who: str) -> str:
    return f"{who:0>32}"


def peer(who: str, number: str, **values: str) -> Peer:
    fields = {"name": who, "email": "", "context": "", "call_group": "", "pickup_group": ""}
    fields |= {"mobile": "", "dn": f"CN={who}", "login": who} | values
    return Peer(guid=guid(who), number=number, **fields)


class World:
    """What would be in the store, and the rules of a site with one output or more."""

    def __init__(self, most: int = 2, percent: float = 10, outputs: str = "a") -> None:
        self.candidates: dict[str, Candidate] = {}
        self.served: dict[str, Served] = {}
        self.holds: dict[str, Hold] = {}
        self.rejections: dict[str, tuple[Rejection, ...]] = {}
        self.losses: set[str] = set()
        self.holders: dict[str, str] = {}
        self.now = 5.0
        self.created: dict[str, str] = {}
        self.refusals: dict[tuple[str, str], str] = {}
        safety = Safety(most, percent)
        self.rules = Rules(safety, frozenset(outputs), self._refusals)

    def _refusals(self, one: Peer) -> Mapping[str, str]:
        return {o: why for (number, o), why in self.refusals.items() if number == one.number}

    def judge(self, verdict: str, *whose: str) -> None:
        """A person's verdict; the loss of who is approved counts no longer."""
        for who in map(guid, whose):
            self.holds[who] = replace(self.holds[who], verdict=verdict)
            self.losses.discard(who)

    def plan(
        self,
        changes: dict[str, Peer | str | None],
        *,
        full: bool = False,
        gone: str = "deleted in AD",
    ) -> Plan:
        """`changes`: a peer, a reason why there is none, or None for who is gone."""
        mapped = {
            guid(who): Candidate(
                guid(who),
                f"CN={who}",
                who,
                created=self.created.get(who, who),
                peer=value if isinstance(value, Peer) else None,
                reason=value if isinstance(value, str) else "",
                fault=isinstance(value, str) and value != NO_NUMBER,
            )
            for who, value in changes.items()
            if value is not None
        }
        entries = tuple(Entry(g, c.dn, {}) for g, c in mapped.items())
        asked = frozenset(map(guid, changes))
        away = {guid(who): gone for who, value in changes.items() if value is None}
        batch = Batch(entries, asked, full, CURSOR, self.now, away)
        lost = {g for g in self.losses if g not in self.served or g in self.holds}
        base = len(self.served) + len([g for g in lost if g not in self.served])
        known = Known(
            self.candidates, self.served, self.holds, self.rejections, frozenset(lost),
            len(self.served), base, holders=self.holders,
        )  # fmt: skip
        return make_plan(known, batch, mapped, self.rules)

    def apply(self, plan: Plan) -> Plan:
        self.candidates = {g: c for g, c in self.candidates.items() if g not in plan.drop}
        self.candidates |= {c.guid: c for c in plan.put}
        self.served = {g: s for g, s in self.served.items() if g not in plan.end}
        self.served |= {s.peer.guid: s for s in plan.serve}
        self.holds = {g: h for g, h in self.holds.items() if g not in plan.release}
        self.holds |= {h.guid: h for h in plan.hold}
        self.losses |= plan.losses
        self.rejections = {g: r for g, r in self.rejections.items() if g not in plan.touched}
        for r in plan.rejections:
            self.rejections[r.guid] = (*self.rejections.get(r.guid, ()), r)
        return plan

    def turn(self, changes: dict[str, Peer | str | None], **how: Any) -> Plan:
        return self.apply(self.plan(changes, **how))

    def numbers(self) -> dict[str, str]:
        return {s.peer.number: s.peer.login for s in self.served.values()}


def crowd(world: World, count: int) -> dict[str, Peer | str | None]:
    people: dict[str, Peer | str | None] = {
        f"p{n:02}": peer(f"p{n:02}", f"{n:03}") for n in range(count)
    }
    world.turn(people, full=True)
    return people


def whats(plan: Plan) -> list[tuple[str, str]]:
    return [(change.what, change.login) for change in plan.history]


def test_the_older_account_holds_a_number_at_first_and_the_younger_one_is_told() -> None:
    world = World()
    plan = world.turn({"b": peer("b", "1"), "a": peer("a", "1")}, full=True)
    assert world.numbers() == {"1": "a"}
    assert whats(plan) == [("added", "a"), ("rejected", "b")]
    assert world.turn({"b": peer("b", "1")}).history == ()


def test_the_age_of_an_account_counts_before_its_guid_and_the_guid_among_twins() -> None:
    world = World()
    world.created = {"a": "20200101", "b": "20190101", "c": "20190101"}
    world.turn({who: peer(who, "1") for who in "cab"}, full=True)
    assert world.numbers() == {"1": "b"}
    world.turn({"b": None})
    assert world.numbers() == {"1": "c"}


def test_who_holds_a_number_keeps_it_when_only_its_spelling_changes() -> None:
    world = World()
    world.turn({"b": peer("b", "desk")}, full=True)
    world.turn({"a": peer("a", "DESK"), "b": peer("b", "Desk")})
    assert world.numbers() == {"Desk": "b"}


def test_three_users_pass_their_numbers_round_without_a_loss() -> None:
    world = World(most=0, percent=0)
    world.turn({"a": peer("a", "1"), "b": peer("b", "2"), "c": peer("c", "3")}, full=True)
    plan = world.turn({"a": peer("a", "2"), "b": peer("b", "3"), "c": peer("c", "1")})
    assert world.numbers() == {"2": "a", "3": "b", "1": "c"}
    assert (plan.losses, world.holds) == (frozenset(), {})


def test_who_gives_up_a_number_lets_the_waiting_one_in_within_the_same_turn() -> None:
    world = World()
    world.turn({"a": peer("a", "1"), "b": peer("b", "1")}, full=True)
    plan = world.turn({"a": peer("a", "2")})
    assert world.numbers() == {"2": "a", "1": "b"}
    assert sorted(whats(plan)) == [("added", "b"), ("changed", "a")]


def test_a_rejection_is_told_again_only_when_its_reason_changes() -> None:
    world = World()
    world.turn({"a": peer("a", "1"), "b": "one fault"}, full=True)
    assert world.turn({"b": "one fault"}).history == ()
    assert world.turn({}, full=False).history == ()
    plan = world.turn({"b": "another fault"})
    assert [(c.what, c.reason) for c in plan.history] == [("rejected", "another fault")]


def test_outputs_are_looked_at_only_when_a_peer_comes_goes_or_changes() -> None:
    world = World()
    assert world.turn({"a": peer("a", "1"), "b": peer("b", "2")}, full=True).changes_peers
    assert not world.turn({"a": peer("a", "1"), "c": "a fault"}).changes_peers
    assert world.turn({"a": peer("a", "1", mobile="+1")}).changes_peers
    assert world.turn({"b": None}).changes_peers


def test_a_user_without_a_telephone_is_no_rejection() -> None:
    world = World()
    plan = world.turn({"a": peer("a", "1"), "b": NO_NUMBER}, full=True)
    assert whats(plan) == [("added", "a")]
    world.turn({"c": peer("c", "3")})
    (removed,) = world.turn({"a": NO_NUMBER}).history
    assert (removed.what, removed.reason) == ("removed", NO_NUMBER)
    assert world.rejections == {}


def test_history_has_every_field_of_who_comes_and_goes_and_why() -> None:
    world = World(most=9)
    one = peer("a", "1", mobile="+1", secret="hush")
    (added, _) = world.turn({"a": one, "b": peer("b", "2")}, full=True).history
    assert (added.at, added.what, added.guid, added.number) == (5.0, "added", guid("a"), "1")
    named = {field: (old, new) for field, old, new in added.values}
    assert named == {
        "number": ("", "1"),
        "name": ("", "a"),
        "mobile": ("", "+1"),
        "dn": ("", "CN=a"),
        "login": ("", "a"),
    }
    (changed,) = world.turn({"a": replace(one, mobile="", dn="CN=a,OU=x")}).history
    assert changed.values == (("mobile", "+1", ""), ("dn", "CN=a", "CN=a,OU=x"))
    (rotated,) = world.turn({"a": replace(one, mobile="", dn="CN=a,OU=x", secret="s2")}).history
    assert [field for field, _, _ in rotated.values] == ["secret"]
    (removed,) = world.turn({"a": None}).history
    assert (removed.what, removed.number, removed.reason) == ("removed", "1", "deleted in AD")
    assert ("number", "1", "") in removed.values
    assert "hush" not in repr((added, changed, rotated, removed))
    assert "s2" not in repr((added, changed, rotated, removed))


def test_an_extra_field_is_history_too() -> None:
    old, new = (replace(peer("a", "1"), extra=(("room", room),)) for room in ("7", "8"))
    assert differences(old, new) == (("room", "7", "8"),)
    assert differences(old, replace(new, extra=())) == (("room", "7", ""),)
    assert differences(old, old) == differences(None, None) == ()


def test_the_holder_keeps_a_number_against_an_older_account() -> None:
    world = World()
    world.turn({"b": peer("b", "1")}, full=True)
    world.turn({"a": peer("a", "1")})
    assert world.numbers() == {"1": "b"}


def test_who_is_known_to_have_had_a_number_keeps_it_although_no_peer_is_known() -> None:
    world = World()
    world.holders = {"1": guid("b"), "2": guid("gone")}
    people = {"a": peer("a", "1"), "b": peer("b", "1"), "c": peer("c", "2"), "d": peer("d", "2")}
    world.turn(dict(people), full=True)
    assert world.numbers() == {"1": "b", "2": "c"}


def test_the_rejected_takes_over_when_the_number_comes_free() -> None:
    world = World()
    world.turn({"a": peer("a", "1"), "b": peer("b", "1"), "c": peer("c", "3")}, full=True)
    plan = world.turn({"a": None})
    assert world.numbers() == {"1": "b", "3": "c"}
    assert sorted(whats(plan)) == [("added", "b"), ("removed", "a")]
    assert world.rejections == {}


def test_numbers_that_differ_in_case_alone_are_one() -> None:
    world = World()
    world.turn({"a": peer("a", "Desk"), "b": peer("b", "DESK")}, full=True)
    assert world.numbers() == {"Desk": "a"}


def test_two_users_swap_their_numbers_in_one_turn() -> None:
    world = World()
    world.turn({"a": peer("a", "1"), "b": peer("b", "2")}, full=True)
    plan = world.turn({"a": peer("a", "2"), "b": peer("b", "1")})
    assert world.numbers() == {"2": "a", "1": "b"}
    assert sorted(whats(plan)) == [("changed", "a"), ("changed", "b")]
    assert not plan.losses


def test_a_full_reading_ends_whoever_is_not_in_it() -> None:
    world = World()
    people = crowd(world, 4)
    del people["p01"]
    plan = world.turn(people, full=True)
    assert whats(plan) == [("removed", "p01")]
    assert plan.history[0].reason == "the directory no longer shows it to adwatch"


def test_a_partial_reading_ends_nobody_that_it_does_not_name() -> None:
    world = World()
    crowd(world, 4)
    assert world.turn({}).history == ()
    assert len(world.served) == 4


def test_history_tells_the_fields_that_differ_and_no_secret() -> None:
    old, new = peer("a", "1", secret="old"), peer("a", "2", secret="new", mobile="+1")
    assert differences(old, new) == (
        ("number", "1", "2"),
        ("mobile", "", "+1"),
        ("secret", "********", "******** (another)"),
    )


def test_over_both_limits_all_new_losses_are_held_and_the_rest_goes_on() -> None:
    world = World(most=2)
    crowd(world, 10)
    changes: dict[str, Peer | str | None] = {"p00": None, "p01": "a bad value", "p02": None}
    plan = world.turn(changes | {"new": peer("new", "900"), "p03": peer("p03", "901")})
    assert len(world.holds) == 3
    assert {"000", "001", "002", "900", "901"} <= world.numbers().keys()
    assert {h.reason for h in world.holds.values()} == {"deleted in AD", "a bad value"}
    assert sorted(w for w, _ in whats(plan)) == ["added", "changed", "held", "held", "held"]
    assert world.turn({}).history == ()


def test_either_limit_alone_does_not_stop() -> None:
    for most, percent, leavers in ((2, 50, 4), (5, 10, 4)):
        world = World(most, percent)
        crowd(world, 10)
        world.turn({f"p{n:02}": None for n in range(leavers)})
        assert (len(world.holds), len(world.served)) == (0, 10 - leavers)


def test_the_share_is_of_those_served_when_the_window_began() -> None:
    known = Known({}, {guid("x"): Served(peer("x", "1"))}, {}, {}, frozenset("ab"), 28, 30)
    batch = Batch((), frozenset({guid("x")}), full=False, cursor=CURSOR, at=5.0)

    def ended(**changed: object) -> bool:
        rules = Rules(Safety(2, 10), frozenset("a"), lambda _: {})
        return bool(make_plan(replace(known, **changed), batch, {}, rules).end)

    assert ended()  # three of thirty are not more than a tenth
    assert not ended(base=29)
    assert ended(base=29, losses=frozenset("a"))
    assert not ended(losses=frozenset("abc"))
    assert not ended(total=1, losses=frozenset())  # nobody would be left


def test_a_user_whose_loss_is_counted_already_does_not_count_twice() -> None:
    world = World(most=2)
    people = crowd(world, 10)
    for _ in range(4):
        world.turn({"p00": None})
        assert world.turn({"p00": people["p00"]}).hold == ()
    world.turn({"p00": None, "p01": None})
    assert (len(world.served), world.holds) == (8, {})


def test_a_dismissed_loss_stays_away_until_it_is_another_one() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": "one bad value"})
    world.judge("dismissed", "p00")
    assert world.turn({"p00": "one bad value"}).history == ()
    assert "000" in world.numbers()
    world.now = 7.0
    plan = world.turn({"p00": None})
    assert whats(plan) == [("held", "p00")]
    assert world.holds[guid("p00")].verdict == ""
    assert world.holds[guid("p00")].since == 7.0


def test_an_approved_loss_happens_and_the_next_one_of_that_user_is_held_again() -> None:
    world = World(most=0, percent=0)
    people = crowd(world, 4)
    world.turn({"p00": None})
    world.judge("approved", "p00")
    plan = world.turn({})
    assert whats(plan) == [("removed", "p00")]
    assert plan.history[0].reason == "deleted in AD"
    assert world.holds == {}
    assert whats(world.turn({"p00": people["p00"]})) == [("added", "p00")]
    assert whats(world.turn({"p00": None})) == [("held", "p00")]


def test_approving_one_loss_lets_no_other_through() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": None, "p01": None})
    world.judge("approved", "p00")
    world.turn({})
    assert {"000", "001"} & world.numbers().keys() == {"001"}
    assert world.holds.keys() == {guid("p01")}


def test_a_held_user_whose_values_change_stays_as_it_was_and_is_told_once() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": "one bad value"})
    world.now = 6.0
    plan = world.turn({"p00": "another bad value"})
    assert plan.history == ()
    assert world.holds[guid("p00")].since == 5.0
    assert world.holds[guid("p00")].reason == "another bad value"
    assert world.rejections == {}


def test_who_is_held_and_comes_back_changed_is_released_and_changed() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": None})
    plan = world.turn({"p00": peer("p00", "950")})
    assert sorted(whats(plan)) == [("changed", "p00"), ("released", "p00")]
    assert "950" in world.numbers()


def test_an_empty_answer_to_a_full_reading_removes_nobody() -> None:
    world = World(most=100, percent=100)
    crowd(world, 10)
    world.turn({}, full=True)
    assert (len(world.served), len(world.holds)) == (10, 10)


def test_a_newcomer_waits_for_the_number_of_who_is_held_until_that_is_approved() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": None, "new": peer("new", "000")})
    world.judge("approved", "p00")
    world.turn({})
    assert world.numbers()["000"] == "new"
    assert world.rejections == {}


def test_losses_of_earlier_turns_count() -> None:
    world = World(most=2)
    crowd(world, 10)
    for leaver, held in (("p00", 0), ("p01", 0), ("p02", 1), ("p03", 2)):
        world.turn({leaver: None})
        assert len(world.holds) == held


def test_the_last_peer_is_never_let_go_unasked() -> None:
    world = World(most=100)
    world.turn({"a": peer("a", "1"), "b": peer("b", "2")}, full=True)
    world.turn({"a": None})
    world.turn({"b": None})
    assert world.numbers() == {"2": "b"}
    world.judge("approved", "b")
    world.turn({"b": None})
    assert world.numbers() == {}
    assert world.holds == {}


def test_the_last_peer_may_go_where_another_comes() -> None:
    world = World()
    world.turn({"a": peer("a", "1")}, full=True)
    world.turn({"a": None, "b": peer("b", "2")})
    assert world.numbers() == {"2": "b"}


def test_an_approval_is_for_the_loss_that_was_shown() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": "one bad value"})
    world.judge("approved", "p00")
    plan = world.turn({"p00": None})
    assert whats(plan) == [("held", "p00")]
    assert "000" in world.numbers()


def test_a_peer_that_is_kept_keeps_its_number_against_a_newcomer() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": None, "new": peer("new", "000")})
    assert world.numbers()["000"] == "p00"
    assert "held by p00" in world.rejections[guid("new")][0].reason


def test_keeping_one_peer_may_cost_another_one_which_is_kept_too() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": None, "p01": peer("p01", "000")})
    assert world.numbers()["000"] == "p00"
    assert world.numbers()["001"] == "p01"
    assert world.holds.keys() == {guid("p00"), guid("p01")}


def test_who_comes_back_is_released() -> None:
    world = World(most=0, percent=0)
    people = crowd(world, 4)
    world.turn({"p00": None})
    plan = world.turn({"p00": people["p00"]})
    assert whats(plan) == [("released", "p00")]
    assert world.holds == {}


def test_a_value_that_one_output_refuses_keeps_the_peer_in_the_others() -> None:
    world = World(outputs="ab")
    world.refusals = {("1", "b"): "too long"}
    world.turn({"x": peer("x", "1"), "y": peer("y", "2")}, full=True)
    assert world.served[guid("x")].refused == {"b": "too long"}
    (rejection,) = world.rejections[guid("x")]
    assert (rejection.output, rejection.reason) == ("b", "too long")


def test_a_value_that_all_outputs_refuse_is_no_peer() -> None:
    world = World(outputs="ab")
    world.refusals = {("1", "a"): "too long", ("1", "b"): "too long"}
    world.turn({"x": peer("x", "1"), "y": peer("y", "2")}, full=True)
    assert world.numbers() == {"2": "y"}
    assert world.rejections[guid("x")][0].reason == "too long"


def test_losing_one_output_counts_as_a_loss() -> None:
    world = World(most=0, percent=0, outputs="ab")
    crowd(world, 4)
    world.refusals = {("900", "b"): "too long"}
    world.turn({"p00": peer("p00", "900")})
    assert world.numbers()["000"] == "p00"
    assert world.holds[guid("p00")].reason == "too long"


def test_an_output_that_refuses_a_number_leaves_it_to_nobody_else_in_there() -> None:
    world = World(outputs="ab")
    world.refusals = {("1", "b"): "too long"}
    world.turn({"x": peer("x", "1"), "y": peer("y", "1")}, full=True)
    assert world.numbers() == {"1": "x"}


def test_a_number_that_its_older_claimant_can_not_be_written_with_goes_to_the_next() -> None:
    world = World()
    world.refusals = {("Aa", "a"): "too long"}
    world.turn({"x": peer("x", "Aa"), "y": peer("y", "aA")}, full=True)
    assert world.numbers() == {"aA": "y"}


def test_a_rejection_names_the_user_the_output_and_the_number_wished_for() -> None:
    world = World(outputs="ab")
    world.refusals = {("1", "b"): "too long", ("3", "a"): "too long", ("3", "b"): "not plain"}
    plan = world.turn(
        {"x": peer("x", "1"), "y": peer("y", "1"), "z": "bad", "w": peer("w", "3")}, full=True
    )
    said = {(r.login, r.output): r for r in plan.rejections}
    assert said == {
        ("w", ""): Rejection(guid("w"), "CN=w", "w", "3", "not plain; too long"),
        ("x", "b"): Rejection(guid("x"), "CN=x", "x", "1", "too long", "b"),
        ("y", ""): Rejection(guid("y"), "CN=y", "y", "1", "number 1 is held by x"),
        ("z", ""): Rejection(guid("z"), "CN=z", "z", "", "bad"),
    }
    assert [c for c in plan.history if c.what == "rejected"] == [
        Change(5.0, "rejected", guid("w"), "3", "w", (), "not plain; too long"),
        Change(5.0, "rejected", guid("x"), "1", "x", (), "output b: too long"),
        Change(5.0, "rejected", guid("y"), "1", "y", (), "number 1 is held by x"),
        Change(5.0, "rejected", guid("z"), "", "z", (), "bad"),
    ]


def test_one_who_is_held_hides_no_rejection_of_another() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": "one bad value", "zzz": "bad"})
    assert world.holds.keys() == {guid("p00")}
    assert world.rejections.keys() == {guid("zzz")}


def test_who_was_rejected_and_is_gone_is_rejected_no_longer() -> None:
    world = World()
    world.turn({"a": peer("a", "1"), "b": "bad"}, full=True)
    world.turn({"b": None})
    assert world.rejections == {}
    assert guid("b") not in world.candidates


def test_only_candidates_that_changed_are_stored() -> None:
    world = World()
    world.turn({"a": peer("a", "1"), "b": peer("b", "2")}, full=True)
    plan = world.turn({"a": peer("a", "1"), "b": peer("b", "2", mobile="+1")}, full=True)
    assert [c.guid for c in plan.put] == [guid("b")]


def test_what_is_held_released_and_removed_is_told_with_who_when_and_why() -> None:
    world = World(most=0, percent=0)
    people = crowd(world, 4)
    plan = world.turn({"p00": None})
    who = guid("p00"), "000", "p00"
    assert plan.history == (Change(5.0, "held", *who, (), "deleted in AD"),)
    hold = world.holds[guid("p00")]
    assert (hold.guid, hold.number, hold.login, hold.since) == (*who, 5.0)
    world.now = 6.0
    plan = world.turn({"p00": people["p00"]})
    assert plan.history == (Change(6.0, "released", *who, (), "it came back"),)
    world.turn({"p00": None})
    world.judge("approved", "p00")
    world.now = 7.0
    (removed,) = world.turn({}).history
    assert (removed.at, removed.what) == (7.0, "removed")


def test_who_comes_needs_no_reason() -> None:
    (added,) = World().turn({"a": peer("a", "1")}, full=True).history
    assert added.reason == ""


def test_who_is_kept_since_another_is_kept_is_told_whose_number_it_wants() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": None, "p01": peer("p01", "000")})
    assert world.holds[guid("p01")].reason == "number 000 is held by p00"


def test_a_loss_in_several_outputs_has_every_reason_once() -> None:
    world = World(most=0, percent=0, outputs="abcd")
    crowd(world, 4)
    world.refusals = {("9", "a"): "too long", ("9", "b"): "not plain", ("9", "c"): "too long"}
    world.turn({"p00": peer("p00", "9")})
    assert world.holds[guid("p00")].reason == "not plain; too long"


def test_an_approved_loss_with_other_values_is_another_loss() -> None:
    world = World(most=0, percent=0, outputs="ab")
    crowd(world, 4)
    world.refusals = {("900", "b"): "too long", ("901", "b"): "too long"}
    world.turn({"p00": peer("p00", "900")})
    world.judge("approved", "p00")
    assert whats(world.turn({"p00": peer("p00", "901")})) == [("held", "p00")]
    assert "000" in world.numbers()


def test_an_output_that_is_new_takes_nothing_away() -> None:
    one = peer("x", "1")
    wish = Candidate(one.guid, one.dn, one.login, "", one)
    served = {one.guid: Served(one, {})}
    known = Known({one.guid: wish}, served, {}, {}, frozenset(), 1, 1, frozenset("a"))
    rules = Rules(Safety(0, 0), frozenset("ab"), lambda _: {"b": "too long"})
    batch = Batch((), frozenset(), full=False, cursor=CURSOR, at=5.0)
    plan = make_plan(known, batch, {}, rules)
    assert (plan.hold, plan.losses) == ((), frozenset())
    assert plan.serve == (Served(one, {"b": "too long"}),)
    assert make_plan(replace(known, outputs=frozenset("ab")), batch, {}, rules).hold


def test_a_peer_of_whom_nothing_is_known_any_more_is_lost_unseen() -> None:
    known = Known({}, {guid("x"): Served(peer("x", "1"))}, {}, {}, frozenset(), 1, 1)
    rules = Rules(Safety(0, 0), frozenset("a"), lambda _: {})
    batch = Batch((), frozenset(), full=False, cursor=CURSOR, at=5.0)
    (hold,) = make_plan(known, batch, {}, rules).hold
    assert hold.reason == UNSEEN


def test_values_that_vanished_are_named_all() -> None:
    one = peer("x", "1")
    had = Candidate(one.guid, one.dn, "x", "", one, usn=7, shown=("fax", "mail", "mobile"))
    lacks = replace(had, peer=None, reason=NO_NUMBER, shown=("mobile",))
    known = Known(
        {one.guid: had}, {one.guid: Served(one)}, {}, {}, frozenset(), 1, 1, comparable=True
    )
    rules = Rules(Safety(0, 0), frozenset("a"), lambda _: {})
    entries = (Entry(one.guid, one.dn, {}),)
    batch = Batch(entries, frozenset({one.guid}), full=False, cursor=CURSOR, at=5.0)
    (hold,) = make_plan(known, batch, {one.guid: lacks}, rules).hold
    assert hold.reason == "AD no longer shows its fax, mail to adwatch"


def test_an_extra_field_that_was_empty_and_is_no_more_is_no_difference() -> None:
    old = replace(peer("a", "1"), extra=(("room", ""),))
    assert differences(old, peer("a", "1")) == ()


people = st.sampled_from([f"u{n}" for n in range(8)])
wishes = st.one_of(st.none(), st.just("bad"), st.sampled_from(["1", "2", "3", "Aa", "aA"]))
turns = st.lists(st.tuples(st.dictionaries(people, wishes, max_size=6), st.booleans()), max_size=8)


@given(turns, st.integers(0, 3))
def test_numbers_are_unique_and_a_turn_repeated_changes_nothing(
    script: list[tuple[dict[str, str | None], bool]], most: int
) -> None:
    world = World(most, 20)
    for wished, full in script:
        changes: dict[str, Peer | str | None] = {
            who: peer(who, value) if value and value != "bad" else value
            for who, value in wished.items()
        }
        before = len(world.served)
        world.turn(changes, full=full)
        keys = [s.peer.key for s in world.served.values()]
        assert len(keys) == len(set(keys))
        assert world.served or not before
        again = world.turn(changes, full=full)
        assert (again.serve, again.end, again.hold, again.history) == ((), frozenset(), (), ())
        waiting = {g for g, h in world.holds.items() if not h.verdict}
        assert waiting <= world.served.keys()


@given(turns)
def test_after_any_changes_the_peers_are_what_a_full_reading_gives(
    script: list[tuple[dict[str, str | None], bool]],
) -> None:
    world, ad = World(100, 100), dict[str, Peer | str | None]()
    for wished, _ in script:
        changes: dict[str, Peer | str | None] = {
            who: peer(who, value) if value and value != "bad" else value
            for who, value in wished.items()
        }
        ad = {who: value for who, value in (ad | changes).items() if value is not None}
        world.turn(changes)
    wanted = {value.key for value in ad.values() if isinstance(value, Peer)}
    assert wanted <= {s.peer.key for s in world.served.values()}
    assert len(world.served) == len(wanted) or world.holds
    plan = world.turn(ad, full=True)
    assert (plan.serve, plan.end, plan.drop) == ((), frozenset(), frozenset())


@pytest.mark.parametrize(
    ("before", "written", "passed"),
    [
        (50, 80, True),  # written before the cursor, which stands at 100, and not seen
        (80, 80, False),  # seen as it is: a group or an ACL changed
        (50, 120, False),  # written since
        (0, 80, False),  # was out of scope: nobody knows of when
        (None, 80, False),
    ],
)
def test_a_feed_passed_over_who_was_written_before_its_cursor_and_seen_only_later(
    before: int | None, written: int, passed: bool
) -> None:
    user = Candidate(guid("x"), "CN=x", "x", "", None, usn=written)
    since = replace(CURSOR, usn=100)
    seen = {} if before is None else {user.guid: Seen("CN=x", before)}
    changes = [Change(5.0, "changed", user.guid, "502", "x")]
    mapped = {user.guid: user}
    assert passed_over(mapped, since, seen, changes) == (("x",) if passed else ())
    assert passed_over(mapped, since, seen, []) == ()


@pytest.mark.parametrize("verdict", ["", "dismissed"])
@pytest.mark.parametrize("first", [UNSEEN, HIDDEN])
def test_who_is_not_seen_is_held_once_however_it_is_looked_for(first: str, verdict: str) -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    assert whats(world.turn({"p00": None}, gone=first)) == [("held", "p00")]
    held = replace(world.holds[guid("p00")], verdict=verdict)
    world.holds[held.guid] = held
    for reason in (HIDDEN, UNSEEN, HIDDEN):
        assert world.turn({"p00": None}, gone=reason).history == ()
        assert world.holds[held.guid] == held


def test_who_is_no_longer_seen_at_all_is_another_loss_than_who_left_the_scope() -> None:
    world = World(most=0, percent=0)
    crowd(world, 4)
    world.turn({"p00": None}, gone="outside of the base")
    world.judge("dismissed", "p00")
    world.turn({"p00": None}, gone=HIDDEN)
    assert world.holds[guid("p00")].reason == HIDDEN
    assert world.holds[guid("p00")].verdict == ""
