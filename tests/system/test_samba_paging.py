"""Counterparts of Samba's vlv.py (its Paged* classes) and large_ldap.py: long answers.

A list in pages is no snapshot, so adwatch confirms by GUID who seems to be missing; and an answer
that was cut short is a fault. Samba gives everything at once, so a proxy has it behave as
Microsoft's AD does, which gives no more than MaxPageSize rows to who asks without pages.
Each test has the name of Samba's, and says what a client has to do about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from proxy import DONE, PAGED, Message, Proxy, SizeLimit, result

from adwatch.core.model import Entry
from adwatch.edges.directory import session as session_module
from adwatch.edges.directory.session import Session
from adwatch.errors import DirectoryError
from system.follower import FILTER, LEAVERS, SALES, SYNC, Follower, session
from system.samba import SambaDC

Follow = Callable[..., Follower]
User = Callable[..., str]
PAGE = 5


@pytest.fixture
def paged(between: Proxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """A proxy that gives no more than a few rows at once."""
    monkeypatch.setattr(session_module, "PAGE_SIZE", PAGE)
    between.on_answer = SizeLimit(between, PAGE)
    return between


@pytest.fixture
def opened(dc: SambaDC) -> Iterator[Session]:
    made = session(dc)
    yield made
    made.close()


def during(follower: Follower, change: Callable[[], object]) -> None:
    """A full read, and a change once its first page is there."""
    changed: list[object] = []
    taken: set[str] = set()

    def take(entry: Entry) -> Entry:
        taken.add(entry.guid)
        if len(taken) == PAGE + 1 and not changed:
            changed.append(change())
        return entry

    follower.begin(take)
    assert changed


def test_paged_delete_during_search(dc: SambaDC, paged: Proxy, follow: Follow, user: User) -> None:
    """Deleted while the pages come: gone, and neither a fault nor a half-read user."""
    user("pd")
    follower = follow(servers=(paged.url,))
    during(follower, lambda: dc.delete(f"CN=pd,{SALES}"))
    follower.poll()
    assert follower.of("pd") is None
    assert follower.is_right()


def test_the_next_page_is_asked_for_before_a_row_of_this_one_is_given(
    dc: SambaDC, opened: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "PAGE_SIZE", PAGE)
    before = opened.searches
    rows = opened._paged(dc.staff_dn, "(objectClass=*)", ["cn"])
    for number in range(1, 3 * PAGE + 1):
        next(rows)
        assert opened.searches - before == 2 + (number - 1) // PAGE


def test_paged_show_deleted(dc: SambaDC, paged: Proxy, follow: Follow, user: User) -> None:
    """Tombstones come to who asks for them in pages: adwatch's lists hold none."""
    dc.delete(user("psd"))
    follower = follow(SYNC, servers=(paged.url,), filter="(sAMAccountName=*)")
    assert paged.searches(PAGED)
    assert not [entry for entry in follower.people.values() if "0ADEL" in entry.dn]
    assert follower.is_right()


def test_paged_add_during_search(paged: Proxy, follow: Follow, user: User) -> None:
    """Added while the pages come: perhaps on none of them, but named by the next poll."""
    follower = follow(servers=(paged.url,))
    during(follower, lambda: user("pa"))
    follower.poll()
    assert follower.of("pa") is not None
    assert follower.is_right()


def test_paged_modify_during_search(dc: SambaDC, paged: Proxy, follow: Follow, user: User) -> None:
    """Renamed while the pages come: the same GUID under its new name, never taken for deleted."""
    dn = user("pm")
    follower = follow(servers=(paged.url,))
    guid = follower.guid("pm")
    during(follower, lambda: dc.rename(dn, "CN=0 first of all"))
    assert guid in follower.people
    follower.poll()
    assert follower.people[guid].dn == f"CN=0 first of all,{SALES}"
    assert follower.is_right()


def test_paged_modify_object_scope(dc: SambaDC, paged: Proxy, follow: Follow, user: User) -> None:
    """Moved out of the base while the pages come: Samba still lists it, the next poll does not."""
    dn = user("ps")
    follower = follow(servers=(paged.url,))
    guid = follower.guid("ps")
    during(follower, lambda: dc.move(dn, LEAVERS))
    follower.poll()
    assert guid not in follower.people
    assert follower.is_right()


def test_paged_modify_one_during_search(
    dc: SambaDC, paged: Proxy, follow: Follow, user: User
) -> None:
    """One leaves the filter while the pages come."""
    dn = user("p1")
    follower = follow(servers=(paged.url,))
    during(follower, lambda: dc.modify(dn, telephoneNumber=None))
    follower.poll()
    assert follower.of("p1") is None
    assert follower.is_right()


def test_paged_modify_all_during_search(
    dc: SambaDC, paged: Proxy, follow: Follow, user: User
) -> None:
    """All of them change while the pages come: each is as it is now, after one more poll."""
    dns = [user(f"pma{i}") for i in range(8)]
    follower = follow(servers=(paged.url,))

    def change() -> None:
        for at, dn in enumerate(dns):
            dc.modify(dn, telephoneNumber=f"74{at:02}")

    during(follower, change)
    follower.poll()
    found = [follower.of(f"pma{i}") for i in range(8)]
    assert [e.first("telephonenumber") for e in found if e] == [f"74{i:02}" for i in range(8)]
    assert follower.is_right()


def test_paged_changed_expr(paged: Proxy, follow: Follow) -> None:
    """Another filter, base or scope with the cookie is refused (12): adwatch changes none."""
    follow(servers=(paged.url,))
    pages = paged.searches(PAGED)
    assert len(pages) > 2
    assert len({page.body for page in pages}) == 1  # test_paged_change_attrs, too


def test_paged_changed_controls(paged: Proxy, follow: Follow) -> None:
    """Other controls with the cookie are refused (12): adwatch sends the paging one, each time."""
    follow(servers=(paged.url,))
    assert {tuple(page.controls) for page in paged.searches(PAGED)} == {(PAGED,)}


def test_paged_change_attrs(paged: Proxy, follow: Follow) -> None:
    """A server that refuses a page (12) has not said that the rest are gone."""
    follower = follow(servers=(paged.url,))
    before, pages = dict(follower.people), len(paged.searches(PAGED))

    def refuse(found: Message) -> list[bytes] | None:
        third = PAGED in found.controls and len(paged.searches(PAGED)) == pages + 3
        return [result(found.id, 12)] if third else None

    paged.on_request = refuse
    with pytest.raises(DirectoryError, match="code 12"):
        follower.begin()
    assert follower.people == before
    paged.honest()
    follower.begin()
    assert follower.is_right()


def test_paged_search_referrals(paged: Proxy, follow: Follow) -> None:
    """References come with the first page of a search at the root: no rows, no faults."""
    follower = follow(servers=(paged.url,), bases=())
    assert paged.searches(PAGED)
    assert follower.is_right()


def test_timeout(follow: Follow, between: Proxy) -> None:
    """A search over MaxQueryDuration ends with 3 and some rows: a fault, and nobody is lost."""
    goes_wrong_and_recovers(follow, between, 3)


def test_iterator_search(follow: Follow, between: Proxy) -> None:
    """Over 256 MiB an answer ends with 4 and some rows: adwatch takes pages, which are smaller."""
    between.on_answer = SizeLimit(between, PAGE)
    follower = follow(servers=(between.url,))
    assert between.searches(PAGED)
    assert follower.is_right()


def test_unindexed_iterator_search(
    dc: SambaDC, opened: Session, follow: Follow, user: User
) -> None:
    """A filter without an index gives every row there is, one after the other."""
    for i in range(30):
        user(f"ui{i}", description="unindexed row")
    rows = list(opened.search_all(dc.base_dn, "(description=unindexed*)", ["cn"]))
    assert len(rows) == 30
    follower = follow(filter=f"(&{FILTER}(description=unindexed*))")
    assert len(follower.people) == 30
    assert follower.is_right()


def goes_wrong_and_recovers(follow: Follow, between: Proxy, code: int) -> None:
    """A full read whose answer ends with `code` is a fault; the next one is right."""
    follower = follow(servers=(between.url,))
    before = dict(follower.people)

    def end(found: Message) -> list[bytes] | None:
        return [result(found.id, code)] if found.tag == DONE and rows[0] > PAGE else None

    rows = [0]

    def count(found: Message) -> list[bytes] | None:
        rows[0] += found.tag != DONE and b"telephoneNumber" in found.raw
        return end(found)

    between.on_answer = count
    with pytest.raises(DirectoryError, match=re.escape(f"code {code}")):
        follower.begin()
    assert follower.people == before
    between.honest()
    follower.begin()
    assert follower.is_right()
