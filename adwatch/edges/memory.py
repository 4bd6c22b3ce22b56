"""Gives back to the system what a large reading needed and needs no more."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def give_back() -> None:
    """Lets go of free memory, where the C library is one that keeps it (glibc's malloc_trim)."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
