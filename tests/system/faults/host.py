"""Faults of adwatch's own machine: disks, its store, its configuration, its clock, its end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from program import wait_for

from system.faults.world import Injection, Site
from system.samba import run

CLOCK = Path(__file__).with_name("clock.c")


@contextmanager
def full(site: Site, folder: Path) -> Iterator[None]:
    """The file system of a folder is full, and there is something to write."""
    filler = folder / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1k"], check=False,
                   capture_output=True)  # fmt: skip
    site.user(f"full{folder.name}", telephoneNumber="7501")
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(site: Site) -> Iterator[None]:
    run("mount", "-o", "remount,ro", str(site.out))
    site.user("readonly", telephoneNumber="7502")
    try:
        yield
    finally:
        run("mount", "-o", "remount,rw", str(site.out))


@contextmanager
def asterisk_down(site: Site) -> Iterator[None]:
    down = site.adwatch.folder / "down"
    down.touch()
    site.user("down", telephoneNumber="7503")
    try:
        yield
    finally:
        down.unlink()


def damaged(how: Callable[[Path], object]) -> Injection:
    """The store is damaged while adwatch does not run, and AD is away when it starts again."""

    @contextmanager
    def inject(site: Site) -> Iterator[None]:
        site.adwatch.stop()
        how(site.store)
        site.between.refuse()
        site.adwatch.start()
        try:
            yield
        finally:
            site.between.accept()
            for aside in site.state.glob("*.damaged-*"):
                aside.unlink()

    return inject


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def gone(path: Path) -> None:
    path.unlink()


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def without_header(path: Path) -> None:
    _overwritten(path, 0, os.urandom(100))


def with_a_spoilt_page(path: Path) -> None:
    """The one that has the peers."""
    _overwritten(path, path.read_bytes().index(b'"502"') // 4096 * 4096, os.urandom(4096))


def with_four_other_octets(path: Path) -> None:
    """In a row that SQLite has no reason to doubt."""
    _overwritten(path, path.read_bytes().index(b'"502"') + 1, b"9999")


def _overwritten(path: Path, at: int, octets: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(octets)


@contextmanager
def killed(site: Site) -> Iterator[None]:
    """And started again, as systemd does, while AD changes."""
    site.adwatch.kill()
    site.adwatch.start()
    yield


@contextmanager
def started_twice(site: Site) -> Iterator[None]:
    done = site.adwatch("run")
    assert done.returncode == 7, done.stderr
    assert "another" in done.stderr
    yield


def clock_set(by_s: int) -> Injection:
    """The clock is set under the running service; what is monotonic goes on."""

    @contextmanager
    def inject(site: Site) -> Iterator[None]:
        library = site.certificates / "clock.so"
        run("cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(CLOCK))
        shift = site.certificates / "clock"
        shift.write_bytes(bytes(8))
        site.adwatch.stop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(library))
            patch.setenv("ADWATCH_CLOCK", str(shift))
            site.adwatch.start()
        wait_for("online", lambda: site.status()["pid"] and site.well())
        with shift.open("r+b") as file:
            file.write(by_s.to_bytes(8, sys.byteorder, signed=True))
        read = site.status()["directory"]["last_success"]
        yield
        jump = _seconds(site.status()["directory"]["last_success"]) - _seconds(read)
        assert abs(jump - by_s) < 600, "the clock was not set"
        site.adwatch.stop()
        site.adwatch.start()

    return inject


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def edited(how: Callable[[str], str]) -> Injection:
    """The configuration is saved as something that can't be used, or that is a mistake."""

    @contextmanager
    def inject(site: Site) -> Iterator[None]:
        good = site.adwatch.config.read_text()
        site.adwatch.config.write_text(how(good))
        try:
            yield
        finally:
            site.adwatch.config.write_text(good)

    return inject


cut_in_half = edited(lambda text: text[: text.index("outputs:") + 12])
with_a_key_twice = edited(lambda text: text + "state: elsewhere\n")
with_a_filter_for_nobody = edited(
    lambda text: re.sub("(  base: .*)", r"\1\n  filter: (sAMAccountName=nobody)", text)
)


@contextmanager
def configuration_deleted(site: Site) -> Iterator[None]:
    kept = site.adwatch.folder / "kept"
    shutil.move(site.adwatch.config, kept)
    try:
        yield
    finally:
        shutil.move(kept, site.adwatch.config)


def webhook(mode: str) -> Injection:
    """The webhook is broken, and there is something to tell it."""

    @contextmanager
    def inject(site: Site) -> Iterator[None]:
        site.hook.mode = mode
        site.user("twice", telephoneNumber="7504")
        dn = site.user("again", telephoneNumber="7504")
        yield
        site.hook.mode = "well"
        site.dc.modify(dn, telephoneNumber="7505")

    return inject
