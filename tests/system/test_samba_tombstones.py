"""Counterparts of Samba's tombstone_reanimation.py: who comes back is who went, by GUID.

Each test has the name of Samba's, and says what a client has to do about it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ldap3 import MODIFY_ADD, MODIFY_DELETE, MODIFY_REPLACE
from ldap3.core.exceptions import LDAPEntryAlreadyExistsResult, LDAPOperationResult

from system.follower import LEAVERS, ORDINARY, SALES, SYNC, Follower
from system.samba import SambaDC

Follow = Callable[..., Follower]
User = Callable[..., str]
SHOW_DELETED = "1.2.840.113556.1.4.417"
DOMAIN = "DC=example,DC=test"
WAYS = pytest.mark.parametrize(
    ("account", "feed"),
    [(ORDINARY, "dirsync"), (ORDINARY, "usn"), (SYNC, "dirsync"), (SYNC, "usn")],
)


def undelete(dc: SambaDC, login: str, dn: str, **values: str) -> None:
    """Reanimates the tombstone of `login` as `dn` (MS-ADTS 3.1.1.5.3.7)."""
    text = f"(&(sAMAccountName={login})(isDeleted=TRUE))"
    tombstones = dc.ldapsearch("-E", f"!{SHOW_DELETED}", text, "uSNChanged")
    newest = max(tombstones, key=lambda found: int(tombstones[found]["uSNChanged"][0]))
    changes = {"isDeleted": [(MODIFY_DELETE, [])], "distinguishedName": [(MODIFY_REPLACE, [dn])]}
    more = {name: [(MODIFY_REPLACE, [value])] for name, value in values.items()}
    dc.admin().modify(newest, changes | more, controls=[(SHOW_DELETED, True, None)])


@WAYS
def test_undelete(dc: SambaDC, follow: Follow, user: User, account: str, feed: str) -> None:
    """Reanimated as before: the same GUID, and as a tombstone keeps no phone, no peer yet."""
    dn = user("lazarus")
    follower = follow(account, feed)
    guid = follower.guid("lazarus")
    dc.delete(dn)
    follower.poll()
    assert guid not in follower.people
    undelete(dc, "lazarus", dn)
    batch = follower.poll()
    assert guid not in follower.people
    assert guid in batch.asked
    assert "telephoneNumber" in batch.gone[guid]
    dc.modify(dn, telephoneNumber="7301", userAccountControl="512")
    follower.poll()
    assert follower.guid("lazarus") == guid
    assert follower.is_right()


@WAYS
def test_undelete_newuser(dc: SambaDC, follow: Follow, user: User, account: str, feed: str) -> None:
    """Deleted and back before anybody looked, under another name: one user, the new DN."""
    dn = user("brief")
    follower = follow(account, feed)
    guid = follower.guid("brief")
    dc.delete(dn)
    back = f"CN=brief again,{SALES}"
    undelete(dc, "brief", back, telephoneNumber="7302")
    follower.poll()
    assert follower.people[guid].dn == back
    assert follower.people[guid].first("telephonenumber") == "7302"
    assert follower.is_right()


@WAYS
def test_undelete_with_mod(
    dc: SambaDC, follow: Follow, user: User, account: str, feed: str
) -> None:
    """Reanimated with other values in the same write: they are what is read."""
    dn = user("modified", mobile="1")
    follower = follow(account, feed)
    guid = follower.guid("modified")
    dc.delete(dn)
    follower.poll()
    undelete(dc, "modified", dn, telephoneNumber="7303", userPrincipalName="other@example.test")
    follower.poll()
    found = follower.people[guid]
    assert (found.first("telephonenumber"), found.first("mobile")) == ("7303", "")
    assert follower.is_right()


def test_undelete_existing(dc: SambaDC, follow: Follow, user: User) -> None:
    """The DN is somebody else's by now, and stays theirs (68): two GUIDs, never taken for one."""
    dn = user("first")
    follower = follow(SYNC)
    guid = follower.guid("first")
    dc.delete(dn)
    user("second", cn="first")
    follower.poll()
    with pytest.raises(LDAPEntryAlreadyExistsResult):
        undelete(dc, "first", dn)
    follower.poll()
    assert guid not in follower.people
    found = follower.of("second")
    assert found is not None
    assert (found.guid != guid, found.dn) == (True, dn)
    assert follower.is_right()


def test_undelete_cross_nc(dc: SambaDC, follow: Follow, user: User) -> None:
    """Nobody is reanimated into another naming context: refused, and still gone."""
    dn = user("crossing")
    follower = follow(SYNC)
    guid = follower.guid("crossing")
    dc.delete(dn)
    with pytest.raises(LDAPOperationResult):
        undelete(dc, "crossing", f"CN=crossing,CN=Configuration,{DOMAIN}")
    follower.poll()
    assert guid not in follower.people
    assert follower.is_right()


def test_undelete_elsewhere(dc: SambaDC, follow: Follow, user: User) -> None:
    """Reanimated outside of the base is out; moved back, the same person is in."""
    dn = user("elsewhere")
    follower = follow(ORDINARY)
    guid = follower.guid("elsewhere")
    dc.delete(dn)
    there = f"CN=elsewhere,{LEAVERS}"
    undelete(dc, "elsewhere", there, telephoneNumber="7304")
    batch = follower.poll()
    assert guid not in follower.people
    assert batch.gone[guid] == f"outside of the base, at {there}"
    dc.move(there, SALES)
    follower.poll()
    assert follower.guid("elsewhere") == guid


def test_rename(dc: SambaDC, follow: Follow, user: User) -> None:
    """A tombstone can't be renamed back to life: refused, and still gone."""
    dn = user("stiff")
    follower = follow(SYNC)
    guid = follower.guid("stiff")
    dc.delete(dn)
    text = "(&(sAMAccountName=stiff)(isDeleted=TRUE))"
    (tombstone,) = dc.ldapsearch("-E", f"!{SHOW_DELETED}", text, "1.1")
    with pytest.raises(LDAPOperationResult):
        dc.admin().modify_dn(
            tombstone,
            "CN=stiff",
            new_superior=SALES,
            controls=[(SHOW_DELETED, True, None)],
        )
    follower.poll()
    assert guid not in follower.people
    assert follower.is_right()


@WAYS
def test_restore_user(dc: SambaDC, follow: Follow, user: User, account: str, feed: str) -> None:
    """Few attributes come back: what adwatch holds of the user is what AD has, nothing older."""
    dn = user("restored", mobile="+49 170 1", mail="restored@example.test")
    follower = follow(
        account, feed, filter="(sAMAccountName=restored)", attributes=("mail", "mobile")
    )
    guid = follower.guid("restored")
    dc.delete(dn)
    undelete(dc, "restored", dn)
    follower.poll()
    found = follower.people[guid]
    assert (found.first("mail"), found.first("mobile")) == ("", "")
    assert follower.is_right()


def test_group_with_members(
    dc: SambaDC, follow: Follow, user: User, temporary: Callable[..., str]
) -> None:
    """A group comes back without its members: so does nobody's memberOf."""
    dn = user("grouped")
    group = f"CN=mortal,OU=Groups,{DOMAIN}"
    temporary(group, "group", sAMAccountName="mortal", member=[dn])
    follower = follow(SYNC, attributes=("telephoneNumber", "memberOf"))
    guid = follower.guid("grouped")
    assert follower.people[guid].attributes["memberof"] == (group,)
    dc.delete(group)
    follower.poll()
    undelete(dc, "mortal", group)
    follower.poll()
    assert "memberof" not in follower.people[guid].attributes
    assert follower.is_right()
    dc.admin().modify(group, {"member": [(MODIFY_ADD, [dn])]})
    follower.poll()
    assert follower.people[guid].attributes["memberof"] == (group,)
