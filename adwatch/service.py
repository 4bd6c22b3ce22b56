"""What adwatch does, told once: read, decide, remember, publish, reload.

Every command and the running service go through the same `turn`. What reads the directory
writes no file, and what publishes needs only the store.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from adwatch import lastgood
from adwatch.core.model import (
    Batch,
    Candidate,
    Change,
    Cursor,
    Debt,
    Hold,
    Peer,
)
from adwatch.core.plan import Rules, Safety, make_plan, passed_over
from adwatch.core.words import change_line, line
from adwatch.edges import asterisk
from adwatch.edges.store import Store
from adwatch.errors import (
    AdwatchError,
    DamagedError,
    OutputError,
    RebuildingError,
    StoreError,
)
from adwatch.intake import Intake
from adwatch.parts import Parts, secret_of
from adwatch.publisher import Publisher
from adwatch.rebuild import HEALS, LastOutputs, rebuild, refuse_to_forget
from adwatch.reloads import Reloads
from adwatch.turn import Turn

log = logging.getLogger(__name__)

_NO_REFUSALS: Mapping[str, str] = MappingProxyType({})


class Service:
    """Turns, and what people ask for between them. `dry` writes nothing at all."""

    def __init__(
        self,
        parts: Parts,
        store: Store,
        *,
        dry: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.dry = dry
        self.clock = clock
        self._known = False
        self.missed: tuple[str, ...] = ()
        """Whom the last reading of everybody changed although the feed had passed over them."""
        self._damaged: StoreError | None = None
        self._intake: Intake
        self._adopt(parts)
        verify = parts.config.asterisk.verify
        self.reloads = Reloads(parts.outputs, store, parts.pbx, self._now, verify=verify)
        self.publisher = Publisher(
            self.outputs, store, self.reloads, self.config.state, self._now, self._secrets_digest
        )

    def _adopt(self, parts: Parts) -> None:
        self.parts, self.config, self.outputs = parts, parts.config, parts.outputs
        self.directory, self.mapper, self.key = parts.directory, parts.mapper, parts.key
        self._written_as = json.dumps({output.name: output.digest() for output in self.outputs})
        """How each output is written, as the store remembers it."""
        safety = parts.config.safety
        self._rules = Rules(
            Safety(safety.max_removals, safety.max_removals_percent),
            frozenset(output.name for output in parts.outputs),
            self._refusals,
        )

    def _now(self) -> float:
        return self.clock()

    def change(self, parts: Parts) -> None:
        """Goes on with another configuration, which may share parts with the one before.

        What that makes owed is for `resume` to write down. A reload that is on its way stays
        owed where its outputs are others.
        """
        before = self.parts
        if parts.directory is not before.directory:
            self.directory.close()
        self._adopt(parts)
        same = parts.outputs is before.outputs and parts.pbx is before.pbx
        if not same:
            verify = parts.config.asterisk.verify
            self.reloads.change(parts.outputs, parts.pbx, verify=verify)
            self.publisher.change(self.outputs)

    def open(self, *, secrets: bool = True, resume: bool = True) -> None:
        """Opens the store and the key. A first start is one with neither store nor output.

        A store that is lost is begun anew from what is left. Without `resume`, that is to follow.
        """
        if self.dry:
            self.store.open_copy()
        last = LastOutputs(self.config.state, self.outputs)
        if secrets and not self.config.secrets.attribute:
            fresh = not (self.store.used() or last.any)
            self.key.open(fresh=fresh, write=not self.dry)
        if not self.dry:
            self.store.open()
            self._sweep()
            if not self.store.begun():
                rebuild(self.store, self.outputs, last, self.clock())
        if resume:
            self.resume(secrets=secrets, trust=True)

    def reopen(self) -> None:
        """Opens the store again, after it turned out to be lost while it was in use."""
        self._known = False
        self.reloads.restart()
        self.publisher.forget()
        self.store.close()
        self.open(resume=False)

    def resume(self, *, secrets: bool = True, trust: bool = False) -> None:
        """Owes what a process before may have left undone.

        With `trust`, an output that is as it was left is not made again; who runs for long does
        that once, and has it at hand for the first change.
        """
        if self.store.cursor():
            for output in self.outputs:  # one may have been lost, changed or added
                if not (trust and secrets and self.publisher.is_current(output)):
                    self.store.owe(Debt("publish", output.name, self.clock()))
            if secrets:
                self._plan_again()

    def _sweep(self) -> None:
        """Removes what a crash left half written."""
        for output in self.outputs:
            asterisk.sweep(output.path)
            asterisk.sweep(lastgood.path_of(self.config.state, output.name))
        self.key.sweep()

    def prepare(self) -> None:
        """Makes the state directory where it is missing."""
        state = self.config.state
        try:
            state.mkdir(mode=0o751, parents=True, exist_ok=True)
            (state / lastgood.DIRECTORY).mkdir(mode=0o751, exist_ok=True)
            if os.geteuid() == 0:  # root's commands leave nothing that the service can't use
                owner = state.stat()
                os.chown(state / lastgood.DIRECTORY, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise OutputError(
                f"the state directory {state} can't be made: {error.strerror}",
                "make it, and let adwatch's user write in it",
            ) from error

    def close(self) -> None:
        """Lets go of everything; a reload on its way is ended and stays owed."""
        self.reloads.close()
        self.directory.close()
        self.store.close()

    def turn(self, how: str = "poll", progress: Callable[[int], None] | None = None) -> Turn:
        """Reads, decides, commits, publishes.

        `how` is poll, for what changed; compare, for what is owed; or reconcile, for everything.
        """
        turn = Turn()
        with turn.part("directory"):
            since = self.store.cursor()
            self._known = since is not None
            judged = self._is_mapped_so() and self.store.meta("outputs") == self._written_as
            same = self.store.has if since is not None and judged else None
            self._intake = Intake(self.mapper, self.clock, same, progress)
            self._take(self._read(how, since), since, turn, compared=how == "compare")
            self._remember_feed()
        self.publish(turn)
        turn.held = len(self.store.pending())
        if fault := self.store_fault():
            turn.faults.setdefault("store", fault)
        return turn

    @property
    def known(self) -> bool:
        """Whether everybody has been read once."""
        return self._known or self.store.cursor() is not None

    def store_fault(self) -> StoreError | None:
        """What stands against the store until the directory has been read again."""
        said = self.store.meta("damaged")
        return RebuildingError(said, HEALS) if said else self._damaged

    def open_without_store(self, fault: DamagedError) -> None:
        """Opens an empty copy in place of a damaged store, to tell of it."""
        self._damaged = fault
        self.store.open_nothing()

    def _owe_all(self) -> None:
        for output in self.outputs:
            self.store.owe(Debt("publish", output.name, self.clock()))

    def _plan_again(self) -> None:
        """Does what needs no reading: approved losses, and outputs that are written otherwise.

        Both may be left over from a process before: a crash, another configuration.
        """
        if not self._is_mapped_so():
            return  # everybody is read again anyway, and has other fields then
        cursor, others = self.store.cursor(), self.store.meta("outputs") != self._written_as
        if cursor is not None and (others or self.store.approved()):
            batch = Batch((), frozenset(), full=False, cursor=cursor, at=self.clock())
            self._commit(batch, {}, everybody=others)

    def _secrets_digest(self) -> str:
        return "" if self.config.secrets.attribute else self.key.digest()

    def _read(self, how: str, since: Cursor | None) -> Batch:
        if not self._is_mapped_so():
            since = None  # the store has no attributes, only what another mapping made of them
        by_value = "values" in self.store.owed("compare")
        if how == "compare" and since is not None and not by_value:
            return self.directory.compare(since, self.store.seen)
        wanted = since if how == "poll" else None
        expiry = self.store.next_expiry()
        due = expiry is not None and expiry <= self.clock()
        also = self.store.expired(self.clock()) if due else frozenset[str]()
        return self.directory.read(wanted, self.store.seen, self._intake.take, also)

    def reconcile_due(self) -> bool:
        """Whether everything is to be read again, for commands that have no loop."""
        last = float(self.store.meta("last_reconcile") or 0)
        return last + self.config.directory.reconcile <= self.clock()

    def _take(self, batch: Batch, cursor: Cursor | None, turn: Turn, *, compared: bool) -> None:
        """Decides what a batch means and commits it; a comparison pays its debt with its rows.

        `cursor` is up to where the directory was known before.
        """
        turn.full = batch.full
        turn.took.update(batch.took)
        idle = not batch.full and not batch.asked and batch.cursor == cursor
        if idle and not compared:
            return
        mapped = self._intake.mapped(batch)
        seen = self.store.seen() if batch.full and mapped else {}
        comparable = batch.full and self._comparable(batch)
        if batch.full:
            refuse_to_forget(self.store, self.outputs, mapped, self._rules.safety)
        everybody = batch.full and not self._intake.narrowed
        digest = {"mapping": self.mapper.digest, "last_reconcile": str(batch.at)}
        marks = {**digest, "damaged": ""} if batch.full else {}
        with turn.timed("commit"):
            turn.changes = self._commit(
                batch, mapped, compared=compared or batch.full, everybody=everybody, marks=marks
            )
        if batch.full:
            since = cursor if comparable else None
            self.missed = passed_over(mapped, since, seen, turn.changes) if since else ()
        if cursor is None:
            self._owe_all()  # which `open` left until somebody was known

    def _commit(
        self,
        batch: Batch,
        mapped: Mapping[str, Candidate],
        *,
        compared: bool = False,
        everybody: bool = False,
        marks: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[Change, ...]:
        """Plans, for the users named or for everybody, and commits all that is owed for it."""
        window = batch.at - self.config.safety.window
        claims = [candidate.key for candidate in mapped.values() if candidate.key]
        guids = None if everybody else self._concerned(batch, mapped) | self.store.approved()
        known = self.store.known(guids, claims, window)
        known = replace(known, comparable=self._comparable(batch), holders=self._holders(mapped))
        plan = make_plan(known, batch, mapped, self._rules)
        if everybody:
            marks = {**marks, "outputs": self._written_as}
        names = [output.name for output in self.outputs]
        self.store.apply(plan, batch, names, window, compared=compared, marks=marks)
        if not self.dry:
            self.publisher.changed(plan)
        if log.isEnabledFor(logging.INFO):
            for change in plan.history:
                log.info(change_line(change))
        return plan.history

    def _concerned(self, batch: Batch, mapped: Mapping[str, Candidate]) -> frozenset[str]:
        """The users of whom a batch says anything new, and those that stood out before it."""
        if not batch.full:
            return batch.asked
        here = {entry.guid for entry in batch.entries}
        return self.store.others(here).union(self.store.unsettled(), mapped)

    def _holders(self, mapped: Mapping[str, Candidate]) -> Mapping[str, str]:
        """Who had the numbers that several ask for, where the last outputs alone know it."""
        if self.store.cursor() is not None:
            return {}
        return LastOutputs(self.config.state, self.outputs).holders(mapped)

    def _comparable(self, batch: Batch) -> bool:
        """Whether a batch was read from the database, and for the mapping, that is known."""
        cursor = self.store.cursor()
        same = cursor is not None and cursor.invocation == batch.cursor.invocation
        return same and self._is_mapped_so()

    def _is_mapped_so(self) -> bool:
        """Whether the users are known by what this mapping makes of them."""
        return self.store.meta("mapping") == self.mapper.digest

    def _refusals(self, peer: Peer) -> Mapping[str, str]:
        said = {output.name: output.renderer.refusal(peer) for output in self.outputs}
        found = {name: reason for name, reason in said.items() if reason}
        return found or _NO_REFUSALS

    def had_dirsync(self) -> bool:
        """Whether DirSync was to be had once, where the configuration leaves the choice."""
        return self.config.directory.feed == "auto" and bool(self.store.meta("dirsync"))

    def _remember_feed(self) -> None:
        """For `had_dirsync`, after a restart too."""
        if not self.store.meta("dirsync") and self.directory.reach().feed == "dirsync":
            self.store.remember("dirsync", "1")

    def remember_success(self, at: float) -> None:
        """Keeps, for `status` while nothing runs, when the directory was read last."""
        self.store.remember("last_success", str(at))

    def publish(self, turn: Turn) -> None:
        """Writes every output that is owed, and the debt of its reload before it."""
        if not self.dry:
            self.publisher.publish(turn)

    def restore(self) -> Turn:
        """Writes every output again that another hand has changed since it was written."""
        turn = Turn()
        self.publisher.look(turn)
        self.publish(turn)
        return turn

    def reload_now(self, turn: Turn) -> None:
        """Pays every reload that is owed and waits for it, for commands that then exit."""
        if not self.dry:
            self.reloads.now(turn)

    def judge(self, verdict: str) -> tuple[list[Hold], Turn]:
        """Applies a person's verdict, `approved` or `dismissed`, to exactly what is held now."""
        turn, held = Turn(), self.store.judge(verdict, self.clock())
        for hold in held:
            log.info(line(verdict, number=hold.number, login=hold.login, reason=hold.reason))
        self._plan_again()
        self.publish(turn)
        return held, turn

    def secret(self, peer: Peer) -> str:
        """A peer's SIP secret."""
        return secret_of(self.config, self.key, peer)

    def peer(self, who: str) -> Peer:
        """The peer served that `who` (number, login, mail, DN or GUID) names."""
        asked = who.lower()
        for served in self.store.served():
            peer = served.peer
            if asked in {peer.key, *map(str.lower, (peer.login, peer.email, peer.dn, peer.guid))}:
                return peer
        raise AdwatchError(f"no peer is served for {who!r}", f"see adwatch explain {who}")

    def rotate(self, peer: Peer) -> Turn:
        """Gives a peer another secret and publishes it."""
        if self.config.secrets.attribute:
            raise AdwatchError(
                f"secrets come from the AD attribute {self.config.secrets.attribute}",
                "change it there",
            )
        self.key.rotate(peer.guid)
        self.publisher.rotated(peer)
        turn = Turn()
        self._owe_all()
        self.publish(turn)
        log.info(line("rotated", number=peer.number, login=peer.login))
        return turn
