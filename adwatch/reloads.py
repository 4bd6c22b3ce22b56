"""What Asterisk has still to be told, the telling, and what was seen of it afterwards.

A reload is owed from before its file is replaced until Asterisk has acknowledged it and, where
that can be seen, has what the file says. What it is owed for is kept in the store, too, so that
a look after a restart knows what to look for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final

from adwatch.core.document import Print, Since
from adwatch.core.model import Debt
from adwatch.core.words import line
from adwatch.edges import asterisk
from adwatch.edges.asterisk import Changes, Errand, Look, Order, Pbx, Result, Wanted
from adwatch.edges.store import Store
from adwatch.errors import AsteriskError, NotTakenError
from adwatch.output import Output
from adwatch.turn import Turn

log = logging.getLogger(__name__)

_NOBODY: Final = frozenset[str]()
_NOTHING: Final = Changes()
_FEW = 5  # names said in a sentence
# With a single new peer that does not appear, nothing tells whether Asterisk refuses the peer or
# the whole file. After so many reloads it is taken for the peer's own fault.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of Asterisk and one output, across restarts.

    `since` is what changed since Asterisk took it last; `told` that a reload was acknowledged
    since, so that only the look is missing; `tries` are reloads that nothing came of. The rest
    is from the last look: whether all was there (None: nobody could see), which peers of the
    file are not, and which are that should not be.
    """

    since: Changes = _NOTHING
    told: bool = False
    tries: int = 0
    verified: bool | None = None
    refused: frozenset[str] = _NOBODY
    lingering: frozenset[str] = _NOBODY

    def text(self) -> str:
        """As it is stored."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        said["since"] = {one.name: getattr(self.since, one.name) for one in fields(self.since)}
        return json.dumps(said, default=sorted)

    @classmethod
    def parse(cls, text: str) -> Record:
        """What `text` wrote; a damaged one knows nothing."""
        try:
            said = json.loads(text or "{}")
            since = {key: frozenset(names) for key, names in said["since"].items()}
            return cls(
                Changes(**since),
                bool(said["told"]),
                int(said["tries"]),
                said["verified"],
                frozenset(said["refused"]),
                frozenset(said["lingering"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()

    @property
    def fault(self) -> str | None:
        """What is wrong with the output as Asterisk has it, in a sentence."""
        if not self.lingering:
            return None
        return (
            f"Asterisk still has {_some(self.lingering)}, which the file no longer names"
            " (is it written down elsewhere, too?)"
        )


@dataclass(slots=True)
class _UnderWay:
    """The errand, and the outputs whose debt it still pays: a newer file takes one away.

    With `again` it pays nothing, and looks once more at what was odd.
    """

    errand: Errand
    outputs: set[str]
    again: bool = False
    told: set[str] = field(default_factory=set)


class Reloads:
    """The debts of reloads. One errand at a time, begun and followed by whoever owns the loop."""

    def __init__(
        self,
        outputs: Iterable[Output],
        store: Store,
        pbx: Callable[[], Pbx],
        clock: Callable[[], float],
        *,
        verify: bool,
    ) -> None:
        self.woken: Callable[[], None] = lambda: None
        self._outputs = {output.name: output for output in outputs}
        self._store = store
        self._pbx = pbx
        self._clock = clock
        self._verify = verify
        self._under_way: _UnderWay | None = None
        self._before: dict[str, Print] = {}
        """What each file held when nothing was owed for it yet, and Asterisk had read it."""
        self._held: dict[str, Print] = {}
        self._records: dict[str, Record] = {}

    def change(self, outputs: Iterable[Output], pbx: Callable[[], Pbx], *, verify: bool) -> None:
        """Goes on with other outputs, or another Asterisk; what is on its way stays owed."""
        self.close()
        self._outputs = {output.name: output for output in outputs}
        self._pbx, self._verify = pbx, verify

    def owe(self, output: Output, since: Since) -> bool:
        """Writes down that Asterisk has to be told of a text that is about to be put in place.

        `since` is what it changes of what the file holds. Gives whether nothing had been owed
        for that output until now.
        """
        if not output.reload:
            return False
        name = output.name
        record = self.record(name)
        new = name not in self._store.owed("reload")
        self._held.pop(name, None)
        if new:
            self._before[name] = since.print
            record = replace(record, since=_NOTHING, tries=0)
        if output.shown_by:
            now = asterisk.changes(since.before, since.after)
            refused = record.refused - now.touched - now.gone
            record = replace(record, since=record.since.then(now), refused=refused)
        self._remember(name, replace(record, told=False))
        self._store.owe(Debt("reload", name, self._clock(), output.reload))
        if self._under_way is not None:  # it may have read the old file
            self._under_way.outputs.discard(name)
        return new

    def replaced(self, output: Output, now: Print) -> None:
        """Notes what the file holds now."""
        self._held[output.name] = now

    def forgive(self, output: Output, parts: Sequence[bytes]) -> None:
        """Takes a debt that was new back, where the text has not come into place."""
        if asterisk.differs(output.path, parts):
            self._settle(output.name)

    def owed(self) -> bool:
        """Whether Asterisk has still to be told of something."""
        return bool(self._store.owed("reload"))

    def under_way(self) -> bool:
        """Whether a reload is on its way."""
        return self._under_way is not None

    def begin(self) -> bool:
        """Begins to pay all that is owed; gives whether there was anything to reload."""
        for name in self._store.owed("reload"):
            output = self._outputs.get(name)
            if output is None or not output.reload or self._unchanged(output):
                self._settle(name)  # taken out of the configuration, or back to what it was
        wanted: dict[tuple[str, bool], dict[str, Wanted | None]] = {}
        for name in self._store.owed("reload"):
            output, record = self._outputs[name], self.record(name)
            assert output.reload
            key = output.reload, record.told
            wanted.setdefault(key, {})[name] = self._wanted(output, record)
            self._before.pop(name, None)  # from here on Asterisk may have read the new file
        orders = [Order(cli, outputs, told) for (cli, told), outputs in wanted.items()]
        if orders:
            errand = Errand(self._pbx(), orders, self.woken)
            self._under_way = _UnderWay(errand, {name for o in orders for name in o.wanted})
        return bool(orders)

    def odd(self) -> bool:
        """Whether Asterisk lacks peers, or has too many, although nothing is owed."""
        return bool(self._odd())

    def _odd(self) -> dict[str, Record]:
        owed = self._store.owed("reload")
        found = {name: self.record(name) for name in self._outputs if name not in owed}
        return {name: one for name, one in found.items() if one.refused or one.lingering}

    def look_again(self) -> None:
        """Looks whether a person has mended by now what is odd; reloads nothing."""
        orders = []
        for name, record in self._odd().items():
            output, since = self._outputs[name], Changes(gone=record.lingering)
            wanted = self._wanted(output, replace(record, since=since))
            if wanted is not None:
                orders.append(Order(output.reload or "", {name: wanted}, told=True))
        if orders:
            names = {name for order in orders for name in order.wanted}
            errand = Errand(self._pbx(), orders, self.woken)
            self._under_way = _UnderWay(errand, names, again=True)

    def _seen_again(self, way: _UnderWay) -> None:
        for result in way.errand.results:
            for name, look in result.looks.items():
                if name in way.outputs and look.known:
                    seen = replace(self.record(name), verified=look.good, refused=look.missing)
                    self._remember(name, replace(seen, lingering=look.lingering))

    def _unchanged(self, output: Output) -> bool:
        """Whether what was written last is again what Asterisk was told of before.

        Only while the process goes on: across a restart Asterisk, too, may have been started.
        """
        before = self._before.get(output.name)
        return before is not None and before == self._held.get(output.name)

    def _wanted(self, output: Output, record: Record) -> Wanted | None:
        if not self._verify or not output.shown_by:
            return None
        others = [
            asterisk.numbers_in(asterisk.read(other.path))
            for other in self._outputs.values()
            if other.shown_by == output.shown_by and other.name != output.name
        ]
        text = asterisk.read(output.path)
        return Wanted(output.shown_by, text, record.since, record.refused, _NOBODY.union(*others))

    def follow(self) -> bool:
        """Looks after the errand; gives whether it has just ended well.

        Raises AsteriskError where a part of it failed; that part stays owed. NotTakenError says
        that Asterisk acknowledged everything, and has not what it should.
        """
        way = self._under_way
        if way is None:
            return False
        done = way.errand.done()
        for result in way.errand.results:
            if not done or result.fault is not None:  # else it is settled at once
                self._note_told(way, result)
        if not done:
            if not way.outputs and all(result.told for result in way.errand.results):
                self.close()  # each file is a newer one: nothing that is seen now counts
            return False
        self._under_way = None
        if way.again:
            self._seen_again(way)
            return False
        faults = [fault for result in way.errand.results if (fault := self._judge(way, result))]
        for fault in sorted(faults, key=lambda one: isinstance(one, NotTakenError)):
            raise fault
        return True

    def _note_told(self, way: _UnderWay, result: Result) -> None:
        """Remembers at once what Asterisk acknowledged: it is not reloaded twice."""
        for name in result.order.wanted.keys() & way.outputs - way.told:
            if result.told:
                way.told.add(name)
                self._remember(name, replace(self.record(name), told=True))

    def _judge(self, way: _UnderWay, result: Result) -> AsteriskError | None:
        """Settles what an order paid for; gives what it failed by."""
        if result.fault is not None:
            return result.fault
        faults = []
        names = sorted(result.order.wanted.keys() & way.outputs)
        for name in names:
            wanted, look = result.order.wanted[name], result.looks.get(name)
            if wanted is None or look is None:
                self._settle(name, replace(self.record(name), verified=None))
            elif fault := self._weigh(name, wanted, look):
                faults.append(fault)
        if names and not faults:
            seen = [look for name in names if (look := result.looks.get(name))]
            facts = {"command": result.order.cli, "outputs": ",".join(names), **_said(seen)}
            log.info(line("reloaded", **facts))
        return NotTakenError(*faults[0]) if faults else None

    def _weigh(self, name: str, wanted: Wanted, look: Look) -> tuple[str, str] | None:
        """Settles the debt by what was seen, or gives message and hint of the fault.

        What Asterisk shows of the new file proves that it was read; new peers that are missing
        all the same are ones that it refuses. Without proof it may have rejected the file, and
        where older peers are missing, it read no further than to a line that it can't read.
        """
        record = self.record(name)
        fresh = look.missing - wanted.known
        since = record.since
        lone = len(fresh | look.stale) == 1 and not look.lingering
        own = fresh <= since.added | since.touched and len(fresh) <= max(1, look.count // 10)
        if look.known and not look.settled:
            record = replace(record, tries=record.tries + 1, told=False, verified=False)
            if not own or not (look.proof or (lone and record.tries >= _TRIES)):
                self._remember(name, record)
                return _not_taken(name, fresh, look)
        if fresh:
            hint = "its log says why; the other peers are served"
            log.warning(line("refused", output=name, peers=_some(fresh), hint=hint))
        if look.lingering:
            log.warning(line("lingering", output=name, peers=_some(look.lingering)))
        seen = Record(refused=look.missing, lingering=look.lingering)
        self._settle(name, replace(seen, verified=look.good if look.known else None))
        return None

    def record(self, name: str) -> Record:
        """What is known of Asterisk and an output."""
        if name not in self._records:
            self._records[name] = Record.parse(self._store.meta(f"asterisk {name}"))
        return self._records[name]

    def _remember(self, name: str, record: Record) -> None:
        self._records[name] = record
        self._store.remember(f"asterisk {name}", record.text())

    def _settle(self, name: str, record: Record | None = None) -> None:
        if record is not None:
            self._remember(name, replace(record, since=_NOTHING, told=False, tries=0))
        self._store.settle("reload", name)
        self._before.pop(name, None)

    def now(self, turn: Turn) -> None:
        """Pays every reload that is owed and waits for it, for commands that then exit."""
        with turn.part("asterisk"):
            if self.owed() and self.begin():
                assert self._under_way is not None
                self._under_way.errand.wait()
                self.follow()

    def restart(self) -> None:
        """Ends what is under way and forgets what is known: the store is another."""
        self.close()
        self._before.clear()
        self._held.clear()
        self._records.clear()

    def close(self) -> None:
        """Ends what is under way; it stays owed."""
        if self._under_way is not None:
            self._under_way.errand.kill()
            self._under_way = None


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _FEW} more" if len(ordered) > _FEW else ""
    return ", ".join(ordered[:_FEW]) + more


def _not_taken(name: str, fresh: frozenset[str], look: Look) -> tuple[str, str]:
    parts = []
    if fresh:
        parts.append(f"does not have {_some(fresh)}")
    if look.lingering:
        parts.append(f"still has {_some(look.lingering)}")
    if look.stale:
        parts.append(f"has {_some(look.stale)} as before")
    return (
        f"Asterisk said that it has reloaded, but of the output {name} it {', and '.join(parts)}",
        "does it include the file, and know the templates? Its log says what it rejects",
    )


def _said(looks: list[Look]) -> Mapping[str, object]:
    """What a log line tells of the looks after a reload."""
    if not looks:
        return {}
    unknown = next((look.why for look in looks if not look.known), None)
    if unknown is not None:
        return {"verified": "no", "cause": unknown}
    return {"verified": "yes", "peers": sum(look.count for look in looks)}
