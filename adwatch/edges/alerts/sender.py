"""One message to one target, in a child process that is killed at its deadline.

Apprise may hang as long as the other side drips, keeps threads that outlive their timeout, and
takes 45 MiB: so it never is in the service's own process. The target's URL, which is a secret,
reaches the child through a pipe, and no command line, environment or log.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

DEADLINE_S: Final = 30.0
_ANSWER_MOST: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go. `url` gives the Apprise URL anew at each call, or raises AdwatchError.

    `id` tells it from the others without being a secret, `shown` is for people.
    """

    id: str
    shown: str
    min_level: str
    url: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it worked, and why not: without the URL's secrets."""

    good: bool
    said: str


class Errand:
    """A child on its way. `message` is None where Apprise shall only say what it makes of a URL."""

    def __init__(self, url: str, message: dict[str, Any] | None) -> None:
        self._until = time.monotonic() + DEADLINE_S
        self._child = subprocess.Popen(
            [sys.executable, "-m", "adwatch.edges.alerts.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once: poll() says so
            asked = {"url": url, "message": message, "within_s": math.ceil(DEADLINE_S)}
            self._child.stdin.write(json.dumps(asked).encode())
            self._child.stdin.close()

    def poll(self) -> Answer | None:
        """What came of it, None while it is on its way."""
        if self._child.poll() is None:
            if time.monotonic() < self._until:
                return None
            self.close()
            return Answer(False, f"no answer within {DEADLINE_S:g} s")
        assert self._child.stdout is not None
        with self._child.stdout as stdout:
            said = stdout.read(_ANSWER_MOST)
        try:
            read = json.loads(said)
            return Answer(bool(read["good"]), str(read["said"]))
        except (ValueError, KeyError):
            return Answer(False, f"Apprise ended with status {self._child.returncode}")

    def wait(self) -> Answer:
        """What came of it, at its deadline at the latest."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(max(0.0, self._until - time.monotonic()))
        answer = self.poll()
        return answer or Answer(False, f"no answer within {DEADLINE_S:g} s")

    def close(self) -> None:
        """Ends it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
