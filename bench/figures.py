"""What was measured, by name; a figure that was not run is absent."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import share


class Figures:
    """Every single figure. `facts` say where and how they were measured."""

    def __init__(self, facts: dict[str, Any] | None = None) -> None:
        self.facts = facts or {}
        self._all: dict[str, list[float]] = {}

    def add(self, name: str, figure: float) -> None:
        """Takes one figure more."""
        self._all.setdefault(name, []).append(figure)

    def all(self, name: str) -> list[float]:
        """Every figure of a name, empty where it was not measured."""
        return self._all.get(name, [])

    def median(self, name: str) -> float | None:
        """The middle one, None where it was not measured."""
        found = self.all(name)
        return median(found) if found else None

    def share(self, name: str, part: float) -> float | None:
        """What a part of them did not exceed, None where it was not measured."""
        found = self.all(name)
        return share(found, part) if found else None

    def most(self, name: str) -> float | None:
        """The greatest, None where it was not measured."""
        return max(self.all(name), default=None)

    def ratio(self, name: str, other: str) -> float | None:
        """One median by another, None where either was not measured."""
        one, two = self.median(name), self.median(other)
        return one / two if one is not None and two else None

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps({"facts": self.facts, "figures": self._all}, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Figures:
        """What `write` wrote."""
        said = json.loads(path.read_text())
        made = cls(said["facts"])
        made._all = said["figures"]
        return made
