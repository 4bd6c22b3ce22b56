"""How long the parts of a reading take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(took: dict[str, float], part: str) -> Iterator[None]:
    """Adds what is done within it, in seconds, to `took`."""
    begun = time.monotonic()
    try:
        yield
    finally:
        took[part] = took.get(part, 0.0) + time.monotonic() - begun
