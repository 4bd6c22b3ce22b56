"""What systemd is told, on a real datagram socket; and what its own program says of the unit."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from system.programs import program

from adwatch.edges.systemd import Systemd

UNIT = Path("systemd/adwatch.service")
MOST_EXPOSED = 1.5


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The name that a service is given, and the socket that hears."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@adwatch-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.bind("\0" + name[1:] if name.startswith("@") else name)
        hears.settimeout(5)
        yield name, hears


def test_the_service_is_ready_says_what_it_is_at_and_stops(ear: tuple[str, socket.socket]) -> None:
    name, hears = ear
    systemd = Systemd({"NOTIFY_SOCKET": name})
    systemd.ready()
    systemd.status("online: 3 peers served; ключ")
    systemd.status("online: 3 peers served; ключ")
    systemd.stopping()
    said = [hears.recv(4096).decode() for _ in range(3)]
    assert said == ["READY=1", "STATUS=online: 3 peers served; ключ", "STOPPING=1"]


def test_the_watchdog_is_fed_only_where_it_waits_for_this_process(
    ear: tuple[str, socket.socket],
) -> None:
    name, hears = ear
    own = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    for other in (
        {**own, "WATCHDOG_PID": "1"},
        {**own, "WATCHDOG_USEC": "0"},
        {**own, "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": name},
    ):
        systemd = Systemd(other)
        assert systemd.ping_s == float("inf")
        systemd.alive()
    systemd = Systemd(own)
    assert systemd.ping_s == 30
    for _ in range(20_000):  # as at every entry of a long reading
        systemd.alive()
    systemd.ready()
    assert [hears.recv(4096) for _ in range(2)] == [b"WATCHDOG=1", b"READY=1"]


def test_a_reload_says_since_when_as_systemd_wants_it(ear: tuple[str, socket.socket]) -> None:
    name, hears = ear
    Systemd({"NOTIFY_SOCKET": name}).reloading()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=[1-9]\d+", hears.recv(4096).decode())


def test_without_systemd_nothing_happens_and_a_dead_one_is_no_fault(tmp_path: Path) -> None:
    Systemd({}).ready()
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()


def test_the_unit_is_well_formed_and_hardly_exposed() -> None:
    analyze = program("systemd", "systemd-analyze")
    verified = subprocess.run(
        [analyze, "verify", UNIT], capture_output=True, text=True, check=False
    )
    others = [line for line in verified.stderr.splitlines() if "is not executable" not in line]
    assert not [line for line in others if line.startswith("adwatch.service")], others
    exposed = subprocess.run(
        [analyze, "security", "--offline=true", UNIT],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    level = re.search(r"Overall exposure level for adwatch.service: ([\d.]+)", exposed)
    assert level is not None
    assert float(level[1]) <= MOST_EXPOSED, exposed
