"""People are told: what is wrong becomes incidents, these become letters, and those are delivered.

What is said and when is decided by core/incidents.py; here it is kept in the store together with
the letters that it makes, and taken to the targets by processes that nothing waits for.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from adwatch.core.incidents import LEVELS, Condition, Incident, Notice, Rules, step, wait
from adwatch.core.messages import Facts, Language, compose, trial
from adwatch.core.model import Rejection
from adwatch.core.pace import NEVER, delay
from adwatch.core.words import line, span
from adwatch.edges.alerts import Answer, Errand, Target
from adwatch.edges.store import Store
from adwatch.edges.store.rows import Letter
from adwatch.errors import AdwatchError, StoreError

log = logging.getLogger(__name__)

STALE_S: Final = 900.0
RESTORED_S: Final = 600.0
ENDS_SOON_S: Final = 14 * 86_400.0
_AT_A_TIME: Final = 4
_POLL_S: Final = 0.2  # how soon the end of a child is seen at the latest
_KEEP_S: Final = 3 * 86_400.0  # older news is no news
_MOST: Final = 100  # letters for one target; the oldest go first
_SEEN_S: Final = 60.0  # how exactly the store knows until when an incident lasted
_CALM_S: Final = 30.0  # for which nothing is wrong that was not, unless there is news


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a test message."""

    good: bool
    target: str
    said: str


class Clock:
    """Seconds since the epoch as they were at the start, and from then on without any jump."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """The time, for lengths."""
        return self._offset + time.monotonic()

    def wall(self) -> float:
        """The time that the machine shows, which can be set: what people and files have."""
        return time.time()


@dataclass(slots=True)
class Telling:
    """Watches what is wrong, and tells it. Nothing here waits for anybody."""

    store: Store
    targets: Sequence[Target]
    language: Language
    rules: Rules
    host: str
    clock: Clock = field(default_factory=Clock)
    stale_s: float = STALE_S
    incidents: Mapping[str, Incident] | None = None
    """What is known, None until it was looked at."""
    _watched: float = 0.0
    _stored_at: float = 0.0
    _calm_until: float = 0.0
    _unwritten: list[Letter] = field(default_factory=list)
    _letters: list[Letter] | None = None
    _under_way: dict[str, tuple[Letter, Errand]] = field(default_factory=dict)

    def change(self, other: Telling) -> None:
        """Goes on with the targets, the language and the rules of another."""
        self.targets, self.language, self.rules = other.targets, other.language, other.rules
        self.stale_s = other.stale_s
        self._letters, self._calm_until = None, 0.0

    def rests(self) -> bool:
        """Whether nothing is wrong or on its way, so that without news nobody has to look yet."""
        busy = self._under_way or self._unwritten or self._letters or self._letters is None
        return not busy and self.clock.now() < self._calm_until

    def look(self, status: Mapping[str, Any], faults: Mapping[str, AdwatchError]) -> None:
        """Takes note of what is wrong now, by the status and by the parts' faults."""
        now = self.clock.now()
        known = self._known()
        rejected = self._rejections(status)
        wrong = conditions(status, faults, rejected, self.clock.wall(), self.stale_s)
        self._calm_until = 0.0 if wrong or known else now + _CALM_S
        if not wrong and not known:
            return
        done = step(known, wrong, now, self.rules, self._watched)
        letters = [
            letter for notice in done.notices for letter in self._letters_of(notice, status, now)
        ]
        for notice in done.notices:
            _log(notice)
        quiet = done.incidents.keys() == known.keys() and not done.notices
        self.incidents = dict(done.incidents)
        if quiet and (not known or now - self._stored_at < _SEEN_S):
            return
        self._stored_at = now
        try:
            self.store.tell(done.incidents, letters)
        except StoreError:  # which is told of all the same, and is in the log
            self._unwritten += letters
        self._letters = None

    def _known(self) -> Mapping[str, Incident]:
        if self.incidents is None:
            self.incidents, self._watched = self.store.incidents(), self.clock.now()
        return self.incidents

    def _rejections(self, status: Mapping[str, Any]) -> list[Rejection]:
        return self.store.rejections() if status["peers"]["rejected"] else []

    def _letters_of(
        self, notice: Notice, status: Mapping[str, Any], now: float
    ) -> Iterator[Letter]:
        wall, read = self.clock.wall(), status["directory"]["last_success"]
        shown = datetime.fromisoformat(read).timestamp() if read else 0.0
        facts = Facts(
            self.host,
            _moment(wall - (now - notice.incident.since)),
            status["peers"]["served"],
            _moment(shown),
            age=max(0.0, wall - shown),
            remind=self.rules.remind,
        )
        message = compose(notice, facts, self.language)
        for target in self.targets:
            if LEVELS.index(message.level) >= LEVELS.index(target.min_level):
                yield Letter(target.id, message, now)

    def deliver(self) -> None:
        """Follows what is under way, and sends what is due: one letter a target, the oldest."""
        now = self.clock.now()
        for name, (letter, errand) in list(self._under_way.items()):
            answer = errand.poll()
            if answer is not None:
                del self._under_way[name]
                self._answered(letter, answer, now)
        heads = self._heads(now)
        for target in self.targets:
            head = heads.get(target.id)
            free = len(self._under_way) < _AT_A_TIME and target.id not in self._under_way
            if head is not None and head.due <= now and free:
                self._send(target, head, now)

    def _send(self, target: Target, letter: Letter, now: float) -> None:
        try:
            self._under_way[target.id] = letter, Errand(target.url(), _plain(letter))
        except (AdwatchError, OSError) as error:
            self._answered(letter, Answer(False, str(error)), now)

    def _heads(self, now: float) -> dict[str, Letter]:
        """The oldest letter of each target. What nobody waits for any more is dropped."""
        if self._letters is None:
            self._letters = self.store.letters()
        waiting: dict[str, list[Letter]] = {target.id: [] for target in self.targets}
        for letter in [*self._letters, *self._unwritten]:
            mine = waiting.get(letter.target)
            if mine is None or now - letter.at > _KEEP_S:
                self._drop(letter, "the target is gone" if mine is None else "it is too old")
            else:
                mine.append(letter)
        for letters in waiting.values():
            for letter in letters[: max(0, len(letters) - _MOST)]:
                self._drop(letter, "too many wait for this target")
        return {target: letters[-_MOST:][0] for target, letters in waiting.items() if letters}

    def _drop(self, letter: Letter, why: str) -> None:
        log.warning(line("alert_dropped", subject=letter.message.subject, why=why))
        self._forget(letter)

    def _forget(self, letter: Letter) -> None:
        if not letter.id:
            self._unwritten.remove(letter)
            return
        self.store.delivered(letter)
        self._letters = None

    def _answered(self, letter: Letter, answer: Answer, now: float) -> None:
        shown = next((t.shown for t in self.targets if t.id == letter.target), letter.target)
        said = {"target": shown, "subject": letter.message.subject}
        if answer.good:
            log.info(line("alert_sent", **said))
            self._forget(letter)
            return
        again = now + delay(letter.tries + 1, random.random())  # noqa: S311
        log.warning(line("alert_failed", **said, cause=answer.said, again_in=span(again - now)))
        if letter.id:
            self.store.failed(letter, again)
            self._letters = None
        else:
            index = self._unwritten.index(letter)
            self._unwritten[index] = replace(letter, tries=letter.tries + 1, due=again)

    def wait(self) -> float:
        """Seconds until something is due here."""
        if self._under_way:
            return _POLL_S
        letters = [*(self._letters or ()), *self._unwritten]
        if not letters and not self._known():
            return NEVER
        now = self.clock.now()
        due = min((letter.due - now for letter in letters), default=NEVER)
        return max(0.0, min(due, wait(self._known(), now, self.rules, self._watched)))

    def trial(self) -> Iterator[Result]:
        """Sends every target a test message, one after the other, and says what came of it."""
        facts = Facts(self.host, _moment(self.clock.wall()), 0, "")
        letter = Letter("", trial(facts, self.language), self.clock.now())
        for target in self.targets:
            try:
                answer = Errand(target.url(), _plain(letter)).wait()
            except (AdwatchError, OSError) as error:
                answer = Answer(False, str(error))
            yield Result(answer.good, target.shown, answer.said or "sent")

    def close(self) -> None:
        """Ends what is under way; it is sent again by the next process."""
        for _, errand in self._under_way.values():
            errand.close()
        self._under_way.clear()


def conditions(
    status: Mapping[str, Any],
    faults: Mapping[str, AdwatchError],
    rejections: Sequence[Rejection],
    now: float,
    stale_s: float = STALE_S,
) -> list[Condition]:
    """Everything that is wrong by what the service knows of itself; `now` is by the wall's clock.

    Nothing having been read for longer than `stale_s` is wrong, too.
    """
    return [
        *_of_parts(faults),
        *_of_files(status, faults),
        *_of_directory(status, faults, now, stale_s),
        *_of_outputs(status, faults, now),
        *_of_people(status, rejections),
    ]


def _found(
    kind: str, cause: str, subject: str = "", members: Sequence[str] = (), **values: object
) -> Condition:
    """What adwatch finds itself: `cause` with `values` put in, which other languages need."""
    said = tuple((name, str(value)) for name, value in values.items())
    return Condition(kind, cause.format(**values), subject, tuple(members), said)


def _of_parts(faults: Mapping[str, AdwatchError]) -> Iterator[Condition]:
    for part, fault in faults.items():
        if part.startswith("output "):
            continue
        if fault.kind:
            yield Condition(fault.kind, str(fault))
        else:
            yield Condition("contacts" if part == "contacts" else "listener", str(fault), part)


def _of_files(status: Mapping[str, Any], faults: Mapping[str, AdwatchError]) -> Iterator[Condition]:
    """Outputs that can't be written: those of one directory have one cause mostly."""
    if not any(part.startswith("output ") for part in faults):
        return
    folders: dict[str, list[str]] = {}
    for output in status["outputs"]:
        folders.setdefault(str(Path(output["path"]).parent), []).append(output["name"])
    for folder, names in folders.items():
        broken = {name: faults[part] for name in names if (part := f"output {name}") in faults}
        if not broken:
            continue
        first = next(iter(broken.values()))
        if len(names) == 1:
            yield Condition(first.kind or "output", str(first), names[0])
        else:
            each = tuple(f"{name}: {fault.message}" for name, fault in broken.items())
            yield Condition(first.kind or "output", str(first), folder, each)


def _of_directory(
    status: Mapping[str, Any], faults: Mapping[str, AdwatchError], now: float, stale_s: float
) -> Iterator[Condition]:
    directory = status["directory"]
    server = directory["server"]
    if directory["slower"]:
        feed, why = directory["feed"], directory["why"]
        yield _found("feed", "{server} gives {feed}: {why}", server=server, feed=feed, why=why)
    if directory["missed"]:
        yield _found("difference", "the feed passed over these", members=directory["missed"])
    ends = directory["certificate_ends"]
    if ends and datetime.fromisoformat(ends).timestamp() - now < ENDS_SOON_S:
        cause = "the certificate of {server} ends {ends}"
        yield _found("certificate_ends", cause, server=server, ends=ends)
    read = directory["last_success"]
    if read and "directory" not in faults:
        quiet = now - datetime.fromisoformat(read).timestamp()
        if quiet > stale_s:
            cause = "nothing has been read for {minutes} minutes"
            yield _found("stale", cause, minutes=int(quiet // 60))


def _of_outputs(
    status: Mapping[str, Any], faults: Mapping[str, AdwatchError], now: float
) -> Iterator[Condition]:
    for output in status["outputs"]:
        name, refused = output["name"], output["refused"]
        if refused:
            cause = "Asterisk has not got {count} peers of {path}"
            yield _found("refused", cause, name, refused, count=len(refused), path=output["path"])
        again = output.get("restored")
        if again and now - datetime.fromisoformat(again).timestamp() < RESTORED_S:
            cause = "{path} was changed by another hand, and has been written again"
            yield _found("edited", cause, name, path=output["path"])
        if output["fault"] and f"output {name}" not in faults and "asterisk" not in faults:
            yield Condition("reload", f"{name}: {output['fault']}")


def _of_people(status: Mapping[str, Any], rejections: Sequence[Rejection]) -> Iterator[Condition]:
    if held := status["held"]:
        members = tuple(f"{h['number']} {h['login'] or h['guid']}: {h['reason']}" for h in held)
        yield _found("held", "{count} removals are held", members=members, count=len(held))
    said: dict[str, list[str]] = {"conflict": [], "rejected": []}
    for one in rejections:
        kind = "conflict" if " is held by " in one.reason else "rejected"
        said[kind].append(f"{one.login or one.dn}: {one.reason}")
    causes = {
        "conflict": "users who ask for a number that another one holds: {count}",
        "rejected": "{count} values can't be used",
    }
    for kind, people in said.items():
        if people:
            yield _found(kind, causes[kind], members=people, count=len(people))


def _plain(letter: Letter) -> dict[str, Any]:
    said = letter.message
    names = ("key", "occasion", "level", "subject", "text", "html", "short")
    return {name: getattr(said, name) for name in names}


def _moment(at: float) -> str:
    """A time of this machine's clock and zone, for people; empty for never."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if at else ""


def _log(notice: Notice) -> None:
    condition = notice.incident.condition
    said = {"kind": condition.kind, "subject": condition.subject or None}
    lasted = span(notice.lasted) if notice.occasion != "opened" else None
    log.warning(line(f"incident_{notice.occasion}", **said, cause=condition.cause, lasted=lasted))
