"""Two controllers that replicate: failover under load, a laggard, the way back, a restored one."""

from __future__ import annotations

import itertools
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import dns.exception
import dns.resolver
import pytest
from ldap3.core.exceptions import LDAPException
from program import ADWATCH, Adwatch, configured, wait_for

from adwatch.edges.directory import feeds
from adwatch.edges.directory.session import Session
from adwatch.errors import DirectoryError
from system.follower import ORDINARY, edge
from system.machine.oracle import VARIANTS, as_asterisk_reads, expected
from system.rights import READ_PROGRESS, denied
from system.samba import SambaDC, domain, replicates, wait_until

Both = tuple[SambaDC, SambaDC]
Make = Callable[..., Adwatch]
LONG_S = 180.0  # the way back is looked for ever more rarely: within minutes, every two minutes


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Starts an adwatch on some controllers, the preferred one first."""
    made: list[Adwatch] = []

    def install(*dcs: SambaDC, **parts: str) -> Adwatch:
        servers = ", ".join(dc.ldaps_url for dc in dcs)
        config = configured(servers, Path(dcs[0].ca_file), "svc-adwatch", **parts)
        made.append(Adwatch(tmp_path / str(len(made)), config, dcs[0].service_password))
        made[-1].start()
        wait_for("online", lambda: at_rest(made[-1]))
        return made[-1]

    yield install
    for adwatch in made:
        adwatch.kill()


@pytest.fixture
def both(dcs: Both) -> Iterator[Both]:
    """The two, both in step before and after, with no users of a test's."""
    yield dcs
    for dc in dcs:
        dc.take_in(changes=True)
    level(*dcs)
    for dn in dcs[0].ldapsearch("(sAMAccountName=two-*)", "1.1"):
        dcs[0].delete(dn)
    level(*dcs)


def level(first: SambaDC, second: SambaDC) -> None:
    for source, target in ((first, second), (second, first)):
        wait_until(lambda s=source, t=target: replicates(s, t), LONG_S, "they replicate")  # type: ignore[misc]


def at_rest(adwatch: Adwatch) -> bool:
    said = adwatch.status()
    return said["state"] == "online" and not said["directory"]["comparison_owed"]


def server(adwatch: Adwatch) -> str:
    return str(adwatch.status()["directory"]["server"])


def is_as_ad_says(adwatch: Adwatch, dc: SambaDC) -> bool:
    wanted = expected(dc, "svc-adwatch", dc.staff_dn, VARIANTS["original"], "")
    numbers = sorted(peer["number"] for peer in wanted.claims.values())
    return sorted(as_asterisk_reads(adwatch.text())) == numbers


class Writer(Thread):
    """An administrator who never rests, at whichever controller answers.

    With `numbers` unset nobody's number changes: what is written then does not matter to a PBX.
    """

    def __init__(self, dcs: Both) -> None:
        super().__init__(daemon=True)
        self.stop = Event()
        self.numbers = True
        self.done = 0
        self._dcs = itertools.cycle(dcs)
        self._dc = next(self._dcs)

    def run(self) -> None:
        chance = random.Random(7)
        users: list[str] = []
        for number in itertools.count(6000):
            if self.stop.is_set():
                return
            try:
                if users and not self.numbers:
                    self._dc.modify(chance.choice(users), description=str(number))
                    self.done += 1
                    continue
                if len(users) > 6:
                    self._dc.delete(users.pop(0))
                if users and chance.random() < 0.5:
                    self._dc.modify(chance.choice(users), telephoneNumber=str(number))
                else:
                    users.append(self._dc.add_user(f"two-{number}", telephoneNumber=str(number)))
                self.done += 1
            except (LDAPException, OSError):
                self._dc.close()
                self._dc = next(self._dcs)


def test_scenario_14_a_failover_under_load_loses_nothing_and_the_way_back_is_found(
    both: Both, make: Make
) -> None:
    first, second = both
    adwatch = make(first, second, more="safety: {max_removals: 1000}\n")
    assert server(adwatch) == first.ldaps_url
    writer = Writer(both)
    writer.start()
    try:
        wait_for("some writing", lambda: writer.done > 30)
        first.kill()
        before = writer.done
        wait_for("the other is used", lambda: server(adwatch) == second.ldaps_url)
        wait_for("more writing", lambda: writer.done > before + 30, LONG_S)
        writer.numbers = False
        first.start()
        wait_for("the way back", lambda: server(adwatch) == first.ldaps_url, LONG_S)
        before, writer.numbers = writer.done, True
        wait_for("more writing", lambda: writer.done > before + 30, LONG_S)
    finally:
        writer.stop.set()
        writer.join()
    level(first, second)
    wait_for("what AD says", lambda: is_as_ad_says(adwatch, first))
    wait_for("rest", lambda: at_rest(adwatch))
    assert is_as_ad_says(adwatch, second)
    log = adwatch.log.read_text()
    assert f"event=connected server={second.ldaps_url}" in log
    assert log.count(f"event=connected server={first.ldaps_url}") == 2
    assert adwatch.stop() < 3


def test_a_change_made_at_the_other_controller_comes_by_replication(both: Both, make: Make) -> None:
    first, second = both
    adwatch = make(first, second)
    dn = second.add_user("two-remote", telephoneNumber="6900")
    wait_for("it comes", lambda: adwatch.section("6900"), LONG_S)
    second.delete(dn)
    wait_for("it goes", lambda: not adwatch.section("6900"), LONG_S)
    assert server(adwatch) == first.ldaps_url


def test_a_laggard_after_a_failover_removes_no_mass_of_users_and_no_secret_changes(
    both: Both, make: Make
) -> None:
    first, second = both
    adwatch = make(first, second)
    second.take_in(changes=False)
    numbers = [str(6910 + n) for n in range(8)]
    for number in numbers:
        first.add_user(f"two-{number}", telephoneNumber=number)
    wait_for("all eight", lambda: all(map(adwatch.section, numbers)))
    text = adwatch.text()
    first.kill()
    try:
        wait_for("they are held", lambda: adwatch.status()["peers"]["held"] == 8)
        assert adwatch.text() == text
    finally:
        first.start()
    second.take_in(changes=True)
    wait_for("nobody is held", lambda: at_rest(adwatch), LONG_S)
    assert adwatch.text() == text


def test_one_that_is_not_synchronized_is_passed_over(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = both
    read_root = feeds.read_root

    def unsynchronized(session: Session) -> feeds.Root:
        return replace(read_root(session), synchronized=session.url != first.ldaps_url)

    monkeypatch.setattr(feeds, "read_root", unsynchronized)
    directory = edge(first, servers=(first.ldaps_url, second.ldaps_url))
    assert directory.read(None, dict).full
    assert directory.reach().server == second.ldaps_url
    directory.close()
    alone = edge(first, servers=(first.ldaps_url,))
    with pytest.raises(DirectoryError, match="says that it is not synchronized"):
        alone.open()


def test_the_controllers_are_found_by_the_domains_name(both: Both, tmp_path: Path) -> None:
    first, second = both
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [first.address]
    name = "_ldap._tcp.dc._msdcs.example.test."

    def known() -> int:
        try:
            return len(resolver.resolve(name, "SRV"))
        except dns.exception.DNSException:  # it is busy, perhaps
            return 0

    wait_for("both are in DNS", lambda: known() == 2, LONG_S)
    config = configured("X", Path(first.ca_file)).replace("servers: [X]", "domain: example.test")
    adwatch = Adwatch(tmp_path, config, first.service_password)
    resolv = tmp_path / "resolv.conf"
    resolv.write_text(f"nameserver {first.address}\nnameserver {second.address}\n")
    script = f"mount --bind {resolv} /etc/resolv.conf && exec {ADWATCH} sync -c {adwatch.config}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert is_as_ad_says(adwatch, first)
    checked = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script.replace("sync", "check")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    for name in ("dc1", "dc2"):
        assert f"✓ TLS {name}.example.test" in checked.stdout
    assert "✓ replication" in checked.stdout


def test_check_says_where_it_cannot_be_seen_how_far_a_controller_is_behind(
    both: Both, make: Make
) -> None:
    adwatch = make(*both)
    with denied(both[0], both[0].base_dn, ORDINARY.partition("@")[0], READ_PROGRESS):
        level(*both)
        done = adwatch("check")
    level(*both)
    assert done.returncode == 1
    assert "✗ replication" in done.stdout
    assert "replUpToDateVector" in done.stdout


@pytest.mark.parametrize("as_new", [True, False], ids=["new invocationId", "same invocationId"])
def test_scenario_15_a_controller_restored_from_an_old_backup(
    tmp_path: Path, make: Make, as_new: bool
) -> None:
    """Where the invocationId stays, its USN is past the cursor again before anybody looks."""
    with domain() as dc:
        reverted = dc.add_user("two-reverted", telephoneNumber="6930")
        hidden = dc.add_user("two-hidden", telephoneNumber="6931")
        adwatch = make(dc)
        (tmp_path / "backup").mkdir()
        dc.back_up(tmp_path / "backup")
        dc.modify(reverted, telephoneNumber="6940")
        dc.add_user("two-lost", telephoneNumber="6932")
        for number in range(8):  # room for what Samba itself writes at its starts
            dc.modify(hidden, mobile=str(number))
        wait_for("the state before", lambda: adwatch.section("6940") and adwatch.section("6932"))
        wait_for("rest", lambda: at_rest(adwatch))
        adwatch.stop()
        seen = dc.highest_usn()
        dc.restore(tmp_path / "backup", as_new=as_new)
        dc.modify(hidden, telephoneNumber="6941")
        assert dc.highest_usn() <= seen
        noise = dc.add_user("two-noise")
        for number in itertools.count():
            dc.modify(noise, mobile=str(number))
            if dc.highest_usn() > seen + 3:
                break
        adwatch.start()
        wait_for("what AD says", lambda: is_as_ad_says(adwatch, dc))
        assert adwatch.section("6930")
        assert adwatch.section("6941")
        assert not adwatch.section("6932")
