"""The directory: what it holds, and which of it may have changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from adwatch.core.model import Batch, Cursor, Entry, Finding, Reach, Seen


class Directory(Protocol):
    """What every directory offers; `ActiveDirectory` says what each promises."""

    def open(self) -> None:
        """Connects, where that was not done."""

    def close(self) -> None:
        """Ends all connections."""

    def abort(self) -> None:
        """Makes whatever waits fail at once; safe from any thread."""

    def listen(self, wake: Callable[[], None]) -> None:
        """Calls `wake`, from another thread, at signs of a change."""

    def check(self) -> None:
        """Asks the server in use for next to nothing, so that a lost connection shows."""

    def prefer(self) -> None:
        """Looks for a better server than the one in use, and waits for nothing."""

    def reach(self) -> Reach:
        """Which server is in use and how."""

    def read(
        self,
        since: Cursor | None,
        known: Callable[[], Mapping[str, Seen]],
        take: Callable[[Entry], Entry] | None = None,
        also: frozenset[str] = frozenset(),
    ) -> Batch:
        """What changed since `since`, and the users `also`; or everything."""

    def compare(self, since: Cursor, known: Callable[[], Mapping[str, Seen]]) -> Batch:
        """What differs from `known`."""

    def contacts(self, guids: frozenset[str] | None) -> list[Entry]:
        """The contacts among `guids`, or all."""

    def find(self, who: str, number_attributes: frozenset[str]) -> list[Finding]:
        """The users that `who` names."""
