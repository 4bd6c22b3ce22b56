"""What a sync would change: peers, field by field, and each output as a unified diff."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adwatch.core.differences import differences
from adwatch.core.model import Change, Hold, Peer, sort_key
from adwatch.core.render import REALM, masked
from adwatch.core.secrets import ha1
from adwatch.edges import asterisk
from adwatch.report import change_json, hold_text
from adwatch.service import Service


@dataclass(frozen=True, slots=True)
class Difference:
    """What a sync would change, secrets masked."""

    before: tuple[Peer, ...]
    after: tuple[Peer, ...]
    files: tuple[str, ...]
    changes: tuple[Change, ...]
    holds: tuple[Hold, ...]

    @property
    def empty(self) -> bool:
        """Whether a sync would change nothing."""
        return not self.files and not self.changes

    def json(self) -> dict[str, Any]:
        """The same for programs: changes and holds, how many peers there are, each file's diff."""
        return {
            "changes": [change_json(change) for change in self.changes],
            "held": [hold_text(hold) for hold in self.holds],
            "peers": {"before": len(self.before), "after": len(self.after)},
            "files": list(self.files),
        }

    def text(self) -> str:
        """Peers added, removed and changed field by field, then each output's unified diff."""
        old = {peer.guid: peer for peer in self.before}
        new = {peer.guid: peer for peer in self.after}
        reasons = {c.guid: c.reason for c in self.changes if c.what == "removed"}
        lines = []
        for guid, peer in new.items():
            if guid not in old:
                lines.append(f"+ {peer.number} {peer.name} ({peer.login})")
            elif old[guid] != peer:
                lines.append(f"~ {peer.number} {peer.name} ({peer.login})")
                lines += [f"    {f}: {o!r} → {n!r}" for f, o, n in differences(old[guid], peer)]
        for guid, peer in old.items():
            if guid not in new:
                lines.append(f"- {peer.number} {peer.name} ({peer.login}): {reasons.get(guid, '')}")
        lines += [f"! held {hold_text(hold)}" for hold in self.holds]
        bad = [c for c in self.changes if c.what == "rejected"]
        lines += [f"! rejected {c.number} {c.login}: {c.reason}" for c in bad]
        return "\n".join([*lines, *self.files])


def difference(service: Service, turn: Callable[[], tuple[Change, ...]]) -> Difference:
    """What `turn`, taken on a dry service, changes."""
    before = service.store.served()
    changes = turn()
    after = service.store.served()
    people = {s.peer.guid: s.peer for s in (*before, *after)}.values()
    known = {service.secret(peer) for peer in people}
    known |= {ha1(peer.number, REALM, service.secret(peer)) for peer in people}
    files = []
    for output in service.outputs:
        old = asterisk.read(output.path)
        new = service.publisher.text(output, after) if service.store.cursor() else old
        if old != new:
            files.append(_unified(str(output.path), masked(old, known), masked(new, known)))
    return Difference(
        tuple(sorted((s.peer for s in before), key=sort_key)),
        tuple(sorted((s.peer for s in after), key=sort_key)),
        tuple(files),
        changes,
        tuple(service.store.pending()),
    )


def _unified(path: str, old: str, new: str) -> str:
    lines = difflib.unified_diff(
        old.split("\n"), new.split("\n"), f"{path} (now)", f"{path} (new)", lineterm=""
    )
    return "\n".join(lines) or f"{path}: only secrets change"
