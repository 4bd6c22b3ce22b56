"""Whatever happens in AD and to adwatch, the peers equal a fresh full read: a short run.

`make soak` runs the same for a quarter of an hour on each combination.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from system.machine.oracle import as_asterisk_reads, replayed
from system.machine.soak import Operation, examples, shrunk
from system.machine.world import COMBINATIONS, Combination, World
from system.samba import SambaDC


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_after_quiet_the_peers_are_what_ad_says(
    dc: SambaDC, tmp_path: Path, combination: Combination
) -> None:
    counts: Counter[str] = Counter()
    examples([dc], combination, tmp_path, counts, count=2, steps=6)
    assert counts["look"] >= 2


def said_of(world: World, text: str) -> str:
    """What the oracle says of another text, which adwatch can't put right meanwhile."""
    assert world.adwatch.running is not None
    world.adwatch.running.send_signal(signal.SIGSTOP)
    try:
        world.adwatch.output.write_text(text)
        return world.fault()
    finally:
        world.adwatch.running.send_signal(signal.SIGCONT)


def test_the_oracle_sees_a_peer_too_few_and_a_value_too_many(dc: SambaDC, tmp_path: Path) -> None:
    world = World([dc], COMBINATIONS[0], tmp_path)
    try:
        world.do("create", "anna", "a", {"telephoneNumber": "106"})
        world.do("look")
        text = world.adwatch.text()
        assert world.fault() == ""
        assert "'107'" in said_of(world, text.replace("[106](lan)", "[107](lan)"))
        assert "'context': 'lab'" in said_of(
            world, text.replace("context = users", "context = lab")
        )
        world.do("restart")
        world.do("look")
    finally:
        world.close()


def test_the_oracle_reads_a_file_as_asterisk_does() -> None:
    text = "; said\n[1](lan)\na = x\\;y ; z\nb=[q] #exec w\n\n[2](lan)\n c = \\\\;\\d \n"
    assert as_asterisk_reads(text) == {
        "1": {"a": "x;y", "b": "[q] #exec w"},
        "2": {"c": "\\;\\d"},
    }


@pytest.mark.parametrize(
    "text", ["[1](lan)\na = b ;-- c\n", "[1](lan)\n#exec x\n", "[1]\n", "[1](lan)\n[1](lan)\n"]
)
def test_the_oracle_refuses_what_no_peer_may_bring(text: str) -> None:
    with pytest.raises(AssertionError):
        as_asterisk_reads(text)


def test_history_must_fit_together() -> None:
    added = {"guid": "g", "what": "added", "changes": [{"field": "name", "old": "", "new": "A"}]}
    changed = {**added, "what": "changed", "changes": [{"field": "name", "old": "B", "new": "C"}]}
    assert replayed([added])["g"]["name"] == "A"
    assert replayed([added, {"guid": "g", "what": "removed", "changes": []}]) == {}
    for rows in ([changed], [added, added], [added, changed]):
        with pytest.raises(AssertionError):
            replayed(rows)


def test_a_failure_is_made_as_short_as_it_can_be() -> None:
    operations: list[Operation] = [("look", (n,)) for n in range(20)]

    def still(fewer: list[Operation]) -> str:
        return "yes" if {("look", (3,)), ("look", (17,))} <= set(fewer) else ""

    assert shrunk(operations, still, 10) == [("look", (3,)), ("look", (17,))]
    assert shrunk(operations, still, 0) == operations
