"""`agi:` as people meet it: an address that is taken, seen and mended; no directory is needed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from program import ADWATCH, Adwatch, configured, wait_for
from system.samba import free_port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def adwatch(tmp_path: Path, port: int) -> Iterator[Adwatch]:
    more = f"agi: 127.0.0.1:{port}"
    it = Adwatch(tmp_path, configured("ldaps://localhost:1", tmp_path / "ca.pem", more=more), "x")
    yield it
    it.kill()


def seen(adwatch: Adwatch, what: Callable[[dict[str, object]], object]) -> Callable[[], object]:
    """Looks at what the running one says of itself."""

    def look() -> object:
        said = json.loads(adwatch("status", "--json").stdout)
        return said["pid"] and what(said)

    return look


def test_an_address_in_use_is_a_fault_in_status_and_mends_itself(
    adwatch: Adwatch, port: int
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        adwatch.start()
        wait_for("the fault", seen(adwatch, lambda said: said["faults"]))
        said = adwatch.status()
        assert said["listens"] == []
        assert said["faults"]["agi"].startswith(
            f"agi can't listen on 127.0.0.1 port {port}: Address already in use (end what"
        )
        assert "agi fault: agi can't listen" in adwatch("status").stdout
        checked = adwatch("check", "--offline").stdout
        assert f"✗ agi 127.0.0.1:{port}: agi can't listen" in checked
    listens = seen(adwatch, lambda said: said["listens"] == ["agi"])
    wait_for("it to listen", listens, 60)  # it rests for half a minute between two tries
    assert adwatch.status()["faults"] == {}
    assert adwatch.log.read_text().count("event=recovered part=agi") == 1


def test_check_tells_a_free_address_from_the_one_that_adwatch_itself_has(
    adwatch: Adwatch, port: int
) -> None:
    free = f"✓ agi 127.0.0.1:{port}: can be listened on\n"
    assert free in adwatch("check", "--offline").stdout
    adwatch.start()
    wait_for("it to listen", seen(adwatch, lambda said: said["listens"] == ["agi"]))
    served = f"✓ agi 127.0.0.1:{port}: served by the running adwatch\n"
    assert served in adwatch("check", "--offline").stdout
    adwatch.stop()
    assert free in adwatch("check", "--offline").stdout


def test_whoever_hangs_on_it_does_not_keep_adwatch_from_ending(adwatch: Adwatch, port: int) -> None:
    adwatch.start()
    wait_for("it to listen", seen(adwatch, lambda said: said["listens"] == ["agi"]))
    with ExitStack() as stack:
        for _ in range(100):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            one.sendall(b"agi_callerid: 5")
        assert adwatch.stop() < 3  # the contract's bound


@pytest.mark.skipif(os.geteuid() != 0, reason="another resolv.conf, seen by adwatch alone")
@pytest.mark.parametrize("part", ["agi", "http"])
def test_a_name_server_that_does_not_answer_keeps_nothing_waiting(
    tmp_path: Path, port: int, part: str
) -> None:
    address = f"pbx.example.test:{port}"
    more = f"agi: {address}" if part == "agi" else f"http: {{listen: {address}}}"
    adwatch = Adwatch(tmp_path, configured("ldaps://localhost:1", tmp_path / "ca.pem", more=more))
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.77\noptions timeout:30 attempts:5\n")
    script = f"mount --bind {resolv} /etc/resolv.conf && exec {ADWATCH} run -c {adwatch.config}"
    with socket.socket(type=socket.SOCK_DGRAM) as silent, adwatch.log.open("wb") as log:
        silent.bind(("127.0.0.77", 53))
        command = ["unshare", "--mount", "sh", "-c", script]
        adwatch.running = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        try:
            silent.settimeout(30)
            silent.recv(512)
            fault = lambda said: said["directory"]["fault"]  # noqa: E731
            wait_for("the loop to go on", seen(adwatch, fault))
            assert adwatch.status()["listens"] == []
            assert adwatch.stop() < 3  # the contract's bound
        finally:
            adwatch.kill()
