"""The operating system's signals, heard even while the main thread hangs in a call.

The interpreter runs handlers on the main thread alone, between bytecodes; a name server that
does not answer keeps it from them. The wake-up descriptor is written to at once.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable
from threading import Thread, Timer


class Signals:
    """Calls `heard` on a thread of its own with every signal's number."""

    def __init__(self, heard: Callable[[int], None]) -> None:
        self._heard = heard
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)

    def open(self, numbers: Iterable[int]) -> None:
        """Begins to listen; must be called on the main thread."""
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        Thread(target=self._listen, name="signals", daemon=True).start()

    def _listen(self) -> None:
        while data := self._reader.recv(64):
            for number in data:
                self._heard(number)


def exit_by(seconds: float, status: int) -> None:
    """Ends the process after `seconds`, whatever still hangs then; nothing is half written."""
    timer = Timer(seconds, os._exit, args=(status,))
    timer.daemon = True
    timer.start()
