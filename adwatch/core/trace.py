"""How long the parts of turns took within the last hour: half, nearly all, and the longest."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# In the order in which a turn goes through them; `turn` is all of it.
PARTS: Final = ("gate", "feed", "read", "commit", "write", "turn")
_SLOT_S: Final = 60.0
_SLOTS: Final = 60
_STEP: Final = 1.05  # a figure is told as at most so much more than it was


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `count` lengths of time in seconds: half were at most `p50`, of a hundred 95 `p95`."""

    count: int
    p50: float
    p95: float
    max: float


@dataclass(slots=True)
class _Slot:
    begun: float
    counts: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0


class Trace:
    """Takes what each turn's parts took. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._slots: dict[str, deque[_Slot]] = {}

    def add(self, took: Mapping[str, float], now: float) -> None:
        """A turn is over whose parts took so many seconds."""
        for part, seconds in took.items():
            slots = self._slots.get(part)
            if slots is None:
                slots = self._slots[part] = deque(maxlen=_SLOTS)
            if not slots or now - slots[-1].begun >= _SLOT_S:
                slots.append(_Slot(now))
            slot = slots[-1]
            slot.counts[math.ceil(math.log(max(seconds, 1e-6), _STEP))] += 1
            slot.longest = max(slot.longest, seconds)

    def summary(self, now: float) -> dict[str, Spread]:
        """The last hour of every part that there was, in their order."""
        return {part: spread for part in PARTS if (spread := self._spread(part, now))}

    def _spread(self, part: str, now: float) -> Spread | None:
        recent = [one for one in tuple(self._slots.get(part, ()))
                  if now - one.begun < _SLOT_S * _SLOTS]  # fmt: skip
        counts: Counter[int] = Counter()
        for slot in recent:
            counts.update(slot.counts.copy())
        count = counts.total()
        if not count:
            return None
        longest = max(slot.longest for slot in recent)
        half, most = (min(longest, _reached(counts, part * count)) for part in (0.5, 0.95))
        return Spread(count, half, most, longest)


def _reached(counts: Mapping[int, int], wanted: float) -> float:
    """The length of time that so many of all were no longer than."""
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            break
    return float(_STEP**bucket)
