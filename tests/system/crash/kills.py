"""`kill -9` at random instants while AD changes all the time; after each, a fresh full read agrees.

One user of its own has each number, so that a second installation with the same key that has
never run before must write the very same file. What Asterisk took last is a copy of the output,
made by the reload command itself.
"""

from __future__ import annotations

import random
import shutil
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from ldap3.core.exceptions import LDAPException
from program import Adwatch, wait_for

from adwatch.edges.control import ask
from adwatch.errors import AdwatchError
from system.samba import SambaDC

CONFIG = """\
directory:
  servers: [{server}]
  user: svc-adwatch-sync@example.test
  password_file: bind-password
  tls: {{ca_file: {ca}}}
  base: ["{base}"]
  poll: 50ms
  feed: {feed}
outputs:
  - {{name: users, path: users.conf, options: {{template: lan}}, reload: sip reload}}
asterisk:
  command: [sh, -c, 'cp users.conf .taken && mv .taken taken.conf && echo "$0" >> reloads']
  verify: false
  settle: 10ms
  at_most: 40ms
safety: {{max_removals: 100000, max_removals_percent: 100}}
secrets: {{key_file: ../secret.key}}
state: state
"""
LONGEST_S = 1.5  # from the start to the kill; a start takes about a third of it
USERS = 12


@dataclass
class Figures:
    """What the rounds did and saw."""

    rounds: int = 0
    kills: int = 0
    changes: int = 0
    recovery_s: list[float] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def rows(self) -> list[tuple[str, str]]:
        """The table: what is counted, and how much of it there was."""
        slowest, middle = max(self.recovery_s), statistics.median(self.recovery_s)
        good = f"{self.rounds - len(self.faults)} of {self.rounds}"
        return [
            ("rounds after which all is as a fresh full read gives", good),
            ("kills", str(self.kills)),
            ("changes made in AD meanwhile", str(self.changes)),
            ("kills that left a hot journal", str(self.found["journal"])),
            ("kills that left a half-written file", str(self.found["temporary"])),
            ("kills that left a file that Asterisk had not taken", str(self.found["reload"])),
            ("from the start until all is in step, median", f"{middle:.1f} s"),
            ("the slowest", f"{slowest:.1f} s"),
        ]


class Changes:
    """An administrator who does not rest: adds, changes, renumbers, disables, deletes."""

    def __init__(self, dc: SambaDC, base: str) -> None:
        self.count = 0
        self._dc = dc
        self._base = base
        self._stop = Event()
        self._users = [self._add() for _ in range(USERS)]
        self._thread = Thread(target=self._run, daemon=True)
        self.fault: BaseException | None = None

    def _add(self) -> str:
        return self._dc.add_user("k" + uuid.uuid4().hex[:12], self._base, telephoneNumber=_number())

    def start(self) -> None:
        self._stop.clear()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self.fault is not None:
            raise self.fault

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._change()
                self.count += 1
                self._stop.wait(random.uniform(0.0, 0.06))
        except (LDAPException, OSError) as error:
            self.fault = error

    def _change(self) -> None:
        at = random.randrange(1, len(self._users))  # the first one stays, so that never all go
        dn = self._users[at]
        how = random.choice(("renumber", "mail", "disable", "enable", "replace", "rename", "clear"))
        if how == "renumber":
            self._dc.modify(dn, telephoneNumber=_number())
        elif how == "mail":
            self._dc.modify(dn, userPrincipalName=f"{uuid.uuid4().hex[:12]}@example.test")
        elif how == "disable":
            self._dc.disable(dn)
        elif how == "enable":
            self._dc.enable(dn)
        elif how == "rename":
            self._users[at] = self._dc.rename(dn, "CN=k" + uuid.uuid4().hex[:12])
        elif how == "clear":
            self._dc.modify(dn, telephoneNumber=None)
        else:
            self._dc.delete(dn)
            self._users[at] = self._add()


def _number() -> str:
    return str(uuid.uuid4().int % 10**12)


class Kills:
    """The installation that is killed, and the oracle beside it."""

    def __init__(self, dc: SambaDC, folder: Path, feed: str = "auto") -> None:
        self.figures = Figures()
        self._folder = folder
        base = f"OU=k{uuid.uuid4().hex[:8]},{dc.staff_dn}"
        dc.admin().add(base, ["organizationalUnit"])
        parts = {"server": dc.ldaps_url, "ca": dc.ca_file, "base": base, "feed": feed}
        self._config = CONFIG.format(**parts)
        self._password = dc.service_password
        self._changes = Changes(dc, base)
        (folder / "secret.key").write_text("5a" * 32 + "\n")
        (folder / "secret.key").chmod(0o600)
        self.adwatch = Adwatch(folder / "killed", self._config, self._password)

    def close(self) -> None:
        with suppress(LDAPException, OSError):
            self._changes.stop()
        self.adwatch.kill()

    def round(self) -> None:
        """Some kills under changes, then quiet, and a look at everything."""
        self.figures.rounds += 1
        self._changes.start()
        for _ in range(random.randint(1, 2)):
            self.adwatch.start()
            Event().wait(random.uniform(0.05, LONGEST_S))
            self.adwatch.kill()
            self.figures.kills += 1
            self._look_at_what_is_left()
        self._changes.stop()
        self.figures.changes = self._changes.count
        wanted = self._fresh()
        begun = time.monotonic()
        self.adwatch.start()
        try:
            fault = self._converges(wanted)
        except AssertionError as error:
            fault = str(error)
        self.figures.recovery_s.append(time.monotonic() - begun)
        self.adwatch.kill()
        if fault:
            self.figures.faults.append(f"round {self.figures.rounds}: {fault}")

    def _look_at_what_is_left(self) -> None:
        folder = self.adwatch.folder
        text, taken = self.adwatch.text(), folder / "taken.conf"
        assert not text or text.endswith("\n"), "the output is cut off"
        journal = folder / "state" / "adwatch.db-journal"
        self.figures.found["journal"] += journal.exists() and journal.stat().st_size > 0
        self.figures.found["temporary"] += any(folder.rglob(".*.adwatch~"))
        self.figures.found["reload"] += taken.exists() and taken.read_text() != text

    def _converges(self, wanted: str) -> str:
        """What is not as a fresh installation has it, empty where nothing is."""
        taken = self.adwatch.folder / "taken.conf"

        def same() -> bool:
            return self.adwatch.text() == wanted and taken.exists() and taken.read_text() == wanted

        with suppress(AssertionError):
            wait_for("the same", lambda: same() and self._quiet())
        if not same():
            return f"{self.adwatch.text()}\nand not\n{wanted}"
        asides = [path.name for path in self.adwatch.folder.glob("state/*.damaged-*")]
        strays = [str(path) for path in self.adwatch.folder.rglob("*~")]
        return f"left: {asides} {strays}" if asides or strays else ""

    def _quiet(self) -> bool:
        """Whether the service says that it is well and owes nothing."""
        try:
            said = (ask(self.adwatch.folder / "state", {"command": "status"}) or {})["status"]
        except (AdwatchError, OSError, KeyError):
            return False
        return said["state"] == "online" and not any(o["reload_owed"] for o in said["outputs"])

    def _fresh(self) -> str:
        """The output of an installation that has never run before."""
        shutil.rmtree(self._folder / "fresh", ignore_errors=True)
        other = Adwatch(self._folder / "fresh", self._config, self._password)
        done = other("sync")
        assert done.returncode == 0, done.stderr
        return other.text()


def kill_again_and_again(
    dc: SambaDC, folder: Path, rounds: int, said: Callable[[str], None] = print
) -> Figures:
    """So many rounds; gives what they saw, and says how far it is."""
    one = Kills(dc, folder)
    try:
        for number in range(1, rounds + 1):
            one.round()
            if number % 20 == 0:
                said(f"{number} rounds, {len(one.figures.faults)} that differ")
        return one.figures
    finally:
        one.close()
