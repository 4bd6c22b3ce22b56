"""The failure scenarios that a correct watcher must pass, by their numbers: people come and go.

The numbered list is at the end of the facts about Active Directory; 1 to 11 are here, those of
answers cut short, connections and feeds in test_watcher_scenarios_wire.py, those of size in
test_watcher_scenarios_size.py.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest
from ldap3 import MODIFY_ADD, MODIFY_DELETE
from program import Adwatch, wait_for

from system.follower import LEAVERS, ORDINARY, SALES, STAFF, SYNC
from system.rights import LIST_AND_READ, READ_EMPLOYEE_TYPE, denied
from system.samba import SambaDC
from system.test_samba_tombstones import undelete

Make = Callable[..., Adwatch]
User = Callable[..., str]
New = Callable[..., str]
NO_PUSH = "poll: 200ms\npush: false"
DOMAIN_USERS = 513
FILETIME_EPOCH_S = 11_644_473_600


def started(make: Make, *args: str, **parts: str) -> Adwatch:
    """An installation whose service is in step."""
    adwatch = make(*args, **parts)
    adwatch.start()
    wait_for("online", lambda: adwatch.status()["state"] == "online")
    return adwatch


def peer(adwatch: Adwatch, number: str) -> dict[str, str]:
    """What `peers --json` says of a number, empty where there is no such peer."""
    found = json.loads(adwatch("peers", "--json").stdout)
    return next((p for p in found if p["number"] == number), {})


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
def test_scenario_01_deleted_and_the_account_cannot_see_deletions(
    dc: SambaDC, make: Make, user: User, feed: str
) -> None:
    dn = user(telephoneNumber="8101")
    adwatch = started(make, ORDINARY, directory=f"feed: {feed}\n{NO_PUSH}")
    assert adwatch.section("8101")
    dc.delete(dn)
    wait_for("the comparison", lambda: not adwatch.section("8101"))
    assert adwatch.status()["directory"]["sees_deletions"] is False


def test_scenario_02_deleted_and_the_tombstone_is_visible(
    dc: SambaDC, make: Make, user: User
) -> None:
    dn = user("s02", telephoneNumber="8102")
    both = "filter: (|(sAMAccountName=s02)(sAMAccountName=ryabov))"  # which its tombstone matches
    adwatch = started(
        make, SYNC, directory=f"{NO_PUSH}\n{both}", more="peers: {number: sAMAccountName}"
    )
    assert adwatch.section("s02")
    dc.delete(dn)
    wait_for("the poll", lambda: not adwatch.section("s02"))
    assert re.findall(r"(?m)^\[(.*?)\]", adwatch.text()) == ["ryabov"]
    assert "deleted in AD" in adwatch("history", "s02").stdout


def test_scenario_03_reanimated_elsewhere_without_a_phone(
    dc: SambaDC, make: Make, user: User
) -> None:
    dn = user("s03", telephoneNumber="8103")
    adwatch = started(make, directory=NO_PUSH)
    before, secret = peer(adwatch, "8103"), adwatch("secret", "8103").stdout
    dc.delete(dn)
    wait_for("gone", lambda: not adwatch.section("8103"))
    back = f"CN=s03 again,OU=Engineering,{STAFF}"
    undelete(dc, "s03", back)
    assert adwatch("sync").returncode == 0
    assert not adwatch.section("8103")
    dc.modify(back, telephoneNumber="8103", userAccountControl="512")
    wait_for("back", lambda: adwatch.section("8103"))
    after = peer(adwatch, "8103")
    assert (after["guid"], after["dn"]) == (before["guid"], back)
    assert adwatch("secret", "8103").stdout == secret


def test_scenario_04_recreated_with_the_same_name_is_somebody_else(
    dc: SambaDC, make: Make, user: User
) -> None:
    dn = user("s04", telephoneNumber="8104")
    adwatch = started(make, directory="poll: 1h\npush: false")
    before, secret = peer(adwatch, "8104"), adwatch("secret", "8104").stdout
    dc.delete(dn)
    assert user("s04", telephoneNumber="8104") == dn
    assert adwatch("sync").returncode == 0
    after = peer(adwatch, "8104")
    assert (after["dn"], after["login"]) == (before["dn"], before["login"])
    assert after["guid"] != before["guid"]
    assert adwatch("secret", "8104").stdout != secret
    assert adwatch.text().count("[8104]") == 1


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
def test_scenario_05_moved_out_of_the_base_and_back(
    dc: SambaDC, make: Make, user: User, feed: str
) -> None:
    dn = user(telephoneNumber="8105")
    adwatch = started(make, directory=f"feed: {feed}\n{NO_PUSH}")
    section = adwatch.section("8105")
    away = dc.move(dn, LEAVERS)
    wait_for("out", lambda: not adwatch.section("8105"))
    assert "outside of the base" in adwatch("explain", away).stdout
    dc.move(away, SALES)
    wait_for("in", lambda: adwatch.section("8105") == section)  # the same secret


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
def test_scenario_06_the_ou_above_is_renamed_and_moved(
    dc: SambaDC, make: Make, user: User, temporary: New, feed: str
) -> None:
    ou = temporary(f"OU=Scenario6,{STAFF}", "organizationalUnit")
    user("s06", parent=ou, telephoneNumber="8106")
    adwatch = started(make, directory=f"feed: {feed}\n{NO_PUSH}")
    assert peer(adwatch, "8106")["dn"] == f"CN=s06,{ou}"
    ou = dc.rename(ou, "OU=Scenario6b")
    wait_for("the new DN", lambda: peer(adwatch, "8106")["dn"] == f"CN=s06,{ou}")
    ou = dc.move(ou, LEAVERS)
    wait_for("out of the base", lambda: not adwatch.section("8106"))
    dc.move(ou, STAFF)
    wait_for("back in", lambda: adwatch.section("8106"))


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
def test_scenario_07_a_number_is_cleared_and_one_of_several_removed(
    dc: SambaDC, make: Make, user: User, feed: str
) -> None:
    dn = user(telephoneNumber="8107", otherTelephone=["8", "7", "9"])
    mapping = """peers: {mobile: 'entry["otherTelephone"] | join(" ")'}"""
    adwatch = started(make, directory=f"feed: {feed}\n{NO_PUSH}", more=mapping)
    assert peer(adwatch, "8107")["mobile"] == "7 8 9"
    dc.admin().modify(dn, {"otherTelephone": [(MODIFY_DELETE, ["8"])]})
    wait_for("one value less", lambda: peer(adwatch, "8107")["mobile"] == "7 9")
    dc.modify(dn, telephoneNumber=None)
    wait_for("cleared", lambda: not adwatch.section("8107"))


def test_scenario_08_disabled_enabled_and_expired_with_no_write(
    dc: SambaDC, make: Make, user: User
) -> None:
    dn = user(telephoneNumber="8108")
    adwatch = started(make, directory=NO_PUSH)
    dc.disable(dn)
    wait_for("disabled", lambda: not adwatch.section("8108"))
    dc.enable(dn)
    wait_for("enabled", lambda: adwatch.section("8108"))
    soon = time.time() + 4
    dc.modify(dn, accountExpires=int((soon + FILETIME_EPOCH_S) * 10**7))
    usn = dc.highest_usn()
    wait_for("expired", lambda: not adwatch.section("8108"))
    assert time.time() >= soon
    assert dc.highest_usn() == usn
    dc.modify(dn, accountExpires=0)
    wait_for("no longer expired", lambda: adwatch.section("8108"))


@pytest.mark.parametrize(("account", "feed"), [(ORDINARY, "dirsync"), (SYNC, "usn")])
def test_scenario_09_membership_direct_nested_primary_and_the_groups_end(
    dc: SambaDC, make: Make, user: User, temporary: New, account: str, feed: str
) -> None:
    """Members of a group, nested or not, have a peer; AD counts nobody's primary group."""
    dn = user("s09", telephoneNumber="8109")
    outer, inner = f"CN=s09 outer,OU=Groups,{dc.base_dn}", f"CN=s09 inner,OU=Groups,{dc.base_dn}"
    temporary(inner, "group", sAMAccountName="s09-inner")
    temporary(outer, "group", sAMAccountName="s09-outer", member=[inner])
    nested = f"(memberOf:1.2.840.113556.1.4.1941:={outer})"
    adwatch = started(
        make,
        account,
        directory=f"feed: {feed}\n{NO_PUSH}\n"
        f'filter: "(&(telephoneNumber=*)(objectClass=user)(|(!(sAMAccountName=s09)){nested}))"',
    )
    assert not adwatch.section("8109")

    def comes_and_goes(group: str) -> None:
        dc.admin().modify(group, {"member": [(MODIFY_ADD, [dn])]})
        wait_for("a member", lambda: adwatch.section("8109"))
        dc.admin().modify(group, {"member": [(MODIFY_DELETE, [dn])]})
        wait_for("no member", lambda: not adwatch.section("8109"))

    comes_and_goes(outer)
    comes_and_goes(inner)
    dc.admin().modify(outer, {"member": [(MODIFY_ADD, [dn])]})
    wait_for("a member", lambda: adwatch.section("8109"))
    (found,) = dc.ldapsearch("-s", "base", "objectSid", base=outer).values()
    dc.modify(dn, primaryGroupID=int.from_bytes(found["objectSid"][0][-4:], "little"))
    wait_for("its primary group", lambda: not adwatch.section("8109"))
    dc.modify(dn, primaryGroupID=DOMAIN_USERS)  # which leaves it a member of the other
    wait_for("a member", lambda: adwatch.section("8109"))
    dc.admin().modify(outer, {"member": [(MODIFY_DELETE, [dn])]})
    wait_for("no member", lambda: not adwatch.section("8109"))
    dc.admin().modify(inner, {"member": [(MODIFY_ADD, [dn])]})
    wait_for("a member", lambda: adwatch.section("8109"))
    dc.delete(inner)
    wait_for("no group", lambda: not adwatch.section("8109"))


def test_scenario_10_another_filter_base_or_attribute_between_runs(
    make: Make, user: User, dc: SambaDC
) -> None:
    user(telephoneNumber="8110", mobile="1")
    user(telephoneNumber="8111", parent=LEAVERS, mobile="2")
    adwatch = make(more="safety: {max_removals: 1000}")

    def synced(old: str, new: str) -> tuple[bool, bool]:
        text = adwatch.config.read_text()
        assert old in text
        adwatch.config.write_text(text.replace(old, new, 1))
        assert adwatch("sync").returncode == 0
        return bool(adwatch.section("8110")), bool(adwatch.section("8111"))

    assert synced("timeout: 4s", "timeout: 5s") == (True, False)
    whole = f'base: ["{dc.base_dn}"]'
    assert synced(f'base: ["{STAFF}"]', whole) == (True, True)
    assert synced(whole, f'{whole}\n  filter: "(&(mobile=2)(telephoneNumber=*))"') == (False, True)
    assert re.findall(r"\[(\d+)\]", adwatch.text()) == ["8111"]
    assert "context = users" in adwatch.section("8111")
    synced("safety:", "peers: {context: mobile}\nsafety:")
    assert "context = 2" in adwatch.section("8111")


def test_scenario_11_rights_are_taken_and_nothing_is_purged(
    dc: SambaDC, make: Make, user: User, temporary: New
) -> None:
    """One attribute hidden, then an OU with all its users: held, and kept as they were."""
    ou = temporary(f"OU=Scenario11,{STAFF}", "organizationalUnit")
    for i in range(8):
        user(f"s11{i}", parent=ou, telephoneNumber=f"8{i}11", employeeType=f"kind {i}")
    adwatch = started(make, directory=NO_PUSH, more="peers: {context: employeeType or 'users'}")
    before = adwatch.text()
    assert "context = kind 7" in before
    for ace in (READ_EMPLOYEE_TYPE, LIST_AND_READ):
        with denied(dc, ou, ORDINARY, ace):
            wait_for("eight are held", lambda: adwatch.status()["peers"]["held"] == 8)
            assert adwatch.text() == before
        wait_for("nobody is held", lambda: adwatch.status()["peers"]["held"] == 0)
    assert adwatch.text() == before
