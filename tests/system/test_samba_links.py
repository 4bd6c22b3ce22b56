"""Counterparts of Samba's linked_attributes.py and subtree_rename.py: who is in which group.

`memberOf` belongs to nobody's own attributes: a change of it changes the group, or nothing that a
feed shows. Each test has the name of Samba's, and says what a client has to do about it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from ldap3 import MODIFY_ADD, MODIFY_DELETE, MODIFY_REPLACE

from system.follower import LEAVERS, ORDINARY, SALES, STAFF, SYNC, Follower
from system.samba import SambaDC

Follow = Callable[..., Follower]
User = Callable[..., str]
New = Callable[..., str]
GROUPS = "OU=Groups,DC=example,DC=test"
WAYS = pytest.mark.parametrize(
    ("account", "feed"),
    [(ORDINARY, "dirsync"), (ORDINARY, "usn"), (SYNC, "dirsync"), (SYNC, "usn")],
)


def group(temporary: New, name: str, *members: str, parent: str = GROUPS) -> str:
    values: dict[str, Any] = {"member": list(members)} if members else {}
    return temporary(f"CN={name},{parent}", "group", sAMAccountName=name, **values)


def groups_of(follower: Follower, login: str) -> set[str]:
    found = follower.of(login)
    assert found is not None, f"{login} is not there"
    return set(found.attributes.get("memberof", ()))


def members(dc: SambaDC, dn: str, operation: str, *who: str) -> None:
    dc.admin().modify(dn, {"member": [(operation, list(who))]})


@pytest.fixture
def watch(follow: Follow) -> Callable[..., Follower]:
    """Followers for whom membership matters."""
    return lambda *args: follow(*args, attributes=("telephoneNumber", "memberOf"))


@WAYS
def test_la_backlinks(
    dc: SambaDC, watch: Follow, user: User, temporary: New, account: str, feed: str
) -> None:
    """Links added and removed: memberOf as read equals them each time."""
    one, two = user("la1"), user("la2")
    first, second = group(temporary, "lag1"), group(temporary, "lag2")
    follower = watch(account, feed)
    members(dc, first, MODIFY_ADD, one, two)
    follower.poll()
    members(dc, second, MODIFY_ADD, one)
    follower.poll()
    assert (groups_of(follower, "la1"), groups_of(follower, "la2")) == ({first, second}, {first})
    members(dc, first, MODIFY_DELETE, one)
    follower.poll()
    assert (groups_of(follower, "la1"), groups_of(follower, "la2")) == ({second}, {first})
    assert follower.is_right()


@WAYS
def test_la_backlinks_delete_group(
    dc: SambaDC, watch: Follow, user: User, temporary: New, account: str, feed: str
) -> None:
    """A group deleted takes its back-links along, and its members show no change of their own."""
    dn = user("orphan")
    gone = group(temporary, "brieflag", dn)
    follower = watch(account, feed)
    assert groups_of(follower, "orphan") == {gone}
    dc.delete(gone)
    follower.poll()
    assert groups_of(follower, "orphan") == set()
    assert follower.is_right()


@WAYS
def test_la_links_delete_link(
    dc: SambaDC, watch: Follow, user: User, temporary: New, account: str, feed: str
) -> None:
    """One link of several removed: it is the group whose USN moves, and that is enough."""
    one, two = user("dl1"), user("dl2")
    both = group(temporary, "dlg", one, two)
    follower = watch(account, feed)
    members(dc, both, MODIFY_DELETE, one)
    batch = follower.poll()
    assert batch.compare
    assert (groups_of(follower, "dl1"), groups_of(follower, "dl2")) == (set(), {both})
    assert follower.is_right()


@WAYS
def test_la_links_delete_user(
    dc: SambaDC, watch: Follow, user: User, temporary: New, account: str, feed: str
) -> None:
    """A member deleted does not touch the group: the deletion itself has to be found."""
    one, two = user("du1"), user("du2")
    both = group(temporary, "dug", one, two)
    follower = watch(account, feed)
    dc.delete(one)
    follower.poll()
    assert follower.of("du1") is None
    assert groups_of(follower, "du2") == {both}
    assert follower.is_right()


def test_multiple_links(dc: SambaDC, watch: Follow, user: User, temporary: New) -> None:
    """Several groups and several members at once: one comparison for all of them."""
    dns = [user(f"ml{i}") for i in range(3)]
    made = [group(temporary, f"mlg{i}") for i in range(3)]
    follower = watch(ORDINARY)
    for at, dn in enumerate(made):
        members(dc, dn, MODIFY_ADD, *dns[at:])
    follower.poll()
    assert [len(groups_of(follower, f"ml{i}")) for i in range(3)] == [1, 2, 3]
    assert follower.is_right()


def test_la_links_replace(dc: SambaDC, watch: Follow, user: User, temporary: New) -> None:
    """All members replaced in one write."""
    one, two, three = (user(f"lr{i}") for i in range(3))
    dn = group(temporary, "lrg", one, two)
    follower = watch(ORDINARY)
    members(dc, dn, MODIFY_REPLACE, two, three)
    follower.poll()
    assert [bool(groups_of(follower, f"lr{i}")) for i in range(3)] == [False, True, True]
    members(dc, dn, MODIFY_REPLACE)
    follower.poll()
    assert not any(groups_of(follower, f"lr{i}") for i in range(3))
    assert follower.is_right()


def test_la_links_permutations(dc: SambaDC, watch: Follow, user: User, temporary: New) -> None:
    """Whatever set of members follows whatever other."""
    dns = [user(f"lp{i}") for i in range(2)]
    dn = group(temporary, "lpg")
    follower = watch(SYNC)
    subsets = [set(), {0}, {1}, {0, 1}]
    for _, after in itertools.permutations(subsets, 2):
        members(dc, dn, MODIFY_REPLACE, *(dns[i] for i in after))
        follower.poll()
        assert {i for i in range(2) if groups_of(follower, f"lp{i}")} == after
    assert follower.is_right()


def test_add_all_at_once(watch: Follow, user: User, temporary: New) -> None:
    """A group that is born with its members."""
    dns = [user(f"aa{i}") for i in range(3)]
    follower = watch(ORDINARY)
    dn = group(temporary, "aag", *dns)
    follower.poll()
    assert all(groups_of(follower, f"aa{i}") == {dn} for i in range(3))
    assert follower.is_right()


# subtree_rename.py: an OU moves, and everything below it without a word.


@pytest.fixture
def ou(temporary: New) -> str:
    return temporary(f"OU=Moving,{STAFF}", "organizationalUnit")


@WAYS
def test_la_move_ou_tree(
    dc: SambaDC, watch: Follow, user: User, temporary: New, ou: str, account: str, feed: str
) -> None:
    """Users and their group in one OU that gets another name: new DNs, the same links."""
    dn = user("mt1", parent=ou)
    group(temporary, "mtg", dn, parent=ou)
    follower = watch(account, feed)
    guid = follower.guid("mt1")
    moved = dc.rename(ou, "OU=Moved")
    follower.poll()
    assert follower.people[guid].dn == f"CN=mt1,{moved}"
    assert groups_of(follower, "mt1") == {f"CN=mtg,{moved}"}
    assert follower.is_right()


@WAYS
def test_la_move_ou_groups(
    dc: SambaDC, watch: Follow, user: User, temporary: New, ou: str, account: str, feed: str
) -> None:
    """The groups' OU moves, the users stay: their memberOf holds the new DN."""
    dn = user("mg1")
    group(temporary, "mgg", dn, parent=ou)
    follower = watch(account, feed)
    moved = dc.move(ou, GROUPS)
    follower.poll()
    assert groups_of(follower, "mg1") == {f"CN=mgg,{moved}"}
    assert follower.is_right()


@WAYS
def test_la_move_ou_users(
    dc: SambaDC, watch: Follow, user: User, temporary: New, ou: str, account: str, feed: str
) -> None:
    """The users' OU leaves the base and comes back: they go and come, and keep their groups."""
    dn = user("mu1", parent=ou)
    home = group(temporary, "mug", dn)
    follower = watch(account, feed)
    guid = follower.guid("mu1")
    away = dc.move(ou, LEAVERS)
    follower.poll()
    assert guid not in follower.people
    dc.move(away, STAFF)
    follower.poll()
    assert groups_of(follower, "mu1") == {home}
    assert follower.guid("mu1") == guid
    assert follower.is_right()


def test_la_move_ou_tree_big(
    dc: SambaDC, follow: Follow, user: User, temporary: New, ou: str
) -> None:
    """Many users two levels down: one comparison has them all, and no GUID is taken for gone."""
    below = temporary(f"OU=Deep,{ou}", "organizationalUnit")
    for i in range(30):
        user(f"tb{i}", parent=below)
    follower = follow(ORDINARY)
    before = {entry.guid for entry in follower.people.values() if entry.dn.endswith(ou)}
    moved = dc.move(ou, SALES)
    batch = follower.poll()
    assert moved in batch.compare
    after = {entry.guid for entry in follower.people.values() if entry.dn.endswith(moved)}
    assert before == after
    assert len(after) == 30
    assert follower.is_right()
