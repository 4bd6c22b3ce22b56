"""`make bench`: loads domains, measures adwatch beside other ways, writes JSON and the page.

Environment: USERS="1000 20000" (add 100000), RUNS=5, CHANGES=30 for the latency, HOUR_S=60
(3600: the whole hour), OUT= the folder of bench.json, FIGURES=docs/performance.md to publish
them. With FROM=bench.json nothing is measured.
"""

from __future__ import annotations

import os
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from system.samba import SambaDC, run

from bench import running, whole
from bench.domain import domain, say
from bench.figures import Figures
from bench.table import BIG, SMALL, page, put_in, text

HERE = Path(__file__).parent
NOTE = HERE / "note.md"


def main() -> None:
    """Measures, prints, writes."""
    environ = os.environ
    if source := environ.get("FROM"):
        figures = Figures.read(Path(source))
    else:
        figures = measured([int(n) for n in environ.get("USERS", "1000 20000").split()])
        out = Path(environ.get("OUT", HERE)) / "bench.json"
        figures.write(out)
        say(f"written: {out}")
    for users in sorted(figures.facts["users"]):
        print(f"\n{users} users\n\n{text(figures, users)}")
    if document := environ.get("FIGURES"):
        section = page(figures, NOTE.read_text())
        Path(document).write_text(put_in(Path(document).read_text(), section))


def measured(sizes: list[int]) -> Figures:
    """Everything, for each size of domain."""
    runs = int(os.environ.get("RUNS", "5"))
    figures = Figures(
        {
            "at": datetime.now(UTC).strftime("%Y-%m-%d"),
            "users": sizes,
            "runs": runs,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": " ".join(f"{one:.2f}" for one in os.getloadavg()),
        }
    )
    for users in sizes:
        say(f"{users} users")
        with domain(users) as dc, tempfile.TemporaryDirectory() as folder:
            said = run("docker", "exec", dc.container, "samba", "--version")
            figures.facts["samba"] = said.split()[-1]
            one_size(dc, Path(folder), users, runs, figures)
    return figures


def one_size(dc: SambaDC, folder: Path, users: int, runs: int, figures: Figures) -> None:
    """Everything, in one domain; with few users only what is compared with many."""
    whole.first_reading(dc, folder, users, runs, figures)
    whole.nothing_new(dc, folder, users, runs, figures)
    if users > SMALL:
        whole.comparison(dc, folder, users, runs, figures)
    changes = int(os.environ.get("CHANGES", "30"))
    with running.running(dc, folder / "run-1s", "1s") as site:
        running.idle(dc, site, users, figures, "1s")
        running.one_change(dc, site, users, runs, figures)
        if users > SMALL:
            running.latency(dc, site, users, changes, figures, "1s")
            running.batch(dc, site, users, runs, figures)
        if users == BIG:
            running.long_run(dc, site, users, running.hour(), figures)
    if users > SMALL:
        with running.running(dc, folder / "run-200ms", "200ms") as site:
            running.idle(dc, site, users, figures, "200ms")
            running.latency(dc, site, users, changes, figures, "200ms")


if __name__ == "__main__":
    main()
