"""Counterparts of Samba's notification.py: push is a hint to poll now, and never more than that.

Each test has the name of Samba's, and says what a client has to do about it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest
from program import LONGEST_S, wait_for
from proxy import NOTIFICATION, Proxy

from adwatch.edges.directory import push
from adwatch.edges.directory.active import ActiveDirectory
from adwatch.edges.directory.entries import SEARCH_DONE, read_result
from adwatch.edges.directory.session import SUBTREE, Session
from system.follower import Follower, session
from system.samba import SambaDC

Follow = Callable[..., Follower]
User = Callable[..., str]
MOST = 5  # MaxNotificationPerConn
TIMER_S = 5  # how often Samba looks


def register(opened: Session, text: str = "(objectClass=*)") -> int:
    controls = [(NOTIFICATION, True, None)]
    return opened.send("DC=example,DC=test", SUBTREE, text, ["objectGUID"], controls)


def test_simple_search(dc: SambaDC, follow: Follow, user: User) -> None:
    """A change gives an event, then there is silence: adwatch is woken, and the poll says why."""
    follower = follow()
    dn = user("heard")
    follower.poll()
    woken = Event()
    follower.directory.listen(woken.set)
    assert woken.wait(LONGEST_S)  # registered: what changed until then may be read now
    assert follower.directory.reach().push
    assert follower.poll().asked == frozenset()
    woken.clear()
    dc.modify(dn, telephoneNumber="7201")
    assert woken.wait(LONGEST_S)
    assert follower.poll().asked == {follower.guid("heard")}
    found = follower.of("heard")
    assert found is not None
    assert found.first("telephonenumber") == "7201"


def test_max_search(
    dc: SambaDC,
    follow: Follow,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The sixth on one connection is refused (11): adwatch has one, and does without if it must.

    Here its connection has five already when push begins.
    """
    opened = session(dc)
    numbers = [register(opened) for _ in range(MOST + 1)]
    refused = opened.next_message(TIMER_S)
    assert refused is not None
    assert (refused.id, refused.tag) == (numbers[-1], SEARCH_DONE)
    assert read_result(refused.body).code == 11
    opened.close()

    second = ActiveDirectory._second_session
    tried: list[Session] = []

    def crowded(directory: ActiveDirectory) -> tuple[Session, str]:
        made, context = second(directory)
        for _ in range(MOST):
            register(made)
        tried.append(made)
        return made, context

    monkeypatch.setattr(ActiveDirectory, "_second_session", crowded)
    caplog.set_level("INFO", "adwatch")
    goes_on_without_push(dc, follow, user, tried)
    assert caplog.text.count("push_lost") == 1


def test_invalid_filter(
    dc: SambaDC,
    follow: Follow,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only the presence of a few attributes may be asked for (else 53): adwatch asks for one.

    And where a server does not like that one either, adwatch does without.
    """
    opened = session(dc)
    for text in ("(cn=*)", "(objectClass=user)", "(!(objectClass=*))", "(uSNChanged>=1)"):
        number = register(opened, text)
        refused = opened.next_message(TIMER_S)
        assert refused is not None
        assert (refused.id, read_result(refused.body).code) == (number, 53)
    opened.close()

    tried: list[Session] = []
    second = ActiveDirectory._second_session

    def counted(directory: ActiveDirectory) -> tuple[Session, str]:
        made, context = second(directory)
        tried.append(made)
        return made, context

    monkeypatch.setattr(ActiveDirectory, "_second_session", counted)
    monkeypatch.setattr(push, "ANYTHING", "(cn=*)")
    caplog.set_level("INFO", "adwatch")
    goes_on_without_push(dc, follow, user, tried)
    assert caplog.text.count("push_lost") == 1


def goes_on_without_push(dc: SambaDC, follow: Follow, user: User, tried: list[Session]) -> None:
    """Polls go on; push is tried again, later and later, and never said to listen."""
    follower = follow()
    dn = user("unheard")
    follower.directory.listen(lambda: None)
    wait_for("a second try", lambda: len(tried) >= 2)
    dc.modify(dn, telephoneNumber="7202")
    follower.poll()
    assert follower.is_right()
    assert not follower.directory.reach().push
    assert len(tried) <= 4  # in the seconds that this took, and ever more rarely


def test_simple_search_of_what_is_not_asked_for(
    dc: SambaDC, between: Proxy, follow: Follow, user: User
) -> None:
    """Any attribute fires, asked for or not: adwatch is woken, and reads nothing but the feed."""
    follower = follow(servers=(between.url,))
    dn = user("noisy")
    follower.poll()
    woken = Event()
    follower.directory.listen(woken.set)
    assert woken.wait(LONGEST_S)
    woken.clear()
    dc.modify(dn, description="noise")
    assert woken.wait(LONGEST_S)
    assert follower.poll().asked == frozenset()
    assert len(between.searches(NOTIFICATION)) == 1
