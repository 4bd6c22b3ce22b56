"""A wrong password never locks the account: not by waiting, not by starting again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from program import Adwatch, wait_for

from system.samba import SambaDC

Make = Callable[..., Adwatch]
PASSWORD = "Right-1234"
THRESHOLD = 3


@pytest.fixture
def login(dc: SambaDC) -> Iterator[str]:
    """An account that three wrong passwords lock."""
    quoted = f'"{PASSWORD}"'.encode("utf-16-le")
    dn = dc.add_user("lockable", dc.base_dn, unicodePwd=quoted)
    policy = ("domain", "passwordsettings", "set")
    dc.tool(*policy, f"--account-lockout-threshold={THRESHOLD}")
    yield "lockable"
    dc.tool(*policy, "--account-lockout-threshold=0")
    dc.delete(dn)


def degraded(adwatch: Adwatch) -> bool:
    return adwatch.running is not None and adwatch.status()["state"] == "degraded"


def test_a_password_changed_in_ad_under_a_running_service_is_tried_once(
    dc: SambaDC, make: Make, login: str
) -> None:
    """Both its connections end, and neither may try the old password again and again."""
    adwatch = make(login, password=PASSWORD)
    adwatch.start()
    wait_for("push", lambda: adwatch.status()["directory"]["push"])
    dc.set_password(login, "Another-1234")
    dc.kill()
    dc.start()
    # It may have been away for so long that it is tried again only after half a minute.
    wait_for("degraded", lambda: "refuses" in (adwatch.status()["directory"]["fault"] or ""), 60)
    wait_for("push is lost", lambda: not adwatch.status()["directory"]["push"])
    assert dc.bad_passwords(login) <= 2
    adwatch.password_file.write_text("Another-1234")
    wait_for("online", lambda: adwatch.status()["state"] == "online")


def test_the_next_server_is_not_asked_with_a_password_that_one_refused(
    dc: SambaDC, make: Make, login: str
) -> None:
    servers = ", ".join([dc.ldaps_url, f"ldaps://127.0.0.1:{dc.ldaps_port}"])
    adwatch = make(login, password="wrong", server=servers)
    assert adwatch("sync").returncode == 5
    assert dc.bad_passwords(login) == 1
