"""A password that AD refused, remembered over restarts: AD locks whom too many starts tried."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

from adwatch.core.pace import REFUSED_S
from adwatch.core.secrets import salted
from adwatch.edges.store import Store
from adwatch.errors import AdwatchError


class Refusal:
    """Which password was refused, if one was. `password` reads the one that would be sent now.

    The store keeps a salted digest of it alone.
    """

    def __init__(self, store: Store, password: Callable[[], str]) -> None:
        self._store = store
        self._password = password
        self._refused = ""

    def read_by(self, password: Callable[[], str]) -> None:
        """Reads the password in another way from now on."""
        self._password = password

    @property
    def stands(self) -> bool:
        """Whether the last password sent was refused."""
        return bool(self._refused)

    def password(self) -> str:
        """The password as it is now, empty where it can't be read."""
        try:
            return self._password()
        except AdwatchError:
            return ""

    def over(self) -> None:
        """Word that the account was let in."""
        self._refused = ""
        if self._store.meta("refused"):
            self._store.remember("refused", "")

    def forget(self) -> None:
        """Word that something else failed; what the store knows stands."""
        self._refused = ""

    def remember(self, password: str, rest: float, failures: int) -> None:
        """Word that a password was refused, for the `failures`th time, and rests for `rest` s."""
        self._refused = password
        salt = os.urandom(16).hex()
        said: dict[str, Any] = {"salt": salt, "proof": salted(salt, password)}
        said |= {"until": time.time() + rest, "failures": failures}
        self._store.remember("refused", json.dumps(said))

    def left(self) -> tuple[int, float] | None:
        """How often the password was refused in a process before, and the seconds left to rest."""
        said = json.loads(self._store.meta("refused") or "{}")
        rest, password = said.get("until", 0.0) - time.time(), self.password()
        if not said or said["proof"] != salted(said["salt"], password):
            return None
        rest = min(max(0.0, rest), REFUSED_S)  # the clock may have been wrong
        self._refused = password if rest > 0 else ""
        return said["failures"], rest

    def another(self) -> bool:
        """Whether another password than the refused one can be tried."""
        return self.stands and self.password() not in ("", self._refused)
