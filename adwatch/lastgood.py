"""The last good text of an output, from local state alone: what Asterisk's `#exec` is given.

Imports as little as can be: the program starts at every reload of Asterisk.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from adwatch.config.source import beside, outputs_of, read, state_of
from adwatch.errors import AdwatchError

DIRECTORY: Final = "outputs"
# For whoever reads it otherwise: an Asterisk that includes this text drops what stands below it.
UNUSABLE: Final = b"[adwatch has no readable state and no output: these are no peers\n"
# Where Asterisk 16 and 22 let a command of an #exec write (main/config.c), and read it from.
_EXEC_FILE: Final = re.compile(r"/var/tmp/exec\.[0-9.]+")  # noqa: S108


def refuse_reload(stdout: int) -> None:
    """Makes the Asterisk whose #exec this is refuse its whole reload, and keep its peers.

    Asterisk reads what the command left in a file of its own, and only where that file is gone
    does it give up the configuration that the #exec stands in (measured on 16.28 and 22.10;
    an unclosed section in it ends no more than the file's own text). Does nothing anywhere else.
    """
    with suppress(OSError):
        path = Path(f"/proc/self/fd/{stdout}").readlink()
        if _EXEC_FILE.fullmatch(str(path)) and os.path.samestat(path.stat(), os.fstat(stdout)):
            path.unlink()


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
