"""Notices become messages: a subject, the whole as text and as HTML, and a short form for chat.

The words are a language's, which comes as a mapping (adwatch/languages/*.yaml).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from adwatch.core.incidents import Condition, Level, Notice, Occasion

Language = Mapping[str, Any]
_MEMBERS_SHOWN: Final = 20
_SUBJECT_MOST: Final = 150
_MEMBERS_IN_CHAT: Final = 3
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a message tells beside its incident, times as they are shown to people.

    `read` is when AD was last read, empty where it never was, and `age` how long ago that is;
    `remind` is how often it is told again; seconds.
    """

    host: str
    since: str
    served: int
    read: str
    age: float = 0.0
    remind: float = 0.0


@dataclass(frozen=True, slots=True)
class Message:
    """What a target gets; `key` is its incident's, `level` as grave as that."""

    key: str
    occasion: Occasion
    level: Level
    subject: str
    text: str
    html: str
    short: str


def compose(notice: Notice, facts: Facts, language: Language) -> Message:
    """The message of a notice."""
    condition, closed = notice.incident.condition, notice.occasion == "closed"
    title = language["titles"][condition.kind].format(subject=one_line(condition.subject))
    title = language["occasions"][notice.occasion] + title
    rows = [("cause", one_line(_cause(condition, language))), ("since", facts.since)]
    if notice.occasion != "opened":
        rows.append(("lasted", span(notice.lasted, language)))
    if not closed:
        rows += [("members", one) for one in _members(condition.members, language)]
        rows.append(("meanwhile", language["meanwhile"][condition.kind]))
    rows.append(("served", _served(facts, language)))
    if not closed:
        again = language["again"].format(remind=span(facts.remind, language))
        rows.append(("next", f"{language['next'][condition.kind]} {again}"))
        rows.append(("todo", language["todo"][condition.kind]))
        rows.append(("runbook", f"docs/runbook.md, {condition.kind}"))
    occasion, level = notice.occasion, notice.incident.level
    return _written((condition.key, occasion, level), title, rows, facts.host, language)


def trial(facts: Facts, language: Language) -> Message:
    """The message of `adwatch alert test`."""
    words = language["test"]
    rows = [("cause", words["cause"]), ("since", facts.since)]
    return _written(("test", "opened", "info"), words["title"], rows, facts.host, language)


def _written(
    about: tuple[str, Occasion, Level],
    title: str,
    rows: list[tuple[str, str]],
    host: str,
    language: Language,
) -> Message:
    from html import escape  # for who has something to tell

    labels = language["labels"]
    subject = f"adwatch {one_line(host)}: {title}"
    if len(subject) > _SUBJECT_MOST:
        subject = subject[: _SUBJECT_MOST - 1] + "…"
    named = [(labels[name], value) for name, value in rows]
    text = "\n".join(f"{name}: {value}" for name, value in named)
    cells = "".join(
        f"<tr><th align=left valign=top>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in named
    )
    html = f"<p><b>{escape(title)}</b></p><table cellpadding=4>{cells}</table>"
    shown = [value for name, value in rows if name in ("cause", "lasted", "todo")]
    who = [value for name, value in rows if name == "members"]
    shown[1:1] = who[:_MEMBERS_IN_CHAT] + ["…"] * (len(who) > _MEMBERS_IN_CHAT)
    return Message(*about, subject, f"{title}\n\n{text}\n", html, "\n".join(shown))


def _cause(condition: Condition, language: Language) -> str:
    """In the language where it is adwatch's finding; what a program said stays as it was said."""
    said = language["causes"].get(condition.kind)
    return said.format(**dict(condition.values)) if said and condition.values else condition.cause


def _served(facts: Facts, language: Language) -> str:
    if not facts.read:
        return str(language["never"].format(count=facts.served))
    age = span(facts.age, language)
    return str(language["served"].format(count=facts.served, read=facts.read, age=age))


def _members(members: tuple[str, ...], language: Language) -> list[str]:
    shown = [one_line(one) for one in members[:_MEMBERS_SHOWN]]
    left = len(members) - len(shown)
    return [*shown, language["more"].format(count=left)] if left else shown


def one_line(text: str) -> str:
    """A text on one line, without what would turn its direction or end a header."""
    return _CONTROL.sub(" ", _SURROGATE.sub("\ufffd", text)).strip()


def span(seconds: float, language: Language) -> str:
    """A length of time for people, in two units at most: `1 h 5 min`."""
    left, parts = round(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {language['units'][unit]}")
        elif parts:
            break
    return " ".join(parts[:2]) or f"0 {language['units']['s']}"
