"""systemd: told what the service is at, and that its loop still gets on (sd_notify(3)).

A service that systemd did not start has nobody to tell, and everything here does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

from adwatch.core.words import line

log = logging.getLogger(__name__)


class Systemd:
    """Speaks to the socket that `environment` names.

    `ping_s` is how often `alive` is to be called, in seconds: half of the watchdog's patience
    (sd_watchdog_enabled(3)); infinite without one.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._status = ""
        self._pinged_at = float("-inf")
        self.ping_s = float("inf")
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        patience = environment.get("WATCHDOG_USEC", "")
        if self._address and for_us and patience.isdecimal() and int(patience):
            self.ping_s = int(patience) / 2e6

    def ready(self) -> None:
        """The service serves, be it from what it knew before."""
        self._tell("READY=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows; told only where it changes."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def alive(self) -> None:
        """The loop has come round, or a long reading has got on; may be called at every entry."""
        now = time.monotonic()
        if self.ping_s < float("inf") and now - self._pinged_at >= self.ping_s / 2:
            self._pinged_at = now
            self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends that."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service ends because it was told to."""
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(1.0)
                sender.sendto(text.encode(), name)
        except OSError as error:
            log.warning(line("systemd", cause=error.strerror or error))
