"""The octets of an output, put together from its peers' fragments: a change costs what changed."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from adwatch.core.model import Peer, sort_key
from adwatch.core.render import HEADER, Renderer, RenderError
from adwatch.core.safe import UnsafeText

Key = tuple[str, str]  # number and GUID, by which peers stand in order
Print = tuple[int | str, int]
"""Tells one text from another while the process goes on."""

_HEADER: Final = HEADER.encode()
_PEERS: Final = 128  # of a block, which is put together anew where one of them changes


@dataclass(frozen=True, slots=True)
class Since:
    """What becomes of a text: its print before, and the peers that differ, as they were and as
    they are; or both texts as a whole.
    """

    print: Print
    before: bytes
    after: bytes


class _Block:
    """Peers that stand behind one another: their keys, and the sizes of their fragments."""

    __slots__ = ("keys", "sizes", "text")

    def __init__(self, ordered: Sequence[tuple[Key, bytes]]) -> None:
        self.keys = [key for key, _ in ordered]
        self.sizes = array("L", [len(fragment) for _, fragment in ordered])
        self.text = b"".join([fragment for _, fragment in ordered])

    def fragments(self) -> dict[Key, bytes]:
        """What it was made of."""
        found, at = {}, 0
        for key, size in zip(self.keys, self.sizes, strict=True):
            found[key] = self.text[at : at + size]
            at += size
        return found


class Document:
    """Every peer's fragment in its place, in UTF-8. `parts()` are what `Renderer.document` makes
    of them all.

    A peer that can't be written any more spoils the whole text until it changes or goes.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._keys: dict[str, Key] = {}
        self._blocks: list[_Block] = []
        self._firsts: list[Key] = []
        """The first key of each block."""
        self._new: dict[Key, bytes | None] = {}
        """What the blocks have not yet; None is for what they have no longer."""
        self._faults: dict[str, UnsafeText | RenderError] = {}
        self._print = len(_HEADER), 0
        self._published: Print | None = None
        self._before: dict[Key, bytes] = {}
        """Those that changed since then, as they were."""
        self._after: dict[Key, bytes] = {}

    def put(self, peer: Peer) -> None:
        """Takes a peer in, or in place of what it was."""
        guid, key = peer.guid, sort_key(peer)
        before = self._keys.get(guid)
        if before is not None and before != key:
            self.drop(guid)
        self._faults.pop(guid, None)
        try:
            self._new[key] = f"\n{self._renderer.take(peer)}".encode()
        except (UnsafeText, RenderError) as error:
            self._new[key] = b""
            self._faults[guid] = error
        self._keys[guid] = key

    def drop(self, guid: str) -> None:
        """Forgets a peer, if it is here."""
        key = self._keys.pop(guid, None)
        if key is not None:
            self._faults.pop(guid, None)
            self._new[key] = None

    def __contains__(self, guid: str) -> bool:
        return guid in self._keys

    def parts(self) -> list[bytes]:
        """The whole of it, one piece behind the other.

        Raises UnsafeText or RenderError where a peer can't be written.
        """
        for error in self._faults.values():
            raise error
        self._settle()
        return [_HEADER, *[block.text for block in self._blocks]]

    def print(self) -> Print:
        """Tells this text from others."""
        self._settle()
        return self._print

    def published(self) -> None:
        """Notes that the text as it is now is what the files hold."""
        self._settle()
        self._published = self._print
        self._before.clear()
        self._after.clear()

    def since(self) -> Since | None:
        """What became of it since it was published, None where it has not been."""
        self._settle()
        if self._published is None:
            return None
        changed = sorted(key for key, was in self._before.items() if was != self._after[key])
        before, after = (
            b"".join([one[key] for key in changed])[1:] for one in (self._before, self._after)
        )
        return Since(self._published, before, after)

    def _settle(self) -> None:
        """Gives what is new its place, in each block all at once."""
        there: dict[int, list[Key]] = {}
        for key in self._new:
            there.setdefault(max(0, bisect_right(self._firsts, key) - 1), []).append(key)
        for place in sorted(there, reverse=True):
            old = self._blocks[place : place + 1]
            new = list(self._made_anew(old[0].fragments() if old else {}, there[place]))
            self._blocks[place : place + 1] = new
            self._firsts[place : place + 1] = [block.keys[0] for block in new]
        self._new.clear()

    def _made_anew(self, fragments: dict[Key, bytes], keys: Iterable[Key]) -> Iterator[_Block]:
        """The blocks that stand in place of one: with what is new, and none of them too large."""
        for key in keys:
            new = self._new[key]
            self._note(key, fragments.pop(key, None), new)
            if new is not None:
                fragments[key] = new
        ordered = sorted(fragments.items())
        most = _PEERS if len(ordered) > 2 * _PEERS else 2 * _PEERS
        for at in range(0, len(ordered), most):
            yield _Block(ordered[at : at + most])

    def _note(self, key: Key, before: bytes | None, after: bytes | None) -> None:
        size, rest = self._print
        for fragment, sign in ((before, -1), (after, 1)):
            if fragment is not None:
                size += sign * len(fragment)
                rest += sign * hash((key[0], fragment))  # whose it is does not show
        self._print = size, rest
        if self._published is not None:
            self._before.setdefault(key, before or b"")
            self._after[key] = after or b""
