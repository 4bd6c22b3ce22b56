"""Whole processes, from their start to their end: adwatch's commands beside other programs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from system.samba import SambaDC

from bench.domain import say
from bench.figures import Figures
from bench.measure import Took
from bench.rivals import Rivals
from bench.site import Site


def first_reading(dc: SambaDC, folder: Path, users: int, runs: int, figures: Figures) -> None:
    """The first `sync` and its rivals, in turns, so that what disturbs one disturbs all."""
    rivals = Rivals(dc, folder)
    ways: dict[str, Callable[[], Took]] = {
        "ldapsearch": rivals.ldapsearch,
        "paged": rivals.paged,
        "ldap3": rivals.ldap3,
        "sync": lambda: _first(dc, folder),
    }
    if rivals.has_php():
        ways["php"] = rivals.php
    rivals.ldapsearch()  # the controller's own memory of it
    for turn in range(runs):
        for name, way in ways.items():
            took = way()
            say(f"  {users} users, run {turn + 1}: {name} {took.wall:.2f} s, {took.cpu:.2f} s CPU")
            figures.add(f"{name} {users}", took.wall)
            figures.add(f"{name} cpu {users}", took.cpu)
            figures.add(f"{name} rss {users}", took.rss_kib)


def _first(dc: SambaDC, folder: Path) -> Took:
    shutil.rmtree(folder / "first", ignore_errors=True)
    return Site(dc, folder / "first").command("sync")


def nothing_new(dc: SambaDC, folder: Path, users: int, runs: int, figures: Figures) -> None:
    """`sync` where nothing changed, and `render`."""
    site = Site(dc, folder / "nothing")
    site.command("sync")
    for _ in range(runs):
        for word, words in (("unchanged", ("sync",)), ("render", ("render", "users"))):
            took = site.command(*words)
            figures.add(f"{word} {users}", took.wall)
            figures.add(f"{word} cpu {users}", took.cpu)


def comparison(dc: SambaDC, folder: Path, users: int, runs: int, figures: Figures) -> None:
    """What a comparison of all GUIDs takes, beside a program that lists them."""
    from adwatch.config.load import load
    from adwatch.wiring import build

    site = Site(dc, folder / "comparison")
    site.command("sync")
    service, rivals = build(load(site.adwatch.config), dry=True), Rivals(dc, folder)
    service.open()
    try:
        since = service.store.cursor()
        assert since is not None
        service.directory.open()
        for _ in range(runs):
            begun = time.perf_counter()
            batch = service.directory.compare(since, service.store.seen)
            figures.add(f"comparison {users}", time.perf_counter() - begun)
            assert not batch.asked, "nothing changed, so nothing is odd"
            took = rivals.ldapsearch(attributes=("objectGUID",))
            figures.add(f"listed {users}", took.wall)
    finally:
        service.close()
    say(f"  comparison {median(figures.all(f'comparison {users}')):.2f} s")
