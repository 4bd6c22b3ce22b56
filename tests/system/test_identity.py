"""Who a person is: the objectGUID, whatever else changes; seen by the SIP secret in the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from ldap3 import MODIFY_DELETE, MODIFY_REPLACE
from program import Adwatch, wait_for

from system.follower import SALES
from system.samba import SambaDC

Make = Callable[..., Adwatch]
User = Callable[..., str]
SHOW_DELETED = ("1.2.840.113556.1.4.417", True, None)


def secret(adwatch: Adwatch, number: str) -> str:
    """What the file has for a number, and `adwatch secret` too."""
    (line,) = [s for s in adwatch.section(number).splitlines() if s.startswith("secret = ")]
    told = adwatch("secret", number).stdout.strip()
    assert line == f"secret = {told}"
    return told


@pytest.fixture
def adwatch(make: Make) -> Adwatch:
    made = make("svc-adwatch-sync")
    assert made("sync").returncode == 0
    return made


def synced(adwatch: Adwatch, number: str) -> str:
    assert adwatch("sync").returncode == 0
    return secret(adwatch, number)


def test_a_rename_a_move_and_another_number_keep_the_secret(
    dc: SambaDC, adwatch: Adwatch, user: User
) -> None:
    dn = user("ident1", telephoneNumber="7900")
    first = synced(adwatch, "7900")
    dn = dc.rename(dn, "CN=Somebody Else")
    dc.modify(dn, sAMAccountName="ident2", userPrincipalName="ident2@example.test")
    assert synced(adwatch, "7900") == first
    dn = dc.move(dn, f"OU=Management,{dc.staff_dn}")
    assert synced(adwatch, "7900") == first
    dc.modify(dn, telephoneNumber="7901")
    assert synced(adwatch, "7901") == first
    dc.delete(dn)


def test_a_number_passed_to_somebody_else_gets_another_secret(
    dc: SambaDC, adwatch: Adwatch, user: User
) -> None:
    before, after = user("ident1", telephoneNumber="7900"), user("ident2", telephoneNumber="7901")
    first = synced(adwatch, "7900")
    dc.modify(before, telephoneNumber=None)
    dc.modify(after, telephoneNumber="7900")
    assert synced(adwatch, "7900") != first


def test_a_deleted_user_that_is_brought_back_gets_the_old_secret(
    dc: SambaDC, adwatch: Adwatch, user: User
) -> None:
    dn = user("identback", telephoneNumber="7900")
    first = synced(adwatch, "7900")
    dc.delete(dn)
    assert adwatch("sync").returncode == 0
    assert not adwatch.section("7900")
    admin = dc.admin()
    admin.search(
        dc.base_dn, "(&(isDeleted=TRUE)(sAMAccountName=identback))", controls=[SHOW_DELETED]
    )
    tombstone = admin.response[0]["dn"]
    back = f"CN=identback again,{SALES}"
    changes = {"isDeleted": [(MODIFY_DELETE, [])], "distinguishedName": [(MODIFY_REPLACE, [back])]}
    admin.modify(tombstone, changes, controls=[SHOW_DELETED])
    dc.modify(back, telephoneNumber="7902", userAccountControl=544)
    assert synced(adwatch, "7902") == first


def test_a_user_made_again_under_the_same_name_is_somebody_else(
    dc: SambaDC, adwatch: Adwatch, user: User
) -> None:
    dn = user("ident1", telephoneNumber="7900")
    first = synced(adwatch, "7900")
    dc.delete(dn)
    assert user("ident1", telephoneNumber="7900") == dn
    assert synced(adwatch, "7900") != first


def test_a_lost_state_directory_costs_no_secret_while_the_key_is_kept(
    make: Make, user: User
) -> None:
    adwatch = make("svc-adwatch-sync", more="secrets: {key_file: secret.key}\n")
    user("ident1", telephoneNumber="7900")
    first = synced(adwatch, "7900")
    rotated = adwatch("secret", "7900", "--rotate").stdout.strip()
    assert rotated != first
    text = adwatch.text()
    shutil.rmtree(adwatch.folder / "state")
    assert adwatch("sync").returncode == 0
    assert adwatch.text() == text
    assert secret(adwatch, "7900") == rotated


@pytest.mark.parametrize("left", ["store and output", "output alone", "store alone"])
def test_a_lost_key_is_an_error_and_never_new_secrets(make: Make, user: User, left: str) -> None:
    adwatch = make("svc-adwatch-sync", more="secrets: {key_file: secret.key}\n")
    user("ident1", telephoneNumber="7900")
    synced(adwatch, "7900")
    text = adwatch.text()
    (adwatch.folder / "secret.key").unlink()
    if left == "output alone":
        shutil.rmtree(adwatch.folder / "state")
    if left == "store alone":
        adwatch.output.unlink()
    for command in ("sync", "run"):
        done = adwatch(command)
        assert done.returncode == 1
        assert "secret.key" in done.stderr
        assert "restore" in done.stderr
    assert not (adwatch.folder / "secret.key").exists()
    assert adwatch.text() == ("" if left == "store alone" else text)


@pytest.mark.parametrize("rest", [b"", b"short", b"\0" * 7])
def test_a_key_that_was_cut_short_is_an_error_and_never_new_secrets(
    make: Make, user: User, rest: bytes
) -> None:
    adwatch = make("svc-adwatch-sync", more="secrets: {key_file: secret.key}\n")
    user("ident1", telephoneNumber="7900")
    synced(adwatch, "7900")
    text = adwatch.text()
    key = adwatch.folder / "secret.key"
    key.write_bytes(rest)
    done = adwatch("sync")
    assert done.returncode == 1
    assert "secret.key" in done.stderr
    assert key.read_bytes() == rest
    assert adwatch.text() == text


def test_no_secret_is_told_where_nobody_asked_for_it(dc: SambaDC, make: Make, user: User) -> None:
    adwatch = make("svc-adwatch-sync")
    adwatch.start("--verbose")
    dn = user("ident1", telephoneNumber="7900")
    wait_for("the peer", lambda: adwatch.section("7900"))
    first = secret(adwatch, "7900")
    second = adwatch("secret", "7900", "--rotate").stdout.strip()
    dc.modify(dn, telephoneNumber="7901")
    wait_for("the change", lambda: adwatch.section("7901"))
    adwatch.stop()
    dc.modify(dn, telephoneNumber="7902")
    for command in ("status", "history", "diff", "peers", "check"):
        for options in ((), ("--json",)) if command in ("status", "history", "peers") else ((),):
            said = adwatch(command, *options)
            assert first not in said.stdout + said.stderr
            assert second not in said.stdout + said.stderr
    log = adwatch.log.read_text()
    assert first not in log
    assert second not in log
