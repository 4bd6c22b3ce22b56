"""Incidents: a message when something begins to be wrong, reminders, and one when it is over.

Pure: conditions as they are now, and what is known of before, give what is known next and the
messages that are due. Times are seconds of a clock that never jumps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

Level = Literal["info", "warning", "error"]
Occasion = Literal["opened", "grew", "reminder", "closed"]
LEVELS: Final[tuple[Level, ...]] = ("info", "warning", "error")

_LEVEL: Final[dict[str, Level]] = {
    "directory": "error",
    "credentials": "error",
    "certificate": "error",
    "certificate_ends": "warning",
    "feed": "warning",
    "difference": "warning",
    "stale": "error",
    "held": "error",
    "conflict": "warning",
    "rejected": "warning",
    "output": "error",
    "edited": "warning",
    "reload": "error",
    "refused": "warning",
    "listener": "warning",
    "contacts": "warning",
    "store": "error",
    "configuration": "error",
}
KINDS: Final = tuple(_LEVEL)
_NO_DIRECTORY: Final = frozenset({"stale", "feed", "certificate_ends", "difference", "contacts"})
# What has one of these for a cause is not told beside it.
_CONSEQUENCES: Final[Mapping[str, frozenset[str]]] = {
    "directory": _NO_DIRECTORY,
    "credentials": _NO_DIRECTORY,
    "certificate": _NO_DIRECTORY,
    "store": frozenset({"stale", "contacts"}),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong just now.

    `kind` is one of KINDS, `subject` tells apart what can be wrong more than once (an output's
    name, say), `cause` is a sentence for people, `members` are whom it is about, a line each.
    Where the cause is adwatch's own finding, `values` are what a language's sentence for it needs.
    """

    kind: str
    cause: str
    subject: str = ""
    members: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Tells one incident from another."""
        return f"{self.kind} {self.subject}" if self.subject else self.kind


@dataclass(frozen=True, slots=True)
class Incident:
    """What is known of an incident: seconds of the steady clock, 0 for never.

    `since` is when it was seen first, `seen` when last; `told` is when the last message was made,
    and `opened` whether there was one at all; `members` are those that were told of.
    """

    condition: Condition
    since: float
    seen: float
    told: float = 0.0
    opened: bool = False
    members: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        """How grave it is."""
        return _LEVEL[self.condition.kind]


@dataclass(frozen=True, slots=True)
class Notice:
    """A message that is due, before it has words. `at` is when, `lasted` for how long."""

    occasion: Occasion
    incident: Incident
    at: float

    @property
    def lasted(self) -> float:
        """Seconds from the beginning to now, or to the end."""
        end = self.incident.seen if self.occasion == "closed" else self.at
        return max(0.0, end - self.incident.since)


@dataclass(frozen=True, slots=True)
class Rules:
    """`after`: what is shorter stays silent; `remind`: how often what lasts is told; seconds."""

    after: float
    remind: float


@dataclass(frozen=True, slots=True)
class Step:
    """What is known next, by key, and the messages that are due."""

    incidents: Mapping[str, Incident] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


def step(
    known: Mapping[str, Incident],
    conditions: Iterable[Condition],
    now: float,
    rules: Rules,
    watched: float = 0.0,
) -> Step:
    """Looks at what is wrong at `now`, as somebody has done since `watched`.

    An incident opens once it lasts for `after`, and is over once it has been looked for and not
    been seen for as long, so that one that comes and goes is one, and so is one that a restart
    must first find again. What another one causes waits for that one's end.
    """
    wrong = {condition.key: condition for condition in conditions}
    kinds = {condition.kind for condition in wrong.values()}
    hidden = frozenset[str]().union(*(_CONSEQUENCES.get(kind, frozenset()) for kind in kinds))
    incidents, notices = dict[str, Incident](), list[Notice]()
    for key in known.keys() | wrong.keys():
        incident = _seen(known.get(key), wrong.get(key), now)
        hides = incident.condition.kind in hidden
        gone = key not in wrong and now - max(incident.seen, watched) >= rules.after
        if gone and not hides:
            if incident.opened:
                notices.append(Notice("closed", incident, now))
            continue
        occasion = None if hides or key not in wrong else _due(incident, now, rules)
        if occasion is not None:
            members = incident.condition.members
            incident = replace(incident, opened=True, told=now, members=members)
            notices.append(Notice(occasion, incident, now))
        incidents[key] = incident
    return Step(incidents, tuple(sorted(notices, key=_order)))


def _seen(before: Incident | None, condition: Condition | None, now: float) -> Incident:
    """An incident as it is now; a clock that went back over a restart makes nothing older."""
    if before is None:
        assert condition is not None
        return Incident(condition, now, now)
    since, seen, told = (min(at, now) for at in (before.since, before.seen, before.told))
    if condition is None:
        return replace(before, since=since, seen=seen, told=told)
    return replace(before, condition=condition, since=since, seen=now, told=told)


def _due(incident: Incident, now: float, rules: Rules) -> Occasion | None:
    if not incident.opened:
        return "opened" if now - incident.since >= rules.after else None
    if now - incident.told >= rules.remind:
        return "reminder"
    fresh = set(incident.condition.members) - set(incident.members)
    return "grew" if fresh and now - incident.told >= rules.after else None


def _order(notice: Notice) -> tuple[int, str]:
    """The gravest first."""
    return -LEVELS.index(notice.incident.level), notice.incident.condition.key


def wait(known: Mapping[str, Incident], now: float, rules: Rules, watched: float = 0.0) -> float:
    """Seconds until a step is due although nothing changes; infinite where none is."""
    dues = [
        incident.told + rules.remind if incident.opened else incident.since + rules.after
        for incident in known.values()
    ]
    seen = (incident.seen for incident in known.values() if incident.seen < now)
    dues += [max(last, watched) + rules.after for last in seen]
    return max(0.0, min((due - now for due in dues if due > now), default=float("inf")))
