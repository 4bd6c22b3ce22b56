"""What contrib/ has for Prometheus and Grafana, looked at by promtool and beside a real service."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from program import Adwatch, wait_for

from system.programs import promtool
from system.test_metrics import Asked

CONTRIB = Path(__file__).parents[2] / "contrib"
RULES = CONTRIB / "prometheus" / "adwatch.rules.yaml"
DASHBOARD = CONTRIB / "grafana" / "adwatch.json"


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> str:
    return promtool(tmp_path_factory.mktemp("promtool"))


@pytest.fixture
def exported(make: Callable[..., Adwatch]) -> str:
    """The text of /metrics of a service that serves."""
    asked = Asked(make)
    asked.adwatch.start()
    wait_for("the service", lambda: asked.get("/readyz")[0] == 200)
    return asked.get("/metrics")[1]


def checked(*command: str, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_fire_when_they_should_and_not_otherwise(tool: str) -> None:
    assert "SUCCESS" in checked(tool, "check", "rules", str(RULES))
    assert "SUCCESS" in checked(tool, "test", "rules", str(RULES.with_suffix(".test.yaml")))


def test_prometheus_finds_nothing_to_mend_in_the_metrics(tool: str, exported: str) -> None:
    assert checked(tool, "check", "metrics", given=exported) == ""


def queries() -> Iterator[str]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_every_metric_that_is_asked_for_is_exported(exported: str) -> None:
    known = set(re.findall(r"^# TYPE (\S+)", exported, re.MULTILINE))
    known |= {f"{name}_bucket" for name in known}
    asked = set(re.findall(r"expr: (.*)", RULES.read_text())) | set(queries())
    names = set(re.findall(r"\b(?:adwatch|process)_\w+", " ".join(asked)))
    assert len(names) > 15
    assert names <= known
    own = {name for name in known if name.startswith("adwatch_") and not name.endswith("_bucket")}
    described = (CONTRIB.parent / "docs" / "monitoring.md").read_text()
    assert own == {name for name in own if f"`{name}`" in described}


def test_every_query_of_the_dashboard_is_promql(tool: str, tmp_path: Path) -> None:
    """Grafana's variables filled in, as it does before it asks."""
    rules = [
        {
            "record": f"panel:{index}",
            "expr": query.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for index, query in enumerate(queries())
        if query.replace("$instance", ".*")
        and "label_values" not in query
        and query != "prometheus"
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in checked(tool, "check", "rules", str(path))
