"""docs/templates.md: its example does what it says, and everything that a template has is in it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from adwatch.core import render
from adwatch.core.model import Peer
from adwatch.core.render import Format, Renderer, RenderError

DOC = (Path(__file__).parents[2] / "docs" / "templates.md").read_text()
SECRET = "v8cEyjATELDhUBHY9zs76sqR"
PEER = Peer(
    guid="6f9619ff-8b86-d011-b42d-00c04fc964ff", number="502", name='O"Neil; Anna',
    email="anna@example.test", context="users", call_group="5", pickup_group="5", mobile="",
    dn="CN=x", login="anna", extra=(("department", "Sales; EMEA"),),
)  # fmt: skip


def block(kind: str) -> str:
    found = re.findall(rf"(?ms)^```{kind}\n(.*?)^```", DOC)
    assert len(found) == 1
    return str(found[0])


def test_the_example_writes_what_the_document_says() -> None:
    made = Renderer(Format("desk.j2", (("hash", True),), block("jinja")), lambda _: SECRET)
    ha1 = hashlib.md5(f"502:asterisk:{SECRET}".encode()).hexdigest()
    wanted = re.sub("(?m)^md5_cred = .*$", f"md5_cred = {ha1}", block("ini"))
    assert made.fragment(PEER) == wanted


def test_without_hash_the_example_writes_the_secret() -> None:
    made = Renderer(Format("desk.j2", (), block("jinja")), lambda _: SECRET)
    assert f"password = {SECRET}\n" in made.fragment(PEER)
    assert "md5_cred" not in made.fragment(PEER)


@pytest.mark.parametrize(
    "name", ["users.conf", "sip.conf", "pjsip.conf", "hints.conf", "voicemail.conf"]
)
def test_hash_leaves_no_secret_in_any_format(name: str) -> None:
    made = Renderer(Format(name, (("hash", True),)), lambda _: SECRET)
    peer = replace(PEER, name="Anna", extra=(("pin", "4711"),))
    assert SECRET not in made.document([peer])


def test_every_variable_filter_and_test_is_in_the_document() -> None:
    form = Format("own", (), "x")
    for name in render._variables(PEER, SECRET, form):
        assert f"`{name}`" in DOC or name == "department", name
    for option in render._OPTIONS:
        assert f"`{option}`" in DOC
    shipped, plain = render._environment(form), type(render._environment(form))()
    for name in shipped.filters.keys() - plain.filters.keys():
        assert f"`{name}" in DOC
    for name in shipped.tests.keys() - plain.tests.keys():
        assert f"`is {name}`" in DOC


def test_a_long_name_keeps_whole_characters() -> None:
    made = Renderer(Format("own", (), "x = {{ name | octets(79) }}"), lambda _: SECRET)
    assert made.fragment(replace(PEER, name="ж" * 60)) == "x = " + "ж" * 39 + "\n"
    assert made.fragment(replace(PEER, name="x" * 78 + " y")) == "x = " + "x" * 78 + "\n"


def test_a_name_that_is_none_is_a_fault() -> None:
    made = Renderer(Format("own", (), "x = {{ nosuch }}"), lambda _: SECRET)
    with pytest.raises(RenderError, match="nosuch"):
        made.fragment(PEER)
