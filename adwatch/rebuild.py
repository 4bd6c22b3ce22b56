"""A store made anew: from what is left of the last one, and the last good outputs as witness.

What both say the same is certain. A number that two users ask for is whose secret stands there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from adwatch import lastgood
from adwatch.core.model import Candidate, Debt, Peer, Served
from adwatch.core.plan import Safety
from adwatch.core.render import REALM, RenderError
from adwatch.core.safe import UnsafeText
from adwatch.core.secrets import ha1
from adwatch.core.words import line
from adwatch.edges import asterisk
from adwatch.edges.store import Store
from adwatch.errors import HeldError
from adwatch.output import Output

log = logging.getLogger(__name__)

HEALS: Final = "it mends itself once the directory has been read"


class LastOutputs:
    """The outputs as they were written last, and what they prove.

    They are read when they are first asked, which nobody does while the store is whole.
    """

    def __init__(self, state: Path, outputs: Iterable[Output]) -> None:
        self._state = state
        self._outputs = tuple(outputs)

    @cached_property
    def _pieces(self) -> list[tuple[Output, frozenset[str]]]:
        found = []
        for output in self._outputs:
            text = asterisk.read(output.path)
            text = text or asterisk.read(lastgood.path_of(self._state, output.name))
            found.append((output, frozenset(_pieces(text))))
        return found

    @property
    def any(self) -> bool:
        """Whether anybody is in them."""
        return any(pieces for _, pieces in self._pieces)

    def confirm(self, served: Served) -> bool:
        """Whether some output has a peer exactly so."""
        return any(
            output.name not in served.refused and _has(output, pieces, served.peer)
            for output, pieces in self._pieces
        )

    def holders(self, mapped: Mapping[str, Candidate]) -> dict[str, str]:
        """Of each number that several users ask for now, who has it in some output: its GUID."""
        rivals: dict[str, list[Peer]] = {}
        for candidate in mapped.values():
            if candidate.peer is not None:
                rivals.setdefault(candidate.key, []).append(candidate.peer)
        contested = {key: peers for key, peers in rivals.items() if len(peers) > 1}
        found: dict[str, str] = {}
        for output, pieces in self._pieces if contested else ():
            sections = _by_number(pieces)
            for key, peers in contested.items():
                text = sections.get(key, "")
                for peer in peers:
                    if _has(output, pieces, peer) or _is_secret(output, peer, text):
                        found.setdefault(key, peer.guid)
        return found


def rebuild(store: Store, outputs: Iterable[Output], last: LastOutputs, now: float) -> None:
    """Begins a store in place of one that is lost; a new one where none was is left alone.

    A reload is owed for every output: whether the last one was paid nobody knows.
    """
    left = store.left()
    if not left.name and not last.any:
        return
    served = [one for one in left.served if last.confirm(one)]
    if left.name:
        cause = f" ({store.aside.cause})" if store.aside else ""
        fault = f"the store was damaged{cause}; it is kept as {left.name}"
    else:
        fault = f"the store {store.path} was gone"
    fault += f", and {len(served)} peers are known of it; the outputs stay as they are meanwhile"
    debts = [Debt("reload", o.name, now, o.reload) for o in outputs if o.reload]
    store.restore(left, served, debts, fault)
    log.error(line("fault", part="store", cause=fault, hint=HEALS))


def refuse_to_forget(
    store: Store, outputs: Iterable[Output], mapped: Mapping[str, Candidate], safety: Safety
) -> None:
    """Stops a lost store from dropping the peers that the outputs still have.

    Of the users that the store does not know, either, the safety stop has nothing to compare
    with but the last outputs. Raises HeldError.
    """
    if store.cursor() is not None:
        return
    peers = [candidate.peer for candidate in mapped.values() if candidate.peer]
    here = {peer.guid for peer in peers}
    known = [one.peer for one in store.served() if one.peer.guid not in here]
    peers += known  # the plan will judge of these
    for output in outputs:
        before = output.records(asterisk.read(output.path))
        fitting = (peer for peer in peers if not output.renderer.refusal(peer))
        lost = before - output.records(output.renderer.document(fitting)) if before else before
        many = safety.stops(len(lost) + len(known), len(before))
        if lost and (lost == before or many):
            raise HeldError(
                f"the store is lost, and the directory shows {len(lost)} fewer of the"
                f" {len(before)} {output.kind} in {output.path}",
                f"if that is right, move {output.path} away and sync again",
            )


def _pieces(text: str) -> list[str]:
    """What stands apart by an empty line: sections, and the lines between them."""
    return [one for piece in text.split("\n\n") if (one := piece.strip("\n"))]


def _has(output: Output, pieces: frozenset[str], peer: Peer) -> bool:
    try:
        wanted = _pieces(output.renderer.fragment(peer))
    except (UnsafeText, RenderError):
        return False
    return bool(wanted) and pieces >= frozenset(wanted)


def _is_secret(output: Output, peer: Peer, text: str) -> bool:
    secret = output.renderer.secret_of(peer)
    return bool(secret) and (
        secret.replace(";", "\\;") in text or ha1(peer.number, REALM, secret) in text
    )


def _by_number(pieces: Iterable[str]) -> dict[str, str]:
    sections: dict[str, str] = {}
    for piece in pieces:
        for number in asterisk.numbers_in(piece):
            sections[number] = sections.get(number, "") + piece + "\n"
    return sections
