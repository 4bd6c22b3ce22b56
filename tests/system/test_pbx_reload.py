"""Reloads of a real Asterisk: by its command and by AMI, when it is well and when it is not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from program import Adwatch, configured, wait_for

from adwatch.config.load import load
from adwatch.edges.asterisk.ami import Account, Ami
from adwatch.edges.asterisk.command import CommandLine
from adwatch.report import Health, status
from adwatch.service import Service
from adwatch.testing import FakeClock, MemoryDirectory
from adwatch.turn import Turn
from adwatch.wiring import build
from system.samba import DOCKER, SambaDC, free_port, run

AMI_SECRET = "ami-pa55"
MANAGER = f"""\
[general]
enabled = yes
bindaddr = 0.0.0.0
[adwatch]
secret = {AMI_SECRET}
write = system
[counter]
secret = {AMI_SECRET}
read = system
"""
FILES = {
    "manager.conf": MANAGER,
    "sip.conf": "[general]\nudpbindaddr = 127.0.0.1:5070\n",
    "users.conf": "[general]\n[lan](!)\ntype = peer\nhost = dynamic\nhassip = yes\nhasiax = no\n"
    "#tryinclude /adwatch/users.conf\n",
    "pjsip.conf": "[udp]\ntype = transport\nprotocol = udp\nbind = 127.0.0.1:5060\n"
    "[lan](!)\nallow = !all,alaw\n"
    "#tryinclude /adwatch/pjsip.conf\n",
    "extensions.conf": "[users]\nexten => _X.,1,NoOp\n",
}
STAFF = "OU=Staff,DC=example,DC=test"
CONFIG = """\
directory: {{servers: [ldaps://dc.example.test], user: u, password: p}}
peers: {{context: department or "users"}}
outputs:
  - {{name: peers, path: {pbx}/{form}, format: {form}, options: {{{options}}}, mode: "0640"}}
asterisk: {{{way}}}
safety: {{max_removals: 50}}
state: state
"""
OPTIONS = {"users.conf": "template: lan", "pjsip.conf": "endpoint: lan"}
KINDS = {"users.conf": "sip", "pjsip.conf": "pjsip"}


class Pbx:
    """An Asterisk in a container; `folder` is /adwatch there."""

    def __init__(self, version: int, folder: Path) -> None:
        self.folder = folder / "adwatch"
        self.port = free_port()
        self._etc = folder / "etc"
        self.version = version
        self.name = f"adwatch-pbx-{uuid.uuid4().hex[:8]}"
        self.folder.mkdir()
        self._etc.mkdir()
        for name, text in FILES.items():
            (self._etc / name).write_text(text)

    def open(self) -> None:
        mounts = ["-v", f"{self.folder}:/adwatch", "-v", f"{self._etc}:/etc/own"]
        ports = ["-p", f"127.0.0.1:{self.port}:5038"]
        command = "cp /etc/own/* /etc/asterisk/ && exec asterisk -f"
        image = run(str(DOCKER / "ensure"), f"asterisk-{self.version}").strip()
        run("docker", "run", "-d", "--name", self.name, *mounts, *ports, "--entrypoint", "sh",
            image, "-c", command)  # fmt: skip
        self.wait()

    def wait(self) -> None:
        wait_for("Asterisk", self._up)

    def _up(self) -> bool:
        with suppress(RuntimeError):
            return "fully booted" in self.cli("core waitfullybooted") and self._manager()
        return False

    def _manager(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as one:
            one.settimeout(1)
            return one.recv(100).startswith(b"Asterisk")
        return False

    def cli(self, command: str) -> str:
        return run("docker", "exec", self.name, "asterisk", "-rx", command)

    def put(self, name: str, text: str) -> None:
        """Has the administrator's file of that name hold a text."""
        (self._etc / name).write_text(text)
        run("docker", "exec", self.name, "cp", f"/etc/own/{name}", "/etc/asterisk/")

    def docker(self, verb: str) -> None:
        run("docker", verb, self.name)

    def has(self, form: str, number: str) -> bool:
        one = "sip show peer" if form == "users.conf" else "pjsip show endpoint"
        return "Context  " in self.cli(f"{one} {number}").replace("context ", "Context ")

    def close(self) -> None:
        with suppress(RuntimeError):
            run("docker", "rm", "-f", self.name)


class Counter:
    """Counts the reloads that Asterisk tells of by its own event."""

    def __init__(self, pbx: Pbx) -> None:
        self.count = 0
        self._socket = socket.create_connection(("127.0.0.1", pbx.port), 5)
        said = f"Action: Login\r\nUsername: counter\r\nSecret: {AMI_SECRET}\r\n\r\n"
        self._socket.sendall(said.encode())
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._ready.wait(5)

    def _listen(self) -> None:
        self._socket.settimeout(None)
        with suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"Message: Authentication accepted"):
                    self._ready.set()
                self.count += line == b"Event: Reload\r\n"

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Pbx]]:
    made: dict[int, Pbx] = {}

    def give(version: int) -> Pbx:
        if version not in made:
            made[version] = Pbx(version, tmp_path_factory.mktemp(f"pbx{version}"))
            made[version].open()
        return made[version]

    yield give
    for pbx in made.values():
        pbx.close()


@pytest.fixture
def pbx(boxes: Callable[[int], Pbx], request: pytest.FixtureRequest) -> Iterator[Pbx]:
    """The Asterisk of the version that the test asks for, without peers before and after."""
    found = boxes(getattr(request, "param", 16))
    yield found
    for path in found.folder.iterdir():
        path.unlink()
    for name, text in FILES.items():
        found.put(name, text)
    found.cli("sip reload")
    found.cli("module reload res_pjsip.so")


@pytest.fixture
def counter(pbx: Pbx) -> Iterator[Counter]:
    made = Counter(pbx)
    yield made
    made.close()


def way_of(pbx: Pbx, way: str) -> str:
    if way == "ami":
        return f"ami: {{port: {pbx.port}, user: adwatch, secret_file: ami-secret}}"
    return f"command: [docker, exec, {pbx.name}, asterisk, -rx]"


class Site:
    """A service over a domain in memory, and a real Asterisk."""

    def __init__(self, pbx: Pbx, form: str, way: str, folder: Path) -> None:
        self.pbx, self.form = pbx, form
        self.domain = MemoryDirectory(STAFF, clock=FakeClock())
        self.config = folder / "config.yaml"
        (folder / "ami-secret").write_text(AMI_SECRET + "\n")
        text = CONFIG.format(pbx=pbx.folder, form=form, options=OPTIONS[form], way=way_of(pbx, way))
        self.config.write_text(text)
        self.service: Service
        self.start()

    def start(self) -> None:
        self.service = build(load(self.config), directory=self.domain)
        self.service.prepare()
        self.service.open()

    def turn(self) -> Turn:
        turn = self.service.turn()
        self.service.reload_now(turn)
        return turn

    def add(self, number: str, **attributes: str) -> str:
        return self.domain.add_user(f"u{number}", telephoneNumber=number, **attributes)

    def said(self) -> dict[str, object]:
        output = status(self.service, Health(), 0.0)["outputs"][0]
        assert isinstance(output, dict)
        return output

    def has(self, number: str) -> bool:
        return self.pbx.has(self.form, number)

    def admin(self, more: str = "", less: str = "") -> None:
        """The administrator's own file, which includes ours: with more in it, or less."""
        self.pbx.put(self.form, FILES[self.form].replace(less, "") + more)


CASES = [(16, "users.conf"), (16, "pjsip.conf"), (22, "pjsip.conf")]
everywhere = pytest.mark.parametrize(
    ("pbx", "form"), CASES, indirect=["pbx"], ids=[f"{v}-{f}" for v, f in CASES]
)
both_ways = pytest.mark.parametrize("way", ["command", "ami"])
a_few = pytest.mark.parametrize(
    ("pbx", "form", "way"),
    [(16, "users.conf", "command"), (16, "pjsip.conf", "ami"), (22, "pjsip.conf", "ami")],
    indirect=["pbx"],
    ids=["16-users-command", "16-pjsip-ami", "22-pjsip-ami"],
)


@pytest.fixture
def site(pbx: Pbx, form: str, way: str, tmp_path: Path) -> Iterator[Site]:
    made = Site(pbx, form, way, tmp_path)
    yield made
    made.service.close()


@everywhere
@both_ways
def test_the_pbx_has_after_a_turn_what_the_file_says(site: Site) -> None:
    dns = [site.add(str(n)) for n in range(501, 505)]
    assert site.turn().faults == {}
    assert all(site.has(str(n)) for n in range(501, 505))
    said = site.said()
    assert (said["verified"], said["refused"], said["fault"]) == (True, [], None)
    site.domain.delete(dns[0])
    site.domain.modify(dns[1], department="sales")
    site.domain.modify(dns[2], telephoneNumber="600")
    assert site.turn().faults == {}
    assert site.said()["verified"] is True
    assert [site.has(n) for n in ("501", "502", "503", "504", "600")] == [
        *(False, True, False, True, True)
    ]


@a_few
def test_a_configuration_that_asterisk_rejects_is_a_failed_reload_and_is_paid_once_mended(
    site: Site,
) -> None:
    site.add("501")
    site.turn()
    site.admin("[600](no-such-template)\n")
    gone = site.add("502")
    site.add("503")
    site.service.turn()
    site.domain.delete(gone)
    site.add("504")
    turn = site.turn()
    assert turn.exit_code == 1
    fault = str(turn.faults["asterisk"])
    assert "Asterisk said that it has reloaded" in fault
    assert "does not have 503, 504" in fault
    assert site.service.reloads.owed()
    assert site.said()["verified"] is False
    site.service.close()
    site.start()
    site.admin()
    assert site.turn().faults == {}
    assert not site.service.reloads.owed()
    assert site.has("503")
    assert site.said()["verified"] is True


@a_few
def test_a_leaver_that_a_rejected_configuration_keeps_is_told_until_it_is_gone(
    site: Site,
) -> None:
    dn = site.add("501")
    site.add("502")
    site.turn()
    site.admin("[600](no-such-template)\n")
    site.domain.delete(dn)
    assert "still has 501" in str(site.turn().faults["asterisk"])
    assert site.service.reloads.owed()
    site.admin()
    assert site.turn().faults == {}
    assert not site.has("501")


@a_few
def test_peers_that_a_broken_line_hides_are_a_fault_and_not_their_own(site: Site) -> None:
    dns = [site.add(str(n)) for n in range(501, 505)]
    site.turn()
    lan = next(line for line in FILES[site.form].splitlines() if line.startswith("[lan]"))
    site.admin(less=lan + "\n")
    site.domain.delete(dns[0])
    turn = site.turn()
    assert "does not have 502, 503, 504" in str(turn.faults["asterisk"])
    assert site.service.reloads.owed()
    site.admin()
    assert site.turn().faults == {}
    assert site.said()["verified"] is True


REFUSED = [(16, "pjsip.conf"), (22, "pjsip.conf")]


@pytest.mark.parametrize(("pbx", "form"), REFUSED, indirect=["pbx"], ids=["16", "22"])
@both_ways
def test_a_peer_that_asterisk_refuses_is_that_peers_fault_and_no_failed_reload(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.admin("[666](+)\nno_such_option = yes\n")
    site.add("501")
    site.add("666")
    assert site.turn().faults == {}
    assert not site.service.reloads.owed()
    assert (site.has("501"), site.has("666")) == (True, False)
    said = site.said()
    assert (said["refused"], said["fault"], said["verified"]) == (["666"], None, False)
    assert "event=refused output=peers peers=666" in caplog.text
    caplog.clear()
    site.add("502")
    assert site.turn().faults == {}
    assert site.said()["refused"] == ["666"]
    assert "event=refused" not in caplog.text
    site.admin()
    site.add("503")
    site.turn()
    said = site.said()
    assert (said["refused"], said["verified"]) == ([], True)


@pytest.mark.parametrize(("pbx", "form"), REFUSED[:1], indirect=["pbx"], ids=["16"])
@pytest.mark.parametrize("way", ["ami"])
def test_a_single_new_peer_that_never_comes_is_taken_for_its_own_fault_in_the_end(
    site: Site, counter: Counter
) -> None:
    site.add("501")
    site.turn()
    site.admin("[666](+)\nno_such_option = yes\n")
    site.add("666")
    codes = [site.turn().exit_code for _ in range(4)]
    assert codes == [1, 1, 0, 0]
    assert counter.count == 4
    assert not site.service.reloads.owed()
    assert site.said()["refused"] == ["666"]


@pytest.mark.parametrize("way", ["ami"])
@pytest.mark.parametrize("form", ["users.conf"])
def test_a_peer_that_is_written_down_elsewhere_too_is_told(site: Site) -> None:
    dn = site.add("501")
    site.add("502")
    site.admin("[501](lan)\n")
    site.turn()
    site.domain.delete(dn)
    site.add("503")
    assert site.turn().faults == {}
    assert not site.service.reloads.owed()
    assert "Asterisk still has 501" in str(site.said()["fault"])
    assert status(site.service, Health(pid=1, turned=True), 0.0)["state"] == "degraded"
    site.admin()
    site.pbx.cli("sip reload")
    reloads = site.service.reloads
    assert reloads.odd()

    def mended() -> bool:
        reloads.look_again()
        while reloads.under_way():
            reloads.follow()
        return not reloads.odd()

    wait_for("another look", mended)
    assert (site.said()["fault"], site.said()["verified"]) == (None, True)


@pytest.mark.parametrize("form", ["users.conf"])
@pytest.mark.parametrize("way", ["ami"])
def test_what_does_not_change_is_not_reloaded(site: Site, counter: Counter) -> None:
    dn = site.add("501")
    site.turn()
    wait_for("the event", lambda: counter.count == 1)
    site.turn()
    site.domain.modify(dn, telephoneNumber="502")
    site.service.turn()
    site.domain.modify(dn, telephoneNumber="501")
    assert site.turn().faults == {}
    assert not site.service.reloads.owed()
    site.add("503")
    site.turn()
    wait_for("the event", lambda: counter.count == 2)


@pytest.mark.parametrize("pbx", [16, 22], indirect=True)
def test_what_each_way_sees_of_a_peer_is_the_same(pbx: Pbx) -> None:
    text = '[501]\ntype = endpoint\ncontext = sales\ncallerid = "Ann Öz" <501>\n'
    (pbx.folder / "pjsip.conf").write_text(text)
    command = CommandLine(["docker", "exec", pbx.name, "asterisk", "-rx"])
    ami = Ami(Account("127.0.0.1", pbx.port, "adwatch", lambda: AMI_SECRET))
    ami.open()
    for one in (command, ami):
        one.reload("module reload res_pjsip.so")
        assert one.version().startswith("Asterisk ")
        assert one.peers("pjsip").names == {"501"}
        assert one.peer("pjsip", "501") == ("sales", "Ann Öz")
        assert one.peer("pjsip", "999") is None
    ami.close()
    pbx_has_sip = "16." in command.version()
    assert (command.peers("sip").names is not None) == pbx_has_sip


@pytest.mark.parametrize(
    ("pbx", "form", "push"),
    [(16, "users.conf", False), (22, "pjsip.conf", True)],
    indirect=["pbx"],
    ids=["16-users-poll", "22-pjsip-push"],
)
def test_a_burst_among_five_thousand_peers_costs_one_reload_and_one_more_for_each_at_most(
    pbx: Pbx, form: str, push: bool, tmp_path: Path
) -> None:
    text = CONFIG.format(pbx=pbx.folder, form=form, options=OPTIONS[form], way=way_of(pbx, "ami"))
    text = text.replace("password: p}", f"password: p, push: {str(push).lower()}}}")
    adwatch = Adwatch(tmp_path, text)
    (tmp_path / "ami-secret").write_text(AMI_SECRET)
    command = [sys.executable, "-m", "system.on_memory", str(adwatch.config), "5000"]
    with adwatch.log.open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        running = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, env=environment)
    counter = None
    try:
        assert running.stdin is not None
        wait_for("the first reload", lambda: paid(adwatch), 60)
        counter = Counter(pbx)
        begun, rest = time.monotonic(), threading.Event()
        for number in range(250):
            running.stdin.write(f"add {20_000 + number}\nchange {10_000 + number}\n".encode())
            running.stdin.flush()
            rest.wait(0.03)
        wait_for("the last peer", lambda: "[20249]" in (pbx.folder / form).read_text())
        wait_for("the last reload", lambda: paid(adwatch), 60)
        took = time.monotonic() - begun
        assert pbx.has(form, "20249")
        assert pbx.has(form, "10249")
        (output,) = adwatch.status()["outputs"]
        assert (output["verified"], output["refused"]) == (True, [])
        print(f"{form} push={push}: {counter.count} reloads in {took:.1f} s")
        assert 2 <= counter.count <= 1 + took / 2.0
    finally:
        if counter is not None:
            counter.close()
        running.terminate()
        running.communicate(timeout=10)


# With the whole program, and a real domain.

MORE = "safety: {max_removals: 50}"


on_both = pytest.mark.parametrize(
    ("pbx", "form"),
    [(16, "users.conf"), (22, "pjsip.conf")],
    indirect=["pbx"],
    ids=["16-users", "22-pjsip"],
)


# Each with each would say little more, and take twice as long.
in_pairs = pytest.mark.parametrize(
    ("pbx", "form", "killed"),
    [(16, "users.conf", False), (22, "pjsip.conf", True)],
    indirect=["pbx"],
    ids=["16-users", "22-pjsip-killed"],
)


@pytest.fixture
def adwatch(dc: SambaDC, pbx: Pbx, form: str, tmp_path: Path) -> Iterator[Adwatch]:
    text = configured(dc.ldaps_url, Path(dc.ca_file), more=MORE)
    output = f"path: {pbx.folder}/{form}\n    format: {form}\n    options: {{{OPTIONS[form]}}}"
    start, end = text.index("    path: users.conf"), text.index("state:")
    text = f"{text[:start]}    {output}\nasterisk: {{{way_of(pbx, 'ami')}}}\n{text[end:]}"
    made = Adwatch(tmp_path, text, dc.service_password)
    made.output = pbx.folder / form
    (tmp_path / "ami-secret").write_text(AMI_SECRET)
    yield made
    made.kill()


@pytest.fixture
def number(dc: SambaDC) -> Iterator[Callable[[], str]]:
    """Adds a user and gives the number."""
    dns: list[str] = []

    def add() -> str:
        number = str(uuid.uuid4().int % 10**8)
        dns.append(dc.add_user(f"r{number}", STAFF, telephoneNumber=number))
        return number

    yield add
    for dn in dns:
        dc.delete(dn)


def paid(adwatch: Adwatch) -> bool:
    said = adwatch.status()
    return said["state"] == "online" and not said["outputs"][0]["reload_owed"]


def started(adwatch: Adwatch) -> None:
    adwatch.start()
    wait_for("the first reload", lambda: paid(adwatch))


def owes(adwatch: Adwatch, number: str, fault: str) -> None:
    """The file has the new peer, and a fault that says why Asterisk has not."""
    wait_for("the file", lambda: adwatch.section(number))

    def told() -> bool:
        (output,) = adwatch.status()["outputs"]
        return bool(output["reload_owed"]) and fault in (output["fault"] or "")

    wait_for("the fault", told)


@on_both
def test_a_new_user_is_a_peer_within_three_seconds(
    adwatch: Adwatch, pbx: Pbx, form: str, number: Callable[[], str]
) -> None:
    started(adwatch)
    for _ in range(3):
        mine = number()
        wait_for("the peer", lambda: pbx.has(form, mine), 3)  # noqa: B023 - used at once


@in_pairs
def test_a_dead_asterisk_is_told_when_it_is_back(
    adwatch: Adwatch, pbx: Pbx, form: str, number: Callable[[], str], killed: bool
) -> None:
    started(adwatch)
    pbx.docker("kill")
    try:
        mine = number()
        owes(adwatch, mine, "can't be reached")
        if killed:
            adwatch.kill()
    finally:
        pbx.docker("start")
        pbx.wait()
    if killed:
        adwatch.start()
    wait_for("the debt to be paid", lambda: paid(adwatch), 60)
    assert pbx.has(form, mine)
    assert adwatch("sync").returncode == 0
    assert adwatch.log.read_text().count("event=reloaded") == 2


@in_pairs
def test_a_refused_login_is_paid_with_the_right_secret(
    adwatch: Adwatch, pbx: Pbx, form: str, number: Callable[[], str], counter: Counter, killed: bool
) -> None:
    started(adwatch)
    secret = adwatch.folder / "ami-secret"
    secret.write_text("wrong-pa55")
    mine = number()
    owes(adwatch, mine, "refuses the user adwatch")
    done = adwatch("check")
    assert "✗ asterisk: the manager interface at 127.0.0.1" in done.stdout
    if killed:
        adwatch.kill()
    secret.write_text(AMI_SECRET)
    if killed:
        adwatch.start()
    wait_for("the debt to be paid", lambda: paid(adwatch), 60)
    assert pbx.has(form, mine)
    wait_for("the events", lambda: counter.count == 2)
    assert f"✓ asterisk: Asterisk {pbx.version}" in adwatch("check").stdout
    assert "✓ asterisk users: has " in adwatch("check").stdout
    log = adwatch.log.read_text()
    assert log.count("event=recovered part=asterisk") == (not killed)
    for word in (AMI_SECRET, "wrong-pa55"):
        assert word not in log + done.stdout + done.stderr


@in_pairs
def test_a_hanging_asterisk_stops_nobody_and_is_told_once_it_goes_on(
    adwatch: Adwatch, pbx: Pbx, form: str, number: Callable[[], str], counter: Counter, killed: bool
) -> None:
    started(adwatch)
    pbx.docker("pause")
    try:
        mine = number()
        wait_for("the file", lambda: adwatch.section(mine))
        wait_for("the debt", lambda: adwatch.status()["outputs"][0]["reload_owed"])
        assert adwatch("sync").returncode == 0
        if killed:
            adwatch.kill()
        else:
            assert adwatch.stop() < 3
        adwatch.start()
        wait_for("the debt", lambda: adwatch.status()["outputs"][0]["reload_owed"])
    finally:
        pbx.docker("unpause")
    wait_for("the debt to be paid", lambda: paid(adwatch), 60)
    assert pbx.has(form, mine)
    wait_for("the events", lambda: counter.count == 2)


class Cutter:
    """Stands before AMI, and breaks the connection in the middle of the line that holds `mark`."""

    def __init__(self, port: int) -> None:
        self.mark = b""
        self.cut = 0
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        seen = b""
        with suppress(OSError):
            while data := one.recv(1 << 16):
                seen += data
                if self.mark and self.mark in seen:
                    self.cut += 1
                    other.sendall(data[: data.index(self.mark[:1]) + 3])
                    break
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.mark.parametrize(
    ("pbx", "form", "mark", "killed"),
    [
        (16, "users.conf", b"Message: Authentication", False),
        (22, "pjsip.conf", b"Message: Authentication", True),
        (16, "users.conf", b"Action: Reload", True),
        (22, "pjsip.conf", b"Action: Reload", False),
        (16, "users.conf", b"PeerlistComplete", True),
        (22, "pjsip.conf", b"EndpointListComplete", False),
    ],
    indirect=["pbx"],
)
def test_a_line_that_breaks_off_is_paid_for_later_and_only_once(
    adwatch: Adwatch, pbx: Pbx, number: Callable[[], str], form: str, mark: bytes, killed: bool
) -> None:
    cutter = Cutter(pbx.port)
    text = adwatch.config.read_text()
    adwatch.config.write_text(text.replace(f"port: {pbx.port}", f"port: {cutter.port}"))
    started(adwatch)
    counter = Counter(pbx)
    try:
        cutter.mark = mark
        mine = number()
        owes(adwatch, mine, "the manager interface at")
        assert cutter.cut
        if killed:
            adwatch.kill()
        cutter.mark = b""
        if killed:
            adwatch.start()
        wait_for("the debt to be paid", lambda: paid(adwatch), 60)
        assert pbx.has(form, mine)
        assert adwatch("sync").returncode == 0
        assert counter.count == 1
    finally:
        counter.close()
        cutter.close()
