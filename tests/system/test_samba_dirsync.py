"""Counterparts of Samba's dirsync.py: what it tests of the server, adwatch must make good use of.

Each test has the name of Samba's, and says what a client has to do about it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from ldap3 import MODIFY_ADD, MODIFY_DELETE
from proxy import DIRSYNC, Proxy

from adwatch.edges.directory import feeds
from adwatch.edges.directory.entries import read_sequence
from adwatch.edges.directory.session import SUBTREE, LdapError, Session
from system.follower import LEAVERS, ORDINARY, STAFF, SYNC, Follower, session
from system.samba import SambaDC

Follow = Callable[..., Follower]
User = Callable[..., str]
BOTH = pytest.mark.parametrize("account", [ORDINARY, SYNC])
INCREMENTAL_VALUES = 0x80000000
DOMAIN = "DC=example,DC=test"


@pytest.fixture
def opened(dc: SambaDC, request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session of the account that the test is run with."""
    made = session(dc, request.getfixturevalue("account"))
    yield made
    made.close()


def asked(search: bytes) -> tuple[str, list[str]]:
    """The base and the attributes that a search request names (RFC 4511, 4.5.1)."""
    parts = read_sequence(b"\x30\x84" + len(search).to_bytes(4, "big") + search)
    listed = b"\x30\x84" + len(parts[-1]).to_bytes(4, "big") + parts[-1]
    return parts[0].decode(), [name.decode() for name in read_sequence(listed)]


@BOTH
def test_dirsync_supported(dc: SambaDC, opened: Session, follow: Follow, account: str) -> None:
    """DirSync needs the replication right or OBJECT_SECURITY: adwatch finds out which it has."""
    by_right = feeds.DirSync(0, dc.base_dn, ["name"])
    if account == ORDINARY:
        with pytest.raises(LdapError) as refused:
            by_right.start(opened)
        assert refused.value.code == 50
    else:
        assert by_right.start(opened)
    follower = follow(account, "auto")
    reach = follower.directory.reach()
    said = {ORDINARY: "object security", SYNC: "with the replication right"}
    assert (reach.feed, reach.why) == ("dirsync", said[account])


@pytest.mark.parametrize(("account", "code"), [(ORDINARY, 53), (SYNC, 50)])
def test_dirsync_errors(
    opened: Session, between: Proxy, follow: Follow, account: str, code: int
) -> None:
    """A base that is no naming context is refused: adwatch asks at the context, whatever base."""
    flags = feeds.OBJECT_SECURITY if account == ORDINARY else 0
    with pytest.raises(LdapError) as refused:
        feeds.DirSync(flags, STAFF, ["name"]).start(opened)
    assert refused.value.code == code
    follower = follow(account, bases=(STAFF, LEAVERS), servers=(between.url,))
    follower.poll()
    assert {asked(m.body)[0] for m in between.searches(DIRSYNC)} == {DOMAIN}


@BOTH
def test_dirsync_attributes(
    dc: SambaDC, opened: Session, between: Proxy, follow: Follow, user: User, account: str
) -> None:
    """The attribute list is a filter: adwatch lists what it needs, and `name` and `isDeleted`."""
    dn = user("dirsynced")
    text = "(&(sAMAccountName=dirsynced)(telephoneNumber=*))"  # no tombstone
    flags = feeds.OBJECT_SECURITY if account == ORDINARY else 0
    for silent in ("objectGUID", "parentGUID", "cn", "memberOf", "badPwdCount"):
        assert feeds.DirSync(flags, dc.base_dn, [silent])._ask(opened, b"", text)[0] == []
    assert len(feeds.DirSync(flags, dc.base_dn, ["name"])._ask(opened, b"", text)[0]) == 1
    follower = follow(account, servers=(between.url,))
    for search in between.searches(DIRSYNC):
        names = asked(search.body)[1]
        assert {"name", "isDeleted", "telephoneNumber", "userAccountControl"} <= set(names)
        assert "*" not in names
    dc.modify(dn, description="of no interest")
    assert follower.poll().asked == frozenset()
    dc.rename(dn, "CN=dirsynced, too".replace(",", "\\,"))
    assert follower.poll().asked == {follower.guid("dirsynced")}
    assert follower.is_right()


def test_dirsync_with_controls(between: Proxy, follow: Follow) -> None:
    """DirSync takes other controls beside it: adwatch sends none, and needs none."""
    follower = follow(SYNC, servers=(between.url,))
    follower.poll()
    assert between.searches(DIRSYNC)
    assert all(set(m.controls) == {DIRSYNC} for m in between.searches(DIRSYNC))


@BOTH
def test_dirsync_basenc(dc: SambaDC, follow: Follow, account: str) -> None:
    """The head of the naming context is named like any object: it is no user, and nothing goes."""
    follower = follow(account, attributes=("telephoneNumber", "description"))
    dc.modify(dc.base_dn, description="headquarters")
    try:
        batch = follower.poll()
        assert len(batch.asked) == 1
        assert batch.entries == ()
        assert follower.is_right()
    finally:
        dc.modify(dc.base_dn, description=None)


@BOTH
def test_dirsync_othernc(dc: SambaDC, opened: Session, follow: Follow, account: str) -> None:
    """The heads of other naming contexts appear, too: they are asked for, and nobody is lost."""
    flags = feeds.OBJECT_SECURITY if account == ORDINARY else 0
    named, _ = feeds.DirSync(flags, dc.base_dn, ["name"]).changes(opened, b"")
    assert f"CN=Configuration,{DOMAIN}" in {n.dn for n in named}
    follower = follow(account)
    everybody = dict(follower.people)
    assert follower.cursor is not None
    follower.cursor = replace(follower.cursor, usn=follower.cursor.usn - 1, cookie=b"")
    batch = follower.poll()  # everything from the beginning, as if it had changed
    assert everybody.keys() < batch.asked
    assert follower.people == everybody


@BOTH
def test_ok_not_rootdc(dc: SambaDC, opened: Session, follow: Follow, account: str) -> None:
    """DirSync works on other naming contexts: adwatch needs to know only that it was written."""
    elsewhere = f"CN=Configuration,{dc.base_dn}"  # no account has the right there
    dirsync = feeds.DirSync(feeds.OBJECT_SECURITY, elsewhere, ["name"])
    assert dirsync.changes(opened, b"")[0]
    follower = follow(account)
    dc.modify(f"CN=Services,{elsewhere}", description="written elsewhere")
    try:
        batch = follower.poll()
        assert (batch.asked, batch.compare) == (frozenset(), "")
        assert batch.cursor.usn > 0
    finally:
        dc.modify(f"CN=Services,{elsewhere}", description=None)


@BOTH
def test_dirsync_parentGUID_referrals(opened: Session, follow: Follow, account: str) -> None:  # noqa: N802
    """A search at the root ends with references: adwatch neither follows nor counts them."""
    rows = list(opened.search(DOMAIN, SUBTREE, "(name=Configuration)", ["name"]))
    assert [row for row in rows if not row.values] == []
    follower = follow(account, bases=())
    assert follower.people
    assert all(entry.dn.endswith(DOMAIN) for entry in follower.people.values())
    assert follower.is_right()


@BOTH
def test_dirsync_send_delta(dc: SambaDC, follow: Follow, user: User, account: str) -> None:
    """The same cookie gives nothing; add, set, clear and rename give one object each, once."""
    follower = follow(account)
    assert follower.poll().asked == frozenset()
    dn = user("delta")
    assert [e.login for e in follower.poll().entries] == ["delta"]
    guid = follower.guid("delta")

    def once() -> None:
        assert follower.poll().asked == {guid}
        assert follower.poll().asked == frozenset()

    dc.modify(dn, mobile="+49 170 1")
    once()
    assert follower.people[guid].first("mobile") == "+49 170 1"
    dc.modify(dn, mobile=None)
    once()
    assert follower.people[guid].first("mobile") == ""
    renamed = dc.rename(dn, "CN=epsilon")
    once()
    assert follower.people[guid].dn == renamed
    assert follower.is_right()


@BOTH
def test_dirsync_linkedattributes(
    dc: SambaDC, follow: Follow, user: User, temporary: Callable[..., str], account: str
) -> None:
    """A member comes or goes: the group is named, not the user, so adwatch compares the users."""
    group = temporary(f"CN=linked,OU=Groups,{DOMAIN}", "group", sAMAccountName="linked")
    dn = user("member")
    follower = follow(account, attributes=("telephoneNumber", "memberOf"))
    indifferent = follow(account)
    early = follower.cursor
    for operation, groups in ((MODIFY_ADD, (group,)), (MODIFY_DELETE, ())):
        dc.admin().modify(group, {"member": [(operation, [dn])]})
        batch = follower.poll()
        assert follower.guid("member") not in batch.asked
        assert group in batch.compare
        member = follower.of("member")
        assert member is not None
        assert member.attributes.get("memberof", ()) == groups
        quiet = indifferent.poll()
        assert (quiet.asked, quiet.compare) == (frozenset(), "")
    follower.cursor = early  # an old cookie again: both changes as one
    batch = follower.poll()
    assert batch.compare
    assert batch.asked
    assert follower.is_right()


def test_dirsync_linkedattributes_range(
    dc: SambaDC, between: Proxy, follow: Follow, user: User, temporary: Callable[..., str]
) -> None:
    """INCREMENTAL_VALUES gives `member;range=1-1`: adwatch never asks so, it reads whole."""
    follower = follow(SYNC, servers=(between.url,), attributes=("telephoneNumber", "memberOf"))
    dn = user("ranged")
    groups = {
        temporary(
            f"CN=ranged{i},OU=Groups,{DOMAIN}", "group", sAMAccountName=f"ranged{i}", member=[dn]
        )
        for i in range(3)
    }
    follower.poll()
    found = follower.of("ranged")
    assert found is not None
    assert set(found.attributes["memberof"]) == groups
    for search in between.searches(DIRSYNC):
        flags = int.from_bytes(read_sequence(search.controls[DIRSYNC])[0], "big")
        assert not flags & INCREMENTAL_VALUES
    dc.delete(f"CN=ranged1,OU=Groups,{DOMAIN}")
    follower.poll()
    assert follower.is_right()


def test_dirsync_linkedattributes_range_user(dc: SambaDC, follow: Follow, user: User) -> None:
    """Several values of a user's own attribute: taken whole from the read, in one order."""
    dn = user("several", otherTelephone=["3", "1", "2"])
    follower = follow(SYNC, attributes=("telephoneNumber", "otherTelephone"))
    found = follower.of("several")
    assert found is not None
    assert found.attributes["othertelephone"] == ("1", "2", "3")
    dc.admin().modify(dn, {"otherTelephone": [(MODIFY_DELETE, ["2"])]})
    batch = follower.poll()
    assert batch.entries[0].attributes["othertelephone"] == ("1", "3")


def test_dirsync_deleted_items(dc: SambaDC, follow: Follow, user: User) -> None:
    """A deletion comes with GUID and isDeleted to whom may see it: adwatch says so, once."""
    dn = user("doomed")
    follower = follow(SYNC)
    guid = follower.guid("doomed")
    dc.delete(dn)
    batch = follower.poll()
    assert dict(batch.gone) == {guid: "deleted in AD"}
    assert batch.compare == ""
    assert follower.poll().asked == frozenset()
    assert follower.is_right()


def test_dirsync_deleted_items_OBJECT_SECURITY(  # noqa: N802
    dc: SambaDC, follow: Follow, user: User
) -> None:
    """Samba shows an ordinary account nothing: a USN that nobody carries has it compare."""
    dn = user("doomed")
    follower = follow(ORDINARY)
    guid = follower.guid("doomed")
    dc.delete(dn)
    batch = follower.poll()
    assert guid not in batch.asked
    assert batch.compare
    assert guid not in follower.people
    assert follower.is_right()


@BOTH
def test_cookie_from_others(dc: SambaDC, follow: Follow, user: User, account: str) -> None:
    """A cookie of a foreign invocationId is taken, and names too much or all: nothing is missed."""
    dn = user("foreign")
    follower = follow(account)
    assert follower.cursor is not None
    own = uuid.UUID(follower.cursor.invocation).bytes_le
    assert own in follower.cursor.cookie
    dc.modify(dn, telephoneNumber="7123")
    cookie = follower.cursor.cookie.replace(own, uuid.uuid4().bytes_le)
    follower.cursor = replace(follower.cursor, cookie=cookie)
    assert follower.guid("foreign") in follower.poll().asked
    assert follower.is_right()
    follower.cursor = replace(follower.cursor, invocation=str(uuid.uuid4()))
    assert follower.poll().full  # another database: its USNs mean nothing here
    assert follower.is_right()


@BOTH
def test_dirsync_extended_dn(dc: SambaDC, opened: Session, follow: Follow, account: str) -> None:
    """`<GUID=…>;<SID=…>;DN` comes to who asks for it: adwatch's DNs are plain ones."""
    flags = feeds.OBJECT_SECURITY if account == ORDINARY else 0
    named, _ = feeds.DirSync(flags, dc.base_dn, ["name"]).changes(opened, b"")
    assert not [n for n in named if "<" in n.dn]
    follower = follow(account, attributes=("telephoneNumber", "memberOf"))
    for entry in follower.people.values():
        assert not [dn for dn in (entry.dn, *entry.attributes.get("memberof", ())) if "<" in dn]


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
@BOTH
def test_dirsync_confidential(
    dc: SambaDC, follow: Follow, user: User, account: str, feed: str
) -> None:
    """Confidential and filtered attributes: values come only from a read, never from the feed.

    So the replication right, with which DirSync shows more on Windows, puts nothing in a peer.
    `unixUserPassword` is confidential in the schema as it is; the passwords always are.
    """
    secret = ("unixUserPassword", "unicodePwd", "supplementalCredentials")
    dn = user("secretive", unixUserPassword=b"geheim")
    follower = follow(account, feed, attributes=("telephoneNumber", *secret))
    assert follower.people  # it works, the DirSync with the right included
    dc.modify(dn, unixUserPassword=b"geheimer", telephoneNumber="7124")
    follower.poll()
    found = follower.of("secretive")
    assert found is not None
    assert found.first("telephonenumber") == "7124"
    assert not {name.lower() for name in secret} & found.attributes.keys()
