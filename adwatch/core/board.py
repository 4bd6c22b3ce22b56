"""What the status page says, decided from frozen values: the state in words, whom it lists."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from adwatch.core.model import Change, Rejection, Served, sort_key

SHOWN: Final = 100  # peers, and users without one, at a time
CHANGES: Final = 50
JUDGED: Final = 500  # more losses than this nobody reads on a page
# The loop comes round at every poll; what may hold it up is a reading, which says that it gets
# on, a file system that hangs, or a comparison in the store.
STUCK_S: Final = 60.0

# What could not be seen, would end a line, or turn the direction of what follows.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


Listed = Sequence[tuple[Served, str]]
"""Peers by number, each with the text that a search looks in."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the page shows, as the loop left it. `status` is the object of `status --json`.

    `since` is when that state began, seconds since the epoch; `changes` are the latest with
    their numbers, which grow; `approve` is whether the page may take a verdict.
    """

    status: Mapping[str, Any]
    since: float
    peers: Callable[[], Listed]
    rejections: Sequence[Rejection] = ()
    changes: Sequence[tuple[int, Change]] = ()
    approve: bool = False

    @property
    def last_change(self) -> int:
        """The number of the latest change, 0 where there is none."""
        return self.changes[-1][0] if self.changes else 0

    @property
    def read(self) -> float:
        """When AD was read last, seconds since the epoch; 0 for never."""
        return seconds(self.status["directory"]["last_success"])


@dataclass(frozen=True, slots=True)
class Found:
    """Somebody who was asked about: what `explain` or the store says, and the latest changes."""

    said: Mapping[str, Any]
    changes: Sequence[Change] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """What there is to say of `who`. `fault`: why AD was not read, empty where it was."""

    who: str
    found: Sequence[Found] = ()
    fault: str = ""


def mark(snapshot: Snapshot) -> str:
    """Another text whenever the page looks otherwise, times that only pass left out."""
    directory = {**snapshot.status["directory"], "lag_seconds": 0, "last_success": ""}
    said = [{**snapshot.status, "directory": directory}, snapshot.since, snapshot.last_change]
    return _digest([*said, len(snapshot.rejections), snapshot.approve])


@dataclass(frozen=True, slots=True)
class Headline:
    """The state at one look: a word, why, what to do, and the commands that do it.

    `detail` is the fault itself, in its own words.
    """

    state: str
    word: str
    cause: str
    advice: str
    commands: tuple[str, ...] = ()
    detail: str = ""


def since(status: Mapping[str, Any], last: Snapshot | None, now: float) -> float:
    """Since when it is in its state; `last` is what was shown before, None for nothing."""
    if status["state"] == "held":
        return min(seconds(hold["since"]) for hold in status["held"])
    if last is not None and last.status["state"] == status["state"]:
        return last.since
    return seconds(status["started"]) if last is None else now


def headline(status: Mapping[str, Any], quiet_s: float = 0.0) -> Headline:
    """`quiet_s`: how long ago the loop came round."""
    state, peers = status["state"], status["peers"]
    served = count(peers["served"], "peer")
    if quiet_s >= STUCK_S:
        cause = f"The loop has not come round for {quiet_s:.0f} s, so what is below is old."
        advice = "systemd's watchdog starts it anew; where there is none, do that:"
        return Headline("degraded", "Stuck", cause, advice, ("systemctl restart adwatch",))
    if state == "held":
        cause = f"{count(peers['held'], 'removal')} {_be(peers['held'])} held back until"
        cause += " a person decides. All else goes on."
        advice = "Read whom it is about, below. Then let them go, or keep them:"
        return Headline(state, "Held", cause, advice, ("adwatch approve", "adwatch reject"))
    if state == "degraded":
        where, fault = next(iter(faults(status)), ("Something", ""))
        cause = f"{where} has a fault. {served} {_be(peers['served'])} served all the same."
        if status["directory"]["fault"]:
            known = f"The {served} known last {_be(peers['served'])} served meanwhile."
            cause = f"AD can't be read. {known if peers['served'] else 'No peer is served.'}"
        advice = "Every check, with the way to mend what it finds:"
        return Headline(state, "Degraded", cause, advice, ("adwatch check",), fault)
    if state == "starting":
        known = f"{served} from before {_be(peers['served'])} served meanwhile"
        known = known if status["known"] else "no peer is known yet"
        cause = f"AD has not been read since the start; {known}."
        advice = "Nothing to do yet. Where it lasts longer than a minute:"
        return Headline(state, "Starting", cause, advice, ("adwatch check",))
    cause = f"{served} {_be(peers['served'])} served, as AD has them."
    advice = "Nothing to do."
    if peers["rejected"]:
        less = f"{count(peers['rejected'], 'user')} {_have(peers['rejected'])} a value that"
        advice = f"{less} can't be used; see Without a peer."
    return Headline(state, "Online", cause, advice)


def faults(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What has a fault, and which: the directory, the outputs, then every other part."""
    found = [("Directory", status["directory"]["fault"])]
    found += [(f"Output {one['name']}", one["fault"]) for one in status["outputs"]]
    found += [(part.capitalize(), fault) for part, fault in status["faults"].items()]
    return [(what, fault) for what, fault in found if fault]


def troubles(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Open incidents, and the faults that are none yet: kind, subject, level, since, cause."""
    incidents = list(status["alerts"]["open"])
    told = {one["cause"] for one in incidents}
    fresh = [(what, cause) for what, cause in faults(status) if cause not in told]
    return [
        *({"kind": what, "subject": None, "level": "", "since": None, "cause": cause}
          for what, cause in fresh),
        *incidents,
    ]  # fmt: skip


def held_digest(held: Iterable[Mapping[str, Any]]) -> str:
    """Tells one set of losses from another, by everything that is said of each."""
    return _digest(sorted(held, key=lambda hold: str(hold["guid"])))


def in_order(served: Iterable[Served]) -> Listed:
    """The peers by number."""
    ordered = sorted(served, key=lambda one: sort_key(one.peer))
    return [(one, _text(one)) for one in ordered]


def search(listed: Listed, words: str) -> tuple[list[Served], int]:
    """Those in which every word occurs, so many as are shown; and how many there are."""
    wanted = words.casefold().split()
    found = [one for one, text in listed if all(word in text for word in wanted)]
    return found[:SHOWN], len(found)


def rejected(rejections: Iterable[Rejection], words: str) -> tuple[list[Rejection], int]:
    """The users without a peer, or without one in some output, in the same way."""
    wanted = words.casefold().split()
    found = [
        one
        for one in rejections
        if all(w in f"{one.number} {one.login} {one.dn} {one.reason}".casefold() for w in wanted)
    ]
    found.sort(key=lambda one: (one.number, one.login, one.output))
    return found[:SHOWN], len(found)


def _text(one: Served) -> str:
    peer = one.peer
    said = (peer.number, peer.name, peer.login, peer.email, peer.context, peer.mobile, peer.dn)
    return " ".join(said).casefold()


def visible(text: str) -> str:
    """A text with every character that nobody would see written out as ⟨U+202E⟩."""
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def seconds(moment: str | float | None) -> float:
    """A moment as the status has it, in seconds since the epoch; 0 for never."""
    if isinstance(moment, str):
        return datetime.fromisoformat(moment).timestamp()
    return moment or 0.0


def count(number: int, what: str) -> str:
    """A number of things: `1 peer`, `2 peers`."""
    return f"{grouped(number)} {what}{'' if number == 1 else 's'}"


def grouped(number: int) -> str:
    """A number with its thousands apart by narrow spaces."""
    return f"{number:,}".replace(",", "\u202f")


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
