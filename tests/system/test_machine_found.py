"""What the machine found, each as short as it could be made, so that it never comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from system.machine.soak import Operation, fails
from system.machine.world import COMBINATIONS
from system.samba import SambaDC

FOUND: dict[str, list[Operation]] = {
    "a cursor that is no JSON means a full read, not the end": [
        ("look", ()),
        ("spoil_cursor", ("garbage", 0)),
    ],
}


@pytest.mark.parametrize("operations", FOUND.values(), ids=FOUND)
def test_what_the_machine_found_stays_mended(
    dc: SambaDC, tmp_path: Path, operations: list[Operation]
) -> None:
    assert fails([dc], COMBINATIONS[0], tmp_path, operations) == ""
