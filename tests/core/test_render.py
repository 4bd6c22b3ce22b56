"""Peers become text that Asterisk reads back as just those peers, whatever the values are."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.model import NUMBER, Peer, UnsafeText
from adwatch.core.render import Format, Renderer, RenderError, masked

GUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
FORMATS = ("users.conf", "sip.conf", "pjsip.conf")
SECRET = "v8cEyjATELDhUBHY9zs76sqR"
PEER = Peer(
    guid=GUID,
    number="502",
    name="Ryabov",
    email="ryabov@example.test",
    context="1234567",
    call_group="5",
    pickup_group="5",
    mobile="",
    dn="CN=x",
    login="ryabov",
)


def renderer(name: str, source: str = "", **options: str | bool) -> Renderer:
    return Renderer(Format(name, tuple(options.items()), source), lambda _: SECRET)


BLANKS = "".join(map(chr, range(33)))
Sections = list[tuple[str, str, dict[str, str]]]


def parse(text: str) -> Sections:
    """Asterisk's grammar as facts/asterisk.md measured it: name, template and options."""
    sections: Sections = []
    for line in without_comments(text).split("\n"):
        if len(line.encode("utf-8", "surrogateescape")) > 8191:
            continue
        stripped = line.strip(BLANKS)
        if stripped.startswith("["):
            name, _, rest = stripped[1:].partition("]")
            sections.append((name, rest.strip("()"), {}))
        elif stripped:
            key, equals, value = stripped.partition("=")
            assert equals, f"a line that is no option: {line!r}"
            sections[-1][2][key.strip()] = value.strip(BLANKS)
    return sections


def without_comments(text: str) -> str:
    kept, at = [], 0
    while at < len(text):
        if text.startswith("\\;", at):
            kept.append(";")
            at += 2
        elif text.startswith(";--", at):
            end = text.find("--;", at)
            at = len(text) if end < 0 else end + 3
        elif text[at] == ";":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        else:
            kept.append(text[at])
            at += 1
    return "".join(kept)


def expected(name: str, peer: Peer) -> Sections:
    common = {"callgroup": peer.call_group, "pickupgroup": peer.pickup_group}
    if name == "users.conf":
        options = {"fullname": peer.name, "secret": SECRET, "email": peer.email, **common}
        found = [(peer.number, "lan", options | {"context": peer.context})]
    elif name == "sip.conf":
        options = {"fullname": peer.name, "cid_number": peer.number, "secret": SECRET, **common}
        found = [(peer.number, "lan", options | {"context": peer.context})]
    else:
        caller = f'"{peer.name}" <{peer.number}>' if peer.name else ""
        endpoint = {"type": "endpoint", "auth": peer.number, "aors": peer.number}
        endpoint |= {"callerid": caller, "call_group": peer.call_group}
        endpoint |= {"pickup_group": peer.pickup_group, "context": peer.context}
        auth = {"type": "auth", "username": peer.number}
        auth |= {"auth_type": "userpass", "password": SECRET}
        found = [
            (peer.number, "e", endpoint),
            (peer.number, "u", auth),
            (peer.number, "a", {"type": "aor"}),
        ]
    return [(n, t, {k: v for k, v in o.items() if v}) for n, t, o in found]


def formatted(name: str) -> Renderer:
    if name == "pjsip.conf":
        return renderer(name, endpoint="e", auth="u", aor="a")
    return renderer(name, template="lan")


def test_users_conf_is_the_contracts_example_to_the_byte() -> None:
    text = renderer("users.conf", template="lan").document([PEER])
    assert text.split("\n\n", 1)[1] == (
        "[502](lan)\n"
        "fullname = Ryabov\n"
        f"secret = {SECRET}\n"
        "email = ryabov@example.test\n"
        "callgroup = 5\n"
        "pickupgroup = 5\n"
        "context = 1234567\n"
    )


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("users.conf", ["type = peer", "host = dynamic", "hassip = yes"]),
        ("sip.conf", ["type = friend", "host = dynamic"]),
        ("pjsip.conf", ["type = endpoint", "type = auth", "type = aor", "max_contacts = 1"]),
    ],
)
def test_without_templates_sections_are_complete(name: str, lines: list[str]) -> None:
    text = renderer(name).document([PEER])
    assert [line for line in lines if f"\n{line}\n" not in text] == []
    assert "(" not in text.replace('"Ryabov" <502>', "")


def test_hash_puts_ha1_in_place_of_the_secret() -> None:
    ha1 = hashlib.md5(f"502:asterisk:{SECRET}".encode()).hexdigest()
    options = {"users.conf": "md5secret", "sip.conf": "md5secret", "pjsip.conf": "md5_cred"}
    for name, option in options.items():
        text = renderer(name, hash=True).document([PEER])
        assert f"\n{option} = {ha1}\n" in text
        assert SECRET not in text


def test_the_same_peers_in_any_order_give_the_same_bytes() -> None:
    peers = [replace(PEER, guid=f"{n:032x}", number=str(n)) for n in range(90, 120)]
    text = renderer("users.conf").document(peers)
    random.Random(1).shuffle(peers)
    assert renderer("users.conf").document(peers) == text
    numbers = [section[0] for section in parse(text)]
    assert numbers == sorted(numbers)


def test_a_changed_peer_or_secret_is_written_anew_from_the_cache() -> None:
    secrets = {"now": "a" * 24}
    made = Renderer(Format("users.conf"), lambda _: secrets["now"])
    first = made.document([PEER])
    assert made.document([replace(PEER, name="Other")]) != first
    secrets["now"] = "b" * 24
    assert "secret = " + "b" * 24 in made.document([PEER])


@pytest.mark.parametrize("name", ["general", "LAN", "General"])
def test_a_number_that_is_a_section_of_the_formats_own_is_refused(name: str) -> None:
    made = renderer("users.conf", template="lan")
    assert "is a name that users.conf uses itself" in made.refusal(replace(PEER, number=name))


HOSTILE = [
    "a;b",
    "a;-- b",
    ";--",
    "a\\;b",
    "a\\",
    "\\",
    ">5",
    "=> v",
    "a=b",
    "[x](+)",
    "x](+)",
    "]",
    "#exec rm -rf /",
    "#include x",
    "${SHELL(id)}",
    "a,b|c&d",
    "\u202eabc",
    "\u2028x",
    "\x85x",
    "a\x07b",
    "x" * 3000,
    "Ünï Кириллица 漢",
    "--;",
    "a;b;c\\;;--;",
]
REFUSED = ["a\nb", "a\rb", "a\0b", " a", "a ", "\ta", "\x07", "a\n#exec rm", "x" * 9000, "\ud800"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("field", ["name", "email", "context", "call_group", "pickup_group"])
def test_a_hostile_value_reads_back_as_itself_or_is_refused(
    name: str, value: str, field: str
) -> None:
    made, peer = formatted(name), replace(PEER, **{field: value})
    if made.refusal(peer):
        assert name == "pjsip.conf"
        assert field == "name"
        assert '"' in value or "\\" in value
        return
    assert parse(made.document([peer])) == expected(name, peer)


@pytest.mark.parametrize("value", REFUSED)
@pytest.mark.parametrize("field", ["name", "email", "context", "mobile"])
def test_a_value_that_no_file_can_hold_never_gets_there(value: str, field: str) -> None:
    try:
        peer = replace(PEER, **{field: value})
    except UnsafeText:
        return  # refused at the earliest
    own = renderer("own", f"x = {{{{ {field} }}}}")
    assert "8000 bytes" in own.refusal(peer)


def test_your_own_template_cannot_forget_to_escape() -> None:
    own = renderer("own", "x = {{ name }}, {{ extra }}\n")
    peer = replace(PEER, name="a;b", extra=(("extra", ";--"),))
    assert own.fragment(peer) == "x = a\\;b, \\;--\n"
    concatenated = renderer("own", "x = {{ name ~ '\\n#exec rm' }}")
    assert "U+000A" in concatenated.refusal(PEER)


def test_a_template_that_fails_says_what_it_asked_for() -> None:
    assert "nosuch" in renderer("own", "{{ nosuch }}").refusal(PEER)
    with pytest.raises(RenderError, match="line 2"):
        renderer("own", "x\n{% if %}").check()


def test_masked_hides_known_secrets_and_whatever_stands_for_one() -> None:
    text = f"secret = {SECRET}\nmd5_cred = abc\nNoOp({SECRET})\npassword=x\nother = keep\n"
    assert masked(text, [SECRET]) == (
        "secret = ********\nmd5_cred = ********\nNoOp(********)\npassword=********\nother = keep\n"
    )


anything = st.text(st.characters(exclude_categories=()), max_size=30)
numbers = st.from_regex(NUMBER).filter(lambda n: n.lower() not in {"general", "global", "system"})


@given(
    st.lists(st.tuples(numbers, anything, anything, anything, anything), max_size=6),
    st.sampled_from(FORMATS),
)
def test_the_file_has_exactly_the_expected_sections_whatever_the_values(
    rows: list[tuple[str, str, str, str, str]], name: str
) -> None:
    made, peers = formatted(name), dict[str, Peer]()
    for index, (number, *values) in enumerate(rows):
        try:
            peer = Peer(f"{index:032x}", number, *values[:3], values[3], "", "", "CN=x", "x")
        except UnsafeText:
            continue
        if not made.refusal(peer):
            peers[peer.key] = peer
    ordered = sorted(peers.values(), key=lambda p: p.number)
    found = parse(made.document(peers.values()))
    assert found == [section for peer in ordered for section in expected(name, peer)]
