"""Whatever happens in AD and to adwatch, the peers equal a fresh full read: a short run.

`make soak` runs the same for a quarter of an hour on each combination.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from system.machine.soak import examples
from system.machine.world import COMBINATIONS, Combination
from system.samba import SambaDC


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_after_quiet_the_peers_are_what_ad_says(
    dc: SambaDC, tmp_path: Path, combination: Combination
) -> None:
    counts: Counter[str] = Counter()
    examples([dc], combination, tmp_path, counts, count=2, steps=30)
    assert counts["look"] >= 2
