"""A value that vanished though nobody wrote to the user is a right that was lost, not a change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from adwatch.core.model import Batch, Candidate, Cursor, Entry, Hold, Known, Peer, Plan, Served
from adwatch.core.plan import Rules, Safety, make_plan

CURSOR = Cursor("dc", "invocation", 1, b"", "question")
RULES = Rules(Safety(2, 10), frozenset({"users"}), lambda _: {})
REASON = "AD no longer shows its fax to adwatch"


def candidate(who: int, fax: str, usn: int = 7) -> Candidate:
    peer = Peer(str(who), str(who), "n", "", fax or "users", "", "", "", "dn", "login")
    shown = ("fax", "telephonenumber") if fax else ("telephonenumber",)
    return Candidate(str(who), "dn", "login", "", peer, usn=usn, shown=shown)


def known(
    candidates: Iterable[Candidate], holds: Iterable[Hold] = (), comparable: bool = True
) -> Known:
    by_guid = {c.guid: c for c in candidates}
    served = {g: Served(candidate(int(g), "old").peer) for g in by_guid}  # type: ignore[arg-type]
    held = {hold.guid: hold for hold in holds}
    count = len(by_guid)
    return Known(by_guid, served, held, {}, frozenset(), count, count, comparable=comparable)


def planned(before: Known, now: Iterable[Candidate]) -> Plan:
    mapped = {c.guid: c for c in now}
    entries = tuple(Entry(g, "dn", {}) for g in mapped)
    batch = Batch(entries, frozenset(mapped), full=True, cursor=CURSOR, at=9.0)
    return make_plan(before, batch, mapped, RULES)


HAD = [candidate(n, "old") for n in range(9)]
LACKS = [candidate(n, "") for n in range(9)]


def test_values_hidden_from_many_are_held_and_the_peers_stay_as_they_were() -> None:
    plan = planned(known(HAD), LACKS)
    assert plan.serve == ()
    assert [(h.guid, h.reason) for h in plan.hold] == [(str(n), REASON) for n in range(9)]
    assert {c.what for c in plan.history} == {"held"}


def test_values_hidden_from_a_few_change_their_peers() -> None:
    plan = planned(known(HAD), [*LACKS[:2], *HAD[2:]])
    assert plan.hold == ()
    assert [s.peer.context for s in plan.serve] == ["users", "users"]
    assert plan.losses == {"0", "1"}


def test_values_cleared_by_a_write_are_a_change_however_many() -> None:
    plan = planned(known(HAD), [candidate(n, "", usn=8) for n in range(9)])
    assert plan.hold == ()
    assert plan.losses == frozenset()
    assert len(plan.serve) == 9


def test_another_server_or_another_mapping_can_not_tell() -> None:
    plan = planned(known(HAD, comparable=False), LACKS)
    assert plan.hold == ()
    assert len(plan.serve) == 9


def waiting(verdict: str = "") -> Known:
    first = planned(known(HAD), LACKS)
    return known(first.put, [replace(hold, verdict=verdict) for hold in first.hold])


def test_what_is_held_stays_held_until_the_value_is_seen_again() -> None:
    for later in (LACKS, [candidate(n, "", usn=8) for n in range(9)]):
        again = planned(waiting(), later)
        assert (again.serve, again.hold, again.release) == ((), (), frozenset())
        assert not again.history
    back = planned(waiting(), HAD)
    assert back.release == frozenset(map(str, range(9)))
    assert {c.what for c in back.history} == {"released"}
    assert back.serve == ()


def test_what_a_person_let_through_changes_and_is_forgotten() -> None:
    plan = planned(waiting("approved"), LACKS)
    assert len(plan.serve) == 9
    assert plan.release == frozenset(map(str, range(9)))
    assert {c.hidden for c in plan.put} == {()}


def test_what_a_person_rejected_stays_as_it_was() -> None:
    plan = planned(waiting("dismissed"), LACKS)
    assert plan.serve == ()
    assert plan.release == frozenset()
