"""Messages on their way out, by the real Apprise: to a real SMTP server and real webhooks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inboxes import Hook, Mailbox, inboxes
from program import wait_for

from adwatch.edges.alerts import Errand, sender
from adwatch.edges.alerts.child import masked

MESSAGE: dict[str, Any] = {
    "key": "directory", "occasion": "opened", "level": "error",
    "subject": "adwatch pbx: Active Directory can't be reached — нет",
    "text": "cause\nmore\n", "html": "<p>cause &amp; <b>more</b></p>", "short": "short",
}  # fmt: skip


@pytest.fixture
def both() -> Iterator[tuple[Mailbox, Hook]]:
    with inboxes() as made:
        yield made


def test_a_mail_has_the_whole_as_html_and_as_text_and_its_subject(
    both: tuple[Mailbox, Hook],
) -> None:
    mailbox, _ = both
    assert Errand(mailbox.url, MESSAGE).wait().good
    (mail,) = mailbox.mails
    assert mail["subject"] == MESSAGE["subject"]
    body = mail.get_body(("html",))
    assert body is not None
    assert "<b>more</b>" in body.get_content()
    text = mail.get_body(("plain",))
    assert text is not None
    assert "cause & more" in text.get_content()


def test_a_webhook_gets_the_text_and_how_grave_it_is(both: tuple[Mailbox, Hook]) -> None:
    _, hook = both
    assert Errand(hook.url, MESSAGE).wait().good
    assert Errand(hook.url, {**MESSAGE, "occasion": "closed"}).wait().good
    assert hook.said[0]["message"].splitlines() == ["cause", "more"]
    assert [one["type"] for one in hook.said] == ["failure", "success"]


@pytest.mark.parametrize("mode", ["error", "refuse"])
def test_a_webhook_that_fails_is_told_without_its_secret(
    both: tuple[Mailbox, Hook], mode: str
) -> None:
    _, hook = both
    hook.mode = mode
    answer = Errand(hook.url, MESSAGE).wait()
    assert not answer.good
    assert answer.said
    assert "s3cret" not in answer.said


def test_a_mail_that_is_turned_away_is_a_failure(both: tuple[Mailbox, Hook]) -> None:
    mailbox, _ = both
    mailbox.refuses = True
    assert not Errand(mailbox.url, MESSAGE).wait().good


@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_a_webhook_that_hangs_is_given_up_at_the_deadline(
    both: tuple[Mailbox, Hook], mode: str
) -> None:
    _, hook = both
    hook.mode = mode
    errand = Errand(hook.url, MESSAGE)
    wait_for("the request", lambda: hook.asked)
    errand._until = time.monotonic() + 1  # for to load Apprise alone may take long
    assert not errand.wait().good
    assert errand._child.returncode is not None


def test_a_child_whose_service_was_killed_ends_by_itself(
    both: tuple[Mailbox, Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, hook = both
    hook.mode = "drip"
    monkeypatch.setattr(sender, "DEADLINE_S", 6.0)  # which to load Apprise counts for, too
    errand = Errand(hook.url, MESSAGE)
    wait_for("the request", lambda: hook.asked)
    wait_for("its end, with nobody looking", lambda: errand._child.poll() is not None)
    errand.close()


def test_closing_ends_the_child_at_once(both: tuple[Mailbox, Hook]) -> None:
    _, hook = both
    hook.mode = "drip"
    errand = Errand(hook.url, MESSAGE)
    wait_for("the request", lambda: hook.asked)
    begun = time.monotonic()
    errand.close()
    assert time.monotonic() - begun < 3
    assert errand._child.returncode is not None


def test_the_url_is_on_no_command_line_and_in_no_environment(both: tuple[Mailbox, Hook]) -> None:
    _, hook = both
    hook.mode = "hang"
    errand = Errand(hook.url, MESSAGE)
    wait_for("the request", lambda: hook.asked)
    process = Path("/proc") / str(errand._child.pid)
    assert b"s3cret" not in (process / "cmdline").read_bytes()
    assert b"s3cret" not in (process / "environ").read_bytes()
    errand.close()


def test_apprise_says_what_a_url_is_and_what_is_none() -> None:
    assert Errand("json://h/x", None).wait().said == "JSON"
    answer = Errand("slack://BADTOKEN/SECRETAAA", None).wait()
    assert not answer.good
    assert "SECRETAAA" not in answer.said


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("slack://TOKENA/TOKENB/TOKENC", ["TOKENA", "tokenb", "TOKENC"]),
        ("mailtos://user:p%40ssword@mail.example.test?to=x@e.test", ["p@ssword", "p%40ssword"]),
        ("json://h/x?key=s3cretvalue", ["s3cretvalue"]),
    ],
)
def test_no_part_of_a_url_that_may_be_a_secret_is_left_in_a_text(
    url: str, secrets: list[str]
) -> None:
    left = masked(f"mail.example.test failed: {url}: " + ", ".join(secrets), url)
    assert url not in left
    assert not [secret for secret in secrets if secret in left]
    assert left.startswith("mail.example.test failed: ")
