"""What the running service has done since it started, counted; what metrics are made of."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from adwatch.core.model import Change
from adwatch.core.trace import Trace

# Upper bounds in seconds: from an idle tick to the first reading of a large directory.
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
KINDS: Final = (
    "added", "changed", "removed", "held", "released", "rejected", "approved", "dismissed",
)  # fmt: skip
RESULTS: Final = ("done", "failed")


@dataclass(slots=True)
class Durations:
    """How many took how long: one count for each of BOUNDS and one for what is longer."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Bounds as Prometheus writes them, and how many were at most that long."""
        found, count = [], 0
        for bound, here in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            count += here
            found.append((bound, float(count)))
        return found


@dataclass(slots=True)
class Tally:
    """Counters that only grow. Written by the loop; read by other threads, number by number."""

    turns: Counter[tuple[str, str]] = field(default_factory=Counter)
    took: dict[str, Durations] = field(default_factory=dict)
    parts: dict[str, Durations] = field(default_factory=dict)
    trace: Trace = field(default_factory=Trace)
    changes: Counter[str] = field(default_factory=Counter)
    reloads: Counter[str] = field(default_factory=Counter)

    def turn(
        self, how: str, seconds: float, parts: Mapping[str, float], now: float, *, failed: bool
    ) -> None:
        """A turn is over, `failed` where the directory could not be read.

        `parts` are the seconds of its parts, `now` is of a monotonic clock.
        """
        self.turns[how, RESULTS[failed]] += 1
        _of(self.took, how).add(seconds)
        self.trace.add({**parts, "turn": seconds}, now)
        for part, took in parts.items():
            _of(self.parts, part).add(took)

    def changed(self, changes: Iterable[Change]) -> None:
        """Changes that were committed."""
        self.changes.update(change.what for change in changes)

    def reload(self, *, failed: bool) -> None:
        """A reload of Asterisk is over."""
        self.reloads[RESULTS[failed]] += 1


def _of(kinds: dict[str, Durations], kind: str) -> Durations:
    """Those of a kind, none at first; `setdefault` would make them anew at every tick."""
    found = kinds.get(kind)
    if found is None:
        found = kinds[kind] = Durations()
    return found
