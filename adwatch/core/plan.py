"""What is known and what was read become a Plan: who holds a number, and what must wait.

Nothing here acts; a plan names every effect of a turn before the first of them happens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter

from adwatch.core.differences import differences
from adwatch.core.model import (
    HIDDEN,
    Batch,
    Candidate,
    Change,
    Cursor,
    Hold,
    Known,
    Peer,
    Plan,
    Rejection,
    Seen,
    Served,
)

_SENIORITY = attrgetter("created", "guid")
UNSEEN = "the directory no longer shows it to adwatch"


@dataclass(frozen=True, slots=True)
class Safety:
    """How many users may lose their peer within the window before a person is asked."""

    max_removals: int
    max_removals_percent: float

    def stops(self, losses: int, base: int) -> bool:
        """Whether `losses` users of `base` are more than both limits allow."""
        share = base * self.max_removals_percent / 100
        return losses > self.max_removals and losses > share


@dataclass(frozen=True, slots=True)
class Rules:
    """The configuration as the plan needs it.

    `outputs` are the names of all outputs; `refusals` gives, for a peer, the outputs that can
    not hold it and why.
    """

    safety: Safety
    outputs: frozenset[str]
    refusals: Callable[[Peer], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Loss:
    """A user that would be served by fewer outputs than before."""

    guid: str
    reason: str
    print: str


def make_plan(known: Known, batch: Batch, mapped: Mapping[str, Candidate], rules: Rules) -> Plan:
    """Decides a whole turn.

    `mapped` are the candidates of the batch's entries by GUID. `known` holds at least every
    user that the batch names, and whoever has or wants one of their numbers, old or new.
    """
    gone = _gone(known, batch)
    candidates = mapped
    if known.candidates:
        mapped = {guid: _with_hidden(c, known) for guid, c in mapped.items()}
        staying = {g: c for g, c in known.candidates.items() if g not in gone}
        candidates = {**staying, **mapped}
    serving = _Serving(known, candidates, gone, rules)
    serving.settle()
    touched = frozenset(candidates) | frozenset(gone) | frozenset(known.served)
    rejections = tuple(serving.rejections())
    return Plan(
        put=tuple(c for g, c in sorted(mapped.items()) if known.candidates.get(g) != c),
        drop=frozenset(g for g in gone if g in known.candidates),
        serve=tuple(s for g, s in serving.result.items() if known.served.get(g) != s),
        end=frozenset(known.served) - frozenset(serving.result),
        hold=tuple(serving.holds(batch.at)),
        release=frozenset(known.holds) - frozenset(serving.kept),
        losses=frozenset(serving.fresh),
        touched=touched,
        rejections=rejections,
        history=tuple(serving.history(batch.at, rejections)),
    )


def _gone(known: Known, batch: Batch) -> dict[str, str]:
    """The users out of scope now, each with the reason as far as it is known."""
    here = {entry.guid for entry in batch.entries}
    there = (frozenset(known.candidates) | frozenset(known.served)) if batch.full else batch.asked
    return {guid: batch.gone.get(guid, UNSEEN) for guid in there - here}


def _with_hidden(new: Candidate, known: Known) -> Candidate:
    hidden = _hidden(new, known)
    return new if hidden == new.hidden else replace(new, hidden=hidden)


def _hidden(new: Candidate, known: Known) -> tuple[str, ...]:
    """The attributes that a user had, and has no more although nobody wrote to it.

    Then it is a right to read that was lost, and not the value. Once noticed this stays so
    while a person is waited for.
    """
    old = known.candidates.get(new.guid)
    if old is None:
        return ()
    silent = known.comparable and old.usn == new.usn
    hold = known.holds.get(new.guid)
    waits = hold is not None and hold.verdict != "approved"
    before = {*(old.shown if silent else ()), *(old.hidden if waits else ())}
    return tuple(sorted(before - set(new.shown)))


class _Serving:
    """Works out who is served: wishes first, then the safety stop, until nothing moves."""

    def __init__(
        self,
        known: Known,
        candidates: Mapping[str, Candidate],
        gone: Mapping[str, str],
        rules: Rules,
    ) -> None:
        self._known = known
        self._candidates = candidates
        self._gone = gone
        self._rules = rules
        judged = rules.outputs if known.outputs is None else known.outputs
        self._judged = rules.outputs & judged
        self._refusals: dict[str, Mapping[str, str]] = {}
        self._denied: dict[str, str] = {}
        self.kept: set[str] = set()
        self.fresh: set[str] = set()
        self.losses: dict[str, Loss] = {}
        self.result: dict[str, Served] = {}

    def settle(self) -> None:
        """Fills `result`, `losses` and `kept`.

        A peer that is kept occupies its old number, which can cost somebody else a peer, so
        the decision is made again until no further loss has to be kept.
        """
        while True:
            self.result = self._assign()
            judged = {guid: self.losses[guid] for guid in self.kept}
            self.losses = judged | {loss.guid: loss for loss in self._find_losses()}
            more = self._to_keep() - self.kept
            if not more:
                return
            self.kept |= more

    def _assign(self) -> dict[str, Served]:
        served = {guid: self._as_kept(guid) for guid in sorted(self.kept)}
        taken = {s.peer.key: s.peer for s in served.values()}
        self._denied = {}
        claims = [c for g, c in self._candidates.items() if c.peer and g not in self.kept]
        precedence = self._precedence if self._known.served or self._known.holders else _SENIORITY
        for candidate in sorted(claims, key=precedence):
            assert candidate.peer is not None
            number = candidate.peer.key
            holder = taken.get(number)
            refused = {} if holder else self._refused(candidate.peer)
            if holder is not None:
                self._denied[candidate.guid] = (
                    f"number {candidate.peer.number} is held by {holder.login or holder.dn}"
                )
            elif refused and frozenset(refused) >= self._rules.outputs:
                self._denied[candidate.guid] = "; ".join(sorted(set(refused.values())))
            else:
                taken[number] = candidate.peer
                served[candidate.guid] = Served(candidate.peer, refused)
        return served

    def _as_kept(self, guid: str) -> Served:
        """A peer that stays as it was, and is missing where a new output can't hold it."""
        old = self._known.served[guid]
        new = {o: why for o, why in self._refused(old.peer).items() if o not in self._judged}
        return Served(old.peer, {**old.refused, **new}) if new else old

    def _precedence(self, candidate: Candidate) -> tuple[bool, str, str]:
        """Who held the number keeps it; else the older account, then the lower GUID."""
        holder = self._known.served.get(candidate.guid)
        incumbent = holder is not None and holder.peer.key == candidate.key
        incumbent = incumbent or self._known.holders.get(candidate.key) == candidate.guid
        return not incumbent, candidate.created, candidate.guid

    def _refused(self, peer: Peer) -> Mapping[str, str]:
        if peer.guid not in self._refusals:
            self._refusals[peer.guid] = self._rules.refusals(peer)
        return self._refusals[peer.guid]

    def _find_losses(self) -> Iterator[Loss]:
        """Every user, but those kept already, that some output would serve no longer.

        One whose values are only hidden from adwatch is lost as well.
        """
        for guid, old in self._known.served.items():
            if guid in self.kept:
                continue
            new = self.result.get(guid)
            before = self._judged - frozenset(old.refused)
            after = self._judged - frozenset(new.refused) if new else frozenset()
            if new is None or before - after or (self._hides(guid) and new.peer != old.peer):
                yield Loss(guid, self._reason(guid, new), self._print(guid))

    def _hides(self, guid: str) -> tuple[str, ...]:
        return self._candidates[guid].hidden if guid in self._candidates else ()

    def _reason(self, guid: str, new: Served | None) -> str:
        if guid in self._gone:
            return self._gone[guid]
        if self._hides(guid):
            return f"AD no longer shows its {', '.join(self._hides(guid))} to adwatch"
        if new is not None:
            return "; ".join(sorted(set(new.refused.values())))
        candidate = self._candidates.get(guid)
        if candidate is not None and candidate.reason:
            return candidate.reason
        hold = self._known.holds.get(guid)
        return self._denied.get(guid) or (hold.reason if hold else UNSEEN)

    def _print(self, guid: str) -> str:
        candidate, hold = self._candidates.get(guid), self._known.holds.get(guid)
        if candidate is None and self._gone.get(guid, UNSEEN) == UNSEEN:
            return hold.print if hold else UNSEEN  # nothing new is known of it
        if candidate is None and self._gone[guid] == HIDDEN:
            return UNSEEN  # however it was looked for, it is one loss
        said: list[object] = [self._gone.get(guid)]
        if candidate is not None:
            said = [candidate.reason, candidate.peer.values() if candidate.peer else ()]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def _to_keep(self) -> set[str]:
        """The losses that may not happen now."""
        waiting, new = set(), set()
        for guid, loss in self.losses.items():
            hold = self._known.holds.get(guid)
            if hold is None or (hold.verdict and hold.print != loss.print):
                new.add(guid)
            elif hold.verdict != "approved":
                waiting.add(guid)
        self.fresh = new
        count = len(self._known.losses | new)
        left = self._known.total - len(frozenset(self._known.served) - frozenset(self.result))
        left += len(frozenset(self.result) - frozenset(self._known.served))
        if new and (left == 0 or self._rules.safety.stops(count, self._known.base)):
            waiting |= new
        return waiting

    def holds(self, at: float) -> Iterator[Hold]:
        """The holds to write: new ones, and those whose loss is not the one last seen."""
        for guid in sorted(self.kept):
            loss, old = self.losses[guid], self._known.holds.get(guid)
            if old is None or old.print != loss.print:
                since = at if self._newly_held(guid) or old is None else old.since
                peer = self._known.served[guid].peer
                yield Hold(guid, peer.number, peer.login, loss.reason, loss.print, since)

    def _newly_held(self, guid: str) -> bool:
        old = self._known.holds.get(guid)
        return old is None or bool(old.verdict and old.print != self.losses[guid].print)

    def rejections(self) -> Iterator[Rejection]:
        """Why users in scope have no peer, or lack one in some output."""
        result = self.result
        for guid in sorted([g for g in self._candidates if g not in result or result[g].refused]):
            c = self._candidates[guid]
            number = c.peer.number if c.peer else ""
            if guid in self.kept:
                continue
            if c.peer is None and c.fault:
                yield Rejection(guid, c.dn, c.login, number, c.reason)
            elif guid in self._denied:
                yield Rejection(guid, c.dn, c.login, number, self._denied[guid])
            elif guid in self.result:
                for output, reason in sorted(self.result[guid].refused.items()):
                    yield Rejection(guid, c.dn, c.login, number, reason, output)

    def history(self, at: float, rejections: tuple[Rejection, ...]) -> Iterator[Change]:
        """What changes, field by field, with secrets left out."""
        for guid, new in self.result.items():
            before = self._known.served[guid].peer if guid in self._known.served else None
            if before != new.peer:
                what = "changed" if before else "added"
                yield _change(at, what, new.peer, before, new.peer)
        for guid in sorted(frozenset(self._known.served) - frozenset(self.result)):
            peer = self._known.served[guid].peer
            yield _change(at, "removed", peer, peer, None, self.losses[guid].reason)
        for hold in self.holds(at):
            if self._newly_held(hold.guid):
                yield Change(at, "held", hold.guid, hold.number, hold.login, (), hold.reason)
        for guid, hold in self._known.holds.items():
            if guid not in self.losses:
                yield Change(at, "released", guid, hold.number, hold.login, (), "it came back")
        for r in rejections:
            if r not in self._known.rejections.get(r.guid, ()):
                reason = f"output {r.output}: {r.reason}" if r.output else r.reason
                yield Change(at, "rejected", r.guid, r.number, r.login, (), reason)


def _change(
    at: float, what: str, peer: Peer, old: Peer | None, new: Peer | None, reason: str = ""
) -> Change:
    return Change(at, what, peer.guid, peer.number, peer.login, differences(old, new), reason)


def passed_over(
    mapped: Mapping[str, Candidate],
    since: Cursor,
    seen: Mapping[str, Seen],
    changes: Iterable[Change],
) -> tuple[str, ...]:
    """Whom a reading of everybody changed by writes that the feed, at `since`, should have shown.

    `mapped` are the users as they were read, `seen` as they were known; each has its login or DN.
    """
    missed = {}
    for change in changes:
        user, before = mapped.get(change.guid), seen.get(change.guid)
        if user is not None and before is not None and 0 < before.usn < user.usn <= since.usn:
            missed[user.guid] = user.login or user.dn
    return tuple(missed.values())
