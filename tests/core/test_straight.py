"""What is plain Python gives exactly what Jinja2 gives, for whatever values people type."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.mapping import Expressions, Mapper, MappingError
from adwatch.core.model import MAPPED, Entry, Peer
from adwatch.core.render import Format, Renderer, RenderError
from adwatch.core.safe import UnsafeText

# Plain ones often, so that the short way is gone; and all that bites somewhere.
words = st.text("abcXYZ019 äßŉİ,().@+-_'/=<>:", max_size=12)
texts = words | st.text(max_size=6) | st.sampled_from(["[x]", "#include", "a;b", 'O"Neil', "a,b"])
OWN = """
[{{ number }}]{% if options.template %}({{ options.template }}){% endif +%}
{% if peer.name == "Anna" or not email %}
who = {{ peer.name }}
{% elif name and "a" in name %}
who = {{ name | upper ~ "-" ~ department }}
{% else %}
who = {{ department or context }}
{% endif %}
secret = {{ pin }} {{ secret }} {{ ha1 }} {{ login }} {{ guid }}
"""
FORMATS = [
    Format("users.conf"),
    Format("users.conf", (("template", "desk"),)),
    Format("sip.conf", (("hash", True),)),
    Format("pjsip.conf"),
    Format("pjsip.conf", (("auth", "b"), ("aor", "c"), ("endpoint", "a"), ("hash", True))),
    Format("voicemail.conf", (("context", "default"),)),
    Format("hints.conf", (("tech", "SIP"),)),
    Format("desk.j2", (("template", "desk"),), OWN),
    Format("deep.j2", (), "{% if name %}" * 60 + "{{ number }}" + "{% endif %}" * 60),
    Format("odd.j2", (), "{{ number }}{% if name is numeric_groups(more=1) %}!{% endif %}"),
    Format("cut.j2", (), "{{ name[:3] }}"),  # not straight: a part may end with a blank
]
PEER = Peer(
    guid="6f9619ff-8b86-d011-b42d-00c04fc964ff",
    number="502",
    name="Anna Ryabova",
    email="anna@example.test",
    context="users",
    call_group="1,3-5",
    pickup_group="sales",
    mobile="+7 900",
    dn="CN=Anna,DC=example,DC=test",
    login="anna",
    extra=(("department", "Sales"),),
)
SECRET = "v8cEyjATELDhUBHY9zs76sqR"


def written(renderer: Renderer, peer: Peer) -> tuple[str, ...]:
    try:
        return (renderer.fragment(peer),)
    except (UnsafeText, RenderError) as error:
        return type(error).__name__, str(error)


def renderers(form: Format, secret: str = SECRET) -> tuple[Renderer, Renderer]:
    """One that goes the short way where it can, and one that never does."""
    short, long = (Renderer(form, lambda _: secret) for _ in range(2))
    long.check()
    long._shortcut = None
    return short, long


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@given(st.dictionaries(st.sampled_from([*MAPPED[1:], "dn", "login"]), texts), texts, texts)
def test_a_fragment_is_the_same_the_short_way_and_the_long(
    form: Format, values: dict[str, str], department: str, secret: str
) -> None:
    short, long = renderers(form, secret)
    try:
        peer = replace(PEER, **values, extra=(("department", department),))
    except UnsafeText:
        return
    assert written(short, peer) == written(long, peer)


@pytest.mark.parametrize("form", FORMATS[:-3], ids=lambda form: form.name)
def test_the_short_way_is_gone_for_a_usual_peer(form: Format) -> None:
    short, _ = renderers(form)
    short.check()
    assert short._shortcut is not None
    usual = replace(PEER, call_group="1")
    assert short._shortcut.text(usual, SECRET).strip("\n") == short.fragment(usual).strip("\n")


@pytest.mark.parametrize(
    "extra",
    [
        (),  # which the template names
        (("department", "Sales"), ("number", "9")),
        (("department", "Sales"), ("secret", "9")),
        (("department", "Sales"), ("pin", "9")),
        (("department", "Sales"), ("options", "9"), ("realm", "9")),
    ],
)
def test_an_extra_field_counts_the_same_whatever_it_is_called(
    extra: tuple[tuple[str, str], ...],
) -> None:
    short, long = renderers(Format("desk.j2", (), OWN))
    peer = replace(PEER, extra=extra)
    assert written(short, peer) == written(long, peer)


EXPRESSIONS = [
    "sn",
    "sAMAccountName[:1] | upper ~ sAMAccountName[1:]",
    'sn or "users"',
    "number[-3:]",
    "sn | lower | capitalize",
    "sn | digits | last(4)",
    'sn | regex_replace("a", "b")',
    "sn | octets(5)",
    'sn if mail == "x" else number',
    'mail if "a" in sn and not mail else "none"',
    'sn | regex_replace("(", "b")',  # fails for everybody
    "sn[0]",  # from here on Jinja2 is asked
    "sn | trim",
    'entry["sn"] | first',
    "sn | upper(1)",
    "sn[::2]",
    " or ".join(["sn"] * 150),  # which Python would find too deep
    "sn ~ 1",
]


def mapped(fields: object, entry: Entry) -> object:
    try:
        return fields(entry)  # type: ignore[operator]
    except MappingError as error:
        return str(error)


@pytest.mark.parametrize("expression", EXPRESSIONS)
@given(st.dictionaries(st.sampled_from(["sn", "mail", "samaccountname"]), texts))
def test_fields_are_the_same_the_short_way_and_the_long(
    expression: str, values: dict[str, str]
) -> None:
    fields = dict.fromkeys(MAPPED, "mail") | {"number": "sAMAccountName", "mobile": expression}
    mapper = Mapper(Expressions(tuple(fields.items())))
    entry = Entry("", "", {name: (value,) for name, value in values.items()})
    assert mapped(mapper.fields, entry) == mapped(mapper._by_jinja, entry)
