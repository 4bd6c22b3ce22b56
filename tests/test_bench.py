"""The bench's table: what was not measured is absent, and what was is judged by its bar."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.figures import Figures
from bench.measure import share, timed
from bench.rivals import ATTRIBUTES
from bench.table import page, put_in, text, told

FACTS = {
    "at": "2026-01-01", "users": [1000, 20000], "runs": 5, "python": "3.11", "cores": 2,
    "load": "0.1", "samba": "4.22",
}  # fmt: skip


def test_a_figure_that_was_not_run_is_absent() -> None:
    figures = Figures(dict(FACTS))
    assert list(told(figures, 20000)) == []
    figures.add("render 20000", 0.05)
    assert [row[0] for row in told(figures, 20000)] == ["`adwatch render`, whole process"]
    assert "1,000 users" not in page(figures, "")


@pytest.mark.parametrize(("took", "met"), [(1.4, "yes"), (1.6, "**no**")])
def test_a_bar_is_met_or_not_by_the_median(took: float, met: str) -> None:
    figures = Figures(dict(FACTS))
    for figure in (0.1, took, took, took, 99.0):
        figures.add("sync 20000", figure)
        figures.add("ldapsearch 20000", 1.0)
    (row,) = told(figures, 20000)
    assert row[2:] == ("≤ 1.5 ×", met)
    assert f"{took:.2f} ×" in row[1]
    assert row[0] in text(figures, 20000)


def test_figures_outlast_the_process(tmp_path: Path) -> None:
    figures = Figures(dict(FACTS))
    figures.add("memory 20000", 90 * 1024)
    figures.write(tmp_path / "bench.json")
    again = Figures.read(tmp_path / "bench.json")
    assert page(again, "note") == page(figures, "note")


def test_the_section_takes_the_place_of_the_one_before() -> None:
    document = "a\n<!-- domain -->\nold\n<!-- /domain -->\nz\n"
    once = put_in(document, "new\n")
    assert once == put_in(once, "new\n")
    assert ("old" in once, once.startswith("a\n"), once.endswith("z\n")) == (False, True, True)
    with pytest.raises(ValueError, match="domain"):
        put_in("a", "new")


def test_a_process_is_timed_and_a_failing_one_is_an_error(tmp_path: Path) -> None:
    took = timed([sys.executable, "-c", "print('x' * 10)"], output=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "x" * 10 + "\n"
    assert 0 < took.cpu < 60
    assert took.rss_kib > 1000
    with pytest.raises(RuntimeError, match="exits 3"):
        timed([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_share_is_what_so_many_do_not_exceed() -> None:
    assert share(range(100), 0.5) == 50
    assert share(range(100), 0.95) == 95
    assert share([7], 0.95) == 7


def test_the_rivals_ask_for_what_adwatch_asks_for() -> None:
    from adwatch.core.mapping import ALWAYS_ASKED

    assert set(ALWAYS_ASKED) <= set(ATTRIBUTES)
