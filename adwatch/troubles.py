"""Faults by the part that has them: the log is told when they begin and end, not in between."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from adwatch.core.words import line, span
from adwatch.errors import AdwatchError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Trouble:
    fault: AdwatchError
    since: float
    times: int


class Troubles:
    """What fails just now. A part is `directory`, `store`, `asterisk`, `output NAME`, `http`, …"""

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        """Each part's fault in words, with the hint."""
        self._troubles: dict[str, _Trouble] = {}

    def __contains__(self, part: str) -> bool:
        return part in self._troubles

    def all(self) -> dict[str, AdwatchError]:
        """Each part's fault, as it was raised last."""
        return {part: trouble.fault for part, trouble in self._troubles.items()}

    def told(self, part: str, fault: AdwatchError | None) -> None:
        """A part was tried: it has a fault, or it is well."""
        if fault is None:
            self.over(part)
        else:
            self.failed(part, fault)

    def failed(self, part: str, fault: AdwatchError) -> None:
        """A part has a fault; the log is told at the first, the second, the fourth, … time."""
        trouble = self._troubles.setdefault(part, _Trouble(fault, time.time(), 0))
        trouble.fault, trouble.times = fault, trouble.times + 1
        changed = self.faults.get(part) != str(fault)
        self.faults[part] = str(fault)
        if changed or trouble.times & (trouble.times - 1) == 0:
            said = {"cause": fault.message, "hint": fault.hint or None}
            log.error(line("fault", part=part, **said, times=trouble.times))

    def over(self, part: str) -> None:
        """A part is well, be it again or still."""
        trouble = self._troubles.pop(part, None)
        if trouble is not None:
            del self.faults[part]
            lasted = span(time.time() - trouble.since)
            log.info(line("recovered", part=part, failures=trouble.times, lasted=lasted))

    def over_but(self, parts: Iterable[str]) -> None:
        """Every part but these is well."""
        for part in self.faults.keys() - set(parts):
            self.over(part)
