"""What every directory promises: one suite for the one in memory and for a real Samba AD."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from program import wait_for
from proxy import ENTRY, PAGED, Message, proxy, result
from system.follower import FILTER, LEAVERS, STAFF
from system.follower import edge as real

from adwatch.core.model import ALL_CONTACTS, Batch, Cursor, Entry, Seen
from adwatch.edges.directory.security import Security
from adwatch.edges.directory.session import LdapError, Row, Session
from adwatch.errors import CredentialsError, DirectoryError
from adwatch.testing import MemoryDirectory

REAL = [(user, feed) for user in ("svc-adwatch", "svc-adwatch-sync") for feed in ("dirsync", "usn")]


@dataclass
class Site:
    """A directory, and the domain behind it, which can be changed."""

    directory: Any
    domain: Any
    made: list[str] = field(default_factory=list)

    def user(self, **attributes: str) -> tuple[str, str]:
        """A new user with a number; gives DN and login."""
        login = "t" + uuid.uuid4().hex[:10]
        parent = attributes.pop("parent", f"OU=Sales,{STAFF}")
        attributes.setdefault("telephoneNumber", str(uuid.uuid4().int % 10**8))
        dn = self.domain.add_user(login, parent, **attributes)
        self.made.append(dn)
        return dn, login

    def moved(self, old: str, new: str) -> str:
        self.made[self.made.index(old)] = new
        return new

    def delete(self, dn: str) -> None:
        self.domain.delete(dn)
        self.made.remove(dn)

    def start(self) -> Batch:
        return self.directory.read(None, dict)

    def next(self, since: Cursor, known: dict[str, Seen] | None = None) -> Batch:
        return self.directory.read(since, lambda: known or {})


@pytest.fixture(
    params=["memory", "memory-blind", *REAL],
    ids=["memory", "memory-blind", *("-".join(real) for real in REAL)],
)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    if isinstance(request.param, str):
        memory = MemoryDirectory(STAFF, sees_deletions=request.param == "memory")
        yield Site(memory, memory)
        return
    dc = request.getfixturevalue("dc")
    made = Site(real(dc, *request.param), dc)
    yield made
    for dn in made.made:
        dc.delete(dn)
    made.directory.close()


def by_login(batch: Batch, login: str) -> Entry | None:
    return next((entry for entry in batch.entries if entry.login == login), None)


def seen(batch: Batch) -> dict[str, Seen]:
    return {e.guid: Seen(e.dn, e.usn) for e in batch.entries}


def test_a_full_read_gives_everybody_in_scope_with_what_the_mapping_needs(site: Site) -> None:
    _, login = site.user(telephoneNumber="7001", mobile="+49 170 1")
    _, outside = site.user(parent=LEAVERS)
    batch = site.start()
    entry = by_login(batch, login)
    assert batch.full
    assert entry is not None
    assert (entry.first("telephonenumber"), entry.first("mobile")) == ("7001", "+49 170 1")
    assert entry.created
    assert not entry.disabled
    assert by_login(batch, outside) is None


def test_a_full_read_hands_on_every_entry_and_keeps_what_it_is_given_back(site: Site) -> None:
    site.user()
    seen: list[Entry] = []

    def take(entry: Entry) -> Entry:
        seen.append(entry)
        return Entry(entry.guid, entry.dn, {})

    batch = site.directory.read(None, dict, take)
    whole = site.directory.read(None, dict)
    assert {entry.guid: entry for entry in seen} == {e.guid: e for e in whole.entries}
    assert {(e.guid, e.dn, len(e.attributes)) for e in batch.entries} == {
        (entry.guid, entry.dn, 0) for entry in seen
    }
    assert site.directory.read(batch.cursor, dict, take).entries == ()
    assert len(seen) == len(whole.entries)


def test_quiet_costs_one_search_and_moves_nothing(site: Site) -> None:
    cursor = site.start().cursor
    before = site.directory.reach().searches
    batch = site.next(cursor)
    assert site.directory.reach().searches == before + 1
    assert batch == replace(batch, entries=(), asked=frozenset(), full=False, cursor=cursor)


def test_a_new_user_is_named_and_read(site: Site) -> None:
    cursor = site.start().cursor
    _, login = site.user()
    batch = site.next(cursor)
    assert not batch.full
    entry = by_login(batch, login)
    assert entry is not None
    assert entry.guid in batch.asked


def test_a_change_is_read_as_it_is_now(site: Site) -> None:
    dn, login = site.user()
    cursor = site.start().cursor
    site.domain.modify(dn, telephoneNumber="7002")
    site.domain.modify(dn, telephoneNumber="7003")
    entry = by_login(site.next(cursor), login)
    assert entry is not None
    assert entry.first("telephonenumber") == "7003"


def test_a_cleared_number_leaves_the_scope(site: Site) -> None:
    dn, login = site.user()
    start = site.start()
    entry = by_login(start, login)
    assert entry is not None
    site.domain.modify(dn, telephoneNumber=None)
    batch = site.next(start.cursor)
    assert entry.guid in batch.asked
    assert by_login(batch, login) is None
    assert "no longer matches the filter" in batch.gone[entry.guid]


def test_a_move_out_of_the_base_and_back(site: Site) -> None:
    dn, login = site.user()
    start = site.start()
    entry = by_login(start, login)
    assert entry is not None
    there = site.moved(dn, site.domain.move(dn, LEAVERS))
    out = site.next(start.cursor)
    assert by_login(out, login) is None
    assert out.gone[entry.guid] == f"outside of the base, at {there}"
    site.moved(there, site.domain.move(there, f"OU=Sales,{STAFF}"))
    back = by_login(site.next(out.cursor), login)
    assert back is not None
    assert (back.guid, back.dn) == (entry.guid, dn)


def test_a_rename_keeps_the_guid_and_gives_the_new_dn(site: Site) -> None:
    dn, login = site.user()
    start = site.start()
    old = by_login(start, login)
    assert old is not None
    new = site.moved(dn, site.domain.rename(dn, f"CN=Renamed {login}"))
    entry = by_login(site.next(start.cursor), login)
    assert entry is not None
    assert (entry.guid, entry.dn) == (old.guid, new)


def test_disabling_is_a_change_that_can_be_seen(site: Site) -> None:
    dn, login = site.user()
    cursor = site.start().cursor
    site.domain.disable(dn)
    entry = by_login(site.next(cursor), login)
    assert entry is not None
    assert entry.disabled


def test_a_deletion_is_named_or_a_comparison_is_called_for_that_finds_it(site: Site) -> None:
    dn, login = site.user()
    start = site.start()
    entry = by_login(start, login)
    assert entry is not None
    known = seen(start)
    site.delete(dn)
    batch = site.next(start.cursor, known)
    if site.directory.reach().sees_deletions:
        assert batch.gone[entry.guid] == "deleted in AD"
        assert not batch.compare
    else:
        assert batch.compare
        batch = site.directory.compare(batch.cursor, lambda: known)
        assert batch.gone[entry.guid] == "deleted, or hidden from the account"
    assert entry.guid in batch.asked
    assert by_login(batch, login) is None


def test_changes_that_can_be_seen_call_for_no_comparison(site: Site) -> None:
    cursor = site.start().cursor
    dn, _ = site.user()
    batch = site.next(cursor)
    site.domain.modify(dn, mobile="1")
    assert not batch.compare
    assert not site.next(batch.cursor).compare


def test_a_comparison_of_equals_asks_for_nobody(site: Site) -> None:
    site.user()
    start = site.start()
    batch = site.directory.compare(start.cursor, lambda: seen(start))
    assert (batch.entries, batch.asked, batch.full) == ((), frozenset(), False)


def test_a_comparison_finds_what_is_new_and_what_is_elsewhere(site: Site) -> None:
    dn, login = site.user()
    start = site.start()
    entry = by_login(start, login)
    assert entry is not None
    known = seen(start) | {entry.guid: Seen(f"CN=elsewhere,{STAFF}", 0)}
    _, other = site.user()
    batch = site.directory.compare(start.cursor, lambda: known)
    assert {e.login for e in batch.entries} == {login, other}
    assert by_login(batch, login) == replace(entry, dn=dn)


def test_a_comparison_finds_what_was_written_behind_the_cursor(site: Site) -> None:
    dn, login = site.user()
    start = site.start()
    entry = by_login(start, login)
    assert entry is not None
    site.domain.modify(dn, mobile="after a restored backup, say")
    batch = site.directory.compare(start.cursor, lambda: seen(start))
    assert batch.asked == {entry.guid}
    changed = by_login(batch, login)
    assert changed is not None
    assert changed.usn > entry.usn > 0


def test_users_asked_for_are_read_though_nothing_names_them(site: Site) -> None:
    _, login = site.user()
    start = site.start()
    entry = by_login(start, login)
    assert entry is not None
    batch = site.directory.read(start.cursor, dict, also=frozenset({entry.guid}))
    assert (batch.asked, batch.full, batch.cursor) == ({entry.guid}, False, start.cursor)
    assert by_login(batch, login) == entry


@pytest.mark.parametrize(
    "spoilt", [{"invocation": "00000000-0000-0000-0000-00000000ffff"}, {"usn": 10**9}]
)
def test_a_cursor_of_another_or_a_restored_database_means_a_full_read(
    site: Site, spoilt: dict[str, Any]
) -> None:
    _, login = site.user()
    batch = site.next(replace(site.start().cursor, **spoilt))
    assert batch.full
    assert by_login(batch, login) is not None


def test_a_full_read_says_why_somebody_known_is_gone(site: Site) -> None:
    dn, login = site.user()
    entry = by_login(site.start(), login)
    assert entry is not None
    site.domain.modify(dn, telephoneNumber=None)
    batch = site.directory.read(None, lambda: {entry.guid: Seen(dn, 0)})
    assert "no longer matches the filter" in batch.gone[entry.guid]


def test_people_are_found_by_number_login_dn_and_guid_in_scope_or_not(site: Site) -> None:
    number = str(uuid.uuid4().int % 10**8)
    dn, login = site.user(telephoneNumber=number)
    gone_dn, gone = site.user(parent=LEAVERS)
    entry = by_login(site.start(), login)
    assert entry is not None
    for who in (number, login, dn, entry.guid):
        (found,) = site.directory.find(who, ["telephoneNumber"])
        assert (found.entry.guid, found.in_scope) == (entry.guid, True)
    (found,) = site.directory.find(gone, ["telephoneNumber"])
    assert not found.in_scope
    assert found.outside == f"outside of the base, at {gone_dn}"
    assert site.directory.find("nobody of that name", ["telephoneNumber"]) == []


# Contacts: read beside the users, never as users.

CONTACTS = "(&(objectCategory=person)(objectClass=contact)(telephoneNumber=*))"


@pytest.fixture(params=["memory", "svc-adwatch", "svc-adwatch-sync"])
def shared(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Callable[..., str], Any]]:
    """A directory that follows contacts, what adds one (gives its DN), and the domain."""
    base, made = f"OU=Partners,{LEAVERS.partition(',')[2]}", list[str]()
    if request.param == "memory":
        domain: Any = MemoryDirectory(STAFF, contact_base=base)
        directory = domain
    else:
        domain = request.getfixturevalue("dc")
        domain.admin().add(base, ["organizationalUnit"])
        directory = real(
            domain, request.param, "dirsync", contact_bases=(base,), contact_filter=CONTACTS
        )

    def add(name: str, **attributes: str) -> str:
        dn = f"CN={name},{base}"
        if directory is domain:
            domain.add_contact(dn, **attributes)
        else:
            domain.admin().add(dn, ["contact"], attributes)
        made.append(dn)
        return dn

    yield directory, add, domain
    if directory is not domain:
        directory.close()
        for dn in domain.ldapsearch("(objectClass=contact)", "1.1", base=base):
            domain.delete(dn)
        domain.delete(base)


def names(directory: Any, guids: frozenset[str] | None = None) -> list[str]:
    found = {entry.guid: entry for entry in directory.contacts(guids)}
    return sorted(entry.first("displayname") or entry.first("name") for entry in found.values())


def test_contacts_are_read_with_what_a_phone_book_shows_and_are_no_users(shared: Any) -> None:
    directory, add, _ = shared
    add("plumber", displayName="Plumber & Co", telephoneNumber="+49 1", mobile="2", mail="a@b.c")
    batch = directory.read(None, dict)
    assert batch.contacts == ALL_CONTACTS
    assert not any(entry.dn.startswith("CN=plumber") for entry in batch.entries)
    (entry,) = directory.contacts(None)
    shown = [entry.first(n) for n in ("name", "displayname", "telephonenumber", "mobile", "mail")]
    assert shown == ["plumber", "Plumber & Co", "+49 1", "2", "a@b.c"]


def test_a_contact_that_changes_is_named_and_read_as_it_is_now(shared: Any) -> None:
    directory, add, domain = shared
    dn = add("one", telephoneNumber="1")
    add("two", telephoneNumber="1")
    batch = directory.read(None, dict)
    domain.modify(dn, displayName="Uno")
    batch = directory.read(batch.cursor, dict)
    assert len(batch.contacts) == 1
    assert names(directory, batch.contacts) == ["Uno"]
    assert names(directory) == ["Uno", "two"]
    add("three", telephoneNumber="1")
    batch = directory.read(batch.cursor, dict)
    assert names(directory, batch.contacts) == ["three"]
    assert batch.entries == ()


def test_a_contact_that_goes_is_named_or_a_comparison_is_called_for(shared: Any) -> None:
    directory, add, domain = shared
    dn = add("one", telephoneNumber="1")
    batch = directory.read(None, dict)
    domain.delete(dn)
    batch = directory.read(batch.cursor, dict)
    if directory.reach().sees_deletions:
        assert len(batch.contacts) == 1
        assert names(directory, batch.contacts) == []
    else:
        assert batch.compare
        assert directory.compare(batch.cursor, dict).contacts == ALL_CONTACTS
    assert names(directory) == []


def test_without_contacts_nobody_is_named_as_one(dc: Any) -> None:
    directory = real(dc, "svc-adwatch", "usn")
    assert not directory.read(None, dict).contacts
    directory.close()


def test_a_base_of_contacts_that_is_not_there_costs_the_users_nothing(dc: Any) -> None:
    directory = real(
        dc, "svc-adwatch", contact_bases=(f"OU=Nowhere,{STAFF}",), contact_filter=CONTACTS
    )
    batch = directory.read(None, dict)
    since = directory.reach().connected_since
    with pytest.raises(DirectoryError, match=r"the base OU=Nowhere.*correct contacts\.base"):
        directory.contacts(None)
    assert directory.read(batch.cursor, dict).cursor == batch.cursor
    assert directory.reach().connected_since == since
    directory.close()


def test_other_contacts_in_the_configuration_mean_a_full_read(dc: Any) -> None:
    directory = real(dc, "svc-adwatch", "usn", contact_filter=CONTACTS)
    cursor = directory.read(None, dict).cursor
    directory.close()
    for changes in ({}, {"contact_filter": "(objectClass=contact)"}):
        other = real(dc, "svc-adwatch", "usn", **changes)
        assert other.read(cursor, dict).full
        other.close()


# What only the real thing can be asked.


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
def test_names_with_every_special_character_are_read_and_found(dc: Any, feed: str) -> None:
    directory = real(dc, "svc-adwatch", feed)
    cursor = directory.read(None, dict).cursor
    cn = r"Weird \, (*) \\ \# Ünï"
    dn = dc.add_user("weird", f"OU=Sales,{STAFF}", cn=cn, telephoneNumber="7100")
    try:
        batch = directory.read(cursor, dict)
        assert [entry.login for entry in batch.entries] == ["weird"]
        (found,) = directory.find(batch.entries[0].dn, ["telephoneNumber"])
        assert found.in_scope
    finally:
        dc.delete(dn)
        directory.close()


def test_auto_takes_dirsync_and_says_by_which_right(dc: Any) -> None:
    said = {}
    for user in ("svc-adwatch", "svc-adwatch-sync"):
        directory = real(dc, user, "auto")
        directory.open()
        said[user] = (directory.reach().feed, directory.reach().why)
        directory.close()
    assert said == {
        "svc-adwatch": ("dirsync", "object security"),
        "svc-adwatch-sync": ("dirsync", "with the replication right"),
    }


def test_a_cookie_that_the_server_refuses_means_one_full_read(dc: Any) -> None:
    directory = real(dc, "svc-adwatch-sync", "dirsync")
    cursor = directory.read(None, dict).cursor
    batch = directory.read(replace(cursor, usn=cursor.usn - 1, cookie=b"\0" * 16), dict)
    assert batch.full
    assert directory.read(batch.cursor, dict).cursor == batch.cursor
    directory.close()


def test_another_filter_means_a_full_read(dc: Any) -> None:
    directory = real(dc, "svc-adwatch", "usn")
    cursor = directory.read(None, dict).cursor
    directory.close()
    other = real(dc, "svc-adwatch", "usn", filter="(&(objectClass=user)(mobile=*))")
    assert other.read(cursor, dict).full
    other.close()


def test_a_renamed_ou_calls_for_a_comparison_that_finds_the_new_dns(dc: Any) -> None:
    directory = real(dc, "svc-adwatch-sync", "dirsync")
    start = directory.read(None, dict)
    known = seen(start)
    field_ou = f"OU=Field,OU=Engineering,{STAFF}"
    renamed = dc.rename(field_ou, "OU=Outdoor")
    try:
        batch = directory.read(start.cursor, lambda: known)
        assert renamed in batch.compare
        moved = directory.compare(batch.cursor, lambda: known)
        assert {e.login for e in moved.entries} == {"petrov", "koenig", "walker"}
        assert all(e.dn.endswith(renamed) for e in moved.entries)
    finally:
        dc.rename(renamed, "OU=Field")
        directory.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bases": ("OU=Nowhere,DC=example,DC=test",)}, "the base OU=Nowhere"),
        ({"servers": ("ldaps://localhost:1",)}, "Connection refused"),
        ({"servers": ("ldaps://no-such-host.invalid",)}, "DNS does not know this name"),
    ],
)
def test_what_cannot_be_read_is_a_fault_in_words(
    dc: Any, changes: dict[str, Any], words: str
) -> None:
    directory = real(dc, "svc-adwatch", "auto", **changes)
    with pytest.raises(DirectoryError, match=words):
        directory.read(None, dict)


def test_the_next_server_is_taken_where_the_first_is_down(dc: Any) -> None:
    directory = real(dc, "svc-adwatch", "auto", servers=("ldaps://localhost:1", dc.ldaps_url))
    assert directory.read(None, dict).full
    assert directory.reach().server == dc.ldaps_url
    directory.close()


def test_a_certificate_of_an_unknown_ca_is_refused(dc: Any) -> None:
    security = Security("ldaps", "svc-adwatch@example.test", None, verify=True, timeout_s=5)
    with pytest.raises(DirectoryError, match="certificate is refused"):
        real(dc, "svc-adwatch", "auto", security=security).open()


def test_starttls_is_verified_too(dc: Any) -> None:
    security = Security(
        "starttls", "svc-adwatch@example.test", str(dc.ca_file), verify=True, timeout_s=5
    )
    directory = real(dc, "svc", "auto", security=security, servers=(dc.starttls_url,))
    assert directory.read(None, dict).full
    directory.close()
    unknown = replace(security, ca_file=None)
    with pytest.raises(DirectoryError, match="certificate is refused"):
        real(dc, "svc", "auto", security=unknown, servers=(dc.starttls_url,)).open()


def test_a_wrong_password_says_so_and_is_tried_once(dc: Any) -> None:
    asked = itertools.count()

    def password() -> str:
        next(asked)
        return "wrong"

    directory = real(
        dc, "svc-adwatch", "auto", password=password, servers=(dc.ldaps_url, dc.ldaps_url)
    )
    with pytest.raises(CredentialsError, match="the password is wrong"):
        directory.open()
    assert next(asked) == 1


def test_a_change_is_pushed_within_sambas_five_seconds(dc: Any) -> None:
    directory = real(dc, "svc-adwatch", "auto")
    directory.open()
    woken, numbers = Event(), itertools.count(7101)
    dn = dc.add_user("pushed", f"OU=Sales,{STAFF}", telephoneNumber="7100")
    directory.listen(woken.set)

    def change_is_heard() -> bool:  # the first may come before the DC has registered us
        dc.modify(dn, telephoneNumber=str(next(numbers)))
        return woken.wait(6)

    try:
        wait_for("push", lambda: directory.reach().push)
        woken.clear()
        wait_for("a notification", change_is_heard)
        assert next(numbers) <= 7101 + 3
    finally:
        dc.delete(dn)
        directory.close()
    wait_for("the end of push", lambda: "push" not in {t.name for t in threading.enumerate()})


def limited(session: Session, most: int) -> Callable[..., Iterator[Row]]:
    """A session's search under a size limit, which Samba 4.22 does not know (measured).

    Microsoft's AD gives so many rows and then sizeLimitExceeded, unless asked for pages.
    """
    search = session.search

    def limited_search(*args: Any, **options: Any) -> Iterator[Row]:
        rows = search(*args, **options)
        if options.get("controls"):
            yield from rows
            return
        for count, row in enumerate(rows):
            if count == most:
                list(rows)  # what a server with a limit would not have sent
                raise LdapError(4, "size limit exceeded, code 4")
            yield row

    return limited_search


def test_pages_give_what_one_answer_gives(dc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    security = Security("ldaps", "svc-adwatch@example.test", str(dc.ca_file), True, 8.0)
    session = Session(dc.ldaps_url, security, dc.service_password)
    session.open()
    try:
        whole = {row.dn for row in session.search_all(dc.base_dn, FILTER, ["cn"])}
        monkeypatch.setattr("adwatch.edges.directory.session.PAGE_SIZE", 5)
        monkeypatch.setattr(session, "search", limited(session, 5))
        before = session.searches
        assert {row.dn for row in session.search_all(dc.base_dn, FILTER, ["cn"])} == whole
        assert session.searches - before == 1 + -(-len(whole) // 5)
    finally:
        session.close()


def test_an_answer_cut_short_is_a_fault_and_never_a_smaller_directory(
    dc: Any, tmp_path: Path
) -> None:
    with proxy(dc, tmp_path) as between:
        directory = real(dc, "svc-adwatch", "usn", servers=(between.url,))
        count = itertools.count()

        def cut_short(found: Message) -> list[bytes] | None:
            """The third user of each answer, and each page, is its last: code 4 follows."""
            if found.tag != ENTRY or b"telephoneNumber" not in found.body:
                return None
            return None if next(count) % 3 < 2 else [result(found.id, 4)]

        between.on_answer = cut_short
        with pytest.raises(DirectoryError, match="code 4"):
            directory.read(None, dict)
        assert between.searches(PAGED), "pages were tried, too"
        directory.close()


def test_a_server_that_cannot_be_used_is_let_go(dc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    close = Session.close

    def noted(session: Session) -> None:
        closed.append(session.url)
        close(session)

    def refuse(*_: Any) -> None:
        raise DirectoryError("not this one")

    monkeypatch.setattr(Session, "close", noted)
    monkeypatch.setattr("adwatch.edges.directory.feeds.read_root", refuse)
    with pytest.raises(DirectoryError, match="not this one"):
        real(dc, "svc-adwatch", "auto").open()
    assert closed == [dc.ldaps_url]
