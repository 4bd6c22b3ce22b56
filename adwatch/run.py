"""The service in the foreground: one loop that does what is due, and sleeps until more is.

Other threads only wake it (push, signals, requests) or read how the service stands.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import Any, Final

from adwatch.contacts import Contacts
from adwatch.core.model import Debt
from adwatch.core.pace import NEVER, SAVED_S, SHARE, Pace
from adwatch.core.tally import Tally
from adwatch.core.words import line
from adwatch.duties import let_go, look_after_contacts, look_after_reload
from adwatch.edges.control import Lock, Server
from adwatch.edges.signals import Signals, exit_by
from adwatch.edges.systemd import Systemd
from adwatch.edits import Edition, Edits
from adwatch.errors import CredentialsError, DamagedError, StoreError
from adwatch.inquiry import Inquiry
from adwatch.listeners import Listeners
from adwatch.metrics import machine_views
from adwatch.names import CallerNames
from adwatch.orders import Orders
from adwatch.pages import Pages
from adwatch.refusal import Refusal
from adwatch.report import Health, headline, moment
from adwatch.requests import Requests
from adwatch.service import Service
from adwatch.standing import Standing
from adwatch.statuspage import StatusPage
from adwatch.troubles import Troubles
from adwatch.turn import Turn
from adwatch.wake import Wake
from adwatch.wiring import make_tempo

log = logging.getLogger(__name__)

_LOCK_WITHIN_S: Final = 3.0  # for a command that is at work just now
_EXIT_WITHIN_S: Final = 2.0  # of the 3 s that are promised; a busy machine is late
_LOOK_AGAIN_S: Final = 2.0  # at a password that was refused, or a reload that may hang
_ORDERED_S: Final = 15.0  # for the loop to begin what the status page hands it
_REMEMBER_S: Final = 60.0


class Runner:
    """Owns the loop. `run()` returns the exit status once SIGTERM or SIGINT has come."""

    def __init__(self, service: Service, edition: Edition) -> None:
        self._service = service
        self._telling = edition.telling
        self._wake = Wake()
        self._stop = Event()
        self._woken = Event()
        self._hung_up = Event()
        self._requests = Requests(self._stop)
        self._lock = Lock(service.config.state)
        self._server = Server(service.config.state, self._answer)
        self._tally = Tally()
        self._edits = Edits(edition, service.store, self._wake.set)
        self._listeners = Listeners({}, self._wake.set)
        self._signals = Signals(self._signalled)
        self._systemd = Systemd(os.environ)
        self._troubles = Troubles()
        self._health = Health(time.time(), pid=os.getpid(), faults=self._troubles.faults)
        self._health.trace = self._tally.trace.summary
        self._standing = Standing(service, self._health)
        self._refusal = Refusal(service.store, edition.proof)
        self._listening = self._resumed = False
        self._found: int | None = None
        self._alive_at = time.monotonic()
        self._remembered_at = 0.0
        self._connected_since = 0.0
        self._pace: Pace
        self._orders = Orders(service, self._turn, self._note_beside)
        self._page = StatusPage(
            edition.parts, service.store, Inquiry(), self._order, lambda: self._alive_at
        )
        self._equip(edition)

    def _equip(self, edition: Edition) -> None:
        """What the loop uses of a configuration beside the service and the alerts."""
        store, directory = self._service.store, self._service.directory
        machines = machine_views(self._standing.now, self._tally, lambda: self._alive_at)
        self._page.change(edition.parts)
        self._pages = Pages(store, edition.web, {**machines, **self._page.views()})
        self._names = CallerNames(store, edition.agi)
        self._listeners.change({"http": edition.web, "agi": edition.agi})
        wanted = edition.parts.config.contacts is not None
        self._contacts = Contacts(directory, store, wanted=wanted)

    def run(self) -> int:
        """Serves until told to stop. Raises RunningError where another instance does."""
        self._service.prepare()
        self._lock.take(_LOCK_WITHIN_S)
        try:
            self._signals.open((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD))
            self._service.open(resume=False)
            self._service.reloads.woken = self._wake.set
            self._begin()
            self._guard(self._resume)
            self._server.open()
            self._edits.open()
            self._systemd.ready()
            log.info(line("started", pid=os.getpid(), peers=self._service.store.count()))
            while not self._stop.is_set():
                self._guard(self._step)
                self._guard(self._tell)
                self._rest()
            log.info(line("stopped"))
            with suppress(StoreError):
                self._remember()
        finally:
            self._edits.close()
            self._telling.close()
            self._server.close()
            self._listeners.close()
            self._service.close()
            self._lock.release()
        return 0

    def _begin(self) -> None:
        """Takes up where the last process was, and serves the cache before asking anybody."""
        wanted = self._service.config
        now, wall = time.monotonic(), time.time()
        tempo = make_tempo(wanted)
        store = self._service.store
        self._health.last_success = float(store.meta("last_success") or 0)
        self._health.last_reconcile = float(store.meta("last_reconcile") or 0)
        due = self._health.last_reconcile + wanted.directory.reconcile - wall
        ended, funds = (float(x) for x in (store.meta("compared") or f"0 {SAVED_S}").split())
        funds += SHARE * max(0.0, wall - ended)
        self._pace = Pace.begin(tempo, now, min(max(due, 0.0), tempo.reconcile), funds)
        self._pace = self._pace.owes_comparison(owed=bool(store.owed("compare")))
        self._pace = self._pace.owes_contacts(now, owed=self._contacts.owed())
        self._mind_refusal(now)

    def _resume(self) -> None:
        """Serves the cache, and takes up what a process before may have left undone."""
        turn, now = Turn(), time.monotonic()
        self._standing.forget()
        self._service.resume()
        self._contacts.begin()
        self._service.publish(turn)
        if self._service.reloads.owed():  # by a process that was here before, perhaps
            self._pace = self._pace.owes_reload(now)
        self._pace = self._pace.saw(now, odd=self._service.reloads.odd())
        self._note_beside(turn)
        self._show()
        self._resumed = True

    def _guard(self, do: Callable[[], None]) -> None:
        """Does something; what the store refuses is noted, and tried again after a while.

        A store that is lost while it is in use is opened again as at a start.
        """
        try:
            do()
        except DamagedError as error:
            self._troubles.failed("store", error)
            self._service.reopen()
            self._resumed = False
            self._woken.set()
        except StoreError as error:
            self._troubles.failed("store", error)
            self._publish_status()
            self._stop.wait(_LOOK_AGAIN_S)

    def _show(self) -> None:
        """Hands what the store has to those who only read it."""
        self._pages.renew(time.time())
        self._names.renew()
        self._publish_status()
        if time.monotonic() - self._remembered_at > _REMEMBER_S:
            self._remember()

    def _step(self) -> None:
        """Does what is due."""
        self._alive()
        for name, fault in self._listeners.open(time.monotonic(), random.random()):  # noqa: S311
            self._troubles.told(name, fault)
        self._requests.answer(self._orders.do, self._show)
        self._mind_store()
        self._look_after_files()
        if self._woken.is_set():
            self._woken.clear()
            self._pace = self._pace.woken(time.monotonic())
        if self._refusal.another():
            self._pace = self._pace.retried(time.monotonic())
        if how := self._pace.reads(time.monotonic()):
            self._turn(how)
        let_go(self._service, self._found)
        self._found = None
        if self._pace.prefers(time.monotonic()):
            self._service.directory.prefer()
            self._pace = self._pace.looked_for_better(time.monotonic(), random.random())  # noqa: S311
        reloads, troubles = self._service.reloads, self._troubles
        self._pace = look_after_reload(self._pace, reloads, troubles, self._tally)
        self._pace = look_after_contacts(self._pace, self._contacts, troubles)
        self._show()

    def _tell(self) -> None:
        """Tells people what is wrong, also where the store refuses everything else."""
        if self._standing and (self._standing.news or not self._telling.rests()):
            self._telling.look(self._standing.now(), self._troubles.all())
            self._standing.news = False
            self._telling.deliver()

    def _rest(self) -> None:
        """Waits for the next thing that is due."""
        if not self._stop.is_set():
            self._wake.wait(self._wait())

    def _alive(self) -> None:
        """The loop has come round, or a long reading has got on."""
        self._alive_at = time.monotonic()
        self._systemd.alive()

    def _mind_store(self) -> None:
        """Lets nothing go on before the store can be written again."""
        if "store" in self._troubles:
            self._remember()
            if not self._service.store.meta("damaged"):
                self._troubles.over("store")
        if not self._resumed:
            self._resume()

    def _wait(self) -> float:
        if self._requests.waiting:
            return 0.0
        now = time.monotonic()
        wait = min(self._pace.wait(now), self._listeners.wait(now), self._systemd.ping_s)
        wait = min(wait, self._telling.wait())
        watched = self._refusal.stands or self._service.reloads.under_way()
        return min(wait, _LOOK_AGAIN_S) if watched else wait

    def _turn(self, how: str) -> Turn:
        """One turn, and what the pace makes of it."""
        begun, wall = time.monotonic(), time.time()
        sent = "" if self._health.reach.server else self._refusal.password()
        turn = self._service.turn(how, lambda _: self._alive())
        self._health.turned = True
        now = time.monotonic()
        fault = turn.faults.get("directory") or turn.faults.get("store")
        self._tally.turn(how, now - begun, turn.took, now, failed=fault is not None)
        if fault is None:
            self._health.last_success = wall
            expiry = self._service.store.next_expiry()
            wait = expiry - self._service.clock() if expiry is not None else NEVER
            self._pace = self._pace.read(now, reconciled=turn.full, expiry_in=wait)
            self._look_after_connection(turn, now)
            self._refusal.over()
            if turn.full:
                self._health.last_reconcile, self._found = wall, len(turn.changes)
            if how == "compare":
                self._pace = self._pace.compared(now, took=now - begun)
                saved = self._pace.funds_at(now)
                self._service.store.remember("compared", f"{time.time()} {saved}")
            if self._service.config.directory.push and not self._listening:
                self._listening = True
                self._service.directory.listen(self._on_push)
        else:
            counts = isinstance(fault, CredentialsError) and fault.counts
            self._pace = self._pace.failed(now, random.random(), refused=counts)  # noqa: S311
            if counts:
                self._refusal.remember(sent, self._pace.poll_at - now, self._pace.failures)
            else:
                self._refusal.forget()
        owed = bool(self._service.store.owed("compare"))
        self._pace = self._pace.owes_comparison(owed=owed)
        self._pace = self._pace.owes_contacts(now, owed=self._contacts.owed())
        self._note(turn)
        return turn

    def _look_after_connection(self, turn: Turn, now: float) -> None:
        """Owes a reading of everybody for a new connection; minds a server that is not the best.

        A server may have been restored from a backup meanwhile, and written to since until
        its USN was past the cursor again; or the account has other rights now.
        """
        reach = self._service.directory.reach()
        since = reach.connected_since
        self._pace = self._pace.uses(now, reach.rank, random.random())  # noqa: S311
        if since != self._connected_since and not turn.full:
            reason = "the connection is new"
            self._service.store.owe(Debt("compare", "values", self._service.clock(), reason))
        self._connected_since = since

    def _on_push(self) -> None:
        self._woken.set()
        self._wake.set()

    def _mind_refusal(self, now: float) -> None:
        """Waits out what is left of the rest that another process began."""
        if (left := self._refusal.left()) is None:
            return
        failures, rest = left
        self._pace = self._pace.resumed(failures, rest, now)
        if rest > 0:
            ends = moment(time.time() + rest)
            hint = "another password is tried at once"
            fault = CredentialsError(f"the account was refused; it is tried again at {ends}", hint)
            self._troubles.failed("directory", fault)

    def _look_after_files(self) -> None:
        """Takes an edited configuration, and writes outputs again that another hand changed."""
        now, edits = time.monotonic(), self._edits
        if edits.touched.is_set():
            edits.touched.clear()
            self._pace = self._pace.touched(now)
        forced = self._hung_up.is_set()
        if not forced and not self._pace.looks_at_files(now):
            return
        self._hung_up.clear()
        if edits.changed() or forced:
            self._systemd.reloading()
            edition = edits.take()
            self._troubles.told("configuration", edits.fault)
            if edition is not None:
                self._change(edition)
            self._systemd.ready()
        self._pace = self._pace.looked_at_files(now, again=edits.again)
        self._standing.forget()  # which tells when files were written
        turn = self._service.restore()
        if turn.wrote:
            self._pace = self._pace.restored(now, random.random())  # noqa: S311
        self._note_beside(turn)

    def _change(self, edition: Edition) -> None:
        """Goes on with another edition of the configuration; what it shares stays as it is."""
        other = edition.parts.directory is not self._service.directory
        self._service.change(edition.parts)
        self._telling.change(edition.telling)
        self._equip(edition)
        self._refusal.read_by(edition.proof)
        self._listening = self._listening and not other
        tempo = make_tempo(edition.parts.config)
        self._pace = self._pace.at_tempo(tempo, time.monotonic(), anew=other)
        self._resumed = False  # until the store has taken what that makes owed
        self._resume()

    def _note(self, turn: Turn) -> None:
        """Logs what began or ended, never what merely goes on."""
        if self._troubles.faults:
            beside = {"asterisk", "contacts", "configuration"} | self._listeners.names
            self._troubles.over_but(beside | turn.faults.keys())
        self._note_beside(turn)

    def _publish_status(self) -> None:
        """Makes the status that other threads hand out."""
        reach, listens = self._service.directory.reach(), self._listeners.listening
        news = self._standing.renew(reach, listens, self._telling.incidents)
        if news or self._service.config.http is not None:  # who follows the page is told of times
            said = self._standing.now()
            self._page.renew(said, self._pages.served)
            self._systemd.status(headline(said))

    def _remember(self) -> None:
        """Keeps what `status` shows while nothing runs."""
        self._remembered_at = time.monotonic()
        self._service.remember_success(self._health.last_success)

    def _signalled(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop.set()
            self._systemd.stopping()
            exit_by(_EXIT_WITHIN_S, 0)
            self._service.directory.abort()
        elif number == signal.SIGHUP:
            self._hung_up.set()
            self._woken.set()
        self._wake.set()

    def _answer(self, said: dict[str, Any]) -> dict[str, Any]:
        """On a thread of the control socket: asks the loop and waits for it."""
        if said.get("command") == "status":
            return {"exit": 0, "status": self._standing.traced()}
        return self._requests.hand_over(said, self._wake.set)

    def _order(self, said: dict[str, Any]) -> dict[str, Any]:
        """On a thread of the HTTP server: the same, for somebody who does not wait for ever."""
        return self._requests.hand_over(said, self._wake.set, _ORDERED_S)

    def _note_beside(self, turn: Turn) -> None:
        """Notes a turn that asked the directory nothing, and so proves nothing of it."""
        if turn.changes:
            self._tally.changed(turn.changes)
        if turn.wrote:
            self._pace = self._pace.owes_reload(time.monotonic())
        for part, fault in turn.faults.items():
            self._troubles.failed(part, fault)
