"""adwatch as people run it: a process with a configuration in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

ADWATCH = Path(sys.executable).with_name("adwatch")
LONGEST_S = 30.0


def wait_for(what: str, seen: Callable[[], Any], timeout_s: float = LONGEST_S) -> float:
    """Looks again and again until `seen()` is true; gives the seconds it took."""
    begun = time.monotonic()
    while not seen():
        if time.monotonic() - begun > timeout_s:
            raise AssertionError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.01)
    return time.monotonic() - begun


def has_ended(pid: int) -> bool:
    """Whether a process is no more, or only waits for its parent to take note of that."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it may go while it is looked at
        return True
    return said.rpartition(") ")[2][:1] in "ZX"


def made_by_pytest(folder: Path) -> list[Path]:
    """The folders above one of pytest's own, which it lets nobody else into."""
    return [above for above in folder.parents if Path(gettempdir()) in above.parents]


class Adwatch:
    """One installation. `config` are lines of YAML, put in the file as they are."""

    def __init__(self, folder: Path, config: str, password: str = "") -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.output = folder / "users.conf"
        self.log = folder / "log"
        self.password_file = folder / "bind-password"
        self.running: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(config)
        self.password_file.write_text(password + "\n")

    def __call__(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs one command to its end."""
        command, *rest = arguments
        return subprocess.run(
            [ADWATCH, command, "--config", self.config, *rest],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={k: v for k, v in os.environ.items() if k != "ADWATCH_CONFIG"},
        )

    def start(self, *options: str) -> None:
        """Starts `adwatch run`; its log goes to `log`."""
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [ADWATCH, "run", "--config", self.config, *options],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> float:
        """Ends `adwatch run` by SIGTERM; gives the seconds that it took."""
        assert self.running is not None
        begun = time.monotonic()
        self.running.terminate()
        assert self.running.wait(LONGEST_S) == 0, self.log.read_text()
        self.running = None
        return time.monotonic() - begun

    def kill(self) -> None:
        """Ends `adwatch run` by SIGKILL, if it runs."""
        if self.running is not None:
            self.running.kill()
            self.running.wait()
            self.running = None

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        said: dict[str, Any] = json.loads(self("status", "--json").stdout)
        return said

    def text(self) -> str:
        """The include file, empty while there is none."""
        return self.output.read_text() if self.output.exists() else ""

    def section(self, number: str) -> str:
        """The lines of one peer in the include file, empty where it has none."""
        return next((s for s in self.text().split("\n\n") if s.startswith(f"[{number}]")), "")

    def reloads(self) -> list[str]:
        """The reload commands that were run."""
        reloads = self.folder / "reloads"
        return reloads.read_text().splitlines() if reloads.exists() else []


CONFIG = """\
directory:
  servers: [{server}]
  user: {user}@example.test
  password_file: bind-password
  tls: {{ca_file: {ca}}}
  base: [{base}]
  timeout: 4s
{directory}
outputs:
  - name: users
    path: users.conf
    options: {{template: lan}}
    reload: sip reload
asterisk:
  command: [sh, -c, 'echo "$0" >> reloads']
  verify: false
state: state
{more}
"""


def configured(server: str, ca: Path, user: str = "svc-adwatch", **parts: str) -> str:
    """A configuration for the test domain; `directory` and `more` are further lines.

    `base` are the quoted bases, the staff's by default.
    """
    indented = parts.get("directory", "").replace("\n", "\n  ")
    return CONFIG.format(
        server=server,
        ca=ca,
        user=user,
        base=parts.get("base", '"OU=Staff,DC=example,DC=test"'),
        directory="  " + indented if indented else "",
        more=parts.get("more", ""),
    )
