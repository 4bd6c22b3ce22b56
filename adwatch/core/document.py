"""The text of an output, put together from its peers' fragments: a change costs what changed."""

from __future__ import annotations

from bisect import bisect_left, insort

from adwatch.core.model import Peer, UnsafeText
from adwatch.core.render import HEADER, Renderer, RenderError, sort_key

_MANY = 500  # from here on sorting once is cheaper than putting each in its place


class Document:
    """Every peer's fragment in its place. `text()` is what `Renderer.document` makes of them all.

    A peer that can't be written any more spoils the whole text until it changes or goes.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._order: list[tuple[str, str]] = []
        self._fragments: dict[str, str] = {}
        self._numbers: dict[str, str] = {}
        self._faults: dict[str, UnsafeText | RenderError] = {}
        self._unsorted = 0

    def put(self, peer: Peer) -> None:
        """Takes a peer in, or in place of what it was."""
        number, guid = sort_key(peer)
        if self._numbers.get(guid) != number:
            self.drop(guid)
            self._numbers[guid] = number
            if self._unsorted or len(self._order) < _MANY:
                self._order.append((number, guid))
                self._unsorted += 1
            else:
                insort(self._order, (number, guid))
        self._faults.pop(guid, None)
        try:
            self._fragments[guid] = "\n" + self._renderer.take(peer)
        except (UnsafeText, RenderError) as error:
            self._fragments[guid] = ""
            self._faults[guid] = error

    def drop(self, guid: str) -> None:
        """Forgets a peer, if it is here."""
        number = self._numbers.pop(guid, None)
        if number is None:
            return
        self._sort()
        del self._order[bisect_left(self._order, (number, guid))]
        del self._fragments[guid]
        self._faults.pop(guid, None)

    def _sort(self) -> None:
        if self._unsorted:
            self._order.sort()
            self._unsorted = 0

    def text(self) -> str:
        """The whole text. Raises UnsafeText or RenderError where a peer can't be written."""
        for error in self._faults.values():
            raise error
        self._sort()
        fragments = self._fragments
        return HEADER + "".join([fragments[guid] for _, guid in self._order])

    def __contains__(self, guid: str) -> bool:
        return guid in self._numbers
