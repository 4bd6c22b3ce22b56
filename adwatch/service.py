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
from adwatch.config.schema import Config
from adwatch.core.mapping import Mapper
from adwatch.core.model import (
    Batch,
    Candidate,
    Change,
    Debt,
    Hold,
    Peer,
    Served,
    UnsafeText,
)
from adwatch.core.plan import Rules, Safety, make_plan, passed_over
from adwatch.core.render import RenderError
from adwatch.core.words import change_line, line
from adwatch.edges import asterisk
from adwatch.edges.asterisk import Pbx
from adwatch.edges.directory import Directory
from adwatch.edges.keyfile import KeyFile
from adwatch.edges.store import Store
from adwatch.errors import (
    AdwatchError,
    DamagedError,
    HeldError,
    OutputError,
    RebuildingError,
    StoreError,
)
from adwatch.output import Output
from adwatch.rebuild import HEALS, LastOutputs, rebuild
from adwatch.reloads import Reloads
from adwatch.turn import Turn

log = logging.getLogger(__name__)


class Service:
    """Turns, and what people ask for between them. `dry` writes nothing at all."""

    def __init__(
        self,
        config: Config,
        directory: Directory,
        mapper: Mapper,
        store: Store,
        key: KeyFile,
        outputs: tuple[Output, ...],
        pbx: Callable[[], Pbx],
        *,
        dry: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.directory = directory
        self.mapper = mapper
        self.store = store
        self.key = key
        self.outputs = outputs
        self.dry = dry
        self.clock = clock
        self.written: dict[str, float] = {}
        self.missed: tuple[str, ...] = ()
        """Whom the last reading of everybody changed although the feed had passed over them."""
        self._damaged: StoreError | None = None
        verify = config.asterisk.verify
        now = lambda: self.clock()  # noqa: E731, PLW0108 - tests set another
        self.reloads = Reloads(outputs, store, pbx, now, verify=verify)
        self._rules = Rules(
            Safety(config.safety.max_removals, config.safety.max_removals_percent),
            frozenset(output.name for output in outputs),
            self._refusals,
        )

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
            self.resume(secrets=secrets)

    def reopen(self) -> None:
        """Opens the store again, after it turned out to be lost while it was in use."""
        self.reloads.restart()
        self.store.close()
        self.open(resume=False)

    def resume(self, *, secrets: bool = True) -> None:
        """Owes what a process before may have left undone."""
        if self.store.cursor():
            self._owe_all()  # one may have been lost, changed or added
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
            self._take(self._read(how, progress), turn, compared=how == "compare")
        self.publish(turn)
        turn.held = len(self.store.pending())
        if fault := self.store_fault():
            turn.faults.setdefault("store", fault)
        return turn

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
        cursor, others = self.store.cursor(), self.store.meta("outputs") != self._digests()
        if cursor is not None and (others or self.store.approved()):
            batch = Batch((), frozenset(), full=False, cursor=cursor, at=self.clock())
            self._commit(batch, {}, everybody=others)

    def _digests(self) -> str:
        """How each output is written, as the store remembers it."""
        return json.dumps({output.name: output.digest() for output in self.outputs})

    def _read(self, how: str, progress: Callable[[int], None] | None) -> Batch:
        since = self.store.cursor()
        if self.store.meta("mapping") != self.mapper.digest:
            since = None  # the store has no attributes, only what another mapping made of them
        by_value = "values" in self.store.owed("compare")
        if how == "compare" and since is not None and not by_value:
            return self.directory.compare(since, self.store.seen)
        wanted = since if how == "poll" else None
        also = self.store.expired(self.clock())
        return self.directory.read(wanted, self.store.seen, progress, also)

    def reconcile_due(self) -> bool:
        """Whether everything is to be read again, for commands that have no loop."""
        last = float(self.store.meta("last_reconcile") or 0)
        return last + self.config.directory.reconcile <= self.clock()

    def _take(self, batch: Batch, turn: Turn, *, compared: bool) -> None:
        """Decides what a batch means and commits it; a comparison pays its debt with its rows."""
        turn.full = batch.full
        idle = not batch.full and not batch.asked and batch.cursor == self.store.cursor()
        if idle and not compared:
            return
        mapped = {entry.guid: self.mapper.candidate(entry, batch.at) for entry in batch.entries}
        cursor, seen = self.store.cursor(), self.store.seen() if batch.full else {}
        comparable = batch.full and self._comparable(batch)
        if batch.full:
            self._refuse_to_forget(mapped)
        digest = {"mapping": self.mapper.digest, "last_reconcile": str(batch.at)}
        marks = {**digest, "damaged": ""} if batch.full else {}
        turn.changes = self._commit(
            batch, mapped, compared=compared or batch.full, everybody=batch.full, marks=marks
        )
        if batch.full:
            since = cursor if comparable else None
            self.missed = passed_over(batch, since, seen, turn.changes) if since else ()
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
        guids = None if everybody else batch.asked | self.store.approved()
        known = self.store.known(guids, claims, window)
        known = replace(known, comparable=self._comparable(batch), holders=self._holders(mapped))
        plan = make_plan(known, batch, mapped, self._rules)
        if everybody:
            marks = {**marks, "outputs": self._digests()}
        names = [output.name for output in self.outputs]
        self.store.apply(plan, batch, names, window, compared=compared, marks=marks)
        for change in plan.history:
            log.info(change_line(change))
        return plan.history

    def _holders(self, mapped: Mapping[str, Candidate]) -> Mapping[str, str]:
        """Who had the numbers that several ask for, where the last outputs alone know it."""
        if self.store.cursor() is not None:
            return {}
        return LastOutputs(self.config.state, self.outputs).holders(mapped)

    def _comparable(self, batch: Batch) -> bool:
        """Whether a batch was read from the database, and for the mapping, that is known."""
        cursor = self.store.cursor()
        same = cursor is not None and cursor.invocation == batch.cursor.invocation
        return same and self.store.meta("mapping") == self.mapper.digest

    def _refuse_to_forget(self, mapped: Mapping[str, Candidate]) -> None:
        """Stops a lost store from dropping the peers that the outputs still have.

        Of the users that the store does not know, either, the safety stop has nothing to compare
        with but the last outputs.
        """
        if self.store.cursor() is not None:
            return
        peers = [candidate.peer for candidate in mapped.values() if candidate.peer]
        here = {peer.guid for peer in peers}
        known = [one.peer for one in self.store.served() if one.peer.guid not in here]
        peers += known  # the plan will judge of these
        for output in self.outputs:
            before = output.records(asterisk.read(output.path))
            fitting = (peer for peer in peers if not output.renderer.refusal(peer))
            lost = before - output.records(output.renderer.document(fitting)) if before else before
            many = self._rules.safety.stops(len(lost) + len(known), len(before))
            if lost and (lost == before or many):
                raise HeldError(
                    f"the store is lost, and the directory shows {len(lost)} fewer of the"
                    f" {len(before)} {output.kind} in {output.path}",
                    f"if that is right, move {output.path} away and sync again",
                )

    def _refusals(self, peer: Peer) -> dict[str, str]:
        said = {output.name: output.renderer.refusal(peer) for output in self.outputs}
        return {name: reason for name, reason in said.items() if reason}

    def had_dirsync(self) -> bool:
        """Whether DirSync was to be had once, where the configuration leaves the choice."""
        feed = self.directory.reach().feed
        if self.config.directory.feed != "auto":
            return False
        if feed == "dirsync" and not self.store.meta("dirsync"):
            self.store.remember("dirsync", "1")
        return bool(self.store.meta("dirsync"))

    def remember_success(self, at: float) -> None:
        """Keeps, for `status` while nothing runs, when the directory was read last."""
        self.store.remember("last_success", str(at))

    def publish(self, turn: Turn) -> None:
        """Writes every output that is owed, and the debt of its reload before it."""
        if self.dry or self.store.cursor() is None:
            return  # of a lost store only some peers may be known
        owed = self.store.owed("publish")
        served = self.store.served() if owed else []
        for output in self.outputs:
            if output.name in owed:
                with turn.part(f"output {output.name}"):
                    turn.wrote |= self._publish(output, served)
                    self.store.settle("publish", output.name)

    def text(self, output: Output, served: list[Served]) -> str:
        """The whole text of an output.

        Raises OutputError where a peer that the safety stop keeps can't be written any more;
        the file then stays as it is, which keeps the peer.
        """
        try:
            return output.renderer.document(s.peer for s in served if output.name not in s.refused)
        except (UnsafeText, RenderError) as error:
            raise OutputError(
                f"the output {output.path} stays as it was: {error}", "see adwatch status"
            ) from error

    def _publish(self, output: Output, served: list[Served]) -> bool:
        """Brings one output up to date; gives whether it had to be written."""
        text = self.text(output, served)
        changed = asterisk.differs(output.path, text)
        if changed:
            self._write(output, text)
        copy = lastgood.path_of(self.config.state, output.name)
        if asterisk.differs(copy, text):
            asterisk.replace(copy, text, output.mode, output.owner, like=output.path)
        return changed

    def _write(self, output: Output, text: str) -> None:
        """Puts a new text in place; telling Asterisk of it is owed from before that."""
        new = self.reloads.owe(output, text)
        try:
            asterisk.replace(output.path, text, output.mode, output.owner)
        except OutputError:
            if new:
                self.reloads.forgive(output, text)
            raise
        self.written[output.name] = self.clock()
        log.info(line("written", output=output.name, path=output.path))

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
        turn = Turn()
        self._owe_all()
        self.publish(turn)
        log.info(line("rotated", number=peer.number, login=peer.login))
        return turn


def secret_of(config: Config, key: KeyFile, peer: Peer) -> str:
    """A peer's SIP secret: from AD where the configuration says so, else derived."""
    return peer.secret if config.secrets.attribute else key.secret(peer.guid)
