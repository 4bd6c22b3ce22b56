"""Peers become text that Asterisk reads back as just those peers, whatever the values are."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.model import NUMBER, Peer
from adwatch.core.render import Format, Renderer, RenderError, masked
from adwatch.core.safe import UnsafeText

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
        stripped = line.partition("\0")[0].strip(BLANKS)
        assert not stripped.startswith("#"), f"a directive: {line!r}"
        if stripped.startswith("["):
            name, bracket, rest = stripped[1:].partition("]")
            assert bracket, f"a line that rejects the whole file: {line!r}"
            sections.append((name, rest.strip("()"), {}))
        elif stripped:
            key, equals, value = stripped.partition("=")
            assert equals, f"a line that is no option: {line!r}"
            sections[-1][2][key.strip(BLANKS)] = value.removeprefix(">").strip(BLANKS)
    return sections


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a;b", "a"),
        ("a\\;b", "a;b"),
        ("a \\;-- b", "a ;-- b"),
        ("a ;-- b", "a"),
        ("a ;-- b --; c", "a  c"),
        ("a\\\\;b", "a\\;b"),
        ("a\\", "a\\"),
        (" \ta\x07 ", "a"),
        (" >5", ">5"),
        (" => v", "=> v"),
        ("> v", "v"),
        ("a=b #exec x [y]", "a=b #exec x [y]"),
        ("x" * 8192, None),
    ],
)
def test_these_tests_read_files_as_asterisk_was_measured_to(written: str, read: str | None) -> None:
    assert parse(f"[1](t)\nx ={written}") == [("1", "t", {} if read is None else {"x": read})]


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


def groups(call: str, pickup: str, named: str, peer: Peer) -> dict[str, str]:
    """A peer's groups by option: numeric from 0 to 63, all others as names."""
    numeric = re.compile("([0-9]|[0-5][0-9]|6[0-3])", re.ASCII)
    return {
        option if numeric.fullmatch(value) else named + option: value
        for option, value in ((call, peer.call_group), (pickup, peer.pickup_group))
    }


def expected(name: str, peer: Peer) -> Sections:
    common = groups("callgroup", "pickupgroup", "named", peer)
    if name == "users.conf":
        options = {"fullname": peer.name, "secret": SECRET, "email": peer.email, **common}
        found = [(peer.number, "lan", options | {"context": peer.context})]
    elif name == "sip.conf":
        options = {"fullname": peer.name, "cid_number": peer.number, "secret": SECRET, **common}
        found = [(peer.number, "lan", options | {"context": peer.context})]
    else:
        shown = peer.name.replace("\\", "\\\\").replace('"', '\\"')
        caller = f'"{shown}" <{peer.number}>' if peer.name else ""
        endpoint = {"type": "endpoint", "auth": peer.number, "aors": peer.number}
        endpoint |= {"callerid": caller, **groups("call_group", "pickup_group", "named_", peer)}
        endpoint |= {"context": peer.context}
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


def test_sip_conf_to_the_byte() -> None:
    text = renderer("sip.conf", template="lan").document([replace(PEER, context="a;b")])
    assert text.split("\n\n", 1)[1] == (
        "[502](lan)\n"
        "fullname = Ryabov\n"
        "cid_number = 502\n"
        f"secret = {SECRET}\n"
        "callgroup = 5\n"
        "pickupgroup = 5\n"
        "context = a\\;b\n"
    )


def test_pjsip_conf_to_the_byte() -> None:
    text = renderer("pjsip.conf", endpoint="e", auth="u").document([PEER])
    assert text.split("\n\n", 1)[1] == (
        "[502](e)\n"
        "type = endpoint\n"
        "auth = 502\n"
        "aors = 502\n"
        'callerid = "Ryabov" <502>\n'
        "call_group = 5\n"
        "pickup_group = 5\n"
        "context = 1234567\n"
        "\n"
        "[502](u)\n"
        "type = auth\n"
        "username = 502\n"
        "auth_type = userpass\n"
        f"password = {SECRET}\n"
        "\n"
        "[502]\n"
        "type = aor\n"
        "max_contacts = 1\n"
        "remove_existing = yes\n"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_no_peers_give_a_file_that_is_not_empty_and_has_no_section(name: str) -> None:
    text = formatted(name).document([])
    assert text.startswith(";")
    assert parse(text) == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_field_leaves_no_line(name: str) -> None:
    bare = replace(PEER, name="", email="", context="", call_group="", pickup_group="")
    text = formatted(name).document([bare])
    assert not [line for line in text.split("\n") if line.rstrip().endswith("=")]
    assert parse(text) == expected(name, bare)


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
    if reason := made.refusal(peer):
        assert field == "context"
        assert len(value) > 79
        assert reason.startswith("context has 3000 octets, and Asterisk would cut it at 79")
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


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ name }} = 1", "#exec rm"),
        ("  {{ name }} = 1", "#include /etc/passwd"),
        ("{{ name }} = 1", "[x](+)"),
        ("{{ email }}{{ name }} = 1", "#exec rm"),
        ("[{{ name }}]\nx = 1", "x](+)"),
    ],
)
def test_no_value_becomes_a_directive_or_a_section_in_your_own_template(
    source: str, value: str
) -> None:
    peer = replace(PEER, name=value, email="")
    assert renderer("own", source).refusal(peer)
    assert renderer("own", source).refusal(replace(peer, name="harmless")) == ""


@pytest.mark.parametrize("source", ["x = {{ 1 // (mobile | length) }}", "x = {{ name + 1 }}"])
def test_a_template_that_fails_for_one_peer_does_not_stop_the_others(source: str) -> None:
    assert renderer("own", source).refusal(PEER)


def test_a_value_that_makes_a_line_too_long_for_asterisk_is_refused_and_one_below_is_not() -> None:
    made = formatted("users.conf")
    assert made.refusal(replace(PEER, name="x" * 7900)) == ""
    for value in ("x" * 8000, "\u20ac" * 2700, ";" * 4100):
        assert "8000 bytes" in made.refusal(replace(PEER, name=value))


@pytest.mark.parametrize("name", ["system", "Global", "E", "u", "a"])
def test_pjsips_own_sections_and_the_admins_templates_are_no_numbers(name: str) -> None:
    assert "uses itself" in formatted("pjsip.conf").refusal(replace(PEER, number=name))


@pytest.mark.parametrize(
    "number",
    ["", "_502", "5 0", "x" * 33, "5]", "502\n", "5;0", "5(0", "\u0665\u0660", "[5", "5/0", "5@x"],
)
def test_a_number_that_asterisk_could_not_hold_is_no_peer(number: str) -> None:
    with pytest.raises(UnsafeText, match="number"):
        replace(PEER, number=number)


@pytest.mark.parametrize("number", ["0502", "x" * 32, "+49.30-1_2", "*98#", "#1", "-", "a_"])
def test_the_numbers_that_the_contract_allows_are_sections(number: str) -> None:
    peer = replace(PEER, number=number)
    assert parse(formatted("users.conf").document([peer])) == expected("users.conf", peer)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a\nb", "email holds the character U+000A (line feed) at 2"),
        ("\0", "email holds the character U+0000 (null) at 1"),
        ("ab\udce9", "email holds the character U+DCE9 (no character of its own) at 3"),
        ("a ", "email begins or ends with a blank"),
    ],
)
def test_a_value_that_no_file_can_hold_is_named_with_the_place(value: str, said: str) -> None:
    with pytest.raises(UnsafeText) as caught:
        replace(PEER, email=value)
    assert said in str(caught.value)


def test_a_secret_that_no_file_can_hold_is_refused_without_being_told() -> None:
    with pytest.raises(UnsafeText) as caught:
        replace(PEER, secret="hush\nhush")
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(replace(PEER, secret="hush"))


def test_an_extra_field_hides_neither_the_secret_nor_the_options() -> None:
    peer = replace(PEER, extra=(("secret", "x"), ("options", "y"), ("room", "7")))
    own = renderer("own", "{{ secret }} {{ options.template }} {{ room }}", template="lan")
    assert own.fragment(peer) == f"{SECRET} lan 7\n"


def test_blocks_of_your_own_template_leave_no_trace() -> None:
    source = "[{{ number }}]\n  {% if mobile %}\nx = 1\n  {% endif %}\ny = 2\n\n"
    assert renderer("own", source).fragment(PEER) == "[502]\ny = 2\n"
    assert renderer("own", source).fragment(replace(PEER, mobile="1")) == "[502]\nx = 1\ny = 2\n"


def test_a_template_that_fails_says_what_it_asked_for() -> None:
    assert "nosuch" in renderer("own", "{{ nosuch }}").refusal(PEER)
    with pytest.raises(RenderError, match="line 2"):
        renderer("own", "x\n{% if %}").check()


def test_masked_hides_known_secrets_and_whatever_stands_for_one() -> None:
    text = f"secret = {SECRET}\nmd5_cred = abc\nNoOp({SECRET})\npassword=x\nother = keep\n"
    assert masked(text, [SECRET]) == (
        "secret = ********\nmd5_cred = ********\nNoOp(********)\npassword=********\nother = keep\n"
    )


@pytest.mark.parametrize(
    ("source", "secret"),
    [
        ("x = {{ secret }}", "p;w"),
        ("x = {{ secret }}", "p\\;w"),
        ("x = {{ secret }}", "a.*b+c"),
        ("x = {{ name }}{{ secret }}{{ number }}", SECRET),
        ("x = {{ number }}/{{ secret }}@h", SECRET),
    ],
)
def test_masked_finds_a_secret_wherever_your_own_template_wrote_it(
    source: str, secret: str
) -> None:
    text = Renderer(Format("own", (), source), lambda _: secret).document([PEER])
    shown = masked(text, [secret])
    assert "********" in shown
    assert secret not in shown
    assert secret.replace(";", "\\;") not in shown


def test_masked_leaves_a_text_without_secrets_as_it_is() -> None:
    text = "[502](lan)\nfullname = x\nemail = secret\n" + "A" * 40 + "\n"
    assert masked(text, [SECRET, "", "nosuch"]) == text


def test_of_secrets_that_overlap_the_longest_is_masked_whole() -> None:
    assert masked("x = abcd", ["abc", "abcd"]) == "x = ********"


grammar = [";", "\\", ";--", "--;", "=", ">", "[", "]", "(+)", "#exec ", " ", "\t", '"', "<"]
enders = ["\n", "\r", "\0", "\n[x]\n", "\x85", "\u2028", "\x0b"]
anything = st.lists(
    st.one_of(
        st.sampled_from([*grammar, *enders]),
        st.sampled_from(grammar),
        st.text(st.characters(exclude_categories=()), max_size=6),
    ),
    max_size=6,
).map("".join)
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
