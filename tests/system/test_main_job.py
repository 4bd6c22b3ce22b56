"""The whole program as a process against a real Samba AD: AD change → include file → reload."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from program import Adwatch, wait_for

from system.samba import SambaDC

STAFF = "OU=Staff,DC=example,DC=test"
SALES = f"OU=Sales,{STAFF}"
LEAVERS = "OU=Leavers,DC=example,DC=test"
WITHIN_S = 2.0  # the bound at poll: 1s
FILTER = "(&(telephoneNumber=*)(objectCategory=person)(objectClass=user)(sAMAccountName=*))"

Make = Callable[..., Adwatch]


@pytest.fixture
def user(dc: SambaDC) -> Iterator[Callable[..., str]]:
    """Adds users, and removes them where the test did not."""
    logins: list[str] = []

    def add(**attributes: Any) -> str:
        logins.append("s" + uuid.uuid4().hex[:10])
        return dc.add_user(logins[-1], SALES, **attributes)

    yield add
    for login in logins:
        for dn in dc.ldapsearch(f"(sAMAccountName={login})", "dn", base="DC=example,DC=test"):
            dc.delete(dn)


def online(adwatch: Adwatch) -> bool:
    return adwatch.status()["state"] == "online"


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
@pytest.mark.parametrize("account", ["svc-adwatch", "svc-adwatch-sync"])
def test_each_change_is_in_the_file_within_two_seconds(
    dc: SambaDC, make: Make, user: Callable[..., str], account: str, feed: str
) -> None:
    adwatch = make(account, directory=f"feed: {feed}")
    adwatch.start()
    wait_for("the first file", lambda: adwatch.section("502"))
    wait_for("online", lambda: online(adwatch))

    def arrives(what: str, seen: Callable[[], Any]) -> None:
        wait_for(what, seen, WITHIN_S)

    dn = user(telephoneNumber="7700", userPrincipalName="seventy@example.test")
    arrives("create", lambda: "email = seventy@example.test" in adwatch.section("7700"))
    dc.modify(dn, telephoneNumber="7701")
    arrives("modify", lambda: adwatch.section("7701") and not adwatch.section("7700"))
    dc.modify(dn, sAMAccountName="renamed77")
    arrives("rename", lambda: "fullname = Renamed77" in adwatch.section("7701"))
    dc.modify(dn, telephoneNumber=None)
    arrives("clear", lambda: not adwatch.section("7701"))
    dc.modify(dn, telephoneNumber="7702")
    arrives("set", lambda: adwatch.section("7702"))
    dn = dc.move(dn, LEAVERS)
    arrives("move out of the base", lambda: not adwatch.section("7702"))
    dn = dc.move(dn, SALES)
    arrives("move into the base", lambda: adwatch.section("7702"))
    dc.disable(dn)
    arrives("disable", lambda: not adwatch.section("7702"))
    dc.enable(dn)
    arrives("enable", lambda: adwatch.section("7702"))
    dc.delete(dn)
    arrives("delete", lambda: not adwatch.section("7702"))
    wait_for("the last reload", lambda: not adwatch.status()["outputs"][0]["reload_owed"])
    status = adwatch.status()
    assert status["state"] == "online"
    assert status["directory"]["feed"] == feed
    assert status["directory"]["sees_deletions"] == (account == "svc-adwatch-sync")
    assert set(adwatch.reloads()) == {"sip reload"}
    assert adwatch.stop() < 3


def test_the_file_holds_exactly_what_the_original_script_gave(dc: SambaDC, make: Make) -> None:
    adwatch = make(directory="disabled: keep")
    text = adwatch.config.read_text().replace(f'base: ["{STAFF}"]', 'base: ["DC=example,DC=test"]')
    adwatch.config.write_text(text)
    assert adwatch("sync").returncode == 0
    expected = {}
    attributes = "telephoneNumber sAMAccountName userPrincipalName facsimileTelephoneNumber"
    for entry in dc.ldapsearch(FILTER, *attributes.split(), base="DC=example,DC=test").values():
        row = {name.lower(): values[0].decode() for name, values in entry.items()}
        number, login = row["telephonenumber"], row["samaccountname"]
        expected[number] = {
            "fullname": login[:1].upper() + login[1:],
            "email": row.get("userprincipalname", ""),
            "callgroup": number[:1],
            "pickupgroup": number[:1],
            "context": row.get("facsimiletelephonenumber") or "users",
        }
    found = {}
    for block in re.findall(r"(?ms)^\[(\w+)\]\(lan\)\n(.*?)(?=^\[|\Z)", adwatch.text()):
        lines = dict(line.split(" = ", 1) for line in block[1].strip().split("\n"))
        assert len(lines.pop("secret")) == 24
        found[block[0]] = lines
    assert found == expected
    assert list(found) == sorted(found)
    assert "599" in found  # disabled, and kept


def test_a_dead_dc_is_served_through_and_came_back_from(
    dc: SambaDC, make: Make, user: Callable[..., str]
) -> None:
    adwatch, other = make(), make()
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    assert other("sync").returncode == 0
    text = adwatch.text()
    dc.kill()
    try:
        wait_for("degraded", lambda: adwatch.status()["state"] == "degraded")
        done = adwatch("status")
        assert done.returncode == 1
        assert "directory fault: ldaps://localhost:" in done.stdout
        assert adwatch("sync").returncode == 4
        assert adwatch("render", "users").stdout == text == adwatch.text()
        adwatch.stop()
        shutil.rmtree(adwatch.folder / "state" / "outputs")
        adwatch.output.unlink()
        adwatch.start()
        wait_for("the cache", lambda: adwatch.text() == text)
        wait_for("degraded", lambda: adwatch.status()["state"] == "degraded")
        assert other("sync").returncode == 4
        assert other("diff").returncode == 1
    finally:
        dc.start()
    wait_for("online again", lambda: online(adwatch), 60)
    user(telephoneNumber="7710")
    wait_for("a change after it", lambda: adwatch.section("7710"))
    assert adwatch.log.read_text().count("event=recovered part=directory") == 1


def test_a_frozen_dc_keeps_the_peers_and_sigterm_ends_within_three_seconds(
    dc: SambaDC, make: Make
) -> None:
    adwatch = make()
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    text = adwatch.text()
    dc.pause()
    try:
        wait_for("degraded", lambda: adwatch.status()["state"] == "degraded")
        assert adwatch.stop() < 3
        adwatch.start()
        wait_for("a status", lambda: adwatch("status").returncode in (0, 1))
        assert adwatch.stop() < 3
        assert adwatch.text() == text
    finally:
        dc.unpause()


def test_an_idle_tick_is_one_read_of_the_root_and_nothing_else(dc: SambaDC, make: Make) -> None:
    adwatch = make(directory="poll: 100ms\npush: false")
    adwatch.start("--verbose")
    wait_for("online", lambda: online(adwatch))

    def searches() -> list[str]:
        return [line for line in adwatch.log.read_text().splitlines() if "event=search" in line]

    def ticks(count: int) -> list[str]:
        """The searches of that many ticks, from now on."""
        before = len(searches())
        wait_for("ticks", lambda: len(searches()) >= before + count)
        return searches()[before:]

    said, usn, after = list[str](), 0, 1
    while usn != after:  # what Samba itself writes, after a start say, is no idle domain
        usn = dc.highest_usn()
        ticks(3)
        wait_for("no debt", lambda: not adwatch.status()["directory"]["comparison_owed"])
        said = ticks(20)
        after = dc.highest_usn()
    assert set(said) == {'level=debug event=search base="" scope=0 filter="(objectClass=*)"'}


def test_a_wrong_password_exits_5_and_the_service_takes_the_right_one_when_it_comes(
    dc: SambaDC, make: Make
) -> None:
    adwatch = make(password="wrong")
    done = adwatch("sync")
    assert done.returncode == 5
    assert "refuses svc-adwatch@example.test: the password is wrong" in done.stderr
    assert "wrong" not in done.stderr.replace("the password is wrong", "")
    assert not adwatch.output.exists()
    adwatch.start()
    wait_for("degraded", lambda: adwatch.status()["state"] == "degraded")
    adwatch.password_file.write_text(dc.service_password)
    wait_for("online", lambda: online(adwatch))
    assert adwatch.log.read_text().count("the password is wrong") == 1


def test_an_output_that_cannot_be_written_exits_1_and_keeps_the_rest(make: Make) -> None:
    adwatch = make()
    adwatch.output.mkdir()
    done = adwatch("sync")
    assert done.returncode == 1
    assert f"the output {adwatch.output} can't be written" in done.stderr
    assert adwatch.reloads() == []


def test_commands_hand_the_work_to_the_service_that_runs(
    dc: SambaDC, make: Make, user: Callable[..., str]
) -> None:
    adwatch = make(directory="poll: 1h\npush: false")
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    user(telephoneNumber="7720")
    done = adwatch("sync")
    assert done.returncode == 0
    assert "added 7720" in done.stdout
    assert adwatch.section("7720")
    dn = user(telephoneNumber="7721")
    assert "added 7721" in adwatch("sync").stdout
    dc.delete(dn)
    user(telephoneNumber="7722")
    done = adwatch("sync")
    assert "added 7722" in done.stdout
    assert "removed 7721" in done.stdout
    assert adwatch("run").returncode == 7
    before = adwatch("secret", "7720").stdout.strip()
    after = adwatch("secret", "7720", "--rotate").stdout.strip()
    assert before != after == adwatch("secret", "7720").stdout.strip()
    assert f"secret = {after}\n" in adwatch.section("7720")
    assert adwatch("sync").stdout == f"{adwatch.status()['peers']['served']} peers served\n"
    assert {before, after}.isdisjoint(adwatch.log.read_text().split())


def test_a_mass_removal_waits_for_a_person(
    dc: SambaDC, make: Make, user: Callable[..., str]
) -> None:
    dns = [user(telephoneNumber=str(7730 + index)) for index in range(8)]
    adwatch = make("svc-adwatch-sync")
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    for dn in dns:
        dc.delete(dn)

    def stay() -> set[str]:
        return {str(7730 + index) for index in range(8) if adwatch.section(str(7730 + index))}

    # Until each has been read: it is out of the file then, or held.
    wait_for("held", lambda: {one["number"] for one in adwatch.status()["held"]} == stay())
    assert adwatch("status").returncode == 2
    held = adwatch.status()["peers"]["held"]
    assert held == len(stay()) >= 3
    newcomer = user(telephoneNumber="7740")
    wait_for("an addition goes on", lambda: adwatch.section("7740"), WITHIN_S)
    assert adwatch("sync").returncode == 6
    done = adwatch("approve")
    assert done.stdout.count("deleted in AD") == held
    wait_for("the approved removals", lambda: not re.search(r"\[773\d\]", adwatch.text()))
    wait_for("online", lambda: online(adwatch))
    history = json.loads(adwatch("history", "--json").stdout)
    assert [c["what"] for c in history].count("approved") == held
    assert newcomer


def test_diff_says_what_a_sync_would_do_and_does_nothing(
    dc: SambaDC, make: Make, user: Callable[..., str]
) -> None:
    adwatch = make()
    assert adwatch("diff").returncode == 2
    assert not (adwatch.folder / "state").exists()
    assert adwatch("sync").returncode == 0
    assert adwatch("diff").returncode == 0
    dn = user(telephoneNumber="7750")
    done = adwatch("diff")
    assert done.returncode == 2
    assert "+ 7750" in done.stdout
    assert "+[7750](lan)" in done.stdout
    assert "secret = ********" in done.stdout
    assert adwatch("sync", "--dry-run").returncode == 0
    assert not adwatch.section("7750")
    assert adwatch("sync").returncode == 0
    dc.delete(dn)
    done = adwatch("diff")
    assert done.returncode == 2
    assert "- 7750" in done.stdout
    assert "deleted, or hidden from the account" in done.stdout


def test_explain_says_why_or_why_not(make: Make) -> None:
    adwatch = make()
    adwatch("sync")
    (found,) = json.loads(adwatch("explain", "502", "--json").stdout)
    assert found["peer"]["name"] == "Ryabov"
    assert found["mapping"]["context"] == "1234567"
    assert found["reasons"] == []
    for who, reason in {
        "zaitsev": "the account is disabled in AD",
        "former": "outside of the base",
        "volkov": "telephoneNumber empty",
    }.items():
        (found,) = json.loads(adwatch("explain", who, "--json").stdout)
        assert found["peer"] is None
        assert reason in found["reasons"][0]
    done = adwatch("explain", "nobody-at-all")
    assert done.returncode == 1
    assert "nobody in AD is called" in done.stderr


def test_check_finds_all_well_and_says_so_line_by_line(make: Make) -> None:
    adwatch = make("svc-adwatch-sync")
    done = adwatch("check")
    assert done.returncode == 0, done.stdout
    assert all(line.startswith("✓") for line in done.stdout.splitlines())
    for what in ("TLS localhost", "bind", "feed", "deletions", "users", "output users"):
        assert f"✓ {what}: " in done.stdout


def test_a_kill_loses_nothing(dc: SambaDC, make: Make, user: Callable[..., str]) -> None:
    adwatch = make()
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    adwatch.kill()
    dn = user(telephoneNumber="7760")
    dc.modify(dn, telephoneNumber="7761")
    adwatch.start()
    wait_for("the change", lambda: adwatch.section("7761"))
    assert not adwatch.section("7760")


def test_a_burst_of_changes_is_one_reload_or_two(make: Make, user: Callable[..., str]) -> None:
    adwatch = make(directory="poll: 100ms")
    text = adwatch.config.read_text().replace(
        "asterisk:\n", "asterisk:\n  settle: 1s\n  at_most: 10s\n"
    )
    adwatch.config.write_text(text)
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    wait_for("the first reload", lambda: len(adwatch.reloads()) == 1)
    for number in range(7770, 7780):
        user(telephoneNumber=str(number))
        wait_for("each", lambda: adwatch.section(str(number)))  # noqa: B023 - used at once
    wait_for("the reload", lambda: not adwatch.status()["outputs"][0]["reload_owed"])
    assert len(adwatch.reloads()) <= 3
