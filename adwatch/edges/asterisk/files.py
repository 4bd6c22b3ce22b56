"""The files that Asterisk includes: replaced whole or not at all."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adwatch.errors import OutputError

_VECTORS: Final = 64  # at once; Linux takes 1,024
_COARSE: Final = 5  # CLOCK_REALTIME_COARSE of Linux, which Python gives no name


@dataclass(frozen=True, slots=True)
class Written:
    """How a file was left that was written. Without `sure`, a later writing may look the same."""

    marks: tuple[int, ...]
    sure: bool

    def stands(self, path: Path) -> bool:
        """Whether what is there now looks the same: neither its text, mode nor owner is another."""
        try:
            return _marks(path.stat()) == self.marks
        except OSError:
            return False


def _marks(found: os.stat_result) -> tuple[int, ...]:
    """All that renaming a file leaves as it was."""
    which = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    return *which, found.st_mode, found.st_uid, found.st_gid


_SECTION: Final = re.compile(r"(?m)^\[([^\]\r\n]+)\]")


def differs(path: Path, parts: Iterable[bytes]) -> bool:
    """Whether a file holds anything else than these, one behind the other, or is not there."""
    try:
        with path.open("rb") as file:
            return any(file.read(len(part)) != part for part in parts) or bool(file.read(1))
    except FileNotFoundError:
        return True
    except OSError as error:
        raise _unwritable(path, error) from error


def is_others(path: Path, mode: int, owner: str | None) -> bool:
    """Whether a file has another mode, or another owner, than it is to have.

    Only root can give a file to another user, so that alone counts for nobody else.
    """
    try:
        found = path.stat()
        uid, gid = _ids(owner) if owner else (-1, -1)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise _unwritable(path, error) from error
    here = {-1, found.st_uid} if os.geteuid() == 0 else {uid}
    return found.st_mode & 0o7777 != mode or uid not in here or gid not in {-1, found.st_gid}


def replace(
    path: Path,
    parts: Sequence[bytes],
    mode: int,
    owner: str | None,
    like: Path | None = None,
) -> Written:
    """Puts `parts`, one behind the other, in place of a file in one step that a crash can't tear.

    The new file is written and synced beside the old one under a name that begins with a dot
    and ends in `~`, which no include pattern matches, and then renamed. `owner` is
    `user:group`; None keeps what the old file had. A new one takes after `like`, as far as
    the process may give files away.
    """
    temporary, begun = _temporary(path), _stamping_clock()
    try:
        wanted = _ids(owner) if owner else _kept(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            try:
                _own(descriptor, wanted)
                if wanted is None and like is not None:
                    with contextlib.suppress(PermissionError):
                        _own(descriptor, _kept(like))
                os.fchmod(descriptor, mode)
                _write(descriptor, parts)
                os.fsync(descriptor)
                made = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            sure = begun <= made.st_mtime_ns < _stamping_clock()
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)  # on a full disk it would take the last block
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    return Written(_marks(made), sure)


def _write(descriptor: int, parts: Iterable[bytes]) -> None:
    left = [memoryview(part) for part in parts]
    while left:
        count = os.writev(descriptor, left[:_VECTORS])
        done = 0
        while done < len(left) and count >= len(left[done]):
            count -= len(left[done])
            done += 1
        del left[:done]
        if count:
            left[0] = left[0][count:]


def _stamping_clock() -> int:
    """The time that this machine's file systems write down for a file, in ns.

    It goes on in steps of some milliseconds, so that two writings may have the same.
    """
    return time.clock_gettime_ns(_COARSE)


def sweep(path: Path) -> None:
    """Removes what a crash in the middle of `replace` left behind."""
    with contextlib.suppress(OSError):  # the next replace will say what is wrong
        _temporary(path).unlink(missing_ok=True)


def read(path: Path) -> str:
    """A file's text, empty where there is none."""
    return octets(path).decode("utf-8", "surrogateescape")


def octets(path: Path) -> bytes:
    """What a file holds, empty where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _unwritable(path, error) from error


def numbers_in(text: str) -> frozenset[str]:
    """The names of the sections in an output's text, in lower case."""
    return frozenset(name.lower() for name in _SECTION.findall(text))


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.adwatch~")


def _ids(owner: str) -> tuple[int, int]:
    user, _, group = owner.partition(":")
    try:
        uid = pwd.getpwnam(user).pw_uid if user else -1
        gid = grp.getgrnam(group).gr_gid if group else -1
    except KeyError as error:
        raise OutputError(
            f"owner {owner!r}: {error.args[0]}", "correct outputs.owner or make the account"
        ) from error
    return uid, gid


def _kept(path: Path) -> tuple[int, int] | None:
    try:
        old = path.stat()
    except FileNotFoundError:
        return None
    return old.st_uid, old.st_gid


def _own(descriptor: int, wanted: tuple[int, int] | None) -> None:
    now = os.fstat(descriptor)
    if wanted is None or wanted == (now.st_uid, now.st_gid):
        return
    uid, gid = wanted
    if os.geteuid() != 0:
        uid = -1  # only root gives files away; the group is what lets Asterisk read
    os.fchown(descriptor, uid, gid)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> OutputError:
    hint = "make the directory and let adwatch's user write in it"
    return OutputError(f"the output {path} can't be written: {error.strerror}", hint)


def writable(path: Path) -> None:
    """Raises OutputError where `path` could not be replaced; leaves nothing behind.

    Under a name of its own, for the service may be about to replace it just now.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=".adwatch-", suffix="~", dir=path.parent)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            Path(name).unlink()
    except OSError as error:
        raise _unwritable(path, error) from error
