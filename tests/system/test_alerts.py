"""The domain goes away and comes back, and people are told: by real mail and a real webhook."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from inboxes import Hook, Mailbox, inboxes
from program import Adwatch, wait_for

from system.samba import SambaDC

AFTER_S, REMIND_S = 2, 6
OPENED, REMINDED, CLOSED = "Active Directory can't", "still: Active", "over: Active"
Make = Callable[..., Adwatch]


@pytest.fixture
def both() -> Iterator[tuple[Mailbox, Hook]]:
    with inboxes() as made:
        yield made


@pytest.fixture
def adwatch(make: Make, both: tuple[Mailbox, Hook]) -> Adwatch:
    """An installation that tells the mailbox and the webhook, quickly."""
    mailbox, hook = both
    made = make(more=told(mailbox.url, "{url_file: hook}"))
    (made.folder / "hook").write_text(hook.url + "\n")
    return made


def told(*targets: str, after: int = AFTER_S, language: str = "en") -> str:
    urls = ", ".join(one if one.startswith("{") else f'"{one}"' for one in targets)
    return (
        f"alerts:\n  targets: [{urls}]\n  after: {after}s\n  remind: {REMIND_S}s\n"
        f"  language: {language}"
    )


def online(adwatch: Adwatch) -> bool:
    return bool(adwatch.status()["state"] == "online")


def count(titles: list[str], words: str) -> int:
    return sum(title.partition(": ")[2].startswith(words) for title in titles)


def test_an_outage_is_told_once_reminded_of_and_ended_once_by_mail_and_webhook(
    dc: SambaDC, adwatch: Adwatch, both: tuple[Mailbox, Hook]
) -> None:
    mailbox, hook = both
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    begun = time.monotonic()
    dc.pause()
    try:
        wait_for("two reminders", lambda: count(hook.titles(), REMINDED) >= 2, 60)
        open_now = adwatch.status()["alerts"]["open"]
        assert [one["kind"] for one in open_now] == ["directory"]
        assert adwatch.section("502")
    finally:
        dc.unpause()
    # The domain is tried again after half a minute at the latest.
    for titles in (mailbox.subjects, hook.titles):
        wait_for("the end", lambda: count(titles(), CLOSED) == 1, 90)  # noqa: B023
    most = (time.monotonic() - begun) // REMIND_S
    wait_for("the end of it", lambda: adwatch.status()["alerts"] == {"open": [], "owed": 0})
    for titles in (mailbox.subjects, hook.titles):
        assert [count(titles(), words) for words in (OPENED, CLOSED)] == [1, 1]
        assert 2 <= count(titles(), REMINDED) <= most
        assert len(titles()) == 2 + count(titles(), REMINDED)
    first = hook.said[0]["message"]
    assert dc.ldaps_url in first
    assert "Peers served: 2" in first


def test_a_message_names_every_controller_that_was_tried_and_what_each_said(
    make: Make, both: tuple[Mailbox, Hook]
) -> None:
    mailbox, _ = both
    adwatch = make(
        server="ldaps://localhost:1, ldaps://nowhere.invalid", more=told(mailbox.url, after=0)
    )
    adwatch.start()
    wait_for("the mail", lambda: mailbox.mails)
    text = mailbox.mails[0].get_body(("plain",))
    assert text is not None
    said = text.get_content()
    for part in ("ldaps://localhost:1", "refused", "ldaps://nowhere.invalid", "name",
                 "AD has never been read yet", "tries every controller again"):  # fmt: skip
        assert part in said


def test_a_short_outage_is_not_told(dc: SambaDC, make: Make, both: tuple[Mailbox, Hook]) -> None:
    mailbox, hook = both
    adwatch = make(more=told(mailbox.url, hook.url, after=20))
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    dc.pause()
    wait_for("the fault", lambda: adwatch.status()["state"] == "degraded")
    dc.unpause()
    wait_for("online", lambda: online(adwatch))
    adwatch.stop()
    assert (mailbox.mails, hook.said) == ([], [])


def test_a_letter_that_a_target_does_not_take_survives_a_kill_and_holds_up_nobody(
    dc: SambaDC, adwatch: Adwatch, both: tuple[Mailbox, Hook]
) -> None:
    mailbox, hook = both
    text = adwatch.config.read_text()
    adwatch.config.write_text(text.replace(f"remind: {REMIND_S}s", "remind: 1h"))
    hook.mode = "error"
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    dc.pause()
    try:
        wait_for("the mail", lambda: count(mailbox.subjects(), OPENED))
        wait_for("failed", lambda: "event=alert_failed" in adwatch.log.read_text())
        # Once the store knows that the mail was taken, or it would be sent once more.
        wait_for("one owed", lambda: adwatch.status()["alerts"]["owed"] == 1)
        adwatch.kill()
        hook.mode = "well"
        adwatch.start()
        wait_for("the webhook", lambda: count(hook.titles(), OPENED) == 1, 60)
    finally:
        dc.unpause()
    wait_for("its end", lambda: count(hook.titles(), CLOSED) == 1)
    wait_for("its end by mail", lambda: count(mailbox.subjects(), CLOSED) == 1)
    assert count(mailbox.subjects(), OPENED) == 1
    assert "s3cret" not in adwatch.log.read_text()


def test_a_webhook_that_drips_delays_neither_the_service_nor_its_end(
    adwatch: Adwatch, both: tuple[Mailbox, Hook], user: Callable[..., str]
) -> None:
    _, hook = both
    hook.mode = "drip"
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    user("first", telephoneNumber="7001")
    user("second", telephoneNumber="7001")  # a conflict, which is told of
    wait_for("the webhook is asked", lambda: hook.asked, 60)
    user("third", telephoneNumber="7002")
    assert wait_for("another user", lambda: adwatch.section("7002")) < 3
    assert adwatch.stop() < 3


def test_alert_test_says_of_each_target_whether_it_took_the_message(
    adwatch: Adwatch, both: tuple[Mailbox, Hook]
) -> None:
    mailbox, hook = both
    done = adwatch("alert", "test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "✓ mailto://********: sent",
        f"✓ {adwatch.folder}/hook: sent",
    ]
    assert "this is a test" in mailbox.subjects()[0]
    hook.mode = "error"
    done = adwatch("alert", "test")
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].startswith(f"✗ {adwatch.folder}/hook: ")
    assert "s3cret" not in done.stdout + done.stderr


def test_the_messages_are_russian_where_that_is_asked_for(
    make: Make, both: tuple[Mailbox, Hook]
) -> None:
    mailbox, hook = both
    adwatch = make(more=told(mailbox.url, hook.url, language="ru"))
    assert adwatch("alert", "test").returncode == 0
    assert "это проверка" in mailbox.subjects()[0]
    assert "Ничего не случилось" in json.dumps(hook.said, ensure_ascii=False)


def test_held_removals_are_told_of_by_name(
    dc: SambaDC, adwatch: Adwatch, both: tuple[Mailbox, Hook], user: Callable[..., str]
) -> None:
    _, hook = both
    dns = [user(f"h{n}", telephoneNumber=str(7100 + n)) for n in range(8)]
    adwatch.start()
    wait_for("all", lambda: adwatch.section("7107"))
    for dn in dns:
        dc.disable(dn)
    wait_for("the alert", lambda: count(hook.titles(), "removals wait for a person"), 60)
    said = next(one["message"] for one in hook.said if "removals wait" in one["title"])
    assert "7100 h0: the account is disabled in AD" in said or "held" in said
    assert "adwatch approve" in said
    assert adwatch("approve").returncode == 0
    wait_for("its end", lambda: count(hook.titles(), "over: removals wait"), 60)
