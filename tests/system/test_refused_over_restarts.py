"""What a process knows of a refusal by another one: no more, and no longer, than is true."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from program import Adwatch, wait_for

from adwatch.edges.store import Store
from system.samba import SambaDC

Make = Callable[..., Adwatch]
LOGIN, PASSWORD = "restarted", "Right-1234"
LONGEST_S = 1860


@pytest.fixture
def refused(dc: SambaDC, make: Make) -> Iterator[Adwatch]:
    """An installation whose wrong password a `run` that has ended was refused."""
    quoted = f'"{PASSWORD}"'.encode("utf-16-le")
    dn = dc.add_user(LOGIN, dc.base_dn, unicodePwd=quoted)
    adwatch = make(LOGIN)
    adwatch.password_file.write_text("Wrong-12345")
    adwatch.start()
    wait_for("refused", lambda: "wrong" in (fault(adwatch) or ""))
    adwatch.kill()
    yield adwatch
    adwatch.kill()
    dc.delete(dn)


def fault(adwatch: Adwatch) -> str | None:
    said: str | None = adwatch.status()["directory"]["fault"]
    return said


def tried_again_in(adwatch: Adwatch) -> float:
    """Seconds until the account is tried again, as the fault of a restarted `run` says."""
    wait_for("waits", lambda: "tried again at" in (fault(adwatch) or ""))
    moment = (fault(adwatch) or "").partition("tried again at ")[2].split()[0]
    return datetime.fromisoformat(moment).timestamp() - time.time()


def remembered(adwatch: Adwatch, **changes: float) -> None:
    """Changes what the next process is told, as time and clocks do."""
    store = Store(adwatch.folder / "state")
    store.open()
    try:
        said = json.loads(store.meta("refused") or "{}")
        store.remember("refused", json.dumps({**said, **changes}))
    finally:
        store.close()


def test_a_clock_that_was_years_ahead_does_not_keep_adwatch_away_for_years(
    refused: Adwatch,
) -> None:
    remembered(refused, until=time.time() + 10 * 365 * 86400)
    refused.start()
    assert tried_again_in(refused) <= LONGEST_S + 5


def test_a_restart_does_not_begin_with_the_shortest_rest_again(refused: Adwatch) -> None:
    """The rests of 1, 5 and 15 minutes are over, the last one while nothing ran."""
    remembered(refused, until=time.time() - 1, failures=3)
    refused.start()
    wait_for("refused again", lambda: "wrong" in (fault(refused) or ""))
    refused.kill()
    refused.start()
    assert tried_again_in(refused) > 900
