"""What can go wrong, said once: a cause in one sentence and a way to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class AdwatchError(Exception):
    """A fault that a person can mend; anything else that is raised is a bug.

    `message` names the cause, `hint` the way to mend it; `exit_code` is what a command that
    meets this fault exits with (contract, section 1); `kind` is the incident that it is, if any.
    """

    exit_code = 1
    kind = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault of a configuration file: line and column count from 1, `key` is dotted."""

    line: int
    column: int
    key: str
    message: str


class ConfigError(AdwatchError):
    """The configuration cannot be used; every fault in it is listed, in the file's order."""

    exit_code = 3
    kind = "configuration"

    def __init__(self, path: str, faults: Sequence[Fault], hint: str = "") -> None:
        self.path = path
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(self.lines()), hint)

    def lines(self) -> list[str]:
        """Each fault as `PATH:LINE:COL: key: what is wrong`."""
        return [
            f"{self.path}:{f.line}:{f.column}: {f.key + ': ' if f.key else ''}{f.message}"
            for f in self.faults
        ]


class DirectoryError(AdwatchError):
    """The directory could not be reached, or its answer cannot be trusted as whole."""

    exit_code = 4
    kind = "directory"


class CredentialsError(DirectoryError):
    """The directory refused the account.

    `counts` says that AD may count it as a wrong password: trying again at once could lock it.
    """

    exit_code = 5
    kind = "credentials"

    def __init__(self, message: str, hint: str = "", *, counts: bool = True) -> None:
        super().__init__(message, hint)
        self.counts = counts


class CertificateError(DirectoryError):
    """A domain controller's certificate is refused: it may be somebody else."""

    kind = "certificate"


class PasswordError(DirectoryError):
    """What proves who adwatch is can't be read from where the configuration says, or used."""

    exit_code = 3
    kind = "credentials"


class OutputError(AdwatchError):
    """An output file could not be written."""

    kind = "output"


class AsteriskError(AdwatchError):
    """Asterisk could not be told to reload."""

    kind = "reload"


class NotTakenError(AsteriskError):
    """Asterisk said that it has reloaded, and does not have what the file says."""


class StoreError(AdwatchError):
    """The state directory cannot be used."""

    kind = "store"


class DamagedError(StoreError):
    """The store's file is not whole, or not what was written."""


class RebuildingError(StoreError):
    """The store was lost, and another waits for the directory; no command fails by that alone."""

    exit_code = 0


class KeyLostError(StoreError):
    """The secret key is gone while peers that were made with it still exist."""


class HeldError(AdwatchError):
    """The safety stop holds removals until a person has looked at them."""

    exit_code = 6
    kind = "held"


class RunningError(AdwatchError):
    """Another adwatch works on this state directory."""

    exit_code = 7
