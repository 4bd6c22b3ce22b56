"""The safety stop of whole processes on the real domain; a proxy lies and cuts answers short."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest
from program import Adwatch, wait_for
from proxy import DONE, ENTRY, SEARCH, Message, Proxy, ber, message, result

from system.samba import SambaDC

STAFF = "OU=Staff,DC=example,DC=test"
REFERENCE = 0x73  # RFC 4511, 4.5.2: searchResRef
NOBODY_MAY_GO = "safety: {max_removals: 0, max_removals_percent: 0}\n"
THREE_MAY_GO = "safety: {max_removals: 3, max_removals_percent: 0}\n"

Make = Callable[..., Adwatch]
User = Callable[..., str]


@pytest.fixture
def ou(temporary: Callable[..., str]) -> str:
    """An OU of its own for a base, so that the test says how many users there are."""
    return temporary(f"OU=Safety,{STAFF}", "organizationalUnit")


def some(user: User, ou: str, count: int) -> list[str]:
    return [user(f"safe{n}", parent=ou, telephoneNumber=str(7700 + n)) for n in range(count)]


def served(adwatch: Adwatch) -> list[str]:
    return [line[1:5] for line in adwatch.text().splitlines() if line.startswith("[")]


def numbers(first: int, last: int) -> list[str]:
    return [str(n) for n in range(first, last + 1)]


def held(adwatch: Adwatch) -> list[str]:
    return [hold["number"] for hold in adwatch.status()["held"]]


def running(make: Make, ou: str, safety: str, account: str = "svc-adwatch-sync") -> Adwatch:
    adwatch = make(account, base=f'"{ou}"', more=safety)
    adwatch.start()
    wait_for("online", lambda: adwatch.status()["state"] == "online")
    return adwatch


@pytest.mark.parametrize("account", ["svc-adwatch", "svc-adwatch-sync"])
def test_removals_over_both_limits_are_held_and_named_while_adds_and_changes_go_on(
    dc: SambaDC, make: Make, user: User, ou: str, account: str
) -> None:
    dns = some(user, ou, 8)
    adwatch = running(make, ou, NOBODY_MAY_GO, account)
    for dn in dns[:4]:
        dc.modify(dn, telephoneNumber=None)
    wait_for("four are held", lambda: held(adwatch) == numbers(7700, 7703))
    assert adwatch("status").returncode == 2
    assert adwatch.status()["peers"] == {"served": 8, "rejected": 0, "held": 4}
    text, difference = adwatch("status").stdout, adwatch("diff").stdout
    for index in range(4):
        named = f"770{index} safe{index}: no longer matches the filter"
        assert named in text
        assert f"! held {named}" in difference
    user("safe8", parent=ou, telephoneNumber="7708")
    dc.modify(dns[7], mobile="+7", telephoneNumber="7709")
    wait_for("adds and changes go on", lambda: {"7708", "7709"} <= set(served(adwatch)))
    assert set(numbers(7700, 7703)) <= set(served(adwatch))
    dc.modify(dns[0], telephoneNumber="7700")
    wait_for("who comes back is released", lambda: held(adwatch) == numbers(7701, 7703))


def test_approve_is_for_what_it_prints_and_not_for_what_goes_afterwards(
    dc: SambaDC, make: Make, user: User, ou: str
) -> None:
    dns = some(user, ou, 6)
    adwatch = running(make, ou, NOBODY_MAY_GO)
    for dn in dns[:2]:
        dc.delete(dn)
    wait_for("two are held", lambda: held(adwatch) == numbers(7700, 7701))
    done = adwatch("approve")
    assert done.returncode == 0
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["approved", "7700", "safe0:"],
        ["approved", "7701", "safe1:"],
    ]
    wait_for("they are gone", lambda: served(adwatch) == numbers(7702, 7705))
    dc.delete(dns[2])
    wait_for("the next is asked for anew", lambda: held(adwatch) == ["7702"])
    assert served(adwatch) == numbers(7702, 7705)


def test_approve_twice_and_with_nothing_held_does_nothing_more(
    dc: SambaDC, make: Make, user: User, ou: str
) -> None:
    dns = some(user, ou, 3)
    adwatch = make("svc-adwatch-sync", base=f'"{ou}"', more=NOBODY_MAY_GO)
    assert adwatch("sync").returncode == 0
    for command in ("approve", "reject"):
        done = adwatch(command)
        assert (done.returncode, done.stdout) == (0, "nothing is held\n")
    dc.delete(dns[0])
    assert adwatch("sync").returncode == 6
    assert "approved 7700" in adwatch("approve").stdout
    assert adwatch("approve").stdout == "nothing is held\n"
    assert served(adwatch) == numbers(7701, 7702)


def test_what_is_held_stays_held_through_a_kill_and_while_the_directory_is_away(
    dc: SambaDC, make: Make, between: Proxy, user: User, ou: str
) -> None:
    dns = some(user, ou, 6)
    adwatch = make("svc-adwatch-sync", between.url, base=f'"{ou}"', more=NOBODY_MAY_GO)
    adwatch.start()
    wait_for("served", lambda: served(adwatch) == numbers(7700, 7705))
    for dn in dns[:3]:
        dc.delete(dn)
    wait_for("three are held", lambda: held(adwatch) == numbers(7700, 7702))
    adwatch.kill()
    between.refuse()
    between.reset()
    adwatch.start()
    wait_for("held still", lambda: adwatch.status()["state"] == "held")
    wait_for("no directory", lambda: adwatch.status()["directory"]["fault"])
    assert held(adwatch) == numbers(7700, 7702)
    assert adwatch("approve").returncode == 0
    wait_for("they are gone", lambda: served(adwatch) == numbers(7703, 7705))
    between.accept()
    assert adwatch("sync").returncode == 0
    assert served(adwatch) == numbers(7703, 7705)


def test_reject_keeps_them_until_they_change_again(
    dc: SambaDC, make: Make, user: User, ou: str
) -> None:
    dns = some(user, ou, 6)
    adwatch = running(make, ou, NOBODY_MAY_GO)
    for dn in dns[:2]:
        dc.modify(dn, telephoneNumber=None)
    wait_for("two are held", lambda: held(adwatch) == numbers(7700, 7701))
    assert adwatch("reject").returncode == 0
    assert held(adwatch) == []
    adwatch.stop()
    adwatch.start()
    wait_for("online", lambda: adwatch.status()["state"] == "online")
    assert adwatch("sync").returncode == 0
    assert held(adwatch) == []
    assert served(adwatch) == numbers(7700, 7705)
    dc.modify(dns[0], telephoneNumber="7710")
    wait_for("it came back", lambda: "7710" in served(adwatch))
    dc.modify(dns[0], telephoneNumber=None)
    wait_for("it is asked for again", lambda: held(adwatch) == ["7710"])
    assert "7701" in served(adwatch)


def test_the_very_last_user_goes_only_with_a_persons_word(
    dc: SambaDC, make: Make, user: User, ou: str
) -> None:
    (dn,) = some(user, ou, 1)
    adwatch = make("svc-adwatch-sync", base=f'"{ou}"')  # the limits as they ship
    assert adwatch("sync").returncode == 0
    key = (adwatch.folder / "state" / "secret.key").read_bytes()
    dc.modify(dn, telephoneNumber=None)
    assert adwatch("sync").returncode == 6
    assert served(adwatch) == ["7700"]
    assert adwatch("approve").returncode == 0
    assert served(adwatch) == []
    assert adwatch("sync").returncode == 0
    dc.modify(dn, telephoneNumber="7700")
    assert adwatch("sync").returncode == 0
    assert served(adwatch) == ["7700"]
    assert (adwatch.folder / "state" / "secret.key").read_bytes() == key


def test_a_filter_that_loses_everybody_holds_everybody_and_forgives_when_put_right(
    make: Make, user: User, ou: str
) -> None:
    some(user, ou, 6)
    adwatch = make("svc-adwatch-sync", base=f'"{ou}"')
    assert adwatch("sync").returncode == 0
    right = adwatch.config.read_text()
    adwatch.config.write_text(
        right.replace("directory:\n", 'directory:\n  filter: "(telephoneNumber=none)"\n')
    )
    assert adwatch("sync").returncode == 6
    assert held(adwatch) == served(adwatch) == numbers(7700, 7705)
    adwatch.config.write_text(right)
    assert adwatch("sync").returncode == 0
    assert held(adwatch) == []
    assert served(adwatch) == numbers(7700, 7705)


# Answers that are wrong: everybody is read anew at each sync, and the proxy spoils it.


@pytest.fixture
def spoiled(make: Make, between: Proxy, user: User, ou: str) -> Adwatch:
    """Served with eight users through the proxy."""
    some(user, ou, 8)
    adwatch = make(
        "svc-adwatch-sync",
        between.url,
        base=f'"{ou}"',
        directory="reconcile: 1ms",
        more=THREE_MAY_GO,
    )
    assert adwatch("sync").returncode == 0
    assert served(adwatch) == numbers(7700, 7707)
    return adwatch


def removed(adwatch: Adwatch) -> list[str]:
    """The numbers that went, by the history."""
    changes = json.loads(adwatch("history", "--json").stdout)
    return [change["number"] for change in changes if change["what"] == "removed"]


def is_as_it_was(adwatch: Adwatch, between: Proxy) -> bool:
    """Whether nobody went, and an honest answer finds everything right."""
    kept = removed(adwatch) == [] and served(adwatch) == numbers(7700, 7707)
    between.honest()
    recovered = adwatch("sync").returncode == 0 and held(adwatch) == []
    return kept and recovered and served(adwatch) == numbers(7700, 7707)


@pytest.mark.parametrize("code", [3, 4, 10, 51, 52])
def test_an_answer_that_ends_with_an_error_is_a_fault_and_nobody_goes(
    between: Proxy, spoiled: Adwatch, code: int
) -> None:
    """timeLimitExceeded, sizeLimitExceeded, referral, busy, unavailable; after some rows."""
    rows: dict[tuple[int, int], int] = {}

    def spoil(found: Message) -> list[bytes] | None:
        asked = found.link, found.id
        if found.tag == ENTRY and b"safe" in found.raw:
            rows[asked] = rows.get(asked, 0) + 1
            return [] if rows[asked] > 2 else None
        return [result(found.id, code)] if found.tag == DONE and asked in rows else None

    between.on_answer = spoil
    done = spoiled("sync")
    assert rows, "the test's proxy saw no user"
    assert done.returncode == 4, done.stderr
    assert is_as_it_was(spoiled, between)


@pytest.mark.parametrize("octets", [1, 40, 400, 1500, 3000])
def test_an_answer_that_is_cut_after_some_octets_is_a_fault_and_nobody_goes(
    between: Proxy, spoiled: Adwatch, octets: int
) -> None:
    """Counted in the answers about users, so that the cut is within them."""
    left, cuts = octets, 0

    def spoil(found: Message) -> list[bytes] | None:
        nonlocal left, cuts
        if found.tag != ENTRY or b"safe" not in found.raw:
            return [] if left <= 0 else None
        whole, left = left, left - len(found.raw)
        if left > 0:
            return None
        if whole > 0:
            cuts += 1
            between.cut(found.link)
        return [found.raw[: max(whole, 0)]]

    between.on_answer = spoil
    done = spoiled("sync")
    assert cuts == 1, "the answer was shorter than the cut"
    assert done.returncode == 4, done.stderr
    assert is_as_it_was(spoiled, between)


@pytest.mark.parametrize("shown", [0, 1, 4])
def test_an_answer_that_leaves_users_out_and_calls_itself_whole_holds_them(
    between: Proxy, spoiled: Adwatch, shown: int
) -> None:
    hidden = [f"safe{n}".encode() for n in range(shown, 8)]

    def spoil(found: Message) -> list[bytes] | None:
        left_out = found.tag == ENTRY and any(name in found.raw for name in hidden)
        return [] if left_out else None

    between.on_answer = spoil
    assert spoiled("sync").returncode == 6
    assert held(spoiled) == numbers(7700 + shown, 7707)
    assert is_as_it_was(spoiled, between)


@pytest.mark.parametrize("attribute", [b"telephoneNumber", b"sAMAccountName"])
def test_an_answer_that_lacks_an_attribute_that_was_there_holds_them(
    between: Proxy, spoiled: Adwatch, attribute: bytes
) -> None:
    other = attribute[:-1] + b"X"  # of the same length, so that the message stays whole

    def spoil(found: Message) -> list[bytes] | None:
        spoils = found.tag == ENTRY and b"safe" in found.raw
        return [found.raw.replace(attribute, other)] if spoils else None

    between.on_answer = spoil
    text = spoiled.text()
    assert spoiled("sync").returncode == 6
    assert held(spoiled) == numbers(7700, 7707)
    assert spoiled.text() == text
    assert is_as_it_was(spoiled, between)


@pytest.mark.parametrize("instead", [False, True], ids=["beside the users", "in place of them"])
def test_references_to_other_servers_are_not_followed_and_nobody_goes(
    between: Proxy, spoiled: Adwatch, instead: bool
) -> None:
    with socket.create_server(("localhost", 0)) as elsewhere:
        elsewhere.setblocking(False)
        url = f"ldap://localhost:{elsewhere.getsockname()[1]}/DC=example,DC=test".encode()

        def spoil(found: Message) -> list[bytes] | None:
            if found.tag == ENTRY and b"safe" in found.raw:
                return [] if instead else None
            if found.tag != DONE:
                return None
            asked = next(m for m in between.requests if (m.link, m.id) == (found.link, found.id))
            reference = message(found.id, REFERENCE, ber(4, url))
            return [reference, found.raw] if asked.tag == SEARCH else None

        between.on_answer = spoil
        assert spoiled("sync").returncode == (6 if instead else 0)
        assert held(spoiled) == (numbers(7700, 7707) if instead else [])
        assert is_as_it_was(spoiled, between)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_a_lost_store_and_an_empty_answer_leave_the_output_as_it_is(
    between: Proxy, spoiled: Adwatch
) -> None:
    for left in (spoiled.folder / "state").glob("adwatch.db*"):
        left.unlink()
    text = spoiled.text()
    between.on_answer = lambda m: [] if m.tag == ENTRY and b"safe" in m.raw else None
    for _ in range(2):
        done = spoiled("sync")
        assert done.returncode == 6
        assert "the store is lost" in done.stderr
        assert spoiled.text() == text
    between.honest()
    assert spoiled("sync").returncode == 0
    assert spoiled.text() == text
