"""A real browser: this machine's Chromium, installed where it is missing."""

from __future__ import annotations

import os
import shutil

import pytest

from system.samba import run

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The path of Chromium. Skips the test where there is none and nobody may install one."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-qy", "--no-install-recommends", "chromium",
            env={"DEBIAN_FRONTEND": "noninteractive"})  # fmt: skip
        found = shutil.which("chromium")
    if found is None:
        pytest.skip("no Chromium here, and only root on a Debian can install it")
    return found
