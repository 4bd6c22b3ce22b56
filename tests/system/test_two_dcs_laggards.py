"""A controller that lags behind must take nothing back, nor shut adwatch out.

Each test here failed when it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from program import Adwatch, configured, wait_for
from proxy import Proxy, proxy

from system.follower import ORDINARY
from system.samba import SambaDC
from system.test_two_dcs import LONG_S, Both, at_rest, both, level, server

__all__ = ["both"]


@dataclass
class Watched:
    """Two controllers, a proxy before each, and an adwatch that knows only the proxies."""

    first: SambaDC
    second: SambaDC
    before_first: Proxy
    before_second: Proxy
    adwatch: Adwatch

    def lose(self) -> None:
        """The first takes in nothing from now on, and can't be reached."""
        self.first.take_in(changes=False)
        self.before_first.refuse()
        self.before_first.cut()

    def fail_over(self) -> None:
        """Goes over to the second, while the first begins to lag behind."""
        assert server(self.adwatch) == self.before_first.url
        self.lose()
        self.wait_for_second()
        wait_for("rest", lambda: at_rest(self.adwatch), LONG_S)

    def wait_for_second(self) -> None:
        wait_for("failover", lambda: server(self.adwatch) == self.before_second.url, LONG_S)

    def show_the_laggard(self) -> None:
        """The first can be reached again; returns after adwatch has looked at it and read on."""
        asked = len(self.before_first.searches())
        self.before_first.accept()
        wait_for("a look", lambda: len(self.before_first.searches()) > asked, LONG_S)
        self.read_on()

    def went_over(self) -> bool:
        return server(self.adwatch) == self.before_first.url

    def read_on(self) -> None:
        """Waits for four readings more."""
        for _ in range(4):
            last = self.success()
            wait_for("a reading", lambda t=last: self.success() != t)  # type: ignore[misc]

    def success(self) -> str:
        return str(self.adwatch.status()["directory"]["last_success"])


def fault(adwatch: Adwatch) -> str:
    return str(adwatch.status()["directory"]["fault"])


@pytest.fixture
def watched(both: Both, tmp_path: Path) -> Iterator[Callable[[], Watched]]:
    """Starts it, once the test has put into the domain what it needs."""
    first, second = both
    with ExitStack() as stack:
        proxies: list[Proxy] = []
        for dc in both:
            folder = tmp_path / dc.name
            folder.mkdir()
            proxies.append(stack.enter_context(proxy(dc, folder)))

        def begin(password: str = SambaDC.service_password) -> Watched:
            urls = ", ".join(p.url for p in proxies)
            config = configured(urls, Path(first.ca_file), ORDINARY)
            adwatch = Adwatch(tmp_path / "it", config, password)
            adwatch.start()
            stack.callback(adwatch.kill)
            wait_for("online", lambda: at_rest(adwatch))
            return Watched(first, second, proxies[0], proxies[1], adwatch)

        yield begin


def test_a_preferred_controller_that_lags_does_not_give_a_user_the_old_number_back(
    both: Both, watched: Callable[[], Watched]
) -> None:
    """The same users are at the same places there: only their values are older."""
    dn = both[0].add_user("two-value", telephoneNumber="6980")
    level(*both)
    it = watched()
    it.fail_over()
    it.second.modify(dn, telephoneNumber="6981")
    wait_for("the new number", lambda: it.adwatch.section("6981"))
    it.show_the_laggard()
    assert it.adwatch.section("6981"), it.adwatch.log.read_text()
    assert not it.adwatch.section("6980")


def test_a_preferred_controller_that_lags_does_not_give_a_leaver_the_phone_back(
    both: Both, watched: Callable[[], Watched]
) -> None:
    dn = both[0].add_user("two-leaver", telephoneNumber="6982")
    level(*both)
    it = watched()
    it.fail_over()
    assert it.adwatch.section("6982")
    it.second.disable(dn)
    wait_for("the leaver is gone", lambda: not it.adwatch.section("6982"))
    it.show_the_laggard()
    assert not it.adwatch.section("6982"), it.adwatch.log.read_text()


def test_a_connection_that_breaks_does_not_lead_to_a_preferred_controller_known_to_lag(
    watched: Callable[[], Watched],
) -> None:
    """The one in use answers again at once: what was refused as a laggard is so still."""
    it = watched()
    it.fail_over()
    it.second.add_user("two-broken", telephoneNumber="6983")
    wait_for("the news", lambda: it.adwatch.section("6983"))
    it.show_the_laggard()
    assert not it.went_over()
    it.before_second.cut()
    it.read_on()
    assert it.adwatch.section("6983"), it.adwatch.log.read_text()


def test_a_password_that_only_a_laggard_refuses_does_not_shut_adwatch_out_of_the_others(
    both: Both, watched: Callable[..., Watched]
) -> None:
    """The first has just taken this very password, and can be reached again at once."""
    first, second = both
    second.take_in(changes=False)
    first.set_password(ORDINARY.partition("@")[0], "Adwatch-5678")
    try:
        it = watched("Adwatch-5678")
        assert server(it.adwatch) == it.before_first.url
        it.before_first.refuse()
        it.before_first.cut()
        wait_for("the laggard's refusal", lambda: "refuses" in fault(it.adwatch), LONG_S)
        it.before_first.accept()
        online = lambda: it.adwatch.status()["state"] == "online"  # noqa: E731
        wait_for("the first is used again", online, LONG_S)
    finally:
        first.set_password(ORDINARY.partition("@")[0], first.service_password)
