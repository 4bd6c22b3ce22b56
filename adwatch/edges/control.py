"""The other adwatch processes of this machine: one lock, and a socket to the one that runs.

A request and its answer are one line of JSON each.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any, Final

from adwatch.core.words import line
from adwatch.errors import RunningError, StoreError

log = logging.getLogger(__name__)

_NAME: Final = "control.sock"
_MOST: Final = 1 << 24
_REQUEST_S: Final = 5.0

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class Lock:
    """The right to write in a state directory: held by one process, ended with it."""

    def __init__(self, state: Path) -> None:
        self._path = state / "lock"
        self._descriptor = -1

    def take(self, within_s: float = 0.0) -> None:
        """Takes it within so many seconds, or raises RunningError."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                self._take()
            except RunningError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.05)  # flock has no deadline
            else:
                return

    def _take(self) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.geteuid() == 0:
                owner = self._path.parent.stat()
                os.fchown(self._descriptor, owner.st_uid, owner.st_gid)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise RunningError(
                f"another adwatch works in {self._path.parent}", "see adwatch status"
            ) from error
        except OSError as error:
            raise StoreError(
                f"the state directory {self._path.parent} can't be used: {error.strerror}",
                "make it, and let adwatch's user write in it",
            ) from error

    def release(self) -> None:
        """Gives it back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Server:
    """Answers requests, each on a thread of its own, with what `answer` gives."""

    def __init__(self, state: Path, answer: Answer) -> None:
        self._path = state / _NAME
        self._answer = answer
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Begins to listen; the holder of the lock is the only one who may call this."""
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _reachable(self._path) as address:
                self._socket.bind(address)
            self._path.chmod(0o600)
            self._socket.listen(8)
        except OSError as error:
            raise StoreError(f"{self._path} can't be used: {error.strerror}") from error
        Thread(target=self._accept, name="control", daemon=True).start()

    def close(self) -> None:
        """Stops listening."""
        self._path.unlink(missing_ok=True)
        if self._socket is not None:
            self._socket.close()

    def _accept(self) -> None:
        assert self._socket is not None
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(_REQUEST_S)
                request = _receive(connection)
                connection.settimeout(None)
                if request is not None:
                    connection.sendall(json.dumps(self._answer(request)).encode() + b"\n")
            except (OSError, ValueError) as error:
                log.warning(line("control", cause=error))


def ask(state: Path, request: dict[str, Any], timeout_s: float | None = None) -> Any:
    """What the running adwatch answers, None where none runs.

    Raises RunningError where one runs but does not answer.
    """
    path = state / _NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            with _reachable(path) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return None
        except OSError as error:
            raise RunningError(
                f"{path}: {error.strerror}", "run this as adwatch's user or as root"
            ) from error
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = _receive(connection)
        except OSError as error:
            raise RunningError(f"the running adwatch does not answer: {error}") from error
        if answer is None:
            raise RunningError("the running adwatch ended before it answered", "try again")
        return answer


def _receive(connection: socket.socket) -> dict[str, Any] | None:
    """One line of JSON, None where the other side hangs up first."""
    data = b""
    while not data.endswith(b"\n"):
        more = connection.recv(1 << 16)
        if not more or len(data) > _MOST:
            return None
        data += more
    said = json.loads(data)
    if not isinstance(said, dict):
        raise ValueError("a request is an object")  # noqa: TRY004 - bad input, not a bad type here
    return said


@contextlib.contextmanager
def _reachable(path: Path) -> Any:
    """An address for a socket whose path may be longer than the 108 octets of sockaddr_un."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
