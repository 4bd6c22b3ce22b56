"""The way back to the preferred server, where that one refuses or nothing can prove who asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from system.samba import SambaDC

from adwatch.edges.directory.better import Better
from adwatch.edges.directory.links import Link, Links, Servers
from adwatch.edges.directory.security import Security
from adwatch.errors import PasswordError

LOGIN = "prefers"
PASSWORD = "Right-1234"


@pytest.fixture
def account(dc: SambaDC) -> Iterator[str]:
    dn = dc.add_user(LOGIN, dc.base_dn, unicodePwd=f'"{PASSWORD}"'.encode("utf-16-le"))
    yield dn
    dc.delete(dn)


def links(dc: SambaDC, password: Callable[[], str]) -> Links:
    """As they are while a server of rank 1 is in use, and the domain controller has rank 0."""
    user = f"{LOGIN}@example.test"
    security = Security("ldaps", user, str(dc.ca_file), verify=True, timeout_s=4.0)
    return Links(Servers((dc.ldaps_url,), None, security), password, "auto", ("cn",))


def looked(made: Links) -> Link | None:
    better = Better(made)
    better.look(1)
    assert better._search is not None
    better._search.join()
    return better._found


def test_a_server_that_refused_a_disabled_account_is_preferred_again_once_it_is_enabled(
    dc: SambaDC, account: str
) -> None:
    made = links(dc, lambda: PASSWORD)
    dc.disable(account)
    assert looked(made) is None
    dc.enable(account)
    link = looked(made)
    assert link is not None
    link.session.close()


def test_a_password_file_that_cannot_be_read_does_not_end_the_service(dc: SambaDC) -> None:
    def unreadable() -> str:
        raise PasswordError("the password file can't be read")

    assert looked(links(dc, unreadable)) is None
