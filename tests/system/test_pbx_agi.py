"""Names on calls, on a real Asterisk: AD → adwatch → FastAGI → the channel's caller id.

The dialplan is the one of docs/caller-names.md, word for word.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

import pytest
from program import Adwatch, wait_for

from system.pbx import image
from system.samba import SambaDC, free_port, run
from system.test_watcher_scenarios import started

Make = Callable[..., Adwatch]
User = Callable[..., str]

DOCS = Path(__file__).parents[2] / "docs" / "caller-names.md"
EXAMPLE = re.search(r"```ini\n(.*?)```", DOCS.read_text(), re.DOTALL)
# A call comes from the trunk, or goes to the outside; when it has ended, what it was called is
# kept where the test can read it.
SETTING = """
[test-in]
exten => _X!,1,Set(CHANNEL(hangup_handler_push)=test-seen,s,1)
 same => n,Set(SEEN=${EXTEN})
 same => n,Set(CALLERID(num)=${EXTEN})
 same => n,Set(CALLERID(name)=from the trunk)
 same => n,Goto(from-trunk,700,1)
[test-out]
exten => _X!,1,Set(CHANNEL(hangup_handler_push)=test-seen,s,1)
 same => n,Set(SEEN=${EXTEN})
 same => n,Goto(to-outside,${EXTEN},1)
[test-seen]
exten => s,1,Set(DB(caller/${SEEN})=${CALLERID(name)})
 same => n,Set(DB(called/${SEEN})=${CONNECTEDLINE(name)})
 same => n,Set(DB(agi/${SEEN})=${AGISTATUS})
 same => n,Return()
"""
KEEPS = "from the trunk"


class Call(NamedTuple):
    """The caller's name and that of who is called, at the end, and how FastAGI ended."""

    caller: str
    called: str
    agi: str


class Asterisk:
    """One PBX in a container, with the example dialplan."""

    def __init__(self, version: str, folder: Path, host: str, port: int) -> None:
        assert EXAMPLE is not None
        self.name = f"adwatch-agi-{uuid.uuid4().hex[:8]}"
        plan = folder / f"extensions-{version}.conf"
        plan.write_text(EXAMPLE[1].replace("127.0.0.1:4573", f"{host}:{port}") + SETTING)
        mount = f"{plan}:/etc/asterisk/extensions.conf:ro"
        command = ("docker", "run", "--detach", "--rm", "--name", self.name, "--volume", mount)
        run(*command, image(f"asterisk-{version}"))
        wait_for("Asterisk", lambda: "from-trunk" in self.cli("dialplan show from-trunk"), 60)
        wait_for("res_agi", lambda: "Running" in self.cli("module show like res_agi"), 60)

    def inside(self, *command: str) -> str:
        done = subprocess.run(
            ["docker", "exec", self.name, *command], capture_output=True, text=True, check=False
        )
        return done.stdout

    def cli(self, command: str) -> str:
        return self.inside("asterisk", "-rx", command)

    def calls(self, *numbers: str, way: str = "in") -> dict[str, Call]:
        """Calls from, or to, some numbers, and how each ended."""
        begin = ["asterisk -rx 'database deltree agi'"]
        for number in numbers:
            originate = f"channel originate Local/{number}@test-{way}/n application Wait 1"
            begin.append(f"asterisk -rx '{originate}'")
        self.inside("sh", "-c", "; ".join(begin))
        wait_for(
            "the end of the calls",
            lambda: self.cli("database show agi").count("/agi/") == len(numbers),
        )
        gets = [
            f"asterisk -rx 'database get {family} {number}'; echo ---"
            for number in numbers
            for family in Call._fields
        ]
        said = self.inside("sh", "-c", "; ".join(gets)).split("\n---\n")
        values = iter([one.partition("Value: ")[2] for one in said])
        return {number: Call(next(values), next(values), next(values)) for number in numbers}

    def call(self, number: str, way: str = "in") -> Call:
        """One call from, or to, a number."""
        return self.calls(number, way=way)[number]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def host(docker_services: object) -> str:
    """This machine as containers see it."""
    del docker_services
    form = "{{json (index .IPAM.Config 0)}}"
    found = json.loads(run("docker", "network", "inspect", "bridge", "--format", form))
    # After a restart of the engine it says no gateway, which then is the first address.
    return str(found.get("Gateway") or next(ip_network(found["Subnet"]).hosts()))


@pytest.fixture(scope="module")
def asterisks(
    host: str, port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Asterisk]]:
    there: dict[str, Asterisk] = {}
    folder = tmp_path_factory.mktemp("asterisk")
    folder.chmod(0o755)
    try:
        for version in ("16", "22"):
            there[version] = Asterisk(version, folder, host, port)
        yield there
    finally:
        for one in there.values():
            run("docker", "kill", one.name)


@pytest.fixture(params=["16", "22"])
def asterisk(asterisks: dict[str, Asterisk], request: pytest.FixtureRequest) -> Asterisk:
    return asterisks[request.param]


@pytest.fixture
def serving(make: Make, host: str, port: int) -> Iterator[Adwatch]:
    """adwatch in step, answering Asterisk, with names as displayName has them."""
    more = f"agi: {host}:{port}\npeers: {{name: displayName}}"
    adwatch = started(make, more=more)
    wait_for("agi", lambda: adwatch.status()["listens"] == ["agi"])
    yield adwatch
    if adwatch.running is not None:
        adwatch.stop()


def number() -> str:
    return "71" + str(uuid.uuid4().int % 10**6).zfill(6)


def arrives(seen: Callable[[], object]) -> None:
    wait_for("what AD says now", seen)


def known(serving: Adwatch, *extensions: str) -> None:
    """Waits until all of them are in the file, and their names known to FastAGI, too."""
    arrives(lambda: all(f"[{extension}]" in serving.text() for extension in extensions))
    assert serving("sync").returncode == 0  # which comes after all that belongs to a turn


@pytest.mark.usefixtures("serving")
def test_a_call_carries_the_name_that_ad_has_for_its_number_and_follows_changes(
    dc: SambaDC, asterisk: Asterisk, user: User
) -> None:
    extension, tail = number(), str(uuid.uuid4().int % 10**6).zfill(6)
    mobile = f"+49 (0)171 9{tail}"
    dn = user(telephoneNumber=extension, displayName="Ёлкина, Anna", mobile=mobile)
    arrives(lambda: asterisk.call(extension).caller == "Ёлкина, Anna")
    hers = (f"491719{tail}", f"00491719{tail}", f"01719{tail}", f"1719{tail}")
    found = asterisk.calls(*hers, f"719{tail}")
    assert [found[one] for one in hers] == [("Ёлкина, Anna", "", "SUCCESS")] * 4
    assert found[f"719{tail}"] == (KEEPS, "", "SUCCESS")
    found = asterisk.calls(f"01719{tail}", f"01718{tail}", way="out")
    assert [*found.values()] == [("", "Ёлкина, Anna", "SUCCESS"), ("", "", "SUCCESS")]
    dc.modify(dn, displayName="Orlova")
    arrives(lambda: asterisk.call(extension).caller == "Orlova")
    dc.disable(dn)
    arrives(lambda: asterisk.call(extension).caller == KEEPS)


def test_a_contact_of_the_phone_book_is_named_too_until_it_is_gone(
    dc: SambaDC, make: Make, asterisk: Asterisk, host: str, port: int
) -> None:
    tail = str(uuid.uuid4().int % 10**6).zfill(6)
    dn = f"CN=partner{tail},OU=Staff,DC=example,DC=test"
    numbers = {"telephoneNumber": f"+49 30 8{tail}", "otherTelephone": f"+49 171 8{tail}"}
    dc.admin().add(dn, ["contact"], {"displayName": "Müller & Söhne", **numbers})
    try:
        more = f'agi: {host}:{port}\ncontacts: {{base: ["OU=Staff,DC=example,DC=test"]}}'
        adwatch = started(make, more=more)
        arrives(lambda: asterisk.call(f"0308{tail}").caller == "Müller & Söhne")
        assert asterisk.call(f"00491718{tail}").caller == "Müller & Söhne"
        assert not adwatch.section(tail)
    finally:
        dc.delete(dn)
    arrives(lambda: asterisk.call(f"0308{tail}").caller == KEEPS)
    adwatch.stop()


HOSTILE = (
    'Q"uo"te\\back\\',
    "${SHELL(touch /tmp/canary)}",
    "$[1+1] ${EXTEN} ${CALLERID(num)}",
    '"; touch /tmp/canary; "',
    "x):System(touch /tmp/canary)",
    "`touch /tmp/canary`",
    "a,b|c&d=e;f:g?h!i",
    "CALLERID(num)=110",
    "} ) ] > ' #exec #include =>",
    "<sip:110@example.test>",
    "%s%n%d %% 100%",
    "Ёжик 🦔 ﷽",
    "\u200fשלום",
    "x" * 255,  # more, Asterisk's own database cuts off
)
SHORTENED = {
    "bell \x07 and escape \x1b[31m": "bell  and escape [31m",
    "turned \u202ednuora": "turned dnuora",
    "a\ttab": "atab",
}


def test_a_hostile_name_comes_through_exactly_and_does_nothing(
    serving: Adwatch, asterisk: Asterisk, user: User
) -> None:
    expected = {}
    for name in (*HOSTILE, *SHORTENED):
        extension = number()
        user(telephoneNumber=extension, displayName=name)
        expected[extension] = SHORTENED.get(name, name)
    known(serving, *expected)
    assert asterisk.calls(*expected) == {e: (name, "", "SUCCESS") for e, name in expected.items()}
    assert asterisk.calls(*expected, way="out") == {
        e: ("", name, "SUCCESS") for e, name in expected.items()
    }
    assert "canary" not in asterisk.inside("ls", "/tmp")


def test_names_are_there_while_the_domain_controller_is_dead_and_calls_while_adwatch_is(
    dc: SambaDC, serving: Adwatch, asterisks: dict[str, Asterisk], user: User
) -> None:
    extension = number()
    user(telephoneNumber=extension, displayName="Ryabov")
    known(serving, extension)
    dc.kill()
    try:
        wait_for("degraded", lambda: serving.status()["state"] == "degraded")
        for asterisk in asterisks.values():
            assert asterisk.call(extension) == ("Ryabov", "", "SUCCESS")
        serving.stop()
        for asterisk in asterisks.values():
            assert asterisk.call(extension) == (KEEPS, "", "FAILURE")
        serving.start()  # the domain controller is dead still
        for asterisk in asterisks.values():
            arrives(lambda one=asterisk: one.call(extension).caller == "Ryabov")  # type: ignore[misc]
    finally:
        dc.start()
    wait_for("online again", lambda: serving.status()["state"] == "online", 60)


def test_who_holds_every_connection_keeps_no_call_from_its_name(
    serving: Adwatch, asterisk: Asterisk, user: User, host: str, port: int
) -> None:
    extension = number()
    user(telephoneNumber=extension, displayName="Ryabov")
    known(serving, extension)
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection((host, port), timeout=10))
        assert asterisk.call(extension) == ("Ryabov", "", "SUCCESS")
        begun = time.monotonic()
        serving.stop()
        assert time.monotonic() - begun < 3  # the contract's
