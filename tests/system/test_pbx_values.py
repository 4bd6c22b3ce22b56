"""Hostile values in every field and format, read back from real Asterisks through AMI.

Asterisk may run commands here (`execincludes`), so that a value which became a directive would.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ldap3.core.exceptions import LDAPException
from program import Adwatch, configured, wait_for

from adwatch.core.model import MAPPED, Peer
from adwatch.core.render import Format, Renderer
from adwatch.core.safe import UnsafeText
from system.pbx import Asterisk, asterisk
from system.samba import SambaDC

CANARY = "/etc/asterisk/adwatch/canary"
TOUCH = f"touch {CANARY}"
SECRET = "v8cEyjATELDhUBHY9zs76sqR"
PEER = Peer(
    guid="", number="1", name="Ryabov", email="ryabov@example.test", context="users",
    call_group="5", pickup_group="7", mobile="+15550100", dn="CN=x", login="ryabov",
    extra=(("note", "n"), ("pin", "4711")), secret=SECRET,
)  # fmt: skip
VALUES = {
    # lines and directives
    "line feed": f"a\n#exec {TOUCH}", "section": "a\n[600]\nsecret=x", "carriage return": "a\rb",
    "both": f"a\r\n#exec {TOUCH}\r\n", "exec": f"#exec {TOUCH}",
    "exec in quotes": f'#exec "{TOUCH}"',
    "include": "#include /etc/passwd", "tryinclude": "#tryinclude adwatch/x", "hash": "#",
    "blank and exec": f" #exec {TOUCH}", "exec behind": f"a #exec {TOUCH}",
    # comments
    "comment": "a;b", "only a comment": ";", "block": ";--", "block behind": "a ;-- b",
    "whole block": ";-- a --; b", "end of a block": "--;", "escaped": "a\\;b", "twice": "a\\\\;b",
    "many": "a;b;c\\;;--;",
    # sections
    "bracket": "[", "closing": "]", "general": "[general]", "templates": "[x](+)",
    "leaves": "x](+)",
    "template": "(lan)", "is one": "(!)", "name of a section": "general", "of another": "global",
    "the template": "lan", "yes": "yes", "none": "none",
    # assignments
    "equals": "a=b", "begins with equals": "=b", "arrow": "=> v", "arrow within": "a => b",
    "greater": ">5", "adds": "+= v", "two": "context=x",
    # the dialplan and shells
    "function": f"${{SHELL({TOUCH})}}", "expression": "$[1+1]", "variable": "${EXTEN}",
    "shell": f"$({TOUCH})", "backticks": f"`{TOUCH}`", "semicolon": f"a; {TOUCH}",
    "pipe": f"a|{TOUCH}", "application": f"System({TOUCH})", "and": "a&b", "comma": "a,b",
    "braces": "{}", "brackets": "()",
    # quoting
    "quote": 'a"b', "quoted": '"a"', "only a quote": '"', "apostrophe": "O'Brien",
    "backslash": "a\\b", "last backslash": "a\\", "backslashes": "\\\\",
    "backslash and quote": '\\"',
    "escape of a line": "a\\nb", "angle": "a <600> b", "open angle": "a<", "closed angle": "a>",
    "percent": "%s%n%x", "Jinja2": "{{ 7 * 7 }}{% raw %}", "query": "' OR 1=1 --",
    # blanks and controls
    "leading": " a", "trailing": "a ", "tab first": "\ta", "tab": "a\tb", "null": "a\0b",
    "bell": "a\x07b", "escape": "\x1b[31mred", "vertical tab": "a\x0bb", "form feed": "a\x0cb",
    "delete": "a\x7fb", "next line": "a\x85b", "separator": "a\u2028b", "paragraph": "a\u2029b",
    "no-break": "\u00a0a\u00a0", "zero width": "\u200ba", "order mark": "\ufeffa",
    # text
    "override": "\u202egnp.exe", "isolate": "\u2066a\u2069", "Hebrew": "שלום", "Cyrillic": "Рябов",
    "Chinese": "漢字", "emoji": "👩\u200d💻", "combining": "a\u0301\u0323", "surrogate": "a\ud800b",
    "half a character": "a\udce9", "noncharacter": "a\uffffb", "79 octets": "x" * 79,
    "80 octets": "x" * 80, "7,000 octets": "x" * 7000, "9,000 octets": "x" * 9000,
    "9,000 as characters": "ж" * 4500, "4,100 comment signs": ";" * 4100, "empty": "",
}  # fmt: skip
FIELDS = ("number", "name", "email", "context", "call_group", "pickup_group", "mobile",
          "note", "pin", "dn", "login", "secret")  # fmt: skip
OF_PEER = ("name", "email", "context", "call_group", "pickup_group", "mobile", "dn", "login")
OWN = "".join(f"{field} = {{{{ {field} }}}}\n" for field in (*OF_PEER, "note"))
OWN = "[{{ number }}]\n" + OWN + "caller = {{ name | quoted }} <{{ number }}>\nkey = {{ secret }}\n"

Options = list[tuple[str, str]]
Sections = list[tuple[str, Options]]


def numeric(groups: str) -> bool:
    """One group from 0 to 63: of all values here only those of `PEER`."""
    return groups in ("5", "7")


def groups(peer: Peer, call: str, pickup: str, named: str) -> Options:
    both = ((call, peer.call_group), (pickup, peer.pickup_group))
    return [(k if numeric(v) else named + k, v) for k, v in both]


def digest(peer: Peer) -> str:
    return hashlib.md5(f"{peer.number}:asterisk:{peer.secret}".encode()).hexdigest()


def caller(peer: Peer) -> str:
    shown = peer.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown}" <{peer.number}>' if peer.name else ""


def users(peer: Peer, *own: tuple[str, str], hashed: bool = False) -> Sections:
    secret = ("md5secret", digest(peer)) if hashed else ("secret", peer.secret)
    return [(peer.number, [
        *own, ("fullname", peer.name), secret, ("email", peer.email),
        *groups(peer, "callgroup", "pickupgroup", "named"), ("context", peer.context),
    ])]  # fmt: skip


def sip(peer: Peer, *own: tuple[str, str], hashed: bool = False) -> Sections:
    secret = ("md5secret", digest(peer)) if hashed else ("secret", peer.secret)
    return [(peer.number, [
        *own, ("fullname", peer.name), ("cid_number", peer.number), secret,
        *groups(peer, "callgroup", "pickupgroup", "named"), ("context", peer.context),
    ])]  # fmt: skip


def pjsip(peer: Peer, *, own: bool = False, hashed: bool = False) -> Sections:
    codecs = [("allow", "!all,alaw,ulaw,g722")] if own else []
    contacts = [("max_contacts", "1"), ("remove_existing", "yes")] if own else []
    secret = [("auth_type", "userpass"), ("password", peer.secret)]
    if hashed:
        secret = [("auth_type", "md5"), ("md5_cred", digest(peer)), ("realm", "asterisk")]
    return [
        (peer.number, [
            ("type", "endpoint"), *codecs, ("auth", peer.number), ("aors", peer.number),
            ("callerid", caller(peer)), *groups(peer, "call_group", "pickup_group", "named_"),
            ("context", peer.context),
        ]),
        (peer.number, [("type", "auth"), ("username", peer.number), *secret]),
        (peer.number, [("type", "aor"), *contacts]),
    ]  # fmt: skip


def own(peer: Peer) -> Sections:
    named = [(field, getattr(peer, field)) for field in OF_PEER]
    said = caller(peer) or f'"" <{peer.number}>'
    return [(peer.number, [*named, ("note", dict(peer.extra)["note"]),
                           ("caller", said), ("key", peer.secret)])]  # fmt: skip


def mailbox(peer: Peer) -> Options:
    return [(peer.number, f"{dict(peer.extra)['pin']},{peer.name},{peer.email}")]


def hint(peer: Peer) -> Options:
    return [("exten", f"{peer.number},hint,SIP/{peer.number}")]


@dataclass(frozen=True)
class Written:
    """One way of writing peers, and what Asterisk must make of each."""

    form: Format
    expected: Callable[[Peer], Sections]
    inside: str = ""
    """The section that the file is included in, where it has none of its own."""

    @property
    def head(self) -> str:
        """What stands above in the file that includes it."""
        templates = "lan" in dict(self.form.options).values()
        return f"[{self.inside}]\n" if self.inside else "[lan](!)\n" if templates else ""

    def renderer(self) -> Renderer:
        return Renderer(self.form, lambda peer: peer.secret)


def form(name: str, **options: str | bool) -> Format:
    return Format(name, tuple(options.items()))


_BARE_USER = (("type", "peer"), ("host", "dynamic"), ("hassip", "yes"), ("hasiax", "no"))
_BARE_SIP = (("type", "friend"), ("host", "dynamic"))
_ALL = {"endpoint": "lan", "auth": "lan", "aor": "lan"}
WAYS = {
    "users.conf": Written(form("users.conf", template="lan"), users),
    "users.conf, bare": Written(form("users.conf"), lambda p: users(p, *_BARE_USER)),
    "users.conf, hash": Written(
        form("users.conf", template="lan", hash=True), lambda p: users(p, hashed=True)
    ),
    "sip.conf": Written(form("sip.conf", template="lan"), sip),
    "sip.conf, bare": Written(form("sip.conf"), lambda p: sip(p, *_BARE_SIP)),
    "sip.conf, hash": Written(
        form("sip.conf", template="lan", hash=True), lambda p: sip(p, hashed=True)
    ),
    "pjsip.conf": Written(form("pjsip.conf", **_ALL), pjsip),
    "pjsip.conf, bare": Written(form("pjsip.conf"), lambda p: pjsip(p, own=True)),
    "pjsip.conf, hash": Written(
        form("pjsip.conf", hash=True), lambda p: pjsip(p, own=True, hashed=True)
    ),
    "own template": Written(Format("own.j2", (), OWN), own),
    # Their lines stand in a section of the file that includes them.
    "voicemail.conf": Written(form("voicemail.conf"), lambda p: [("", mailbox(p))], "all"),
    "hints.conf": Written(form("hints.conf", tech="SIP"), lambda p: [("", hint(p))], "all"),
}


def with_value(index: int, field: str, value: str) -> Peer:
    """A peer of its own with a value in one field. Raises UnsafeText."""
    number = value if field == "number" else str(10_000 + index)
    made = replace(PEER, guid=str(index), number=number)
    if field in ("note", "pin"):
        return replace(made, extra=tuple({**dict(PEER.extra), field: value}.items()))
    return replace(made, **({field: value} if field != "number" else {}))


@dataclass(frozen=True)
class Case:
    """A field with a hostile value: its peer, or why there is none."""

    field: str
    what: str
    peer: Peer | None
    reason: str = ""


def cases() -> Iterator[Case]:
    every = ((f, w, v) for f in FIELDS for w, v in VALUES.items() if v or f != "secret")
    for index, (field, what, value) in enumerate(every):
        try:
            yield Case(field, what, with_value(index, field, value))
        except UnsafeText as error:
            yield Case(field, what, None, str(error))


CASES = tuple(cases())


def read_back(way: Written, peers: list[Peer]) -> Sections:
    """What Asterisk must have understood: nothing but the head and the peers, in their order."""
    ordered = sorted(peers, key=lambda peer: (peer.number, peer.guid))
    sections = [section for peer in ordered for section in way.expected(peer)]
    if way.inside:
        return [(way.inside, [option for _, options in sections for option in options])]
    if not way.form.source:  # these leave out what is empty
        sections = [(name, [(k, v) for k, v in options if v]) for name, options in sections]
    return sections


def written(way: Written) -> list[Peer]:
    renderer = way.renderer()
    return [c.peer for c in CASES if c.peer and not renderer.refusal(c.peer)]


@pytest.fixture(scope="module", params=[16, 22])
def pbx(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asterisk]:
    """An Asterisk that may execute; nothing has been by the end of each test."""
    with asterisk(request.param, tmp_path_factory.mktemp("pbx") / "adwatch") as made:
        (made.folder / "asterisk.conf").write_text("[options]\nexecincludes = yes\n")
        made.inside("cp", "/etc/asterisk/adwatch/asterisk.conf", "/etc/asterisk/")
        made.docker("restart")
        wait_for("Asterisk", made.responsive, 60)
        yield made


@pytest.fixture(autouse=True)
def nothing_executed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "pbx" in request.fixturenames:
        assert not (request.getfixturevalue("pbx").folder / "canary").exists()


def test_the_canary_sings_where_something_is_executed(pbx: Asterisk) -> None:
    (pbx.folder / "bad.conf").write_text(f"[x]\n#exec {TOUCH}\n")
    ami = pbx.ami()
    ami.config("adwatch/bad.conf")
    ami.close()
    (pbx.folder / "canary").unlink()


@pytest.mark.parametrize("name", WAYS)
def test_asterisk_reads_back_every_value_that_is_written(pbx: Asterisk, name: str) -> None:
    way = WAYS[name]
    peers = written(way)
    (pbx.folder / "values.conf").write_text(way.head + way.renderer().document(peers))
    ami = pbx.ami()
    found = ami.config("adwatch/values.conf")
    ami.close()
    assert found == read_back(way, peers)


REFUSED_EVERYWHERE = {
    "line feed": "U+000A (line feed)", "section": "U+000A (line feed)",
    "carriage return": "U+000D (carriage return)", "both": "U+000D (carriage return)",
    "null": "U+0000 (null)", "surrogate": "U+D800", "half a character": "U+DCE9",
    "blank and exec": "a blank", "leading": "a blank", "trailing": "a blank",
    "tab first": "a blank",
    "escape": "a blank",  # Asterisk takes every octet below 33 at an end for one
}  # fmt: skip
OF_ENTRY = {"dn", "login"}  # nobody maps these: they bite only where a template writes them
NUMBERS = {"name of a section", "of another", "the template", "yes", "none", "hash"}
TOO_LONG = {"9,000 octets", "9,000 as characters", "4,100 comment signs"}
CUT = {"80 octets", "7,000 octets", *TOO_LONG}
SHOWN = {
    "users.conf": {"number", "name", "email", "context", "call_group", "pickup_group", "secret"},
    "sip.conf": {"number", "name", "context", "call_group", "pickup_group", "secret"},
    "pjsip.conf": {"number", "name", "context", "call_group", "pickup_group", "secret"},
    "own.j2": {*FIELDS} - {"pin"},
    "voicemail.conf": {"number", "name", "email", "pin"},
    "hints.conf": {"number"},
}
OWN_NAMES = {
    "users.conf": {"name of a section"}, "sip.conf": {"name of a section"},
    "pjsip.conf": {"of another"},
}  # fmt: skip


def refused(name: str, case: Case) -> str:
    """A part of the reason why a way must refuse a case, empty where it must write it."""
    if case.field == "number":
        return refused_number(WAYS[name], case.what)
    file, hashed = WAYS[name].form.name, dict(WAYS[name].form.options).get("hash")
    unseen = case.field not in SHOWN[file] or (hashed and case.field == "secret")
    if case.what in REFUSED_EVERYWHERE and not (unseen and case.field in OF_ENTRY):
        return REFUSED_EVERYWHERE[case.what]
    if unseen:
        return ""
    if case.field == "context" and file != "own.j2" and case.what in CUT:
        return "79"
    if case.field in ("name", "email") and file == "voicemail.conf" and "," in VALUES[case.what]:
        return "U+002C (comma)"
    pin = case.field == "pin"
    return "four digits" if pin else "8000 bytes" if case.what in TOO_LONG else ""


def refused_number(way: Written, what: str) -> str:
    own = OWN_NAMES.get(way.form.name, set()) | (
        {"the template"} if way.head[:2] == "[l" else set()
    )
    if what in own:
        return "a name that"
    if what not in NUMBERS:
        return "number"
    return "directive" if (way.form.name, what) == ("voicemail.conf", "hash") else ""


def test_the_table_is_as_large_as_it_is_said_to_be() -> None:
    assert len(set(VALUES.values())) == len(VALUES) >= 60
    assert set(FIELDS) >= {*MAPPED, "dn", "login", "secret"}


@pytest.mark.parametrize("name", WAYS)
def test_nothing_is_refused_but_what_must_be_and_the_reason_names_it(name: str) -> None:
    renderer = WAYS[name].renderer()
    for case in CASES:
        reason = renderer.refusal(case.peer) if case.peer else case.reason
        assert bool(reason) == bool(refused(name, case)), (case, reason)
        assert refused(name, case) in reason
        assert not reason or reason.startswith(case.field), reason
        assert SECRET not in reason


def numbers(said: str) -> set[str]:
    """The numbers that a peer of these tests has, found in what Asterisk lists."""
    return set(re.findall(r"(?<![\w.])1\d{4}(?!\d)", said))


LOADED = {16: ("users.conf", "sip.conf"), 22: ("pjsip.conf, bare",)}
LISTS = {16: "sip show peers", 22: "pjsip list endpoints"}
RELOADS = {16: "sip reload", 22: "module reload res_pjsip.so"}


def test_asterisk_takes_every_peer_that_is_written_and_runs_nothing(pbx: Asterisk) -> None:
    for name in LOADED[pbx.version]:
        load(pbx, WAYS[name], RELOADS[pbx.version], LISTS[pbx.version])
    load(pbx, WAYS["hints.conf"], "dialplan reload", "core show hints")
    mailboxes = Written(form("voicemail.conf", context="default"), users)
    load(pbx, mailboxes, "voicemail reload", "voicemail show users")


def load(pbx: Asterisk, way: Written, reload: str, lists: str) -> None:
    """Has Asterisk take every peer that a way writes, and then none of them."""
    peers = [peer for peer in written(way) if peer.number.isdecimal()]
    wanted = {peer.number for peer in peers}
    for text, there in ((way.renderer().document(peers), wanted), ("", set[str]())):
        (pbx.folder / way.form.name).write_text(text)
        pbx.cli(reload)
        wait_for(f"{lists}: {len(there)}", lambda: numbers(listed(pbx, lists)) == there)  # noqa: B023


def listed(pbx: Asterisk, lists: str) -> str:
    with suppress(RuntimeError):  # voicemail's list of nobody is a fault
        return pbx.cli(lists)
    return ""


def test_what_people_type_into_ad_gets_to_asterisk_or_is_named(
    pbx: Asterisk, dc: SambaDC, user: Callable[..., str], tmp_path: Path
) -> None:
    """Every value that AD takes as a name, all the way; and the service's own words on the rest."""
    typed = {}
    for index, (what, value) in enumerate(VALUES.items()):
        with suppress(LDAPException, UnicodeEncodeError):
            user(f"v{index}", comment=value or None, telephoneNumber=str(20_000 + index))
            typed[str(20_000 + index)] = what
    assert len(typed) >= 60
    config = configured(dc.ldaps_url, Path(dc.ca_file)).replace(
        "path: users.conf", f"path: {pbx.folder}/typed.conf"
    )
    adwatch = Adwatch(tmp_path / "adwatch", config + "peers: {name: comment}\n",
                      dc.service_password)  # fmt: skip
    assert adwatch("sync").returncode == 0
    (pbx.folder / "values.conf").write_text("[lan](!)\n#include adwatch/typed.conf\n")
    ami = pbx.ami()
    found = {section: dict(options) for section, options in ami.config("adwatch/values.conf")}
    ami.close()
    for number, what in typed.items():
        why = refused("users.conf", Case("name", what, None))
        if not why:
            assert found[number].get("fullname", "") == VALUES[what]
        else:
            assert number not in found
            said = adwatch("explain", f"v{int(number) - 20_000}").stdout
            assert why in said
            assert "name is made of comment" in said
