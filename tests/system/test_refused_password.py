"""A refused password: tried rarely, also over restarts, and never longer than it is refused."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ldap3 import BASE
from program import Adwatch, wait_for

from adwatch.edges.store import Store
from system.conftest import Make
from system.samba import SambaDC

LOGIN = "locked-out"
PASSWORD = "Right-1234"
WRONG = "Wrong-1234"
STORE = "adwatch.db"

User = Callable[..., str]


def quoted(password: str) -> bytes:
    return f'"{password}"'.encode("utf-16-le")


@pytest.fixture
def account(dc: SambaDC) -> Iterator[str]:
    """An account of adwatch's own that locks after three wrong passwords."""
    dn = dc.add_user(LOGIN, dc.base_dn, unicodePwd=quoted(PASSWORD))
    dc.tool("domain", "passwordsettings", "set", "--account-lockout-threshold=3")
    try:
        yield dn
    finally:
        dc.tool("domain", "passwordsettings", "set", "--account-lockout-threshold=0")
        dc.delete(dn)


def wrong_passwords(dc: SambaDC, dn: str) -> int:
    """How many AD has counted."""
    admin = dc.admin()
    admin.search(dn, "(objectClass=*)", BASE, attributes=["badPwdCount"])
    return int(admin.response[0]["raw_attributes"]["badPwdCount"][0])


def refused(adwatch: Adwatch) -> bool:
    return "was refused" in _fault(adwatch) or "refuses" in _fault(adwatch)


def bound(adwatch: Adwatch) -> bool:
    """Whether a running one has a connection."""
    return bool(adwatch.status().get("directory", {}).get("server"))


def _fault(adwatch: Adwatch) -> str:
    return str(adwatch.status().get("directory", {}).get("fault") or "")


@contextmanager
def kept(adwatch: Adwatch) -> Iterator[Store]:
    """The store of an adwatch that does not run."""
    with closing(Store(adwatch.folder / "state")) as store:
        store.open()
        yield store


def refusal(adwatch: Adwatch) -> dict[str, Any]:
    """What one process leaves to the next."""
    with closing(sqlite3.connect(adwatch.folder / "state" / STORE)) as database:
        (text,) = database.execute("SELECT value FROM meta WHERE key = 'refused'").fetchone()
    said: dict[str, Any] = json.loads(text)
    return said


def test_restarts_with_a_wrong_password_do_not_lock_the_account(
    dc: SambaDC, account: str, make: Make
) -> None:
    adwatch = make(LOGIN)
    adwatch.password_file.write_text(WRONG + "\n")
    for _ in range(5):
        adwatch.start()
        wait_for("the refusal is told", lambda: refused(adwatch))
        adwatch.kill()
    assert wrong_passwords(dc, account) == 1


@pytest.mark.usefixtures("account")
def test_a_new_password_in_the_file_ends_the_wait_of_a_restarted_adwatch(
    make: Make,
) -> None:
    adwatch = make(LOGIN)
    adwatch.password_file.write_text(WRONG + "\n")
    for _ in range(2):
        adwatch.start()
        wait_for("the refusal is told", lambda: refused(adwatch))
        adwatch.kill()
    adwatch.start()
    wait_for("the refusal is told", lambda: refused(adwatch))
    adwatch.password_file.write_text(PASSWORD + "\n")
    wait_for("it binds", lambda: bound(adwatch))


@pytest.mark.usefixtures("account")
def test_a_corrected_user_is_tried_at_once(make: Make) -> None:
    adwatch = make("nobody-at-all")
    adwatch.password_file.write_text(PASSWORD + "\n")
    adwatch.start()
    wait_for("the refusal is told", lambda: refused(adwatch))
    adwatch.stop()
    config = adwatch.config.read_text()
    adwatch.config.write_text(config.replace("nobody-at-all", LOGIN))
    adwatch.start()
    wait_for("it binds as the right one", lambda: bound(adwatch))


def test_a_password_that_works_by_now_is_not_held_against_the_next_start(
    dc: SambaDC, account: str, make: Make
) -> None:
    adwatch = make(LOGIN)
    adwatch.password_file.write_text(WRONG + "\n")
    adwatch.start()
    wait_for("the refusal is told", lambda: refused(adwatch))
    dc.modify(account, unicodePwd=quoted(WRONG))  # in AD, the file's becomes the right one
    assert adwatch("sync").returncode == 0
    assert not _fault(adwatch)
    adwatch.stop()
    adwatch.start()
    wait_for("it binds again", lambda: bound(adwatch))


def test_the_rests_go_on_growing_over_a_restart_that_comes_after_one(
    dc: SambaDC, account: str, make: Make
) -> None:
    adwatch = make(LOGIN)
    adwatch.password_file.write_text(WRONG + "\n")
    adwatch.start()
    wait_for("the refusal is told", lambda: refused(adwatch))
    adwatch.kill()
    said = refusal(adwatch)
    said["until"] = time.time() - 1  # as if the process had come back a minute later
    with kept(adwatch) as store:
        store.remember("refused", json.dumps(said))
    adwatch.start()
    wait_for("it was refused again", lambda: wrong_passwords(dc, account) == 2)
    wait_for("it is kept", lambda: refusal(adwatch)["until"] > time.time())
    adwatch.kill()
    assert refusal(adwatch)["failures"] == said["failures"] + 1


@pytest.mark.usefixtures("account")
def test_a_file_that_is_changed_while_the_old_password_is_refused_is_taken_up(
    dc: SambaDC, make: Make
) -> None:
    """The refused one is the one that was sent, not the one that stands in the file afterwards."""
    dc.pause()
    try:
        adwatch = make(LOGIN, directory="push: false")
        adwatch.password_file.write_text(WRONG + "\n")
        adwatch.start()
        wait_for("it waits for the answer", lambda: connects(adwatch))
        adwatch.password_file.write_text(PASSWORD + "\n")
    finally:
        dc.unpause()
    wait_for("it binds with the new one", lambda: bound(adwatch))


def connects(adwatch: Adwatch) -> bool:
    """Whether a connection of its process stands."""
    assert adwatch.running is not None
    folder = Path(f"/proc/{adwatch.running.pid}/fd")
    own = set()
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            own.add(path.readlink().name)
    table = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    rows = [row.split() for row in table.splitlines()[1:]]
    return any(r[3] == "01" and f"socket:[{r[9]}]" in own for r in rows if len(r) > 9)
