"""The last good text of an output, from local state alone: what Asterisk's `#exec` is given.

Imports as little as can be: the program starts at every reload of Asterisk.
"""

from __future__ import annotations

import os
import sys

from adwatch.config import quick

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Final  # takes 6 ms to import

DIRECTORY: Final = "outputs"
# For whoever reads it otherwise: an Asterisk that includes this text drops what stands below it.
UNUSABLE: Final = b"[adwatch has no readable state and no output: these are no peers\n"
# Where Asterisk 16 and 22 let a command of an #exec write (main/config.c), and read it from.
_EXEC_FILE: Final = r"/var/tmp/exec\.[0-9.]+"  # noqa: S108


def asked(words: list[str]) -> tuple[str, str] | None:
    """The configuration and the output that the words after `render` name.

    None where a parser of command lines has to say what is meant, or what is wrong.
    """
    config, outputs, rest = "", [], iter(words)
    for word in rest:
        if word in ("-c", "--config"):
            config = next(rest, "")
        elif word.startswith("--config="):
            config = word.partition("=")[2]
        elif word.startswith("-"):
            return None
        else:
            outputs.append(word)
    if len(outputs) != 1 or config.startswith("-"):
        return None
    return config or os.environ.get("ADWATCH_CONFIG") or quick.DEFAULT_PATH, outputs[0]


def render(config: str, name: str) -> int:
    """Prints configuration and nothing else, whatever is wrong: Asterisk reads stderr too."""
    text = last_good(config, name)
    if text is None:
        refuse_reload(sys.stdout.fileno())
    sys.stdout.buffer.write(UNUSABLE if text is None else text)
    sys.stdout.buffer.flush()
    return 0 if text is not None else 1


def refuse_reload(stdout: int) -> None:
    """Makes the Asterisk whose #exec this is refuse its whole reload, and keep its peers.

    Asterisk reads what the command left in a file of its own, and only where that file is gone
    does it give up the configuration that the #exec stands in (measured on 16.28 and 22.10;
    an unclosed section in it ends no more than the file's own text). Does nothing anywhere else.
    """
    import re

    try:
        path = os.readlink(f"/proc/self/fd/{stdout}")
        if re.fullmatch(_EXEC_FILE, path) and os.path.samestat(os.stat(path), os.fstat(stdout)):
            os.unlink(path)
    except OSError:
        return


def path_of(state: Path, name: str) -> Path:
    """Where an output's last good text lies: readable by whoever may read the output."""
    return state / DIRECTORY / name


def last_good(config: str, name: str) -> bytes | None:
    """The last good text: from the state, else from the output itself, else None."""
    text = None
    octets = _read(config)
    state = quick.written_state(octets) if octets is not None else None
    if state is not None:
        beside = os.path.join(os.path.dirname(os.path.abspath(config)), state)
        text = _read(os.path.join(beside, DIRECTORY, name))
    return text or _looked_for(config, name)


def _looked_for(config: str, name: str) -> bytes | None:
    """The same where it is not to be had at once: by all that the configuration says."""
    from pathlib import Path

    from adwatch.config.source import beside, outputs_of, read, state_of
    from adwatch.errors import AdwatchError

    path, tree = Path(config), {}
    try:
        tree = read(path).tree
    except AdwatchError:  # Asterisk's user may read the state, if not the configuration
        tree = {}
    paths = [path_of(beside(path, state_of(tree)), name)]
    paths += [beside(path, written) for known, written in outputs_of(tree) if known == name]
    for one in paths:
        if text := _read(str(one)):
            return text
    return None


def _read(path: str) -> bytes | None:
    """A file's octets, None where it can't be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError):
        return None
