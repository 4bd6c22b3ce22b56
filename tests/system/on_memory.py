"""`adwatch run` over a domain in memory, for sizes that Samba takes minutes to fill.

`python -m system.on_memory CONFIG COUNT`; then on stdin `add N`, `change N`, `away` or `back`, one
a line; `COUNT away` begins without the directory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from adwatch import journal
from adwatch.config.load import load
from adwatch.core.model import Batch
from adwatch.edits import first_edition
from adwatch.errors import DirectoryError
from adwatch.run import Runner
from adwatch.testing import MemoryDirectory
from adwatch.wiring import build

STAFF = "OU=Staff,DC=example,DC=test"


class Shared(MemoryDirectory):
    """One that may be changed while it is read, and that tells of changes."""

    lock = Lock()
    wake: Callable[[], None] = staticmethod(lambda: None)

    def read(self, *args: Any, **more: Any) -> Batch:
        with self.lock:
            return super().read(*args, **more)

    def compare(self, since: Any, known: Callable[[], Mapping[str, Any]]) -> Batch:
        with self.lock:
            return super().compare(since, known)

    def listen(self, wake: Callable[[], None]) -> None:
        self.wake = wake  # type: ignore[method-assign]

    def obey(self) -> None:
        for line in sys.stdin:
            verb, _, number = line.strip().partition(" ")
            with self.lock:
                if verb == "add":
                    self.add_user(f"u{number}", telephoneNumber=number)
                elif verb == "change":
                    self.modify(f"CN=u{number},{STAFF}", department="changed")
                else:
                    self.fault = DirectoryError("it is away") if verb == "away" else None
            self.wake()


def main() -> int:
    journal.begin(20)
    domain = Shared(STAFF)
    for number in range(10_000, 10_000 + int(sys.argv[2])):
        domain.add_user(f"u{number}", telephoneNumber=str(number))
    domain.fault = DirectoryError("it is away") if "away" in sys.argv else None
    Thread(target=domain.obey, daemon=True).start()
    config = load(Path(sys.argv[1]))
    service = build(config, directory=domain)
    edition = replace(first_edition(service.parts, service.store), proof=lambda: "p")
    return Runner(service, edition).run()


if __name__ == "__main__":
    sys.exit(main())
