"""What people see on a terminal: tables that fit it, and a status that renews itself.

Anywhere else the text is plain, the same whatever the width; colour never says what no word says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from threading import Event
from typing import Any, Final

from adwatch.report import STATES, status_text

_RENEW_S: Final = 1.0
_COLOURS: Final = {0: "green", 1: "yellow", 2: "red", 3: "red"}
_HOME_AND_CLEAR: Final = "\x1b[H\x1b[J"


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table as wide as the terminal at most; what has no room is cut, and ends in `…`.

    The first column says who is meant, and is the last to be cut.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading == headings[0])
    for row in rows:
        table.add_row(*(Text(_harmless(one), no_wrap=True, overflow="ellipsis") for one in row))
    Console(highlight=False).print(table)


def show_status(said: dict[str, Any]) -> None:
    """The status, its word in a colour where the terminal wants any."""
    from rich.console import Console
    from rich.text import Text

    shown = Text("\n".join(map(_harmless, status_text(said).split("\n"))))
    shown.stylize(f"bold {_COLOURS[STATES.get(said['state'], 3)]}", 0, len(said["state"]))
    Console(highlight=False, soft_wrap=False).print(shown)


def watch(look: Callable[[], tuple[dict[str, Any], int]], show: Callable[[Any], None]) -> int:
    """Shows what `look` gives whenever that is another, until Ctrl-C; gives its last exit code.

    On a terminal in place of what was there, else below it.
    """
    before, code, never = None, 3, Event()
    try:
        while True:
            said, code = look()
            if (now := _lasting(said)) != before:
                before = now
                if sys.stdout.isatty():
                    sys.stdout.write(_HOME_AND_CLEAR)
                show(said)
                sys.stdout.flush()
            never.wait(_RENEW_S)
    except KeyboardInterrupt:
        return code


def _lasting(said: dict[str, Any]) -> dict[str, Any]:
    """A status without what is another at every look."""
    moving = {"lag_seconds", "last_success"}
    directory = {key: value for key, value in said["directory"].items() if key not in moving}
    return {**said, "directory": directory}


def _harmless(text: str) -> str:
    """A text without what would move a terminal's cursor, or worse."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
