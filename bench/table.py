"""The figures against the bars: as a table, and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

from bench.figures import Figures

BIG, SMALL, HUGE = 20_000, 1_000, 100_000
Told = tuple[str, bool | None]
"""What is shown of a row, and whether it meets its bar (None: it has none)."""


@dataclass(frozen=True)
class Row:
    """A row of the table; `tell` gives None where its figures were not measured."""

    what: str
    bar: str
    tell: Callable[[Figures, int], Told | None]


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"


def _most(name: str, bar: float) -> Callable[[Figures, int], Told | None]:
    """A median that may be so much."""

    def tell(figures: Figures, users: int) -> Told | None:
        value = figures.median(f"{name} {users}")
        return None if value is None else (_seconds(value), value <= bar)

    return tell


def _beside(name: str, other: str, bar: float | None) -> Callable[[Figures, int], Told | None]:
    """A median beside another, and their ratio."""

    def tell(figures: Figures, users: int) -> Told | None:
        one, two = figures.median(f"{name} {users}"), figures.median(f"{other} {users}")
        if one is None or not two:
            return None
        said = f"{_seconds(one)}, {one / two:.2f} × {_seconds(two)}"
        return said, None if bar is None else one / two <= bar

    return tell


def _memory(name: str) -> Callable[[Figures, int], Told | None]:
    def tell(figures: Figures, users: int) -> Told | None:
        value = figures.median(f"{name} {users}")
        return None if value is None else (f"{value / 1024:.0f} MiB", value <= 96 * 1024)

    return tell


def _against_small(name: str, bar: float) -> Callable[[Figures, int], Told | None]:
    """How much more it is than with a thousand users."""

    def tell(figures: Figures, users: int) -> Told | None:
        small = figures.median(f"{name} {SMALL}")
        ratio = figures.ratio(f"{name} {users}", f"{name} {SMALL}")
        if small is None or ratio is None or users == SMALL:
            return None
        return f"{ratio:.2f} × {_seconds(small)}", ratio <= bar

    return tell


def _to_huge(name: str, bar: float | None) -> Callable[[Figures, int], Told | None]:
    def tell(figures: Figures, users: int) -> Told | None:
        ratio = figures.ratio(f"{name} {HUGE}", f"{name} {BIG}")
        if ratio is None or users != BIG:
            return None
        return f"{ratio:.2f} ×", None if bar is None else ratio <= bar

    return tell


def _latency(name: str, half: float, most: float) -> Callable[[Figures, int], Told | None]:
    def tell(figures: Figures, users: int) -> Told | None:
        p50, p95 = (figures.share(f"latency {name} {users}", part) for part in (0.5, 0.95))
        if p50 is None or p95 is None:
            return None
        return f"p50 {_seconds(p50)}, p95 {_seconds(p95)}", p50 <= half and p95 <= most

    return tell


def _share_of_dc(figures: Figures, users: int) -> Told | None:
    value = figures.median(f"dc share 200ms {users}")
    return None if value is None else (f"{value:.2%} of a core", value < 0.02)


def _octets(figures: Figures, users: int) -> Told | None:
    value = figures.median(f"change octets {users}")
    return None if value is None else (f"{value / 1024:.1f} KiB", value <= 10 * 1024)


def _reloads(figures: Figures, users: int) -> Told | None:
    took, reloads = figures.median(f"batch {users}"), figures.most(f"batch reloads {users}")
    if took is None or reloads is None:
        return None
    return f"{reloads:.0f}", reloads <= 1 + ceil(took / 2.0)  # asterisk.at_most


def _flat(figures: Figures, users: int) -> Told | None:
    found = figures.all(f"memory {users}")
    if not found:
        return None
    half = len(found) // 2
    growth = max(found[half:]) / max(found[: half or 1])
    said = f"{max(found) / 1024:.0f} MiB, {growth:.2f} × in the second half"
    return said, max(found) <= 96 * 1024 and growth <= 1.05


ROWS = (
    Row("first `sync`, whole process, beside `ldapsearch` unpaged", "≤ 1.5 ×",
        _beside("sync", "ldapsearch", 1.5)),
    Row("its peak memory", "≤ 96 MiB", _memory("sync rss")),
    Row("its own CPU", "", _beside("sync cpu", "ldapsearch", None)),
    Row("the original's way in PHP beside `ldapsearch`", "", _beside("php", "ldapsearch", None)),
    Row("`ldapsearch` by pages of 1,000 beside unpaged", "", _beside("paged", "ldapsearch", None)),
    Row("a script with ldap3 beside `ldapsearch`", "", _beside("ldap3", "ldapsearch", None)),
    Row("`sync` with nothing changed, whole process", "≤ 0.5 s", _most("unchanged", 0.5)),
    Row("the same against 1,000 users", "≤ 1.2 ×", _against_small("unchanged", 1.2)),
    Row("idle tick inside `run`, wall", "≤ 5 ms", _most("idle wall 1s", 0.005)),
    Row("idle tick inside `run`, own CPU with all that goes on until the next, `poll: 1s`",
        "≤ 1 ms", _most("idle cpu 1s", 0.001)),
    Row("the same, `poll: 200ms`", "≤ 1 ms", _most("idle cpu 200ms", 0.001)),
    Row("its CPU at `poll: 1s` against 1,000 users", "≤ 1.2 ×", _against_small("idle cpu 1s", 1.2)),
    Row("one change inside `run`, own CPU", "≤ 30 ms", _most("change cpu", 0.03)),
    Row("one change inside `run`, from the DC", "≤ 10 KiB", _octets),
    Row("change in AD → file replaced, `poll: 1s`", "p50 ≤ 0.6 s, p95 ≤ 1.2 s",
        _latency("1s", 0.6, 1.2)),
    Row("change in AD → file replaced, `poll: 200ms`", "p50 ≤ 0.15 s, p95 ≤ 0.3 s",
        _latency("200ms", 0.15, 0.3)),
    Row("the DC's CPU at `poll: 200ms`, idle", "< 2 % of a core", _share_of_dc),
    Row("1,000 changes in one commit, all in the file", "≤ 3 s", _most("batch", 3.0)),
    Row("reloads for them", "≤ 1 + duration / `at_most`", _reloads),
    Row("resident memory of `run` while changes come in", "≤ 96 MiB, flat", _flat),
    Row("comparison (full GUID list) beside `ldapsearch` of the GUIDs", "≤ 1.3 ×",
        _beside("comparison", "listed", 1.3)),
    Row("`adwatch render`, whole process", "≤ 60 ms", _most("render", 0.06)),
    Row("first `sync`, from 20,000 to 100,000 users", "≤ 5.5 ×", _to_huge("sync", 5.5)),
    Row("`ldapsearch` unpaged, the same", "", _to_huge("ldapsearch", None)),
    Row("idle tick, the same", "≤ 1.2 ×", _to_huge("idle wall 1s", 1.2)),
    Row("one change, the same", "≤ 2 ×", _to_huge("change cpu", 2.0)),
)  # fmt: skip


def told(figures: Figures, users: int) -> Iterator[tuple[str, str, str, str]]:
    """The rows that were measured: what, figure, bar, and whether it is met."""
    for row in ROWS:
        said = row.tell(figures, users)
        if said is not None:
            text, met = said
            yield row.what, text, row.bar, "" if met is None else "yes" if met else "**no**"


def text(figures: Figures, users: int) -> str:
    """The table for a terminal."""
    rows = list(told(figures, users))
    sizes = [max(len(row[at]) for row in rows) for at in range(4)] if rows else [0] * 4
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    return "\n".join(lines).replace("**", "")


def page(figures: Figures, note: str) -> str:
    """The section of docs/performance.md; `note` is what the profile shows of bars not met."""
    facts = figures.facts
    lines = [
        f"Measured {facts['at']} with Samba {facts['samba']} (mdb) over LDAPS, Python"
        f" {facts['python']}, {facts['cores']} cores that the controller shares; medians of"
        f" {facts['runs']} runs or more. The machine's load before that was {facts['load']}"
        " (1, 5 and 15 minutes).",
    ]
    for users in sorted(facts["users"]):
        rows = list(told(figures, users))
        if rows:
            lines += ["", f"### {users:,} users", "", "| what | figure | bar | met |",
                      "| --- | --- | --- | --- |"]  # fmt: skip
            lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n\n" + note.strip() + "\n"


def put_in(document: str, section: str) -> str:
    """The page with the section between its marks, in place of the one before."""
    begin, end = "<!-- domain -->\n", "<!-- /domain -->"
    before, found, rest = document.partition(begin)
    if not found or end not in rest:
        raise ValueError(f"the page has no {begin.strip()} and {end}")
    return f"{before}{begin}\n{section}\n{end}{rest.partition(end)[2]}"
