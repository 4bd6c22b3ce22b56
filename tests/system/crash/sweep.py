"""A crash at every effect: the program is killed just before its n-th one, for every n.

An effect is a system call that changes something below the installation's folder (SQLite's own
included), or the start of a reload or of a message's delivery; "after the n-th" is "before the
next". The whole program runs, but for the directory, which is in memory; it is forked from a
process that has it loaded, so that a round is short. Messages go by Apprise to a webhook that
writes them down.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

EFFECTS = Path(__file__).with_name("effects.c")
LIBRARY = "ADWATCH_EFFECTS"  # names the preloaded library in the environment
HOOK = "ADWATCH_HOOK"  # the webhook's port
_VOLATILE = ("digest", "last_success", "last_reconcile", "compared", "damaged")
_STAMPED = "published "  # what a file is made with, and then its inode and times
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)


@dataclass(frozen=True)
class State:
    """What is left of an installation once everything is quiet."""

    files: Mapping[str, tuple[str, int]]
    rows: Mapping[str, list[Any]]
    key: str
    strays: tuple[str, ...]


@dataclass
class Result:
    """What one scenario's sweep did: its points by kind of effect, and what was wrong."""

    name: str
    points: int = 0
    tried: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    faults: list[str] = field(default_factory=list)


class Installation:
    """A folder, and the program run in it as often as it takes, each time in a fork."""

    def __init__(self, folder: Path, domain: Any) -> None:
        self.folder = folder.resolve()
        self.domain = domain
        self.starts = 0

    def configure(self, text: str) -> None:
        (self.folder / "config.yaml").write_text(text)
        self.name_hook()

    def name_hook(self) -> None:
        """Writes down the webhook's URL, which tells it where the messages belong."""
        url = f"json://127.0.0.1:{os.environ[HOOK]}{self.folder}\n"
        (self.folder / "hook").write_text(url)

    def run(self, *command: str, fatal: int = 0, log: int | None = None) -> int:
        """One run of `adwatch`, killed before the effect `fatal`; gives its exit status or -9.

        Whatever it started has ended, too, when this returns.
        """
        self.starts += 1
        child = os.fork()
        if not child:
            code = 120
            try:
                code = self._main(command, fatal, log)
            except SystemExit as error:
                code = int(error.code or 0)
            except BaseException:  # noqa: BLE001 - told by the exit status
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        while True:  # what it left behind is given to this process
            try:
                os.wait()
            except ChildProcessError:
                return os.waitstatus_to_exitcode(status)

    def _main(self, command: tuple[str, ...], fatal: int, log: int | None) -> int:
        from adwatch import cli, wiring

        os.chdir(self.folder)
        said = os.open(self.folder.with_suffix(".said"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        boot = self.starts
        wiring.make_directory = lambda *_: self.domain
        from adwatch.edges import keyfile

        keyfile.secrets.token_bytes = lambda n: bytes([boot]) * n
        if command[0] == "run":
            told = "alerts:" in (self.folder / "config.yaml").read_text()
            quiet = (self.folder / "state", told)
            Thread(target=_end_when_quiet, args=quiet, daemon=True).start()
        if fatal or log is not None:
            library = ctypes.CDLL(os.environ[LIBRARY])
            void = os.open(os.devnull, os.O_WRONLY)
            library.effects_arm(os.fsencode(self.folder), fatal, void if log is None else log)

            def point(event: str, given: tuple[Any, ...]) -> None:
                if event == "subprocess.Popen":
                    told = "adwatch.edges.alerts.child" in given[1]
                    library.effects_point(b"start", b"message" if told else b"reload")

            sys.addaudithook(point)
        return cli.main([command[0], "--config", str(self.folder / "config.yaml"), *command[1:]])

    def said(self) -> str:
        path = self.folder.with_suffix(".said")
        return path.read_text() if path.exists() else ""

    def reloads(self) -> Counter[str]:
        path = self.folder / "reloads"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def messages(self) -> Counter[str]:
        """The subjects of the messages that have arrived."""
        path = self.folder / "messages"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def owed(self) -> set[str]:
        """Commands of reloads and subjects of messages that the store does not know to be done."""
        state = self.folder / "state"
        if not (state / "adwatch.db").exists():
            return set()
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as copy:
            for path in state.glob("adwatch.db*"):
                if "damaged" not in path.name:
                    shutil.copy(path, copy)
            with closing(sqlite3.connect(Path(copy) / "adwatch.db")) as db:
                try:
                    debts = db.execute("SELECT subject, reason FROM debts WHERE kind = 'reload'")
                    meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
                    letters = db.execute("SELECT json_extract(body, '$.subject') FROM outbox")
                    return {subject for (subject,) in letters.fetchall()} | {
                        reason
                        for subject, reason in debts.fetchall()
                        if not json.loads(meta.get(f"asterisk {subject}", "{}")).get("told")
                    }
                except sqlite3.DatabaseError:
                    return set()  # not made yet, or the damaged one

    def files(self) -> dict[str, tuple[str, int]]:
        """The outputs, their last good copies, and what Asterisk has taken of them."""
        found = {}
        for name in ("users.conf", "pjsip.conf", "state/outputs/users", "state/outputs/pjsip"):
            path = self.folder / name
            if path.exists():
                found[name] = path.read_text(), path.stat().st_mode & 0o7777
        return found

    def state(self) -> State:
        key = self.folder / "state" / "secret.key"
        rotations = key.with_name("secret.key.rotations")
        files = self.files()
        for name in ("users.conf", "pjsip.conf"):
            taken = self.folder / f"taken-{name}"
            files[taken.name] = taken.read_text() if taken.exists() else "", 0
        if rotations.exists():
            files["rotations"] = rotations.read_text(), rotations.stat().st_mode & 0o7777
        strays = [str(p.relative_to(self.folder)) for p in self.folder.rglob("*~")]
        strays += [p.name for p in self.folder.glob("state/adwatch.db-*")]
        rows = _rows(self.folder / "state" / "adwatch.db")
        rows["asides"] = [
            sha256(p.read_bytes()).hexdigest() for p in key.parent.glob("*.damaged-*")
        ]
        return State(files, rows, key.read_text() if key.exists() else "", tuple(strays))


def _rows(path: Path) -> dict[str, list[Any]]:
    """Every row, but for what tells times and numbers of this very run."""
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as db:
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    rows["history"] = [row[2:] for row in rows["history"]]
    rows["incidents"] = [(key, json.loads(body)["opened"]) for key, body in rows["incidents"]]
    rows["meta"] = [
        (name, value.partition(" ")[0] if name.startswith(_STAMPED) else value)
        for name, value in rows["meta"]
        if name not in _VOLATILE
    ]
    return {name: sorted(found, key=repr) for name, found in rows.items()}


def _end_when_quiet(state: Path, told: bool) -> None:
    """Ends `adwatch run` by SIGTERM once it says that nothing is left to do.

    With `told`, something must be wrong, and nobody be left to be told.
    """
    from adwatch.edges.control import ask
    from adwatch.errors import AdwatchError

    while True:
        try:
            said = (ask(state, {"command": "status"}) or {}).get("status", {})
        except (AdwatchError, OSError, ValueError):
            said = {}
        quiet = said.get("state") == "online" and said["directory"]["last_reconcile"]
        quiet = quiet and not said["directory"]["comparison_owed"]
        quiet = quiet and not said["alerts"]["owed"] and bool(said["alerts"]["open"]) == told
        if quiet and not any(one["reload_owed"] for one in said["outputs"]):
            os.kill(os.getpid(), signal.SIGTERM)
            return
        time.sleep(0.005)


@dataclass(frozen=True)
class Expected:
    """What a run without a crash leads to, and the reloads and messages that it makes."""

    state: State
    reloads: Counter[str]
    messages: Counter[str]


class Sweep:
    """One scenario, its run without a crash, and those with one."""

    def __init__(self, scenario: Any, folder: Path) -> None:
        self.scenario = scenario
        self.folder = folder
        self.result = Result(scenario.name)
        self.before = self._new("before")
        scenario.prepare(self.before)
        scenario.change(self.before)
        self.old = self.before.files()
        self.made = self.before.reloads()
        commands = [scenario.command] + ([("sync",)] if scenario.may_be_lost else [])
        self.good = [self._without_crash(command) for command in commands]
        # The key may be made by the third start: the second one only asks for the status.
        self.good += [self._without_crash(scenario.command, boots=2)]

    def _new(self, name: str) -> Installation:
        from system.crash.scenarios import domain

        path = self.folder / name
        path.mkdir()
        return Installation(path, domain())

    @contextmanager
    def _copy(self, boots: int = 0) -> Iterator[Installation]:
        path = self.folder / f"copy-{os.getpid()}"
        shutil.copytree(self.before.folder, path, symlinks=True)
        for found in self.before.folder.rglob("*"):  # copytree keeps no owners
            kept = found.stat()
            os.chown(path / found.relative_to(self.before.folder), kept.st_uid, kept.st_gid)
        one = Installation(path, deepcopy(self.before.domain))
        one.starts = self.before.starts + boots
        one.name_hook()
        try:
            yield one
        finally:
            shutil.rmtree(path)
            one.folder.with_suffix(".said").unlink(missing_ok=True)

    def _without_crash(self, command: tuple[str, ...], boots: int = 0) -> Expected:
        with self._copy(boots) as one:
            code = one.run(*command)
            assert code in (0, 6), (self.scenario.name, command, code, one.said())
            code = one.run(self.scenario.again)
            assert code in (0, 6), (self.scenario.name, code, one.said())
            state = one.state()
            assert not state.strays, state.strays
            return Expected(state, one.reloads() - self.made, one.messages())

    def count(self) -> list[str]:
        """Every effect of the run without a crash, by name."""
        with self._copy() as one, tempfile.TemporaryFile(dir=self.folder) as log:
            one.run(*self.scenario.command, log=log.fileno())
            log.seek(0)
            return log.read().decode().splitlines()

    def crash(self, number: int) -> None:
        """A run that is killed before its effect `number`, and the start after it."""
        with self._copy() as one:
            if one.run(*self.scenario.command, fatal=number) != -signal.SIGKILL:
                return  # threads made one effect less this time
            self.result.tried += 1
            fault = self._fault(one)
            if fault:
                self.result.faults.append(f"{self.scenario.name}, point {number}: {fault}")

    def _fault(self, one: Installation) -> str:
        """What is wrong after a crash, or after the start that follows it; empty if nothing."""
        new = [good.state.files for good in self.good]
        for name, found in one.files().items():
            if found not in [self.old.get(name), *(files.get(name) for files in new)]:
                return f"{name} is neither old nor new after the crash: {found}"
        key = one.folder / "state" / "secret.key"
        kept = key.read_text() if key.exists() else None
        made, owed = one.reloads() - self.made + one.messages(), one.owed()
        codes = one.run("status"), one.run(self.scenario.again)
        if codes not in ((3, 0), (3, 6)):
            return f"status and the next start exit {codes}: {one.said()}"
        state, done = one.state(), one.reloads() - self.made + one.messages()
        same = [good for good in self.good if good.state == state]
        if state.strays or not same or kept not in (None, state.key):
            return f"left over: {state.strays}; {_difference(self.good[0].state, state)}"
        return self._deed_fault([g.reloads + g.messages for g in same], done, made, owed)

    def _deed_fault(
        self, same: list[Counter[str]], done: Counter[str], made: Counter[str], owed: set[str]
    ) -> str:
        """Whether other reloads were made, or other messages sent, than without a crash.

        One may be repeated that was `made` before the crash and `owed` still, so not recorded.
        """
        if done in same:
            return ""
        for good in same:
            more = done - good
            twice = all(n == 1 and made[deed] and deed in owed for deed, n in more.items())
            if not good - done and twice:
                self.result.repeated += 1
                return ""
        return f"reloads and messages {dict(done)}, without a crash {dict(same[0])}"


def _difference(good: State, bad: State) -> str:
    for name in ("files", "rows"):
        left, right = getattr(good, name), getattr(bad, name)
        for key in sorted({*left, *right}):
            if left.get(key) != right.get(key):
                return f"{name} {key}: {left.get(key)} became {right.get(key)}"
    return f"the key {good.key} became {bad.key}"


def sweep(name: str, every: int, first: int, offset: int, jobs: int) -> Result:
    """The part of a scenario's points that one of several jobs has."""
    from system.crash.scenarios import SCENARIOS

    where = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # syncing costs nothing
    with tempfile.TemporaryDirectory(dir=where) as folder:
        one = Sweep(SCENARIOS[name], Path(folder))
        effects = one.count()
        one.result.points = len(effects) + 1  # before each, and after the last
        one.result.kinds = Counter(effect.partition(" ")[0] for effect in effects)
        for number in _chosen(effects, every, first)[offset::jobs]:
            one.crash(number)
        return one.result


def _chosen(effects: list[str], every: int, first: int) -> list[int]:
    """Every `every`-th point within SQLite's own file, which is well tested, and all others."""
    return [
        number
        for number, effect in enumerate(effects, 1)
        if number % every == first or "state/adwatch.db" not in effect
    ]


def main() -> int:
    """One scenario a line: `NAME EVERY FIRST OFFSET JOBS`; its result as JSON on stdout."""
    import adwatch.cli
    import adwatch.report
    import adwatch.run
    import adwatch.wiring  # noqa: F401 - loaded once, before it is forked

    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    for line in sys.stdin:
        name, *numbers = line.rsplit(" ", 4)
        result = sweep(name, *map(int, numbers))
        print(json.dumps(vars(result)), flush=True)
    return 0


class Hook(ThreadingHTTPServer):
    """A webhook that writes the subject of each message into the folder that its URL names."""

    daemon_threads = True

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with (Path(self.path) / "messages").open("a") as file:
                file.write(f"{said['title']}\n")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: the folder has it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)
        Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Crashes:
    """Processes that share the points of a sweep; used as a context, for they must end."""

    def __init__(self, jobs: int = 2) -> None:
        self._jobs = jobs
        self._workers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Crashes:
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name) / "effects.so"
        compiler = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(EFFECTS), "-ldl"]
        subprocess.run(compiler, check=True)
        paths = os.pathsep.join(path for path in sys.path if path)
        self._hook = Hook()
        named = {LIBRARY: str(library), HOOK: str(self._hook.server_address[1])}
        env = {**os.environ, "LD_PRELOAD": str(library), **named, "PYTHONPATH": paths}
        command = [sys.executable, "-m", "system.crash.sweep"]
        for _ in range(self._jobs):
            worker = subprocess.Popen(
                command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._workers.append(worker)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()
            worker.communicate()
        self._hook.close()
        self._folder.cleanup()

    def sweep(self, name: str, every: int = 1) -> Result:
        """The points of one scenario, but of those within SQLite's file each `every`-th alone."""
        first = random.randrange(every)
        for number, worker in enumerate(self._workers):
            assert worker.stdin is not None
            worker.stdin.write(f"{name} {every} {first} {number} {self._jobs}\n")
            worker.stdin.flush()
        said = [worker.stdout.readline() for worker in self._workers if worker.stdout is not None]
        assert all(said), "a worker ended; see above"
        return _joined([json.loads(line) for line in said])


def _joined(parts: list[dict[str, Any]]) -> Result:
    first = parts[0]
    return Result(
        first["name"],
        first["points"],
        sum(part["tried"] for part in parts),
        Counter(first["kinds"]),
        sum(part["repeated"] for part in parts),
        [fault for part in parts for fault in part["faults"]],
    )


if __name__ == "__main__":
    sys.exit(main())
