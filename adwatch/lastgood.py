"""The last good text of an output, from local state alone: what Asterisk's `#exec` is given.

Imports as little as can be: the program starts at every reload of Asterisk.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from adwatch.config.source import beside, outputs_of, read, state_of
from adwatch.errors import AdwatchError

DIRECTORY: Final = "outputs"
# An unclosed section makes Asterisk refuse the whole reload and keep its peers; empty text
# would drop them all (main/config.c).
REFUSE_RELOAD: Final = b"[adwatch has no readable state: with this line Asterisk keeps its peers\n"


def path_of(state: Path, name: str) -> Path:
    """Where an output's last good text lies: readable by whoever may read the output."""
    return state / DIRECTORY / name


def last_good(config: Path, name: str) -> bytes | None:
    """The last good text: from the state, else from the output itself, else None."""
    tree: Any = {}
    with suppress(AdwatchError):  # Asterisk's user may read the state, if not the configuration
        tree = read(config).tree
    paths = [path_of(beside(config, state_of(tree)), name)]
    paths += [beside(config, path) for known, path in outputs_of(tree) if known == name]
    for path in paths:
        with suppress(OSError, ValueError):
            if text := path.read_bytes():
                return text
    return None
