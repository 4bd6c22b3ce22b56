"""Killed before every effect, and at any instant: files stay whole, and the next start converges.

All points, and 200 rounds, are `make soak`'s; here it is every 48th within SQLite's file
(others each time), and all the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from system.crash.kills import kill_again_and_again
from system.crash.scenarios import SCENARIOS
from system.crash.sweep import Crashes
from system.samba import SambaDC

EVERY = 96
ROUNDS = 8


@pytest.fixture(scope="module")
def crashes() -> Iterator[Crashes]:
    with Crashes() as them:
        yield them


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_before_any_effect_leaves_files_whole_and_the_next_start_converges(
    crashes: Crashes, name: str
) -> None:
    result = crashes.sweep(name, EVERY)
    assert not result.faults, "\n".join(result.faults)
    assert result.tried
    print(f"{name}: {result.tried} of {result.points} points")


def test_kills_at_random_instants_under_changes_lose_nothing(dc: SambaDC, tmp_path: Path) -> None:
    before = dc.ldapsearch("(objectClass=user)", "cn").keys()
    try:
        figures = kill_again_and_again(dc, tmp_path, ROUNDS)
    finally:
        for dn in dc.ldapsearch("(objectClass=user)", "cn").keys() - before:
            dc.delete(dn)
    for what, count in figures.rows():
        print(f"{what}: {count}")
    assert not figures.faults, "\n".join(figures.faults)
