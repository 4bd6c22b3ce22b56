"""Asterisk by its command line: a child for each question, with a deadline.

Neither the exit status nor the text of `asterisk -rx` proves much (16.28 and 22.10 exit 0 for
a command that they don't know), so known refusals are looked for in the text.
"""

from __future__ import annotations

import contextlib
import grp
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import IO, Final

from adwatch.edges.asterisk.look import PJSIP, SIP, Shown, Visible
from adwatch.errors import AsteriskError

_RELOAD_S: Final = 120.0  # 20,000 PJSIP endpoints took 14 s
_LOOK_S: Final = 60.0  # to list them took 6 s
_LONGEST: Final = 1 << 26
_REFUSALS: Final = re.compile(
    r"(?i)no such command|no such module|unable to connect|unable to access|permission denied"
    r"|usage:|module .* not loaded"
)
_SOCKET: Final = re.compile(r"does (/\S+) exist")
_LIST: Final = {SIP: "sip show peers", PJSIP: "pjsip list endpoints"}
_ONE: Final = {SIP: "sip show peer {}", PJSIP: "pjsip show endpoint {}"}
# The lines of a list, and the last one, which counts them.
_NAME: Final = {
    SIP: re.compile(r"(?m)^(?!Name/username|\d+ sip peers \[)(\S+) +\S"),
    PJSIP: re.compile(r"(?m)^ Endpoint:  ([^/<\s]+)"),
}
_COUNT: Final = {
    SIP: re.compile(r"(?m)^(\d+) sip peers \["),
    PJSIP: re.compile(r"(?m)^(?:Objects found: (\d+)|No objects found)"),
}
_CUT: Final = {SIP: 25, PJSIP: 0}  # chan_sip prints `%-25.25s` of name/username
_DETAIL: Final = re.compile(r"(?im)^ *(context|callerid) *: *(.*?) *$")


class CommandLine:
    """A CLI command is put behind `command` and run."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._child: subprocess.Popen[bytes] | None = None
        self._aborted = Event()

    def open(self) -> None:
        """Each question is a child of its own."""

    def version(self) -> str:
        """The first line that says Asterisk, which says its version too."""
        text = self._run("core show version", _LOOK_S)
        found = re.search(r"(?m)^(Asterisk \S+)", text)
        return found[1] if found else f"{' '.join(self._command)} answers"

    def reload(self, cli: str) -> None:
        """Runs the command of a reload."""
        self._run(cli, _RELOAD_S)

    def peers(self, kind: str) -> Shown:
        """The peers in a list made for people."""
        text = self._run(_LIST[kind], _LOOK_S, strict=False)
        text = text[max(0, text.find("Name/username")) :]  # what stands above it is no list
        count = _COUNT[kind].search(text)
        names = frozenset(name.partition("/")[0].lower() for name in _NAME[kind].findall(text))
        if count is None or len(names) != int(count[1] or 0):
            said = " ".join(text.split())[:100]
            return Shown(None, f"{_LIST[kind]!r} says {said!r}, which tells no peers")
        return Shown(names, cut=_CUT[kind])

    def peer(self, kind: str, name: str) -> Visible | None:
        """As `sip show peer` and `pjsip show endpoint` say it."""
        text = self._run(_ONE[kind].format(name), _LOOK_S, strict=False)
        found = {key.lower(): value for key, value in _DETAIL.findall(text)}
        if "context" not in found:
            return None
        return found["context"], caller_name(found.get("callerid", ""))

    def close(self) -> None:
        """Nothing is held."""

    def abort(self) -> None:
        """Ends the child, and what it has started."""
        self._aborted.set()
        self._kill()

    def _kill(self) -> None:
        child = self._child
        if child is not None and child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

    def _start(self, cli: str, said: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603 - the administrator's own command
                [*self._command, cli],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise AsteriskError(
                f"{self._command[0]} can't be run: {error.strerror}", "correct asterisk.command"
            ) from error

    def _run(self, cli: str, timeout_s: float, *, strict: bool = True) -> str:
        """What a command prints. Raises AsteriskError where it fails, or hangs.

        Unless `strict` the words of a refusal are an answer.
        """
        with tempfile.TemporaryFile() as said:  # no pipe, which a child left behind may hold open
            child = self._child = self._start(cli, said)
            try:
                if self._aborted.is_set():
                    self._kill()
                status = child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._kill()
                child.wait()
                raise AsteriskError(
                    f"{cli!r} did not end within {timeout_s:g} s", "does Asterisk hang?"
                ) from None
            said.seek(0)
            text = said.read(_LONGEST).decode("utf-8", "replace")
        if status != 0 or (strict and _REFUSALS.search(text)):
            cause = " ".join(text.split())[:200] or f"exit status {status}"
            raise AsteriskError(f"{cli!r} failed: {cause}", _mend(text))
        return text


def caller_name(said: str) -> str:
    """The name of a caller id as Asterisk prints it: `"name" <number>`."""
    found = re.match(r'"(.*)" <.*>', said)
    return found[1] if found else ""


def _mend(text: str) -> str:
    """What to do where Asterisk could not be told, from what its command said."""
    found = _SOCKET.search(text)
    if not found:
        return "is Asterisk up, and the module loaded?"
    return socket_hint(Path(found[1]))


def socket_hint(path: Path) -> str:
    """Why Asterisk's control socket can't be used, and who lets adwatch in."""
    try:
        info = path.stat()
    except FileNotFoundError:
        return "is Asterisk up?"
    except PermissionError:
        return f"let adwatch's user into {path.parent}"
    except OSError as error:
        return f"{path}: {error.strerror}"
    if os.access(path, os.W_OK, effective_ids=True):
        return "is Asterisk up?"
    try:
        group = grp.getgrgid(info.st_gid).gr_name
    except KeyError:
        group = str(info.st_gid)
    if info.st_mode & 0o020 and group != "root":
        return f"let adwatch in: usermod -aG {group} adwatch, then start it anew"
    return (
        f"{path} is for others: set astctlpermissions = 0660 and astctlgroup = asterisk below"
        f" [files] in asterisk.conf, restart Asterisk, and put adwatch's user in that group"
    )
