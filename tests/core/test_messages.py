"""What people get to read: in both languages, whatever AD holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from adwatch.core.incidents import KINDS, Condition, Incident, Notice, Occasion
from adwatch.core.messages import Facts, Message, compose, span

LANGUAGES = {
    name: yaml.safe_load(Path(f"adwatch/languages/{name}.yaml").read_text(encoding="utf-8"))
    for name in ("en", "ru")
}
FACTS = Facts(
    "pbx1", "2026-11-24 09:00:00 CET", 312, "2026-11-24 08:59:58 CET", age=632.0, remind=14400.0
)
OCCASIONS: tuple[Occasion, ...] = ("opened", "grew", "reminder", "closed")


def message(
    kind: str = "directory",
    occasion: Occasion = "opened",
    language: str = "en",
    cause: str = "no domain controller can be used: ldaps://dc1: timed out; ldaps://dc2: refused",
    members: tuple[str, ...] = (),
    subject: str = "users",
    **values: str,
) -> Message:
    condition = Condition(kind, cause, subject, members, tuple(values.items()))
    incident = Incident(condition, 1000.0, 1600.0, 1030.0, opened=True)
    return compose(Notice(occasion, incident, 1630.0), FACTS, LANGUAGES[language])


def test_an_opening_says_what_where_since_when_what_is_served_and_what_to_do() -> None:
    made = message()
    assert made.subject == "adwatch pbx1: Active Directory can't be reached"
    for part in ("dc1: timed out; ldaps://dc2: refused", "09:00:00 CET", "312", "08:59:58 CET",
                 "10 min 32 s ago", "The phones go on", "tries every controller again",
                 "a reminder comes every 4 h", "adwatch check"):  # fmt: skip
        assert part in made.text
    assert made.short == (
        "no domain controller can be used: ldaps://dc1: timed out; ldaps://dc2: refused\n"
        "adwatch check"
    )


def test_an_end_says_how_long_it_lasted_and_asks_for_nothing() -> None:
    made = message(occasion="closed")
    assert made.subject.startswith("adwatch pbx1: over: Active Directory")
    assert "It lasted: 10 min" in made.text
    assert "adwatch check" not in made.text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("occasion", OCCASIONS)
def test_every_kind_has_its_words_in_every_language(
    language: str, kind: str, occasion: Occasion
) -> None:
    made = message(kind, occasion, language, members=("502 anna",))
    assert "{" not in made.subject + made.text
    assert len(made.subject) <= 150


def test_who_it_is_about_is_in_the_short_form_too_but_not_all_of_many() -> None:
    made = message("held", cause="", members=("1 a", "2 b", "3 c", "4 d"), count="4")
    assert made.short.splitlines()[:5] == ["4 removals are held", "1 a", "2 b", "3 c", "…"]


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "4 removals are held"), ("ru", "задержано удалений: 4")],
)
def test_what_adwatch_finds_itself_is_said_in_the_language_of_the_reader(
    language: str, said: str
) -> None:
    assert said in message("held", language=language, cause="4 removals are held", count="4").text


def test_before_the_first_reading_no_age_is_told() -> None:
    facts = Facts("pbx1", "now", 0, "")
    notice = Notice("opened", Incident(Condition("directory", "x"), 1.0, 2.0), 3.0)
    assert "0; AD has never been read yet" in compose(notice, facts, LANGUAGES["en"]).text


def test_the_languages_say_the_same_things() -> None:
    def shape(tree: Any) -> Any:
        return {k: shape(v) for k, v in tree.items()} if isinstance(tree, dict) else None

    def holes(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: holes(value) for key, value in tree.items()}
        return sorted(re.findall(r"\{\w+\}", tree))

    assert shape(LANGUAGES["en"]) == shape(LANGUAGES["ru"])
    assert holes(LANGUAGES["en"]) == holes(LANGUAGES["ru"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_names_its_section_of_the_runbook(kind: str) -> None:
    assert f"Step by step: docs/runbook.md, {kind}\n" in message(kind).text
    assert "runbook" not in message(kind, "closed").text


def test_russian_is_russian() -> None:
    made = message(language="ru", occasion="reminder")
    assert made.subject == "adwatch pbx1: всё ещё: Active Directory недоступна"
    assert "Длилось: 10 мин 30 с" in made.text


def test_many_members_are_counted_and_not_all_listed() -> None:
    made = message("held", members=tuple(f"{n} user" for n in range(500, 600)))
    assert "500 user" in made.text
    assert "… and 80 more" in made.text
    assert "599 user" not in made.text


HOSTILE = st.text(max_size=60) | st.sampled_from(
    ["<script>alert(1)</script>", "a\r\nBcc: x@example.test", "\u202e", "\ud800", '"&<>']
)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_what_ad_holds_adds_no_header_no_line_and_no_markup(
    cause: str, member: str, subject: str
) -> None:
    made = message("output", cause=cause, members=(member,), subject=subject)
    plain = message("output", cause="x", members=("x",), subject="x")
    for text in (made.subject, made.text, made.html, made.short):
        text.encode()
    assert "\n" not in made.subject
    assert made.text.count("\n") == plain.text.count("\n")
    tags = [element.tag for element in html.fromstring(f"<div>{made.html}</div>").iter()]
    assert tags == [element.tag for element in html.fromstring(f"<div>{plain.html}</div>").iter()]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (12, "12 s"), (65, "1 min 5 s"), (3600, "1 h"), (90061, "1 d 1 h")],
)
def test_lengths_of_time_in_two_units_at_most(seconds: float, said: str) -> None:
    assert span(seconds, LANGUAGES["en"]) == said
