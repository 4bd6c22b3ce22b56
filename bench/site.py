"""adwatch as people run it, on the bench's domain: one command, or `run` under way."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from program import ADWATCH, Adwatch, configured
from system.samba import SambaDC

from bench.domain import BASE
from bench.measure import Took, cpu_of, received_by, timed, wait_for


class Site:
    """An installation in a folder of its own. The account may use DirSync and sees deletions."""

    def __init__(self, dc: SambaDC, folder: Path, poll: str = "1s") -> None:
        directory = f"push: false\npoll: {poll}\ntimeout: 60s"
        text = configured(
            dc.ldaps_url, dc.ca_file, "svc-adwatch-sync", base=f'"{BASE}"', directory=directory
        )
        self.dc = dc
        self.adwatch = Adwatch(folder, text.replace("  timeout: 4s\n", "", 1), dc.service_password)

    def command(self, *words: str) -> Took:
        """One command from its start to its end."""
        adwatch = self.adwatch
        return timed([ADWATCH, *words, "--config", adwatch.config], cwd=adwatch.folder)

    def start(self) -> None:
        """Starts `run`, and waits until it has read the directory and has gone quiet."""
        self.adwatch.start()
        wait_for("the first reading", self._is_online)
        self.settle()

    def _is_online(self) -> bool:
        return bool(self.adwatch.status()["state"] == "online")

    def settle(self, quiet_s: float = 1.5) -> None:
        """Waits until nothing has been used but what an idle loop uses for so long."""
        while True:
            before = self.cpu()
            time.sleep(quiet_s)
            if self.cpu() - before < 0.1 * quiet_s:
                return

    @property
    def pid(self) -> int:
        """Of `run`."""
        assert self.adwatch.running is not None
        return self.adwatch.running.pid

    def cpu(self) -> float:
        """Seconds of CPU that `run` has used."""
        return cpu_of(self.pid)

    def received(self) -> int:
        """Octets that `run` has had from the controller."""
        return received_by(self.pid, self.dc.ldaps_port)

    def trace(self) -> dict[str, Any]:
        """What `status` says of the parts of a turn."""
        said: dict[str, Any] = json.loads(self.adwatch("status", "--json").stdout)["trace"]
        return said

    def stamp(self) -> tuple[int, int]:
        """Another value whenever the output is replaced."""
        found = self.adwatch.output.stat()
        return found.st_ino, found.st_mtime_ns

    def replaced(self, since: tuple[int, int]) -> float:
        """Waits until the output is another; gives the monotonic time."""
        return wait_for("the output is replaced", lambda: self.stamp() != since)

    def stop(self) -> None:
        """Ends `run`."""
        if self.adwatch.running is not None:
            self.adwatch.stop()
