"""A store that breaks under a service, or before it starts: what is served, and what is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from program import Adwatch, wait_for
from service.test_lost_store import filled, flip_a_bit_of_the_cursor, small, spoil_the_header

from adwatch.edges.control import ask

CONFIG = """\
directory: {servers: [ldaps://dc.example.test], user: u, password: p, poll: 50ms}
peers: {context: department or "users"}
outputs:
  - {name: users, path: users.conf, options: {template: lan}, reload: sip reload}
asterisk: {command: [sh, -c, 'echo "$0" >> reloads'], verify: false, settle: 1ms, at_most: 2ms}
state: state
"""
__all__ = ["small"]


class Service(Adwatch):
    """`adwatch run` over a domain in memory with ten users from 10000 on."""

    def begin(self, *options: str) -> None:
        command = [sys.executable, "-m", "system.on_memory", str(self.config), "10", *options]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                command, stdin=subprocess.PIPE, stderr=log, env=environment, cwd=self.folder
            )

    def tell(self, line: str) -> None:
        assert self.running is not None
        assert self.running.stdin is not None
        self.running.stdin.write(f"{line}\n".encode())
        self.running.stdin.flush()

    def end(self) -> None:
        assert self.running is not None
        self.running.send_signal(signal.SIGTERM)
        self.running.communicate(timeout=5)
        assert self.running.returncode == 0, self.log.read_text()
        self.running = None

    def status(self) -> dict[str, Any]:
        """What a running one says, asked without a process in between; else the command's."""
        answer = ask(self.folder / "state", {"command": "status"})
        return super().status() if answer is None else dict(answer["status"])

    def is_online(self) -> bool:
        return bool(self.status()["state"] == "online")

    def is_quiet(self) -> bool:
        said = self.status()
        owed = any(output["reload_owed"] for output in said["outputs"])
        return not owed and not said["directory"]["comparison_owed"]

    def fault(self) -> str:
        return str(self.status().get("faults", {}).get("store", ""))

    @property
    def store(self) -> Path:
        return self.folder / "state" / "adwatch.db"


@contextmanager
def serving(folder: Path) -> Iterator[Service]:
    one = Service(folder, CONFIG)
    one.begin()
    try:
        wait_for("online", one.is_online)
        wait_for("the first reload", one.reloads)
        wait_for("nothing to be left to write", one.is_quiet)
        yield one
    finally:
        if one.running is not None:
            one.running.kill()
            one.running.communicate()


@pytest.mark.parametrize("damage", [spoil_the_header, flip_a_bit_of_the_cursor])
def test_a_store_damaged_while_ad_is_down_is_one_fault_and_the_outputs_are_served(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    with serving(tmp_path) as one:
        text = one.text()
        one.end()
        damage(one.store)
        assert "is damaged" in one.fault()
        assert one("status").returncode == 3
        assert one("peers").returncode == 1
        one.begin("away")
        wait_for("it says so", lambda: one.status()["state"] == "degraded")
        (aside,) = one.store.parent.glob("adwatch.db.damaged-*")
        wait_for("it names the file", lambda: f"it is kept as {aside.name}" in one.fault())
        said = one.status()
        assert list(said["faults"]) == ["store"]
        assert f"store fault: {one.fault()}" in one("status").stdout
        assert one.text() == one("render", "users").stdout == text
        one.tell("back")
        wait_for("it is over", one.is_online, 60)  # it rests for half a minute between two tries
        assert one.text() == text
        assert said["peers"]["served"] in (0, 10)
        assert one.status()["peers"]["served"] == 10
        log = one.log.read_text()
        assert "event=recovered part=store" in log
        one.end()


def test_a_disk_that_is_full_is_one_fault_and_over_by_itself(small: Path) -> None:
    with serving(small) as one:
        text = one.text()
        with filled(small):
            one.tell("add 20000")
            wait_for("it says so", lambda: "full" in one.fault())
            assert one.status()["state"] == "degraded"
            assert one.status()["directory"]["fault"] is None
            assert one("sync").returncode == 1
            assert one.text() == text
        wait_for("the new peer", lambda: one.section("20000"))
        wait_for("it is over", one.is_online)
        wait_for("its reload", lambda: len(one.reloads()) == 2)
        one.end()


def test_a_service_can_start_and_stop_on_a_full_disk(small: Path) -> None:
    with serving(small) as one:
        text = one.text()
        one.end()
        with filled(small):
            one.begin()
            wait_for("it says so", lambda: "full" in one.fault())
            assert one.text() == one("render", "users").stdout == text
            assert one.status()["peers"]["served"] == 10
            one.end()
            one.begin()
            wait_for("it says so", lambda: "full" in one.fault())
        wait_for("it is over", one.is_online)
        one.end()


@pytest.mark.parametrize("what", ["taken away", "spoilt"])
def test_a_store_that_is_lost_under_a_running_service_is_made_anew_without_a_restart(
    tmp_path: Path, what: str
) -> None:
    with serving(tmp_path) as one:
        text, pid = one.text(), one.status()["pid"]
        if what == "spoilt":
            with one.store.open("r+b") as file:
                file.write(bytes(file.seek(0, os.SEEK_END)))
                file.seek(0)
                file.write(os.urandom(8192))
        else:
            one.store.unlink()
        one.tell("add 20000")
        wait_for("the new peer", lambda: one.section("20000"))
        wait_for("it is over", one.is_online)
        assert one.status()["pid"] == pid
        assert one.text().startswith(text)
        assert one.store.exists()
        assert len(list(one.store.parent.glob("*.damaged-*"))) == (what == "spoilt")
        one.end()


def descriptors(pid: int) -> list[str]:
    """The files that a process has open."""
    found = []
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(FileNotFoundError):  # closed since
            found.append(str(link.readlink()))
    return found


def test_one_process_writes_over_one_connection_and_there_is_no_wal(tmp_path: Path) -> None:
    with serving(tmp_path) as one:
        assert one.running is not None
        seen, opened = set[str](), set[int]()
        for number in range(20_000, 20_006):
            one.tell(f"add {number}")
            looking = subprocess.Popen(
                [sys.executable, "-m", "adwatch", "peers", "-c", str(one.config)],
                stdout=subprocess.DEVNULL,
            )
            while looking.poll() is None:
                seen |= {path.name for path in one.store.parent.glob("adwatch.db*")}
                opened.add(descriptors(one.running.pid).count(str(one.store.resolve())))
            assert looking.returncode == 0
        assert seen <= {"adwatch.db", "adwatch.db-journal"}
        assert opened == {1}
        assert one("run").returncode == 7
        one.end()
