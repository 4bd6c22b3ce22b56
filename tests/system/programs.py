"""Real programs that tests use: a browser, editors; installed where they are missing."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from system.samba import DOCKER, run


@contextmanager
def alone_with_apt() -> Iterator[None]:
    """Waits for the other worker and for `docker/ensure`: whom apt finds at work makes it fail."""
    with (DOCKER / "ensure").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def program(package: str, *names: str) -> str:
    """The path of a program that goes by one of `names`, or by the package's.

    Skips the test where there is none and nobody may install one.
    """
    names = names or (package,)
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with alone_with_apt():
            run("apt-get", "update", "-q")
            run("apt-get", "install", "-qy", "--no-install-recommends", package,
                env={"DEBIAN_FRONTEND": "noninteractive"})  # fmt: skip
        found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"no {package} here, and only root on a Debian can install it")
    return found


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
    with alone_with_apt():
        run("apt-get", "update", "-q")
        run("sh", "-c", 'cd "$0" && exec apt-get download -q prometheus', str(folder))
    (package,) = folder.glob("prometheus_*.deb")
    run("dpkg", "-x", str(package), str(folder))
    return str(folder / "usr" / "bin" / "promtool")
