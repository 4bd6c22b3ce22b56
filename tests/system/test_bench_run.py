"""The bench against a small domain: it measures what it says, all of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import __main__ as bench
from bench import running
from bench.domain import LOAD
from bench.figures import Figures
from bench.table import ROWS, told
from system.samba import controller, ensure, project_name, run

USERS = 40
FACTS = {"at": "2026-01-01", "users": [USERS], "runs": 1, "python": "3.11", "cores": 2}
ELSEWHERE = 7  # rows that compare with another size of domain, or with PHP, which need not be there


@pytest.mark.docker
def test_the_bench_measures_all_that_its_table_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SMALL", USERS // 2)
    monkeypatch.setattr(bench, "BIG", USERS)
    monkeypatch.setattr(running, "IDLE_S", 4.0)
    monkeypatch.setenv("CHANGES", "2")
    monkeypatch.setenv("HOUR_S", "1")
    figures = Figures(dict(FACTS))
    with controller(ensure(), project_name()) as dc:
        run("docker", "cp", str(LOAD), f"{dc.container}:/load.py")
        run("docker", "exec", dc.container, "python3", "/load.py", str(USERS))
        bench.one_size(dc, tmp_path, USERS, 1, figures)
    rows = list(told(figures, USERS))
    assert len(rows) >= len(ROWS) - ELSEWHERE, rows
    assert figures.all(f"memory {USERS}")
    assert all(value >= 0 for value in figures.all(f"latency 1s {USERS}"))
    assert (tmp_path / "first" / "users.conf").read_text().count("\n[") == USERS
