"""What the service tells machines: metrics for Prometheus, whether it lives, whether it serves."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from program import Adwatch, wait_for
from prometheus_client.parser import text_string_to_metric_families

from system.samba import SambaDC, free_port

ROOT = Path(__file__).parents[2]
Make = Callable[..., Adwatch]


class Asked:
    """An installation's HTTP server, asked with curl."""

    def __init__(self, make: Make, more: str = "") -> None:
        port = free_port()
        self.adwatch = make(more=f"http:\n  listen: 127.0.0.1:{port}\n{more}")
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> tuple[int, str]:
        command = ["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", self.url + path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    def values(self) -> dict[str, float]:
        """Every sample, with its labels as in `adwatch_peers{state="served"}`."""
        status, text = self.get("/metrics")
        assert status == 200
        return {
            one.name + (str(one.labels).replace("'", '"') if one.labels else ""): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
        }


@pytest.fixture
def asked(make: Make) -> Asked:
    return Asked(make)


def value(asked: Asked, name: str, **labels: str) -> Any:
    return asked.values().get(name + (str(labels).replace("'", '"') if labels else ""))


def test_metrics_follow_what_happens(dc: SambaDC, asked: Asked, user: Callable[..., str]) -> None:
    asked.adwatch.start()
    wait_for("the service", lambda: asked.get("/readyz")[0] == 200)
    before = value(asked, "adwatch_peers", state="served")
    added = value(asked, "adwatch_changes_total", kind="added")
    user("metric", telephoneNumber="7301")
    wait_for("a peer more", lambda: value(asked, "adwatch_peers", state="served") == before + 1)
    assert value(asked, "adwatch_changes_total", kind="added") == added + 1
    assert value(asked, "adwatch_turns_total", how="poll", result="done") >= 1
    assert value(asked, "adwatch_state", state="online") == 1
    assert value(asked, "adwatch_directory_connected", server=dc.ldaps_url) == 1
    assert value(asked, "adwatch_output_fault", output="users") == 0
    assert 0 <= value(asked, "adwatch_lag_seconds") < 10
    wait_for("a reload", lambda: value(asked, "adwatch_reloads_total", result="done") >= 1)
    dc.pause()
    try:
        wait_for("the fault", lambda: value(asked, "adwatch_directory_fault") == 1)
        assert value(asked, "adwatch_turns_total", how="poll", result="failed") >= 1
        assert asked.get("/readyz") == (200, f"{before + 1:.0f} peers are served\n")
        assert asked.get("/healthz") == (200, "alive\n")
    finally:
        dc.unpause()


def test_a_controller_that_fails_beside_the_one_in_use_is_told(dc: SambaDC, make: Make) -> None:
    down = f"ldaps://localhost:{free_port()}"
    asked = Asked(lambda **parts: make(server=f"{down}, {dc.ldaps_url}", **parts))
    asked.adwatch.start()
    wait_for("the service", lambda: asked.get("/readyz")[0] == 200)
    fault = "adwatch_directory_server_fault"
    assert value(asked, fault, server=down) == 1
    assert value(asked, fault, server=dc.ldaps_url) == 0
    assert value(asked, "adwatch_directory_connected", server=down) == 0
    said = asked.adwatch.status()
    assert said["state"] == "online"
    assert list(said["directory"]["failed"]) == [down]
    assert f"controller {down}: " in asked.adwatch("status").stdout


def test_incidents_are_told_by_their_kind(make: Make, user: Callable[..., str]) -> None:
    asked = Asked(make, "alerts: {after: 0s}\n")
    asked.adwatch.start()
    wait_for("the service", lambda: asked.get("/readyz")[0] == 200)
    assert value(asked, "adwatch_incidents_open", kind="conflict") == 0
    wait_for("no debt", lambda: value(asked, "adwatch_comparison_owed") == 0)
    for login in ("metric1", "metric2"):
        user(login, telephoneNumber="7302")
    opened = ("adwatch_incidents_open", {"kind": "conflict"})
    wait_for("the incident", lambda: value(asked, opened[0], **opened[1]) == 1)
    assert value(asked, "adwatch_alerts_open") == 1
    assert value(asked, "adwatch_peers", state="rejected") >= 1


def test_without_a_peer_to_serve_it_lives_and_is_not_ready(make: Make) -> None:
    asked = Asked(lambda **parts: make(server="ldaps://localhost:1", **parts))
    asked.adwatch.start()
    wait_for("the service", lambda: asked.get("/healthz")[0] == 200)
    status, said = asked.get("/readyz")
    assert status == 503
    assert "AD has not been read" in said


def test_health_needs_no_token_and_metrics_do(make: Make) -> None:
    asked = Asked(make, "  token_file: token\n")
    (asked.adwatch.folder / "token").write_text("s3cret\n")
    asked.adwatch.start()
    wait_for("the service", lambda: asked.get("/healthz")[0] == 200)
    assert asked.get("/metrics")[0] == 401
    assert asked.get("/metrics?token=s3cret")[0] == 200


def test_every_metric_is_in_the_documentation(asked: Asked) -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    asked.adwatch.start()
    wait_for("the service", lambda: asked.get("/readyz")[0] == 200)
    there = set(re.findall(r"(?m)^# TYPE (adwatch_\w+) ", asked.get("/metrics")[1]))
    assert set(re.findall(r"`(adwatch_\w+)", text)) == there
