"""What no feed shows: members of groups, days of expiry, rights; found all the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from ldap3 import MODIFY_ADD, MODIFY_DELETE
from ldap3.core.exceptions import LDAPNoSuchObjectResult
from program import Adwatch, wait_for

from system.rights import LIST_AND_READ, READ_EMPLOYEE_TYPE, denied
from system.samba import SambaDC

STAFF = "OU=Staff,DC=example,DC=test"
GROUPS = "OU=Groups,DC=example,DC=test"
NESTED = "1.2.840.113556.1.4.1941"
ACCOUNTS = ["svc-adwatch", "svc-adwatch-sync"]

Make = Callable[..., Adwatch]


@pytest.fixture
def make(make: Make) -> Make:
    """Installations that run, and have made their first comparison."""

    def started(user: str, **parts: str) -> Adwatch:
        adwatch = make(user, **parts)
        adwatch.start()
        wait_for("online", lambda: adwatch.status()["state"] == "online")
        wait_for("the first comparison", lambda: not compares(adwatch))
        return adwatch

    return started


@pytest.fixture
def ou(dc: SambaDC) -> Iterator[str]:
    """An OU below the base, gone with all that is in it afterwards."""
    dn = f"OU=Unseen,{STAFF}"
    dc.admin().add(dn, ["organizationalUnit"])
    yield dn
    for parent in (dn, GROUPS):
        for child in dc.ldapsearch("(cn=unseen*)", "1.1", base=parent):
            with suppress(LDAPNoSuchObjectResult):
                dc.delete(child)
    dc.delete(dn)


def compares(adwatch: Adwatch) -> Any:
    return adwatch.status()["directory"]["comparison_owed"]


def group(dc: SambaDC, name: str) -> str:
    dn = f"CN=unseen-{name},{GROUPS}"
    dc.admin().add(dn, ["group"], {"sAMAccountName": f"unseen-{name}"})
    return dn


def member(dc: SambaDC, group_dn: str, dn: str, how: str = MODIFY_ADD) -> None:
    dc.admin().modify(group_dn, {"member": [(how, [dn])]})


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
@pytest.mark.parametrize("account", ACCOUNTS)
def test_membership_counts_though_only_the_group_changes(
    dc: SambaDC, make: Make, ou: str, account: str, feed: str
) -> None:
    inner, outer = group(dc, "inner"), group(dc, "outer")
    adwatch = make(
        account,
        directory=f'feed: {feed}\nfilter: "(&(telephoneNumber=*)(memberOf:{NESTED}:={outer}))"',
        more="""peers: {extra: {groups: 'entry["memberOf"] | join("|")'}}\n""",
    )
    for index in (0, 1):
        dc.add_user(f"unseen{index}", ou, telephoneNumber=str(7800 + index))
    member(dc, outer, f"CN=unseen0,{ou}")  # for whatever leaves no peer at all is held
    wait_for("the first member is served", lambda: adwatch.section("7800"))
    assert not adwatch.section("7801")
    dn = f"CN=unseen1,{ou}"
    member(dc, outer, dn)
    wait_for("a member is served", lambda: adwatch.section("7801"))
    member(dc, outer, dn, MODIFY_DELETE)
    wait_for("a member no longer is not", lambda: not adwatch.section("7801"))
    member(dc, inner, dn)
    member(dc, outer, inner)
    wait_for("a member of a member is served", lambda: adwatch.section("7801"))
    dc.delete(inner)
    wait_for("nobody is through a deleted group", lambda: not adwatch.section("7801"))


def filetime(seconds: float) -> int:
    return int((seconds + 11_644_473_600) * 10**7)


@pytest.mark.parametrize("account", ACCOUNTS)
def test_an_account_loses_its_peer_when_its_day_comes_with_nothing_written(
    dc: SambaDC, make: Make, ou: str, account: str
) -> None:
    adwatch = make(account, directory="poll: 1h")
    dn = dc.add_user("unseen1", ou, telephoneNumber="7801")
    begun = time.monotonic()
    adwatch("sync")
    took = time.monotonic() - begun
    assert adwatch.section("7801")
    ends = time.time() + 2 + 4 * took  # not before the next one has seen it
    dc.modify(dn, accountExpires=filetime(ends))
    adwatch("sync")
    usn = dc.highest_usn()
    assert adwatch.section("7801")
    wait_for("the peer is gone", lambda: not adwatch.section("7801"))
    assert time.time() >= ends
    assert dc.highest_usn() == usn
    assert "the account has expired in AD" in adwatch("history", "7801").stdout
    dc.modify(dn, accountExpires=filetime(time.time() + 3600))
    adwatch("sync")
    assert adwatch.section("7801")


def held(adwatch: Adwatch) -> int:
    return int(adwatch.status()["peers"]["held"])


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
@pytest.mark.parametrize("account", ACCOUNTS)
def test_users_that_are_hidden_from_the_account_are_held_until_they_are_seen_again(
    dc: SambaDC, make: Make, ou: str, account: str, feed: str
) -> None:
    for index in range(8):
        dc.add_user(f"unseen{index}", ou, telephoneNumber=str(7800 + index))
    adwatch = make(account, directory=f"feed: {feed}", base=f'"{STAFF}", "{GROUPS}"')
    with denied(dc, ou, account, LIST_AND_READ):
        wait_for("eight are held", lambda: held(adwatch) == 8)
        assert "hidden from the account" in adwatch("status").stdout
        assert all(adwatch.section(str(7800 + index)) for index in range(8))
        dc.add_user("unseen8", GROUPS, telephoneNumber="7808")
        wait_for("additions go on", lambda: adwatch.section("7808"))
    wait_for("nobody is held", lambda: held(adwatch) == 0)
    assert all(adwatch.section(str(7800 + index)) for index in range(8))


@pytest.mark.parametrize("account", ACCOUNTS)
def test_values_that_are_hidden_from_the_account_are_kept_until_they_are_seen_again(
    dc: SambaDC, make: Make, ou: str, account: str
) -> None:
    for index in range(8):
        dc.add_user(
            f"unseen{index}", ou, telephoneNumber=str(7800 + index), employeeType=f"kind {index}"
        )
    adwatch = make(account, more="peers: {context: employeeType}\n")
    assert "context = kind 7" in adwatch.section("7807")
    with denied(dc, ou, account, READ_EMPLOYEE_TYPE):
        wait_for("eight are held", lambda: held(adwatch) == 8)
        assert "AD no longer shows its employeetype to adwatch" in adwatch("status").stdout
        assert "context = kind 7" in adwatch.section("7807")
    wait_for("nobody is held", lambda: held(adwatch) == 0)
    assert "context = kind 7" in adwatch.section("7807")
    dc.modify(f"CN=unseen7,{ou}", employeeType=None)
    wait_for("a value that is really gone", lambda: "context" not in adwatch.section("7807"))
    assert "fullname = Unseen7\n" in adwatch.section("7807")
