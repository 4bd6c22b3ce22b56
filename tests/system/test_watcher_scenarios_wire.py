"""The failure scenarios that a correct watcher must pass, by their numbers: answers and wires.

A proxy stands before the real domain controller for the faults; the numbered list is at the end
of the facts about Active Directory. 14 and 15 need another controller.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from program import Adwatch, configured, wait_for
from proxy import (
    DIRSYNC,
    DONE,
    ENTRY,
    NOTIFICATION,
    PAGED,
    SEARCH,
    Message,
    Proxy,
    SizeLimit,
    failing,
    message,
    notice_of_disconnection,
    result,
    with_more,
)

from adwatch.config.load import load
from adwatch.core.model import Entry
from adwatch.edges.control import ask
from adwatch.edges.directory import session as session_module
from adwatch.errors import DirectoryError
from adwatch.wiring import build
from system.follower import LEAVERS, ORDINARY, SALES, SYNC, Follower
from system.samba import SambaDC
from system.test_watcher_scenarios import started

Make = Callable[..., Adwatch]
Follow = Callable[..., Follower]
User = Callable[..., str]
PAGE = 5
TIMEOUT_S = 4  # as configured


@pytest.mark.parametrize("fault", [3, 4, 51, 52, "cut", "reset"])
def test_scenario_12_the_second_page_fails_and_the_old_data_stay(
    dc: SambaDC,
    between: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: int | str,
) -> None:
    """The whole service, in this process for the sake of its page size."""
    monkeypatch.setattr(session_module, "PAGE_SIZE", PAGE)
    between.on_answer = SizeLimit(between, PAGE)
    (tmp_path / "bind-password").write_text(dc.service_password)
    config = tmp_path / "config.yaml"
    config.write_text(configured(between.url, dc.ca_file))
    service = build(load(config))
    service.prepare()
    service.open()
    try:
        assert service.turn("reconcile").faults == {}
        before = (tmp_path / "users.conf").read_bytes()
        pages = len(between.searches(PAGED))

        def break_it(found: Message) -> list[bytes] | None:
            if found.tag != SEARCH or PAGED not in found.controls:
                return None
            if len(between.searches(PAGED)) != pages + 2:
                return None
            if isinstance(fault, int):
                return [result(found.id, fault)]
            getattr(between, fault)()
            return []

        between.on_request = break_it
        turn = service.turn("reconcile")
        assert list(turn.faults) == ["directory"]
        assert turn.changes == ()
        assert (tmp_path / "users.conf").read_bytes() == before
        between.on_request = lambda _: None
        turn = service.turn("reconcile")
        assert (turn.faults, turn.changes) == ({}, ())
    finally:
        service.close()


@pytest.mark.parametrize("how", ["renamed", "moved within the base"])
def test_scenario_13_renamed_or_moved_while_the_pages_come(
    dc: SambaDC,
    between: Proxy,
    follow: Follow,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """Windows' pages may leave such a user out, so here its row never comes at all."""
    monkeypatch.setattr(session_module, "PAGE_SIZE", PAGE)
    limit = between.on_answer = SizeLimit(between, PAGE)
    dn = user("s13")
    follower = follow(servers=(between.url,))
    guid = follower.guid("s13")

    def leave_out(found: Message) -> list[bytes] | None:
        paged = PAGED in next(
            m.controls for m in between.requests if (m.link, m.id) == (found.link, found.id)
        )
        return [] if paged and found.tag == ENTRY and b"s13" in found.raw else limit(found)

    between.on_answer = leave_out
    if how == "renamed":
        now = dc.rename(dn, "CN=0 s13")
    else:
        now = dc.move(dn, f"OU=Field,OU=Engineering,{dc.staff_dn}")
    batch = follower.begin()
    assert guid not in batch.gone
    assert follower.people[guid].dn == now
    between.honest()
    assert follower.is_right()


@pytest.mark.parametrize(("account", "code"), [(ORDINARY, 2), (SYNC, 12), (ORDINARY, 53)])
def test_scenario_16_a_refused_cookie_means_one_full_read(
    dc: SambaDC, between: Proxy, follow: Follow, user: User, account: str, code: int
) -> None:
    """12 is what Samba itself says to a corrupt one; the other codes are the proxy's."""
    dn = user("s16")
    follower = follow(account, servers=(between.url,))
    dc.modify(dn, telephoneNumber="8116")
    if code == 12:
        assert follower.cursor is not None
        follower.cursor = replace(follower.cursor, cookie=b"no cookie at all")
    else:
        refuse = failing(DIRSYNC, code)
        refused: list[int] = []

        def once(found: Message) -> list[bytes] | None:
            answer = None if refused else refuse(found)
            refused.extend([found.id] if answer else [])
            return answer

        between.on_request = once
    assert follower.poll().full
    assert follower.is_right()
    dc.modify(dn, telephoneNumber="81160")
    assert not follower.poll().full
    asked = len(between.requests)
    assert not follower.poll().full
    assert len(between.requests) == asked + 1
    assert follower.is_right()


def test_a_dirsync_that_is_busy_is_asked_again_and_everything_is_not_read(
    dc: SambaDC, between: Proxy, follow: Follow, user: User
) -> None:
    dn = user("s16")
    follower = follow(ORDINARY, servers=(between.url,))
    dc.modify(dn, telephoneNumber="8116")
    between.on_request = failing(DIRSYNC, 51)
    with pytest.raises(DirectoryError, match="code 51"):
        follower.poll()
    between.honest()
    assert not follower.poll().full
    assert follower.is_right()


def no_dirsync_control(found: Message) -> list[bytes] | None:
    """The root says nothing of DirSync: its OID becomes another of the same length."""
    raw = found.raw.replace(DIRSYNC.encode(), b"1.2.840.113556.1.4.999")
    return [raw] if found.tag == ENTRY and raw != found.raw else None


def silent_dirsync(between: Proxy) -> Callable[[Message], list[bytes] | None]:
    """DirSync succeeds and shows nothing, as where replPropertyMetaData can't be read."""

    def rule(found: Message) -> list[bytes] | None:
        asked = (m for m in between.searches(DIRSYNC) if m.link == found.link)
        return [] if found.tag == ENTRY and found.id in {m.id for m in asked} else None

    return rule


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("unsupported", "the server does not offer the control"),
        ("right", "the account has no right"),
        ("base", "refused with code 53"),
        ("silent", "it is silent about an object that a search shows"),
    ],
)
def test_scenario_17_without_dirsync_the_usn_is_followed_and_check_says_why(
    dc: SambaDC, between: Proxy, make: Make, follow: Follow, user: User, fault: str, why: str
) -> None:
    if fault in ("right", "base"):
        between.on_request = failing(DIRSYNC, 50 if fault == "right" else 53)
    else:
        between.on_answer = {
            "unsupported": no_dirsync_control,
            "silent": silent_dirsync(between),
        }[fault]
    dn = user("s17")
    follower = follow(ORDINARY, "auto", servers=(between.url,))
    reach = follower.directory.reach()
    assert reach.feed == "usn"
    assert why in reach.why
    dc.modify(dn, telephoneNumber="8117")
    assert follower.poll().asked == {follower.guid("s17")}
    dc.move(dn, LEAVERS)
    follower.poll()
    assert follower.is_right()
    if fault == "silent":
        adwatch = make(server=between.url)
        assert re.search(rf"feed: .*{why}", adwatch("check").stdout)
        adwatch = make(server=between.url, directory="feed: dirsync")
        done = adwatch("sync")
        assert done.returncode == 4
        assert why in done.stderr
        assert "feed: auto or usn" in done.stderr


def test_scenario_18_killed_between_two_parts_of_an_answer(
    dc: SambaDC, between: Proxy, make: Make, user: User
) -> None:
    """Two changes; the first part names one and says that there is more, and then kill -9."""
    dns = [user(f"s18{i}", telephoneNumber=f"8118{i}") for i in range(2)]
    adwatch = started(make, server=between.url, directory="push: false\nfeed: dirsync")
    parts: list[Message] = []

    def first_part(found: Message) -> list[bytes] | None:
        if found.tag != DONE or DIRSYNC not in found.controls:
            return None
        parts.append(found)
        return [with_more(found)]

    def no_second(found: Message) -> list[bytes] | None:
        return [] if parts and DIRSYNC in found.controls else None

    between.on_answer, between.on_request = first_part, no_second
    for i, dn in enumerate(dns):
        dc.modify(dn, telephoneNumber=f"8128{i}")
    asked = len(between.searches(DIRSYNC))
    wait_for("the second request", lambda: parts and len(between.searches(DIRSYNC)) >= asked + 2)
    adwatch.kill()
    assert adwatch.section("81180")
    assert adwatch.section("81181")
    between.honest()
    adwatch.start()
    wait_for("both", lambda: adwatch.section("81280") and adwatch.section("81281"))
    assert not adwatch.section("81180")
    assert not adwatch.section("81181")


def test_scenario_18_more_results_are_all_fetched(
    between: Proxy, follow: Follow, user: User
) -> None:
    """The flag says that there is more, twice: adwatch asks on with the cookie it got."""
    follower = follow(SYNC, servers=(between.url,))
    user("s18c")
    parts: list[Message] = []

    def flagged(found: Message) -> list[bytes] | None:
        if found.tag != DONE or DIRSYNC not in found.controls or len(parts) == 2:
            return None
        parts.append(found)
        return [with_more(found)]

    between.on_answer = flagged
    asked = len(between.searches(DIRSYNC))
    follower.poll()
    assert follower.of("s18c") is not None
    assert len(between.searches(DIRSYNC)) == asked + 3
    assert follower.poll().asked == frozenset()
    assert follower.is_right()


def cpu_s(adwatch: Adwatch) -> float:
    """The processor time that the service has used (proc(5))."""
    assert adwatch.running is not None
    fields = Path(f"/proc/{adwatch.running.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_scenario_19_a_silent_server_is_noticed_in_time_and_costs_nothing(
    between: Proxy, make: Make, user: User
) -> None:
    adwatch = started(make, server=between.url)
    text = adwatch.text()
    between.freeze()
    state = adwatch.folder / "state"  # asked without a process, which takes its time to start
    degraded = lambda: ask(state, {"command": "status"})["status"]["state"] == "degraded"  # noqa: E731
    assert wait_for("degraded", degraded) < TIMEOUT_S + 4  # the contract's `timeout`, and a poll
    used = cpu_s(adwatch)
    fails = r"event=fault.*times=2"
    wait_for("more tries", lambda: re.search(fails, adwatch.log.read_text()), 60)
    assert cpu_s(adwatch) - used < 1  # in some 5 s: it waits, it does not spin
    assert adwatch.text() == text
    user(telephoneNumber="8119")
    between.thaw()
    wait_for("the change", lambda: adwatch.section("8119"), 60)
    assert adwatch.stop() < 3


@pytest.mark.parametrize("how", ["FIN", "RST", "notice", "done"])
def test_scenario_20_push_is_lost_and_comes_back_and_what_was_missed_is_read(
    between: Proxy, make: Make, user: User, how: str
) -> None:
    """The poll is an hour away, so only push can tell of changes, and only a new one of these."""
    adwatch = started(make, server=between.url, directory="poll: 1h")
    wait_for("push", lambda: adwatch.status()["directory"]["push"])
    (first,) = between.searches(NOTIFICATION)
    between.refuse()
    if how == "FIN":
        between.cut(first.link)
    elif how == "RST":
        between.reset(first.link)
    elif how == "notice":
        between.say(notice_of_disconnection(), first.link)
    else:
        between.say(result(first.id, 0), first.link)
    wait_for("push to be lost", lambda: "event=push_lost" in adwatch.log.read_text())
    user(telephoneNumber="8120")
    between.accept()
    wait_for("push again", lambda: len(between.searches(NOTIFICATION)) == 2, 60)
    wait_for("what was missed", lambda: adwatch.section("8120"))
    assert adwatch.log.read_text().count("event=push_lost") == 1


@pytest.mark.parametrize("how", [11, 51, "ignored"])
def test_scenario_21_no_notifications_to_be_had(
    dc: SambaDC, between: Proxy, make: Make, user: User, how: int | str
) -> None:
    """Refused, or taken for an ordinary search: the polls go on, and push is hardly tried."""

    def ignore(found: Message) -> list[bytes] | None:
        if NOTIFICATION not in found.controls:
            return None
        row = message(found.id, ENTRY, b"\x04\x02CN\x30\x00")
        return [*([row] * 50), result(found.id, 0)]

    between.on_request = ignore if how == "ignored" else failing(NOTIFICATION, int(how))
    adwatch = started(make, server=between.url, directory="poll: 200ms")
    dn = user(telephoneNumber="8121")
    wait_for("a change", lambda: adwatch.section("8121"))
    wait_for("a second try", lambda: len(between.searches(NOTIFICATION)) >= 2)
    dc.modify(dn, telephoneNumber="81210")
    wait_for("another change", lambda: adwatch.section("81210"))
    status = adwatch.status()
    assert (status["state"], status["directory"]["push"]) == ("online", False)
    assert adwatch.log.read_text().count("event=push_lost") == 1


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
@pytest.mark.parametrize("account", [ORDINARY, SYNC])
def test_scenario_22_changed_between_the_first_read_and_the_feed(
    dc: SambaDC, follow: Follow, user: User, account: str, feed: str
) -> None:
    """While the rows of the full read come in: one each is made, changed, cleared and deleted."""
    changed, cleared, deleted = (user(f"s22{name}") for name in ("changed", "cleared", "deleted"))
    follower = follow(account, feed)

    taken: list[Entry] = []

    def take(entry: Entry) -> Entry:
        taken.append(entry)
        if len(taken) == 1:
            user("s22made", telephoneNumber="81220")
            dc.modify(changed, telephoneNumber="81221")
            dc.modify(cleared, telephoneNumber=None)
            dc.delete(deleted)
            dc.move(user("s22moved"), LEAVERS)
        return entry

    follower.begin(take)
    follower.poll()
    found = follower.of("s22changed")
    assert found is not None
    assert found.first("telephonenumber") == "81221"
    assert follower.of("s22made") is not None
    for login in ("s22cleared", "s22deleted", "s22moved"):
        assert follower.of(login) is None
    assert follower.is_right()
    assert SALES in changed


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
def test_scenario_22_changed_right_behind_the_feeds_answer(
    dc: SambaDC, between: Proxy, follow: Follow, user: User, feed: str
) -> None:
    """What the feed could not name yet is named by the next one, whatever was read between."""
    named, later = user("s22named"), user("s22later")
    follower = follow(ORDINARY, feed, servers=(between.url,))
    follower.begin()
    answered: list[Message] = []

    def behind(found: Message) -> list[bytes] | None:
        asked = next(m for m in between.requests if (m.link, m.id) == (found.link, found.id))
        last = DIRSYNC in asked.controls if feed == "dirsync" else b"uSNChanged" in asked.body
        if found.tag == DONE and last and not answered:
            answered.append(found)
            dc.modify(later, telephoneNumber="81229")
        return None

    between.on_answer = behind
    dc.modify(named, telephoneNumber="81228")
    follower.poll()
    assert answered
    follower.poll()
    found = follower.of("s22later")
    assert found is not None
    assert found.first("telephonenumber") == "81229"
