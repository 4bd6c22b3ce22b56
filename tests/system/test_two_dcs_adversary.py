"""What two controllers can still do to adwatch: each test here failed when it was written."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest
from program import ADWATCH, Adwatch, configured, wait_for
from proxy import DIRSYNC, SEARCH, Message, Proxy, proxy, result

from adwatch.edges.directory.push import Push
from adwatch.edges.directory.session import Session
from system.follower import ORDINARY, security
from system.samba import SambaDC, domain
from system.test_two_dcs import LONG_S, Both, at_rest, both, is_as_ad_says, level, server

__all__ = ["both"]

Start = Callable[..., Adwatch]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an adwatch on some servers' URLs, the preferred one first."""
    made: list[Adwatch] = []

    def begin(dc: SambaDC, *urls: str, **parts: str) -> Adwatch:
        config = configured(", ".join(urls), Path(dc.ca_file), ORDINARY, **parts)
        made.append(Adwatch(tmp_path / str(len(made)), config, dc.service_password))
        made[-1].start()
        wait_for("online", lambda: at_rest(made[-1]))
        return made[-1]

    yield begin
    for adwatch in made:
        adwatch.kill()


def test_a_rolled_back_controller_that_writes_a_user_at_the_very_usn_known_is_seen_through(
    tmp_path: Path, start: Start
) -> None:
    """After a rollback the same user may get the same uSNChanged for another value."""
    with domain() as dc:
        dn = dc.add_user("two-again", telephoneNumber="6950")
        other = dc.add_user("two-other")
        adwatch = start(dc, dc.ldaps_url)
        (tmp_path / "backup").mkdir()
        dc.back_up(tmp_path / "backup")
        for number in range(8):  # room for what Samba itself writes at its start
            dc.modify(other, mobile=str(number))
        dc.modify(dn, telephoneNumber="6951")
        usn = usn_of(dc, dn)
        wait_for("the state before", lambda: adwatch.section("6951"))
        wait_for("rest", lambda: at_rest(adwatch))
        adwatch.stop()
        dc.restore(tmp_path / "backup", as_new=False)
        for number in itertools.count(100):
            if dc.highest_usn() >= usn - 1:
                break
            dc.modify(other, mobile=str(number))
        dc.modify(dn, telephoneNumber="6952")
        assert usn_of(dc, dn) == usn
        for number in range(200, 230):
            dc.modify(other, mobile=str(number))
        adwatch.start()
        wait_for("a reading", lambda: at_rest(adwatch))
        wait_for("what AD says", lambda: is_as_ad_says(adwatch, dc))
        assert adwatch.section("6952")


def usn_of(dc: SambaDC, dn: str) -> int:
    (entry,) = dc.ldapsearch("-s", "base", "uSNChanged", base=dn).values()
    return int(entry["uSNChanged"][0])


def test_nobody_loses_a_phone_because_the_preferred_controller_comes_back_without_the_news(
    both: Both, start: Start, tmp_path: Path
) -> None:
    """Nothing forces adwatch away from the one that knows more."""
    first, second = both
    folder = tmp_path / "proxy"
    folder.mkdir()
    with proxy(first, folder) as before_first:
        adwatch = start(first, before_first.url, second.ldaps_url)
        assert server(adwatch) == before_first.url
        first.take_in(changes=False)
        before_first.refuse()
        before_first.cut()
        wait_for("the failover", lambda: server(adwatch) == second.ldaps_url, LONG_S)
        second.add_user("two-news", telephoneNumber="6960")
        wait_for("the news", lambda: adwatch.section("6960"), LONG_S)
        asked = len(before_first.searches())
        before_first.accept()
        wait_for("a look at it", lambda: len(before_first.searches()) > asked, LONG_S)
        for _ in range(4):
            last = adwatch.status()["directory"]["last_success"]
            wait_for("a reading", lambda t=last: adwatch.status()["directory"]["last_success"] != t)  # type: ignore[misc]
        first.take_in(changes=True)
        level(first, second)
        wait_for("the way back", lambda: server(adwatch) == before_first.url, LONG_S * 2)
        wait_for("it is there", lambda: adwatch.section("6960"))
        told = adwatch("history", "two-news").stdout
        assert "removed" not in told, told


def busy(found: Message) -> list[bytes] | None:
    """Searches for users are answered with busy, all others as usual."""
    if found.tag == SEARCH and DIRSYNC not in found.controls and b"telephoneNumber" in found.body:
        return [result(found.id, 51)]
    return None


def test_a_preferred_controller_that_binds_but_cannot_be_read_gives_way_to_the_next(
    dc: SambaDC, between: Proxy, start: Start
) -> None:
    adwatch = start(dc, between.url, dc.ldaps_url)
    assert server(adwatch) == between.url
    between.on_request = busy
    dn = dc.add_user("two-busy", telephoneNumber="6970")
    try:
        wait_for("the news by the other one", lambda: adwatch.section("6970"), LONG_S)
    finally:
        dc.delete(dn)


def test_another_resolv_conf_is_used_without_a_restart(dc: SambaDC, tmp_path: Path) -> None:
    config = configured("X", Path(dc.ca_file)).replace("servers: [X]", "domain: example.test")
    adwatch = Adwatch(tmp_path / "it", config, dc.service_password)
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.9\n")
    script = f"mount --bind {resolv} /etc/resolv.conf && exec {ADWATCH} run -c {adwatch.config}"
    with adwatch.log.open("ab") as log:
        adwatch.running = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            cwd=adwatch.folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for("the fault", lambda: "DNS can't be asked" in adwatch.log.read_text())
        with resolv.open("r+") as file:  # the same inode, for it is mounted
            file.truncate()
            file.write(f"nameserver {dc.address}\n")
        wait_for("online", lambda: adwatch.status()["state"] == "online", LONG_S * 1.5)
    finally:
        adwatch.kill()


def test_push_that_was_being_connected_during_a_switch_follows_it(
    dc: SambaDC, between: Proxy
) -> None:
    """`follow` comes while the connection to the server before is still being made."""
    wanted, opening, switched = [between.url], Event(), Event()

    def connect() -> tuple[Session, str]:
        session = Session(wanted[0], security(dc, ORDINARY), dc.service_password)
        session.open()
        if not switched.is_set():
            opening.set()
            switched.wait(LONG_S)
        return session, dc.base_dn

    push = Push(connect, lambda: None)
    push.start()
    try:
        assert opening.wait(LONG_S)
        wanted[0] = dc.ldaps_url
        push.follow(dc.ldaps_url)
        switched.set()
        wait_for("the server before is left", lambda: push.listening and not between.links())
    finally:
        push.end()
        push.join(LONG_S)
