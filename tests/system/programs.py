"""Real programs that tests use: a browser, editors; installed where they are missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from system.samba import DOCKER, run


@contextmanager
def alone() -> Iterator[None]:
    """One at a time of all who use apt-get, which fails where another one is at work.

    By the lock of docker/ensure, which installs, too.
    """
    with (DOCKER / "ensure").open() as lock:
        flock(lock, LOCK_EX)
        yield


def program(package: str, *names: str) -> str:
    """The path of a program that goes by one of `names`, or by the package's.

    Skips the test where there is none and nobody may install one.
    """
    names = names or (package,)
    if found := first_of(names):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        with alone():
            if not first_of(names):
                run("apt-get", "update", "-q")
                run("apt-get", "install", "-qy", "--no-install-recommends", package,
                    env={"DEBIAN_FRONTEND": "noninteractive"})  # fmt: skip
        if found := first_of(names):
            return found
    pytest.skip(f"no {package} here, and only root on a Debian can install it")


def first_of(names: Iterable[str]) -> str | None:
    """The path of the first program that is there."""
    return next(filter(None, map(shutil.which, names)), None)


def chromium() -> str:
    """The path of Chromium."""
    return program("chromium", "chromium", "chromium-browser", "google-chrome")


def promtool(folder: Path) -> str:
    """Prometheus' own tool: this machine's, or out of Debian's package, which is not installed.

    Installing it would start a server.
    """
    if found := shutil.which("promtool"):
        return found
    if not shutil.which("apt-get"):
        pytest.skip("no promtool here, and this is no Debian to have it from")
    folder.chmod(0o755)
    with alone():
        run("apt-get", "update", "-q")
        run("sh", "-c", 'cd "$0" && exec apt-get download -q prometheus', str(folder))
    (package,) = folder.glob("prometheus_*.deb")
    run("dpkg", "-x", str(package), str(folder))
    return str(folder / "usr" / "bin" / "promtool")
