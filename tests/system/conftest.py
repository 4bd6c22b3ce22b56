"""What the scenarios share: installations, users, followers and a proxy, all gone afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ldap3.core.exceptions import LDAPNoSuchObjectResult
from program import Adwatch, configured
from proxy import Proxy, proxy

from system.follower import ORDINARY, SALES, Follower, edge
from system.samba import SambaDC

Make = Callable[..., Adwatch]


@pytest.fixture
def between(dc: SambaDC, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy before the domain controller."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    with proxy(dc, folder) as it:
        yield it


@pytest.fixture
def make(dc: SambaDC, tmp_path: Path) -> Iterator[Make]:
    """Makes installations, and ends what they started; `server` may be a proxy's URL."""
    made: list[Adwatch] = []

    def install(
        user: str = ORDINARY, server: str = "", password: str = "", **parts: str
    ) -> Adwatch:
        config = configured(server or dc.ldaps_url, Path(dc.ca_file), user, **parts)
        adwatch = Adwatch(tmp_path / str(len(made)), config, password or dc.service_password)
        made.append(adwatch)
        return adwatch

    yield install
    for adwatch in made:
        adwatch.kill()


@pytest.fixture
def user(dc: SambaDC, temporary: Callable[..., str]) -> Iterator[Callable[..., str]]:
    """Adds users (by default below Sales, with a number) and gives their DN; removes the rest."""
    del temporary  # whose objects go after those that were put into them
    logins: list[str] = []

    def add(login: str = "", **attributes: Any) -> str:
        logins.append(login or "w" + uuid.uuid4().hex[:10])
        attributes.setdefault("telephoneNumber", str(uuid.uuid4().int % 10**8))
        return dc.add_user(logins[-1], attributes.pop("parent", SALES), **attributes)

    yield add
    for login in dict.fromkeys(logins):
        for dn in dc.ldapsearch(f"(sAMAccountName={login})", "1.1"):
            dc.delete(dn)


@pytest.fixture
def temporary(dc: SambaDC) -> Iterator[Callable[..., str]]:
    """Adds other objects (`temporary(dn, class, attributes…)`), and removes those still there.

    What was renamed or moved is looked for by its GUID; later ones go first.
    """
    made: list[str] = []

    def add(dn: str, kind: str, **attributes: Any) -> str:
        dc.admin().add(dn, [kind], attributes)
        (found,) = dc.ldapsearch("-s", "base", "objectGUID", base=dn).values()
        made.append(str(uuid.UUID(bytes_le=found["objectGUID"][0])))
        return dn

    yield add
    for guid in reversed(made):
        with suppress(LDAPNoSuchObjectResult):
            dc.admin().delete(f"<GUID={guid}>")


@pytest.fixture
def follow(dc: SambaDC) -> Iterator[Callable[..., Follower]]:
    """Makes followers (`follow(user, feed, **settings)`) that have read everything once."""
    made: list[Follower] = []

    def begin(*args: Any, **changes: Any) -> Follower:
        made.append(Follower(lambda: edge(dc, *args, **changes)))
        made[-1].begin()
        return made[-1]

    yield begin
    for follower in made:
        follower.directory.close()
