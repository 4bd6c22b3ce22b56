"""The octets of an output, put together from its peers' fragments: a change costs what changed."""

from __future__ import annotations

from bisect import bisect_left

from adwatch.core.model import Peer, sort_key
from adwatch.core.render import HEADER, Renderer, RenderError
from adwatch.core.safe import UnsafeText

_HEADER = HEADER.encode()


class Document:
    """Every peer's fragment in its place, in UTF-8. `octets()` is what `Renderer.document` makes
    of them all.

    A peer that can't be written any more spoils the whole text until it changes or goes.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._numbers: dict[str, str] = {}
        self._order: list[tuple[str, str]] = []
        self._fragments: list[bytes] = []
        """Those of `_order`, in the same places."""
        self._new: dict[tuple[str, str], bytes] = {}
        self._faults: dict[str, UnsafeText | RenderError] = {}

    def put(self, peer: Peer) -> None:
        """Takes a peer in, or in place of what it was."""
        number, guid = key = sort_key(peer)
        before = self._numbers.get(guid)
        if before is not None and before != number:
            self.drop(guid)
            before = None
        self._faults.pop(guid, None)
        try:
            fragment = f"\n{self._renderer.take(peer)}".encode()
        except (UnsafeText, RenderError) as error:
            fragment = b""
            self._faults[guid] = error
        if before is None or key in self._new:
            self._numbers[guid] = number
            self._new[key] = fragment
        else:
            self._fragments[bisect_left(self._order, key)] = fragment

    def drop(self, guid: str) -> None:
        """Forgets a peer, if it is here."""
        number = self._numbers.pop(guid, None)
        if number is None:
            return
        self._faults.pop(guid, None)
        if self._new.pop((number, guid), None) is None:
            place = bisect_left(self._order, (number, guid))
            del self._order[place], self._fragments[place]

    def _settle(self) -> None:
        """Gives those that came since the last time their places."""
        if len(self._new) > len(self._order) // 100:
            every = [*zip(self._order, self._fragments, strict=True), *self._new.items()]
            every.sort()
            self._order = [key for key, _ in every]
            self._fragments = [fragment for _, fragment in every]
        else:
            for key, fragment in self._new.items():
                place = bisect_left(self._order, key)
                self._order.insert(place, key)
                self._fragments.insert(place, fragment)
        self._new.clear()

    def octets(self) -> bytes:
        """The whole of it. Raises UnsafeText or RenderError where a peer can't be written."""
        for error in self._faults.values():
            raise error
        if self._new:
            self._settle()
        return b"".join([_HEADER, *self._fragments])

    def __contains__(self, guid: str) -> bool:
        return guid in self._numbers
