"""The secret key and the rotation counts beside it: with them, a lost store loses no secret."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

from adwatch.core.secrets import KEY_OCTETS, derive
from adwatch.errors import KeyLostError, StoreError


class KeyFile:
    """The key at `path`, 64 hexadecimal digits, and `path`.rotations, JSON {GUID: count}."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._counts_path = path.with_name(path.name + ".rotations")
        self._key = b""
        self._counts: dict[str, int] = {}

    def open(self, *, fresh: bool, write: bool = True) -> None:
        """Reads the key; makes one where there is none and `fresh` says that nothing uses it.

        Without `write`, a key that is missing but could be made is made for this process alone.
        Raises KeyLostError where peers exist that had their secrets from a key that is gone.
        """
        if not self._is_there():
            if not fresh:
                raise KeyLostError(
                    f"the secret key {self.path} is gone, but peers made with it exist",
                    "restore it from a backup; for new secrets for everybody, move the store and"
                    " the outputs away as well",
                )
            self._key = secrets.token_bytes(KEY_OCTETS)
            if write:
                self._make()
        else:
            self._key = self._read()
        self._counts = self._read_counts()

    def digest(self) -> str:
        """Tells these secrets from others."""
        counts = json.dumps(self._counts, sort_keys=True).encode()
        return hashlib.blake2b(self._key + counts, digest_size=16).hexdigest()

    def _is_there(self) -> bool:
        try:
            self.path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unusable(error) from error
        return True

    def sweep(self) -> None:
        """Removes what a crash in the middle of writing left behind."""
        for path in (self.path, self._counts_path):
            with suppress(OSError):
                _temporary(path).unlink(missing_ok=True)

    def _make(self) -> None:
        temporary = self._write_beside(self.path, self._key.hex() + "\n")
        try:
            os.link(temporary, self.path)  # unlike a rename, never over another key
            _sync_directory(self.path.parent)
        except OSError as error:
            raise self._unusable(error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _read(self) -> bytes:
        try:
            key = bytes.fromhex(self.path.read_text(encoding="ascii").strip())
        except OSError as error:
            raise self._unusable(error) from error
        except ValueError as error:
            raise self._damaged() from error
        if len(key) != KEY_OCTETS:
            raise self._damaged()
        return key

    def _damaged(self) -> StoreError:
        return StoreError(
            f"the secret key {self.path} is not {2 * KEY_OCTETS} hexadecimal digits",
            "restore it from a backup",
        )

    def _unusable(self, error: OSError) -> StoreError:
        return StoreError(
            f"the secret key {self.path} can't be used: {error.strerror}",
            "let adwatch's user, and nobody else, read and write it",
        )

    def _read_counts(self) -> dict[str, int]:
        try:
            text = self._counts_path.read_text(encoding="ascii")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(error) from error
        try:
            return {str(guid): int(count) for guid, count in json.loads(text).items()}
        except (ValueError, AttributeError) as error:
            raise StoreError(
                f"{self._counts_path} is damaged: {error}", "restore it from a backup"
            ) from error

    def _write_beside(self, target: Path, text: str) -> Path:
        """Writes a text to a temporary file beside its target, readable by adwatch alone."""
        path = _temporary(target)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
                owner = path.parent.stat()
                if os.geteuid() == 0:
                    os.fchown(f.fileno(), owner.st_uid, owner.st_gid)
                f.write(text)
                f.flush()
                os.fsync(f.fileno())
        except OSError as error:
            with suppress(OSError):  # on a full disk it would take the last block
                path.unlink(missing_ok=True)
            raise self._unusable(error) from error
        return path

    def rotate(self, guid: str) -> None:
        """Gives a user another secret, for good."""
        counts = {**self._counts, guid: self._counts.get(guid, 0) + 1}
        text = json.dumps(counts, sort_keys=True) + "\n"
        temporary = self._write_beside(self._counts_path, text)
        try:
            temporary.replace(self._counts_path)
            _sync_directory(self._counts_path.parent)
        except OSError as error:
            raise self._unusable(error) from error
        self._counts = counts

    def secret(self, guid: str) -> str:
        """A user's secret."""
        return derive(self._key, guid, self._counts.get(guid, 0))


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.adwatch~")


def _sync_directory(path: Path) -> None:
    """Makes a name last beyond a loss of power; without its key every peer would be lost."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
