"""Every command that shows something also does so for programs, with the same exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from program import Adwatch

from system.samba import SambaDC


@pytest.fixture
def site(make: Callable[..., Adwatch], user: Callable[..., str]) -> Adwatch:
    user("json", telephoneNumber="7601")
    user("shell", telephoneNumber="76;01")
    return make()


def said(site: Adwatch, *words: str, code: int = 0) -> Any:
    done = site(*words, "--json")
    assert done.returncode == code == site(*words).returncode, done.stderr
    return json.loads(done.stdout)


def test_what_commands_show(site: Adwatch, dc: SambaDC) -> None:
    new = said(site, "diff", code=2)
    assert "7601" in [change["number"] for change in new["changes"]]
    assert new["peers"]["before"] == 0
    assert "+[7601](lan)" in new["files"][0]
    assert "***" in new["files"][0], "secrets are masked"
    assert said(site, "sync", "--dry-run")["exit"] == 0
    assert not site.output.exists()
    done = json.loads(site("sync", "--json").stdout)
    assert done["peers"] == new["peers"]["after"]
    assert [one["what"] for one in done["changes"] if one["number"] == "7601"] == ["added"]
    assert said(site, "sync")["changes"] == []
    assert said(site, "diff") == {
        "changes": [],
        "held": [],
        "peers": {"before": done["peers"], "after": done["peers"]},
        "files": [],
    }
    assert said(site, "status", code=3)["state"] == "stopped"
    assert "7601" in [peer["number"] for peer in said(site, "peers")]
    assert said(site, "explain", "json")[0]["peer"]["number"] == "7601"
    assert said(site, "history", "json")[0]["what"] == "added"
    secret = said(site, "secret", "7601")
    assert f"secret = {secret['secret']}\n" in site.text()
    assert secret["login"] == "json"
    assert said(site, "check", "--offline")[0]["good"] is True
    assert said(site, "config", "show")["directory"]["servers"] == [dc.ldaps_url]
    assert said(site, "config", "schema")["title"]


def test_what_a_person_decided(site: Adwatch) -> None:
    assert site("sync").returncode == 0
    assert said(site, "approve") == {"verdict": "approved", "exit": 0, "held": [], "faults": []}
    assert said(site, "reject")["verdict"] == "dismissed"
