"""What differs between two peers, field by field; a secret only as a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import overload

from adwatch.core.model import MAPPED, Peer

Triple = tuple[str, str, str]
_NAMES = (*MAPPED, "dn", "login")  # of one without fields of the administrator's own
_VALUES = attrgetter(*_NAMES)


class Everything(Sequence[Triple]):
    """All that a new peer has. It is told again whenever somebody looks, which takes no room:
    a first reading makes thousands of peers.
    """

    __slots__ = ("_peer",)

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def __iter__(self) -> Iterator[Triple]:
        peer = self._peer
        fields = _fields(peer).items() if peer.extra else zip(_NAMES, _VALUES(peer), strict=True)
        return iter([(name, "", value) for name, value in fields if value])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, at: int) -> Triple: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Triple]: ...

    def __getitem__(self, at: int | slice) -> Triple | Sequence[Triple]:
        return tuple(self)[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def differences(old: Peer | None, new: Peer | None) -> Sequence[Triple]:
    """The fields in which two peers differ, as (field, old, new); a secret only as a mask."""
    if old is None and new is not None:
        return Everything(new)
    before, after = _fields(old), _fields(new)
    changed = [
        (name, before.get(name, ""), after.get(name, ""))
        for name in dict.fromkeys((*before, *after))
        if before.get(name, "") != after.get(name, "")
    ]
    if old and new and old.secret != new.secret:
        changed.append(("secret", "********", "******** (another)"))
    return tuple(changed)


def _fields(peer: Peer | None) -> dict[str, str]:
    return {**dict(peer.values()), "dn": peer.dn, "login": peer.login} if peer else {}
