"""The trace against sorting all figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.trace import Trace

lengths = st.lists(st.floats(1e-5, 100), min_size=1, max_size=80)


@given(lengths)
def test_half_and_nearly_all_are_what_sorting_gives(took: list[float]) -> None:
    trace = Trace()
    for at, seconds in enumerate(took):
        trace.add({"gate": seconds}, float(at))
    (found,) = trace.summary(len(took)).values()
    ordered = sorted(took)
    assert (found.count, found.max) == (len(took), ordered[-1])
    for told, part in ((found.p50, 0.5), (found.p95, 0.95)):
        wanted = ordered[math.ceil(part * len(took)) - 1]
        assert wanted * 0.9999 <= told <= wanted * 1.0501


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    trace = Trace()
    trace.add({"gate": 9.0, "read": 1.0}, 0)
    for minute in range(1, 70):
        trace.add({"gate": 1.0}, minute * 60)
    found = trace.summary(69 * 60)
    assert list(found) == ["gate"]
    assert found["gate"].max == 1.0
    assert trace.summary(200 * 60) == {}


def test_parts_come_in_the_order_of_a_turn() -> None:
    trace = Trace()
    trace.add({"turn": 0.2, "write": 0.1, "gate": 0.001}, 0)
    assert list(trace.summary(1)) == ["gate", "write", "turn"]
    assert trace.summary(1)["gate"].p95 == pytest.approx(0.001)
