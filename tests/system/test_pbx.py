"""From a person in AD to a phone that rings: real Samba AD, adwatch, Asterisk and SIP phones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from program import Adwatch, configured, wait_for

from system.pbx import Asterisk, Phone, asterisk
from system.samba import SambaDC

WITHIN_S = 3.0  # the bound from AD to the PBX, at poll: 1s
_OUTPUT = {
    16: "path: {folder}/users.conf\n    options: {{template: lan}}\n    reload: sip reload",
    22: "path: {folder}/pjsip.conf\n    format: pjsip.conf\n"
    "    options: {{endpoint: lan, auth: lan-auth, aor: lan-aor}}\n"
    "    reload: module reload res_pjsip.so",
}
_HINTS = (
    "  - name: hints\n    path: {folder}/hints.conf\n    format: hints.conf\n"
    "    options: {{tech: {tech}}}\n    reload: dialplan reload"
)


@pytest.fixture(scope="module", params=[16, 22])
def pbx(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asterisk]:
    version = int(request.param)
    with asterisk(version, tmp_path_factory.mktemp(f"asterisk{version}")) as found:
        yield found


@pytest.fixture
def adwatch(dc: SambaDC, pbx: Asterisk, tmp_path: Path) -> Iterator[Adwatch]:
    config = configured(dc.ldaps_url, Path(dc.ca_file))
    output = _OUTPUT[pbx.version].format(folder=pbx.folder)
    before, _, rest = config.partition("outputs:\n")
    after = rest[rest.index("asterisk:") :]
    hints = _HINTS.format(folder=pbx.folder, tech=pbx.driver)
    config = f"{before}outputs:\n  - name: peers\n    {output}\n{hints}\n{after}"
    config = re.sub(r"(?m)^  command: .*$", f"  command: {pbx.command}", config)
    made = Adwatch(tmp_path / "adwatch", config, dc.service_password)
    made.start()
    try:
        wait_for("online", lambda: made.status()["state"] == "online")
        yield made
    finally:
        made.kill()


@pytest.fixture
def person(dc: SambaDC) -> Iterator[Callable[..., str]]:
    """Adds a user, who is gone afterwards."""
    made: list[str] = []

    def add(login: str, **values: str) -> str:
        made.append(dc.add_user(login, **values))
        return made[-1]

    yield add
    for dn in made:
        dc.delete(dn)


@pytest.fixture
def phone(pbx: Asterisk, adwatch: Adwatch, tmp_path: Path) -> Iterator[Callable[..., Phone]]:
    """A phone of the PBX, with the secret that adwatch says unless another one is given."""
    with ExitStack() as stack:
        ports = iter(range(5071, 5090))

        def plug_in(number: str, secret: str = "") -> Phone:
            secret = secret or adwatch("secret", number).stdout.strip()
            made = Phone(pbx, tmp_path / str(next(ports)), number, secret, next(ports))
            stack.callback(made.close)
            return made

        yield plug_in


def test_a_person_gets_a_phone_calls_by_name_and_loses_it_while_others_talk(
    dc: SambaDC,
    pbx: Asterisk,
    adwatch: Adwatch,
    person: Callable[..., str],
    phone: Callable[..., Phone],
) -> None:
    person("anna", telephoneNumber="8501")
    person("boris", telephoneNumber="8502")
    wait_for("both peers", lambda: pbx.has("8501") and pbx.has("8502"))
    anna, boris = phone("8501"), phone("8502")
    assert anna.register()
    assert boris.register()
    where = pbx.contact("8502")
    assert where
    wait_for("a dark lamp", lambda: pbx.lamp("8502") == "Idle")
    boris.answer()
    anna.call("8502")
    wait_for("the call", lambda: pbx.calls() == 1)
    wait_for("a lit lamp", lambda: pbx.lamp("8502") == "InUse")
    invitation = boris.heard[boris.heard.index("INVITE sip:8502@") :]
    said = re.search(r"(?m)^From: (.*?)\s*<sip:8501@", invitation)
    assert said is not None, invitation
    assert said[1].strip('"') == "Anna"

    dn = person("clara", telephoneNumber="8503")
    wait_for("the peer", lambda: pbx.has("8503"), WITHIN_S)
    clara = phone("8503")
    assert clara.register()
    assert not phone("8503", "a wrong secret").register()
    dc.modify(dn, telephoneNumber="8504")
    wait_for("the number", lambda: pbx.has("8504") and not pbx.has("8503"), WITHIN_S)
    assert phone("8504").register()
    secret = adwatch("secret", "8504").stdout.strip()
    dc.disable(dn)
    wait_for("no peer", lambda: not pbx.has("8504"), WITHIN_S)
    assert not phone("8504", secret).register()
    wait_for("no lamp", lambda: not pbx.lamp("8504"))

    assert pbx.calls() == 1
    assert (anna.ended(), boris.ended()) == (None, None)
    assert pbx.contact("8502") == where, "its registration outlived every reload"
    assert pbx.lamp("8502") == "InUse"
    pbx.hang_up()
    wait_for("the end", lambda: (anna.ended(), boris.ended()) == (0, 0))
    boris.answer()
    anna.call("8502")
    wait_for("another call", lambda: pbx.calls() == 1)
    pbx.hang_up()
