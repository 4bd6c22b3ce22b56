"""What one turn did: its faults by part, its changes, and the exit code that they make."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from adwatch.core.model import Change
from adwatch.errors import AdwatchError, DamagedError, HeldError, StoreError


@dataclass(slots=True)
class Turn:
    """What one turn did: the faults by part, and the changes that it committed."""

    faults: dict[str, AdwatchError] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    full: bool = False
    held: int = 0
    wrote: bool = False
    took: dict[str, float] = field(default_factory=dict)
    """Seconds by part, of those in core/trace.py that there were."""

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds what is done within it to what a part took."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.took[part] = self.took.get(part, 0.0) + time.monotonic() - begun

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Keeps a part's fault from starving the others; a bug still goes through.

        What the store refuses is the store's fault, whoever asked.
        """
        try:
            yield
        except DamagedError:
            raise  # nothing can go on
        except StoreError as error:
            self.faults["store"] = error
        except AdwatchError as error:
            self.faults[name] = error

    @property
    def exit_code(self) -> int:
        """What a command that made this turn exits with: the gravest of what happened."""
        codes = {fault.exit_code for fault in self.faults.values()}
        if self.held:
            codes.add(HeldError.exit_code)
        return next((code for code in (5, 4, 3, 1, 6) if code in codes), max(codes, default=0))

    def then(self, later: Turn) -> Turn:
        """This turn and the one that it called for, as one: the later one's faults stand."""
        return replace(
            later,
            changes=(*self.changes, *later.changes),
            full=self.full or later.full,
            wrote=self.wrote or later.wrote,
        )
