"""`make crash`: every point of the sweep, and many kills at random instants; prints the figures.

Of the points within SQLite's file each `EVERY`-th alone (1), `ROUNDS` of kills (200). `FIGURES`
names a document to put the tables into, between `<!-- crash -->` and `<!-- /crash -->`.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from system.crash.kills import Figures, kill_again_and_again
from system.crash.scenarios import SCENARIOS
from system.crash.sweep import Crashes, Result
from system.samba import domain


def points(every: int) -> list[Result]:
    """The sweep of every scenario."""
    results = []
    with Crashes() as crashes:
        for name in SCENARIOS:
            results.append(crashes.sweep(name, every))
            last = results[-1]
            print(f"{name}: {last.tried} points, {len(last.faults)} faults", flush=True)
            print("".join(f"  {fault}\n" for fault in last.faults), end="", flush=True)
    return results


def kills(rounds: int) -> Figures:
    """The random kills, in a domain of their own."""
    with domain() as dc, tempfile.TemporaryDirectory() as folder:
        figures = kill_again_and_again(dc, Path(folder), rounds)
    print("".join(f"  {fault}\n" for fault in figures.faults), end="")
    return figures


def tables(results: list[Result], figures: Figures) -> str:
    """Both as Markdown."""
    day, python = f"{datetime.now(UTC):%Y-%m-%d}", sys.version.split()[0]
    with_what = f"Python {python}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores"
    lines = [
        f"Printed by `make crash` on {day}: {with_what}.",
        "",
        "| killed during | effects | points tried | converged | a reload or message twice |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r.name} | {r.points - 1} | {r.tried} | {r.tried - len(r.faults)} | {r.repeated} |"
        for r in results
    ]
    good, tried = sum(r.tried - len(r.faults) for r in results), sum(r.tried for r in results)
    effects, twice = sum(r.points - 1 for r in results), sum(r.repeated for r in results)
    lines.append(f"| **all** | {effects} | {tried} | {good} | {twice} |")
    lines += ["", "| `kill -9` at random under changes, a Samba AD | |", "| --- | ---: |"]
    lines += [f"| {what} | {count} |" for what, count in figures.rows()]
    return "\n".join(lines) + "\n"


def publish(name: str, text: str) -> None:
    """Prints a table, and puts it into the document between the marks of that name."""
    print(text)
    if document := os.environ.get("FIGURES"):
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = Path(document).read_text().partition(begin)
        _, _, after = rest.partition(end)
        Path(document).write_text(f"{before}{begin}\n{text}\n{end}{after}")


def main() -> int:
    results = points(int(os.environ.get("EVERY", "1")))
    figures = kills(int(os.environ.get("ROUNDS", "200")))
    publish("crash", tables(results, figures))
    return int(bool(figures.faults or any(result.faults for result in results)))


if __name__ == "__main__":
    sys.exit(main())
