"""What real Asterisks make of mailboxes, hints and named groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from program import wait_for

from adwatch.core.model import Peer
from adwatch.core.render import Format, Renderer
from system.pbx import asterisk

PEER = Peer(
    guid="6f9619ff-8b86-d011-b42d-00c04fc964ff", number="502", name="Ünï Ryabov",
    email="ryabov@example.test", context="users", call_group="sales", pickup_group="7",
    mobile="", dn="CN=x", login="ryabov",
)  # fmt: skip
OTHER = replace(PEER, guid="7f9619ff-8b86-d011-b42d-00c04fc964ff", number="a-b.c", call_group="63")


def text(name: str, **options: str) -> str:
    made = Renderer(Format(name, tuple(options.items())), lambda _: "v8cEyjATELDhUBHY9zs76sqR")
    return made.document([PEER, OTHER])


@pytest.mark.parametrize("version", [16, 22])
def test_mailboxes_hints_and_groups_are_as_they_were_written(version: int, tmp_path: Path) -> None:
    sip = version == 16
    with asterisk(version, tmp_path / "adwatch") as pbx:
        form, options = ("users.conf", {"template": "lan"}) if sip else ("pjsip.conf", {})
        (pbx.folder / form).write_text(text(form, **options))
        (pbx.folder / "voicemail.conf").write_text(text("voicemail.conf", context="default"))
        (pbx.folder / "hints.conf").write_text(text("hints.conf", tech=pbx.driver))
        for command in ("sip reload" if sip else "module reload res_pjsip.so",
                        "voicemail reload", "dialplan reload"):  # fmt: skip
            pbx.cli(command)
        wait_for("the peers", lambda: pbx.has("502") and pbx.has("a-b.c"))
        wait_for("the mailbox", lambda: "Ünï Ryabov" in pbx.cli("voicemail show users"))
        hints = pbx.cli("core show hints")
        assert f"{pbx.driver}/502" in hints
        assert f"{pbx.driver}/a-b.c" in hints
        show = "sip show peer" if sip else "pjsip show endpoint"
        named = pbx.cli(f"{show} 502").lower().replace(" ", "").replace("_", "")
        assert "namedcallgr:sales" in named or "namedcallgroup:sales" in named, named
        numeric = pbx.cli(f"{show} a-b.c").lower().replace(" ", "").replace("_", "")
        assert "callgroup:63" in numeric, numeric
