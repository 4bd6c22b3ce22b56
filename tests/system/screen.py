"""A terminal for programs that tests run."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fcntl import ioctl

from program import ADWATCH, Adwatch

ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Screen:
    """A program on a terminal of `columns`."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self._terminal = terminal
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self.seen = ""

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._terminal, keys.encode())

    def until(self, shown: str) -> str:
        """All that came, once `shown` is in it; to the end of the program with an empty one."""
        while not shown or shown not in self.seen:
            assert select.select([self._terminal], [], [], 20)[0], f"{shown} is not in {self.seen}"
            try:
                more = os.read(self._terminal, 4096)
            except OSError:  # the program has ended
                more = b""
            if not more:
                assert not shown, self.seen
                break
            self.seen += self._decode(more)  # which may end within a character
        return self.seen


@contextmanager
def screen(
    site: Adwatch, *words: str, columns: int = 60, env: Mapping[str, str] | None = None
) -> Iterator[Screen]:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    process = subprocess.Popen(
        [ADWATCH, *words, "--config", site.config],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**kept, "TERM": "xterm", **(env or {})},
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Screen(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
