"""What phones meet on real Asterisks: HA1 in place of the secret, and names that nobody tamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from core.test_render_templates import block
from program import wait_for

from adwatch.core.model import Peer
from adwatch.core.render import Format, Renderer
from system.pbx import Asterisk, Phone
from system.test_pbx_agi import HOSTILE

SECRET = "v8cEyjATELDhUBHY9zs76sqR"
PEER = Peer(
    guid="6f9619ff-8b86-d011-b42d-00c04fc964ff", number="8601", name="Anna",
    email="", context="users", call_group="5", pickup_group="5", mobile="",
    dn="CN=x", login="anna", extra=(("department", "Sales; EMEA"),),
)  # fmt: skip
# 700 keeps what the caller is called, which the test then reads.
DIALPLAN = """\
[users]
exten => 700,1,Answer()
 same => n,Set(DB(caller/${CALLERID(num)})=${CALLERID(name)})
 same => n,Set(DB(department/${CALLERID(num)})=${DEPARTMENT})
 same => n,Hangup()
"""
CHAN_SIP = "[general]\nudpbindaddr = 0.0.0.0:{port}\nalwaysauthreject = yes\ncallcounter = yes\n"
LAN = "[general]\n[lan](!)\ntype = friend\nhost = dynamic\nhassip = yes\nhasiax = no\n"
PJSIP = "[udp]\ntype = transport\nprotocol = udp\nbind = 0.0.0.0:{port}\n"
DIGEST = """\
[{{ number }}]
type = endpoint
allow = !all,alaw
auth = {{ number }}
aors = {{ number }}

[{{ number }}]
type = auth
username = {{ number }}
auth_type = digest
password_digest = MD5:{{ ha1 }}
realm = {{ realm }}

[{{ number }}]
type = aor
max_contacts = 1
"""
DESK = "[desk](!)\nallow = !all,alaw\n[desk-auth](!)\n[desk-aor](!)\nmax_contacts = 1\n"


class Way(NamedTuple):
    """One way to have peers: what reads them, in which version, where they are included."""

    version: int
    driver: str
    file: str
    form: Format


WAYS = {
    "users.conf": Way(16, "SIP", "users.conf", Format("users.conf", (("template", "lan"),))),
    "sip.conf": Way(16, "SIP", "sip.conf", Format("sip.conf")),
    "pjsip.conf of 16": Way(16, "PJSIP", "pjsip.conf", Format("pjsip.conf")),
    "pjsip.conf": Way(22, "PJSIP", "pjsip.conf", Format("pjsip.conf")),
    "digest.j2": Way(22, "PJSIP", "pjsip.conf", Format("digest.j2", (), DIGEST)),
    "desk.j2": Way(22, "PJSIP", "pjsip.conf", Format("desk.j2", (), block("jinja"))),
}


class Pbx:
    """An Asterisk where phones find chan_sip, or PJSIP, and whose peers are under test."""

    def __init__(self, version: int, driver: str, folder: Path) -> None:
        sip, pjsip = (5060, 5070) if driver == "SIP" else (5070, 5060)
        own = {
            "extensions.conf": DIALPLAN,
            "users.conf": LAN + "#tryinclude adwatch/users.conf\n",
            "sip.conf": CHAN_SIP.format(port=sip) + "#tryinclude adwatch/sip.conf\n",
            "pjsip.conf": PJSIP.format(port=pjsip) + DESK + "#tryinclude adwatch/pjsip.conf\n",
        }
        for name, text in own.items():
            (folder / name).write_text(text)
        volumes = [f"{folder / name}:/etc/asterisk/{name}:ro" for name in own]
        (folder / "adwatch").mkdir()
        self.asterisk = Asterisk(version, folder / "adwatch", *volumes)
        self.asterisk.driver = driver

    def take(self, name: str, text: str) -> None:
        """Has Asterisk read a text in the way of that name, and nothing of any other way."""
        way = WAYS[name]
        for file in ("users.conf", "sip.conf", "pjsip.conf"):
            (self.asterisk.folder / file).write_text(text if file == way.file else "")
        self.asterisk.cli("sip reload" if way.driver == "SIP" else "pjsip reload")

    def kept(self, family: str, number: str) -> str:
        """What the dialplan kept of the call from that number."""
        return self.asterisk.cli(f"database get {family} {number}").partition("Value: ")[2][:-1]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Pbx]]:
    made: dict[tuple[int, str], Pbx] = {}

    def give(name: str) -> Pbx:
        """The Asterisk for that way."""
        key = WAYS[name].version, WAYS[name].driver
        if key not in made:
            made[key] = Pbx(*key, tmp_path_factory.mktemp("phones"))
            made[key].asterisk.open()
        return made[key]

    yield give
    for pbx in made.values():
        pbx.asterisk.close()


@pytest.mark.parametrize("name", WAYS)
def test_a_phone_registers_although_only_a_hash_of_its_secret_is_in_the_file(
    boxes: Callable[[str], Pbx], tmp_path: Path, name: str
) -> None:
    pbx = boxes(name)
    form = WAYS[name].form
    hashed = replace(form, options=(*form.options, ("hash", True)))
    text = Renderer(hashed, lambda _: SECRET).document([PEER])
    assert SECRET not in text
    pbx.take(name, text)
    wait_for("the peer", lambda: pbx.asterisk.has("8601"))
    assert Phone(pbx.asterisk, tmp_path / "right", "8601", SECRET, 5081).register()
    assert not Phone(pbx.asterisk, tmp_path / "wrong", "8601", SECRET[::-1], 5082).register()
    assert "md5" not in pbx.asterisk.said(), "an option that it will not have for long"


def test_the_documented_template_is_read_by_asterisk_as_it_was_meant(
    boxes: Callable[[str], Pbx], tmp_path: Path
) -> None:
    pbx, peer = boxes("desk.j2"), replace(PEER, name='O"Neil; Anna')
    pbx.take("desk.j2", Renderer(WAYS["desk.j2"].form, lambda _: SECRET).document([peer]))
    wait_for("the peer", lambda: pbx.asterisk.has("8601"))
    assert Phone(pbx.asterisk, tmp_path, "", SECRET, 5081).call_as(["8601"], "700")
    assert pbx.kept("caller", "8601") == 'O"Neil; Anna'
    assert pbx.kept("department", "8601") == "Sales; EMEA"


@pytest.mark.parametrize("name", ["users.conf", "sip.conf", "pjsip.conf of 16", "pjsip.conf"])
def test_who_calls_is_called_as_ad_has_it_to_the_letter(
    boxes: Callable[[str], Pbx], tmp_path: Path, name: str
) -> None:
    pbx = boxes(name)
    names = {str(8610 + n): one for n, one in enumerate(n for n in HOSTILE if len(n) < 80)}
    peers = [replace(PEER, guid=number, number=number, name=names[number]) for number in names]
    pbx.take(name, Renderer(WAYS[name].form, lambda _: SECRET).document(peers))
    wait_for("the peers", lambda: all(pbx.asterisk.has(number) for number in names))
    assert Phone(pbx.asterisk, tmp_path, "", SECRET, 5081).call_as([*names], "700")
    assert {number: pbx.kept("caller", number) for number in names} == names
    assert "canary" not in pbx.asterisk.inside("ls", "/tmp")
