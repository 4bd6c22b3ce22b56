"""What adwatch does, told once: read, decide, remember, publish, reload.

Every command and the running service go through the same `turn`. What reads the directory
writes no file, and what publishes needs only the store.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from adwatch import lastgood
from adwatch.config.schema import Config
from adwatch.core.mapping import Mapper
from adwatch.core.model import (
    Batch,
    Candidate,
    Change,
    Cursor,
    Debt,
    Finding,
    Peer,
    Plan,
    Reach,
    Served,
)
from adwatch.core.plan import Rules, Safety, make_plan
from adwatch.core.render import Renderer
from adwatch.core.words import change_line, line
from adwatch.edges import asterisk
from adwatch.edges.keyfile import KeyFile
from adwatch.edges.store import Store
from adwatch.errors import AdwatchError, HeldError, OutputError

log = logging.getLogger(__name__)


class Directory(Protocol):
    """What the service needs of a directory; `ActiveDirectory` says what each promises."""

    def open(self) -> None:
        """Connects, where that was not done."""

    def close(self) -> None:
        """Ends all connections."""

    def abort(self) -> None:
        """Makes whatever waits fail at once; safe from any thread."""

    def listen(self, wake: Callable[[], None]) -> None:
        """Calls `wake`, from another thread, at signs of a change."""

    def reach(self) -> Reach:
        """Which server is in use and how."""

    def read(
        self,
        since: Cursor | None,
        known: Callable[[], Mapping[str, str]],
        progress: Callable[[int], None] | None = None,
    ) -> Batch:
        """What changed since `since`, or everything."""

    def compare(self, since: Cursor, known: Callable[[], Mapping[str, str]]) -> Batch:
        """What differs from `known`."""

    def find(self, who: str, number_attributes: frozenset[str]) -> list[Finding]:
        """The users that `who` names."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output: where it goes, how it is written and what tells Asterisk."""

    name: str
    path: Path
    renderer: Renderer
    mode: int
    owner: str | None
    reload: str | None


@dataclass(slots=True)
class Turn:
    """What one turn did: the faults by part, and the changes that it committed."""

    faults: dict[str, AdwatchError] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    full: bool = False
    held: int = 0
    wrote: bool = False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Keeps a part's fault from starving the others; a bug still goes through."""
        try:
            yield
        except AdwatchError as error:
            self.faults[name] = error

    @property
    def exit_code(self) -> int:
        """What a command that made this turn exits with: the gravest of what happened."""
        codes = {fault.exit_code for fault in self.faults.values()}
        if self.held:
            codes.add(HeldError.exit_code)
        return next((code for code in (5, 4, 3, 1, 6) if code in codes), max(codes, default=0))


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
        self._reload: asterisk.Reload | None = None
        self._rules = Rules(
            Safety(config.safety.max_removals, config.safety.max_removals_percent),
            frozenset(output.name for output in outputs),
            self._refusals,
        )

    def open(self, *, secrets: bool = True) -> None:
        """Opens the store and the key. A first start is one with neither store nor output."""
        if self.dry:
            self.store.open_copy()
        used = self.store.exists() or any(asterisk.read(o.path).strip() for o in self.outputs)
        if secrets and not self.config.secrets.attribute:
            self.key.open(fresh=not used, write=not self.dry)
        if not self.dry:
            self.store.open()
            for output in self.outputs:
                asterisk.sweep(output.path)
        if self.store.cursor():
            for output in self.outputs:  # one may have been lost, changed or added
                self.store.owe(Debt("publish", output.name, self.clock()))
            if secrets:
                self._carry_out(self.clock())  # a verdict that a crash has interrupted

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
        if self._reload is not None:
            self._reload.kill()
        self.directory.close()
        self.store.close()

    def turn(self, how: str = "poll", progress: Callable[[int], None] | None = None) -> Turn:
        """Reads (`how` is poll, compare or reconcile), decides, commits, publishes."""
        turn = Turn()
        with turn.part("directory"):
            self._take(self._read(how, progress), turn, compared=how == "compare")
        self.publish(turn)
        turn.held = len(self.store.pending())
        return turn

    def _read(self, how: str, progress: Callable[[int], None] | None) -> Batch:
        since = self.store.cursor()
        if how == "compare" and since is not None:
            return self.directory.compare(since, self.store.known_dns)
        return self.directory.read(
            None if how == "reconcile" else since, self.store.known_dns, progress
        )

    def _take(self, batch: Batch, turn: Turn, *, compared: bool) -> None:
        """Decides what a batch means and commits it; a comparison pays its debt with its rows."""
        turn.full = batch.full
        idle = not batch.full and not batch.asked and batch.cursor == self.store.cursor()
        if idle and not compared:
            return
        mapped = {entry.guid: self.mapper.candidate(entry) for entry in batch.entries}
        if batch.full:
            self._refuse_to_forget(mapped)
        turn.changes = self._commit(batch, mapped, compared=compared or batch.full)

    def _commit(
        self, batch: Batch, mapped: Mapping[str, Candidate], *, compared: bool = False
    ) -> tuple[Change, ...]:
        """Plans, and commits the plan with all that is owed for it."""
        plan = self._plan(batch, mapped)
        names = [output.name for output in self.outputs]
        forget = batch.at - self.config.safety.window
        self.store.apply(plan, batch, names, forget, compared=compared)
        for change in plan.history:
            log.info(change_line(change))
        return plan.history

    def _plan(self, batch: Batch, mapped: Mapping[str, Candidate]) -> Plan:
        claims = [candidate.key for candidate in mapped.values() if candidate.key]
        guids = None if batch.full else batch.asked | self.store.approved()
        known = self.store.known(guids, claims, batch.at - self.config.safety.window)
        return make_plan(known, batch, mapped, self._rules)

    def _refuse_to_forget(self, mapped: Mapping[str, Candidate]) -> None:
        """Stops a lost store from dropping the peers that the outputs still have.

        Without a store the safety stop has nothing to compare with but the last outputs.
        """
        if self.store.cursor() is not None:
            return
        here = {candidate.key for candidate in mapped.values()}
        for output in self.outputs:
            before = asterisk.numbers_in(asterisk.read(output.path))
            lost = before - here
            if lost and (lost == before or self._rules.safety.stops(len(lost), len(before))):
                raise HeldError(
                    f"the store is lost, and the directory shows {len(lost)} fewer of the"
                    f" {len(before)} peers in {output.path}",
                    f"if that is right, move {output.path} away and sync again",
                )

    def _refusals(self, peer: Peer) -> dict[str, str]:
        said = {output.name: output.renderer.refusal(peer) for output in self.outputs}
        return {name: reason for name, reason in said.items() if reason}

    def remember_success(self, at: float) -> None:
        """Keeps, for `status` while nothing runs, when the directory was read last."""
        self.store.remember("last_success", str(at))

    def publish(self, turn: Turn) -> None:
        """Writes every output that is owed, and the debt of its reload before it."""
        owed = self.store.owed("publish")
        served = self.store.served() if owed else []
        for output in self.outputs:
            if output.name in owed:
                with turn.part(f"output {output.name}"):
                    turn.wrote |= self._publish(output, served)
                    self.store.settle("publish", output.name)

    def text(self, output: Output, served: list[Served]) -> str:
        """The whole text of an output."""
        return output.renderer.document(s.peer for s in served if output.name not in s.refused)

    def _publish(self, output: Output, served: list[Served]) -> bool:
        """Brings one output up to date; gives whether it had to be written."""
        text = self.text(output, served)
        if self.dry:
            return False
        changed = asterisk.differs(output.path, text)
        if changed:
            self._write(output, text)
        copy = lastgood.path_of(self.config.state, output.name)
        if asterisk.differs(copy, text):
            asterisk.replace(copy, text, output.mode, output.owner, like=output.path)
        return changed

    def _write(self, output: Output, text: str) -> None:
        """Puts a new text in place; telling Asterisk of it is owed from before that."""
        new = output.name not in self.store.owed("reload")
        if output.reload:
            self.store.owe(Debt("reload", output.name, self.clock(), output.reload))
        if self._reload is not None:  # it may have read the old file
            self._reload.outputs -= {output.name}
        try:
            asterisk.replace(output.path, text, output.mode, output.owner)
        except OutputError:
            if new:
                self.store.settle("reload", output.name)
            raise
        self.written[output.name] = self.clock()
        log.info(line("written", output=output.name, path=output.path))

    def reload_owed(self) -> bool:
        """Whether Asterisk has still to be told of something."""
        return bool(self.store.owed("reload"))

    def reload(self) -> bool:
        """Begins the next reload that is owed, or looks after the one on its way.

        Gives whether one has just been paid. Raises AsteriskError where it failed: it stays
        owed.
        """
        if self._reload is None:
            owed = self.store.owed("reload")
            if owed:
                self._begin_reload(owed)
            return False
        under_way, self._reload = self._reload, None
        if not under_way.done():
            self._reload = under_way
            return False
        for name in under_way.outputs:
            self.store.settle("reload", name)
        log.info(line("reloaded", command=under_way.cli, outputs=",".join(under_way.outputs)))
        return True

    def _begin_reload(self, owed: Mapping[str, Debt]) -> None:
        """One command pays for every output that asks for the same."""
        wanted = {o.name: o.reload for o in self.outputs if o.name in owed}
        for name in owed:
            if not wanted.get(name):  # its output was taken out of the configuration
                self.store.settle("reload", name)
        cli = next((command for command in wanted.values() if command), None)
        if cli is not None:
            names = frozenset(name for name, command in wanted.items() if command == cli)
            self._reload = asterisk.Reload(self.config.asterisk.command, cli, names)

    def reloading(self) -> bool:
        """Whether a reload is on its way."""
        return self._reload is not None

    def reload_now(self, turn: Turn) -> None:
        """Pays every reload that is owed and waits for it, for commands that then exit."""
        with turn.part("asterisk"):
            while self.reload_owed() and not self.dry:
                self.reload()
                if self._reload is not None:
                    self._reload.wait_ended()
                    self.reload()

    def judge(self, verdict: str) -> tuple[list[Change], Turn]:
        """Applies a person's verdict, `approved` or `dismissed`, to exactly what is held now."""
        pending = self.store.pending()
        at = self.clock()
        self.store.judge({hold.guid for hold in pending}, verdict, at)
        turn = Turn()
        self._carry_out(at)
        self.publish(turn)
        judged = [Change(at, verdict, h.guid, h.number, h.login, (), h.reason) for h in pending]
        for change in judged:
            log.info(change_line(change))
        return judged, turn

    def _carry_out(self, at: float) -> None:
        """Lets what has been approved happen; the directory need not be asked for that."""
        cursor = self.store.cursor()
        if cursor is not None and self.store.approved():
            self._commit(Batch((), frozenset(), full=False, cursor=cursor, at=at), {})

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
        for output in self.outputs:
            self.store.owe(Debt("publish", output.name, self.clock()))
        self.publish(turn)
        log.info(line("rotated", number=peer.number, login=peer.login))
        return turn


def secret_of(config: Config, key: KeyFile, peer: Peer) -> str:
    """A peer's SIP secret: from AD where the configuration says so, else derived."""
    return peer.secret if config.secrets.attribute else key.secret(peer.guid)
