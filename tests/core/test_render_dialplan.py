"""Mailboxes, hints and groups: formats whose values bite in ways of their own."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from adwatch.core.model import Peer
from adwatch.core.render import Format, Renderer, masked

SECRET = "v8cEyjATELDhUBHY9zs76sqR"
PEER = Peer(
    guid="6f9619ff-8b86-d011-b42d-00c04fc964ff",
    number="502",
    name="Ryabov",
    email="ryabov@example.test",
    context="users",
    call_group="5",
    pickup_group="5",
    mobile="",
    dn="CN=x",
    login="ryabov",
)


def renderer(name: str, secret: str = SECRET, **options: str | bool) -> Renderer:
    return Renderer(Format(name, tuple(options.items())), lambda _: secret)


def test_a_mailbox_has_a_pin_of_its_own_that_stays() -> None:
    line = renderer("voicemail.conf").fragment(PEER)
    assert re.fullmatch(r"502 => \d{6},Ryabov,ryabov@example\.test\n", line)
    assert renderer("voicemail.conf").fragment(PEER) == line
    assert renderer("voicemail.conf", SECRET[::-1]).fragment(PEER) != line
    assert renderer("voicemail.conf", context="office").fragment(PEER) == "[office]\n" + line


def test_a_pin_out_of_ad_is_taken_and_an_open_mailbox_refused() -> None:
    one = replace(PEER, extra=(("pin", "-4711"),))
    assert renderer("voicemail.conf").fragment(one).startswith("502 => -4711,")
    for bad in ("", "123", "12a4", "4711,x", "٤٧١١"):
        reason = renderer("voicemail.conf").refusal(replace(PEER, extra=(("pin", bad),)))
        assert "four digits" in reason


@pytest.mark.parametrize("field", ["name", "email"])
def test_a_comma_that_would_be_another_field_of_the_mailbox_is_refused(field: str) -> None:
    reason = renderer("voicemail.conf").refusal(replace(PEER, **{field: "Ryabov, Ivan|x=y"}))
    assert reason == f"{field} holds the character U+002C (comma), which voicemail.conf can't hold"
    assert not renderer("voicemail.conf").refusal(replace(PEER, **{field: "Ryabov|x => y; z"}))


def test_the_pin_is_masked_where_people_look() -> None:
    text = renderer("voicemail.conf").document([PEER])
    assert "502 => ********,Ryabov" in masked(text, [SECRET])
    assert "+502 => ********,Ryabov" in masked("+" + text.splitlines()[-1], [SECRET])


@pytest.mark.parametrize(
    ("options", "device"), [({}, "PJSIP/502"), ({"tech": "SIP"}, "SIP/502")], ids=["pjsip", "sip"]
)
def test_a_hint_names_the_device(options: dict[str, str], device: str) -> None:
    assert renderer("hints.conf", **options).fragment(PEER) == f"exten => 502,hint,{device}\n"


def test_hints_can_name_their_context() -> None:
    assert renderer("hints.conf", context="blf").fragment(PEER).startswith("[blf]\nexten => 502")


@pytest.mark.parametrize(
    ("form", "numeric", "named"),
    [
        ("users.conf", "callgroup", "namedcallgroup"),
        ("sip.conf", "callgroup", "namedcallgroup"),
        ("pjsip.conf", "call_group", "named_call_group"),
    ],
)
@pytest.mark.parametrize(
    ("group", "is_numeric"),
    [("5", True), ("0", True), ("63", True), ("1,3-5", True), ("64", False), ("1,64", False),
     ("sales", False), ("*", False), ("٣", False), ("1,", False), ("001", False)],
)  # fmt: skip
def test_groups_that_are_no_numbers_up_to_63_are_named(
    form: str, numeric: str, named: str, group: str, is_numeric: bool
) -> None:
    lines = renderer(form).fragment(replace(PEER, call_group=group)).splitlines()
    option = numeric if is_numeric else named
    assert f"{option} = {group}" in lines
    assert not [line for line in lines if line.startswith(named if is_numeric else numeric + " ")]
