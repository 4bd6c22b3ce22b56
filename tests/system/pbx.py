"""Real Asterisks in containers: started, asked, broken; and phones that call (sipp)."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from program import wait_for

from system.samba import DOCKER, free_port, run

READY_S = 60.0
AMI_USER, AMI_SECRET = "adwatch", "Adwatch-ami-1"
TESTS_USER, TESTS_SECRET = "tests", "Adwatch-tests-1"
CONTEXT = "users"


def image(name: str) -> str:
    """An image of ours, made where it is not there yet."""
    command = [str(DOCKER / "ensure"), name]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Ami:
    """One connection to the manager interface, with every right. Answers are lists of headers."""

    def __init__(self, port: int, user: str = TESTS_USER, secret: str = TESTS_SECRET) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._socket.settimeout(30)
        self._buffer = b""
        self.banner = self._line()
        (said,) = self("Login", Username=user, Secret=secret, Events="off")[:1]
        assert said["Response"] == "Success", said

    def _line(self) -> str:
        """Up to CRLF: values may hold every other line separator."""
        while b"\r\n" not in self._buffer:
            data = self._socket.recv(1 << 16)
            assert data, "Asterisk closed the manager connection"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode("utf-8", "surrogateescape")

    def _message(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.partition(":")
            key, number = name, 1
            while key in found:
                number += 1
                key = f"{name}#{number}"
            found[key] = value.removeprefix(" ")
        return found

    def __call__(self, action: str, **headers: str) -> list[dict[str, str]]:
        """The answer, and the events of a list until its end."""
        number = uuid.uuid4().hex
        lines = [f"Action: {action}", f"ActionID: {number}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        found: list[dict[str, str]] = []
        while True:
            message = self._message()
            if message.get("ActionID") != number:
                continue
            found.append(message)
            listed = found[0].get("EventList") == "start"
            if not listed or message.get("EventList") in ("Complete", "cancelled"):
                return found

    def config(self, file: str) -> list[tuple[str, list[tuple[str, str]]]]:
        """What Asterisk understood of a file: sections with their options, as they stand."""
        (said,) = self("GetConfig", Filename=file)
        assert said["Response"] == "Success", said
        sections: dict[str, tuple[str, list[tuple[str, str]]]] = {}
        for name, value in said.items():
            kind, _, number = name.partition("-")
            if kind == "Category":
                sections[number] = (value, [])
            elif kind == "Line":
                option, _, text = value.partition("=")
                sections[number.partition("-")[0]][1].append((option, text))
        return list(sections.values())

    def close(self) -> None:
        self._socket.close()


class Asterisk:
    """One Asterisk; `folder` holds what adwatch writes, and is /etc/asterisk/adwatch there."""

    def __init__(self, version: int, folder: Path, *volumes: str) -> None:
        self.version = version
        self.volumes = volumes
        self.folder = folder
        self.name = f"adwatch-pbx-{uuid.uuid4().hex[:8]}"
        self.port = free_port()
        self.arguments: tuple[str, ...] = ()
        """What it is started with, in place of the image's own."""
        self.driver = "SIP" if version < 21 else "PJSIP"

    @property
    def command(self) -> str:
        """`asterisk.command` of the configuration."""
        return f"[docker, exec, {self.name}, asterisk, -rx]"

    def open(self) -> None:
        run(
            "docker", "run", "--detach", "--name", self.name,
            "--volume", f"{self.folder}:/etc/asterisk/adwatch",
            *(f"--volume={volume}" for volume in self.volumes),
            "--publish", f"127.0.0.1:{self.port}:5038",
            image(f"asterisk-{self.version}"), *self.arguments,
        )  # fmt: skip
        wait_for("Asterisk", self.responsive, READY_S)

    def responsive(self) -> bool:
        with suppress(RuntimeError, OSError, AssertionError):
            if "fully booted" in self.cli("core waitfullybooted"):
                self.ami().close()
                return True
        return False

    def ami(self, user: str = TESTS_USER, secret: str = TESTS_SECRET) -> Ami:
        return Ami(self.port, user, secret)

    def cli(self, command: str) -> str:
        return run("docker", "exec", self.name, "asterisk", "-rx", command)

    def inside(self, *command: str) -> str:
        """What a command inside the container says."""
        return run("docker", "exec", self.name, *command)

    def said(self) -> str:
        """What it wrote on its console."""
        command = ["docker", "logs", self.name]
        said = subprocess.run(command, check=True, capture_output=True)
        return (said.stdout + said.stderr).decode(errors="replace")

    def docker(self, verb: str) -> None:
        """Does something to the container: kill, start, pause, unpause."""
        run("docker", verb, self.name)

    def has(self, number: str) -> bool:
        """Whether there is such a peer."""
        if self.driver == "SIP":
            return f"Name       : {number}" in self.cli(f"sip show peer {number}")
        return f"Endpoint:  {number}" in self.cli(f"pjsip show endpoint {number}")

    def contact(self, number: str) -> str:
        """Where the phone of a peer is registered, empty where it is not."""
        if self.driver == "SIP":
            found = re.search(r"(?m)^ *Addr->IP +: (\d\S*)", self.cli(f"sip show peer {number}"))
        else:
            said = self.cli(f"pjsip show endpoint {number}")
            found = re.search(r"(?m)^ *Contact: +\S+/sip:(\S+)", said)
        return found[1] if found else ""

    def lamp(self, number: str) -> str:
        """What a key for that extension shows on other phones, empty where there is no hint."""
        said = self.cli("core show hints")
        found = re.search(rf"(?m)^ *{number}@{CONTEXT} .*State:(\S+)", said)
        return found[1] if found else ""

    def calls(self) -> int:
        """How many calls are up."""
        said = self.cli("core show channels count")
        return int(next(line for line in said.splitlines() if "active call" in line).split()[0])

    def hang_up(self) -> None:
        """Ends every call."""
        self.cli("channel request hangup all")

    def close(self) -> None:
        run("docker", "rm", "--force", "--volumes", self.name)


@contextmanager
def asterisk(version: int, folder: Path, *volumes: str) -> Iterator[Asterisk]:
    """An Asterisk that answers, gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    pbx = Asterisk(version, folder, *volumes)
    try:
        pbx.open()
        yield pbx
    finally:
        pbx.close()


_REGISTER = """\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="register">
  <send retrans="500"><![CDATA[
REGISTER sip:127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:[local_port];branch=[branch]{own}
From: <sip:{number}@127.0.0.1>;tag=[call_number]r
To: <sip:{number}@127.0.0.1>
Call-ID: [call_id]
CSeq: 1 REGISTER
Contact: <sip:{number}@127.0.0.1:[local_port]>
Max-Forwards: 70
Expires: 600
Content-Length: 0
]]></send>
  <recv response="100" optional="true"/>
  <recv response="401" auth="true"/>
  <send retrans="500"><![CDATA[
REGISTER sip:127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:[local_port];branch=[branch]{own}
From: <sip:{number}@127.0.0.1>;tag=[call_number]r
To: <sip:{number}@127.0.0.1>
Call-ID: [call_id]
CSeq: 2 REGISTER
Contact: <sip:{number}@127.0.0.1:[local_port]>
[authentication username={number} password={secret}]
Max-Forwards: 70
Expires: 600
Content-Length: 0
]]></send>
  <recv response="100" optional="true"/>
  <recv response="200"/>
</scenario>
"""
_SDP = """\
v=0
o=phone 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio [media_port] RTP/AVP 8
a=rtpmap:8 PCMA/8000
"""
_CALL = """\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="call">
  <send retrans="500"><![CDATA[
INVITE sip:{callee}@127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:[local_port];branch=[branch]{own}
From: <sip:{number}@127.0.0.1>;tag=[call_number]c
To: <sip:{callee}@127.0.0.1>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:{number}@127.0.0.1:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

{sdp}]]></send>
  <recv response="100" optional="true"/>
  <recv response="401" auth="true"/>
  <send><![CDATA[
ACK sip:{callee}@127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:[local_port];branch=[branch-3]{own}
From: <sip:{number}@127.0.0.1>;tag=[call_number]c
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0
]]></send>
  <send retrans="500"><![CDATA[
INVITE sip:{callee}@127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:[local_port];branch=[branch]{own}
From: <sip:{number}@127.0.0.1>;tag=[call_number]c
To: <sip:{callee}@127.0.0.1>
Call-ID: [call_id]
CSeq: 2 INVITE
Contact: <sip:{number}@127.0.0.1:[local_port]>
[authentication username={number} password={secret}]
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

{sdp}]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:[local_port];branch=[branch]{own}
From: <sip:{number}@127.0.0.1>;tag=[call_number]c
[last_To:]
Call-ID: [call_id]
CSeq: 2 ACK
Max-Forwards: 70
Content-Length: 0
]]></send>
  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0
]]></send>
</scenario>
"""
_ANSWER = """\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="answer">
  <recv request="INVITE"/>
  <send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]a
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:{number}@127.0.0.1:[local_port]>
Content-Length: 0
]]></send>
  <send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]a
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:{number}@127.0.0.1:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

{sdp}]]></send>
  <recv request="ACK"/>
  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0
]]></send>
</scenario>
"""


class Phone:
    """A phone in the network of an Asterisk, on a port of its own; what it heard is in `heard`."""

    def __init__(self, pbx: Asterisk, folder: Path, number: str, secret: str, port: int) -> None:
        self.number = number
        self._pbx = pbx
        self._port = port
        self._folder = folder / f"phone-{number}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._values = {"number": number, "secret": secret, "sdp": _SDP}
        self._name = ""  # of its container now
        self._left: list[str] = []  # of those that may be there still

    def _sipp(self, scenario: str, *options: str, **values: str) -> list[str]:
        name = f"{hashlib.sha256(scenario.encode()).hexdigest()[:8]}.xml"
        own = uuid.uuid4().hex[:6]  # for every phone has the process number 1, sipp's mark
        (self._folder / name).write_text(scenario.format(**self._values, **values, own=own))
        self._name = f"{self._pbx.name}-phone-{own}"
        self._left.append(self._name)
        return [
            "docker", "run", "--name", self._name, "--network", f"container:{self._pbx.name}",
            "--volume", f"{self._folder}:/phone", *options, image("sipp"),
            "127.0.0.1:5060", "-sf", name, "-i", "127.0.0.1", "-p", str(self._port),
            "-mp", str(self._port + 1000), "-m", "1", "-nostdin", "-timeout_error",
            "-cid_str", f"{own}-%u@%s",
            "-trace_msg", "-message_file", "messages", "-message_overwrite", "false",
        ]  # fmt: skip

    def register(self) -> bool:
        """Whether the PBX lets it in."""
        command = self._sipp(_REGISTER, "--rm")
        done = subprocess.run(
            [*command, "-timeout", "5"], check=False, capture_output=True, text=True
        )
        return done.returncode == 0

    def answer(self) -> None:
        """Waits for a call, takes it, and stays in it until the other end hangs up."""
        run(*self._sipp(_ANSWER, "--detach"))
        sip = f"{self._port:04X}"
        wait_for("the phone listens", lambda: f":{sip} " in self._sockets(), READY_S)

    def _sockets(self) -> str:
        return run("docker", "exec", self._pbx.name, "cat", "/proc/net/udp")

    def call(self, callee: str) -> None:
        """Calls, and stays in the call until the other end hangs up."""
        run(*self._sipp(_CALL, "--detach", callee=callee))

    def call_as(self, numbers: Sequence[str], callee: str) -> bool:
        """Calls as each of some numbers, without registering; whether each call went to its end."""
        secret = self._values["secret"]
        lines = [f"{n};[authentication username={n} password={secret}]" for n in numbers]
        (self._folder / "numbers").write_text("\n".join(["SEQUENTIAL", *lines, ""]))
        self._values["number"] = "[field0]"
        scenario = _CALL.replace("[authentication username={number} password={secret}]", "[field1]")
        command = self._sipp(scenario, "--rm", callee=callee)
        options = ["-inf", "numbers", "-m", str(len(numbers)), "-timeout", "30"]
        done = subprocess.run([*command, *options], check=False, capture_output=True)
        return done.returncode == 0

    def ended(self) -> int | None:
        """What the last call ended with, None while it goes on."""
        said = run("docker", "inspect", "-f", "{{.State.Running}} {{.State.ExitCode}}", self._name)
        running, code = said.split()
        return None if running == "true" else int(code)

    @property
    def heard(self) -> str:
        """Every message that it sent and got."""
        path = self._folder / "messages"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        for name in self._left:
            with suppress(RuntimeError):
                run("docker", "rm", "--force", name)


def ha1(*parts: Any) -> str:
    """MD5 of user, realm and secret, as SIP's digest has it (RFC 3261, 22.4)."""
    return hashlib.md5(":".join(map(str, parts)).encode()).hexdigest()
