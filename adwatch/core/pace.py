"""When things are due: polling, comparing, retrying, reloading. The only scheduler there is.

Times are seconds of a monotonic clock that the caller reads; chance is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

_LONGEST_S: Final = 30.0
# A refused account is tried rarely: AD locks it after a few wrong passwords in half an hour.
# Once in more than that half hour leaves room for the connection of push and for a person.
REFUSED_S: Final = 1860.0
# Of the time, so much may be spent comparing; what is not spent is saved for ten minutes, so that
# a quiet domain's deletions are found at once and a busy one's don't cost more than that.
SHARE: Final = 0.02
# A better server than the one in use is looked for after a while, twice as long each time.
_PREFER_S: Final = (15.0, 900.0)
SAVED_S: Final = 600 * SHARE
# A reload costs Asterisk work each time, so one that it does not take is tried ever more rarely.
_NOT_TAKEN_S: Final = 900.0
_LOOK_S: Final = 60.0
# Whoever saves a file may write it in several steps: it is read after this much quiet.
_SETTLE_S: Final = 0.5
_UNSETTLED_S: Final = 5.0
_RESTORED_S: Final = 600.0
NEVER: Final = float("inf")


def delay(failures: int, jitter: float) -> float:
    """Seconds to wait after `failures` failures in a row; `jitter` is 0 to 1.

    Doubles from half a second to half a minute, spread over the upper half of that.
    """
    return float(min(_LONGEST_S, 0.5 * 2.0 ** min(failures, 10)) * (0.5 + jitter / 2))


@dataclass(frozen=True, slots=True)
class Tempo:
    """The configured lengths of time, in seconds."""

    poll: float
    reconcile: float
    settle: float
    at_most: float


class Pace(NamedTuple):
    """What is due when. Every method gives the pace after something happened.

    A tuple, for a dataclass takes six times as long to be made anew, as every tick does.
    """

    tempo: Tempo
    poll_at: float
    reconcile_at: float
    funds: float = SAVED_S
    funded_at: float = 0.0
    compare_owed: bool = False
    failures: int = 0
    reload_first: float = NEVER
    reload_last: float = NEVER
    reload_began: float = -NEVER
    reload_failures: int = 0
    reload_retry_at: float = NEVER
    reload_not_before: float = -NEVER
    look_at: float = NEVER
    prefer_at: float = NEVER
    prefer_tries: int = 0
    contacts_at: float = NEVER
    contacts_failures: int = 0
    files_at: float = NEVER
    files_first: float = NEVER
    files_not_before: float = -NEVER
    restored_at: float = -NEVER
    restorations: int = 0

    @classmethod
    def begin(cls, tempo: Tempo, now: float, reconcile_in: float, funds: float = SAVED_S) -> Pace:
        """A pace that polls at once; `funds` are the seconds of comparing that were saved."""
        return cls(tempo, now, now + reconcile_in, min(funds, SAVED_S), now)

    def funds_at(self, now: float) -> float:
        """Seconds that may be spent comparing, negative while more was spent than earned."""
        return min(SAVED_S, self.funds + SHARE * max(0.0, now - self.funded_at))

    def _compare_at(self) -> float:
        if not self.compare_owed or self.failures:
            return NEVER
        return self.funded_at + max(0.0, -self.funds) / SHARE

    def reads(self, now: float) -> str:
        """How the directory is to be read now: poll, compare, reconcile, or not at all."""
        if self.failures or now < self.poll_at:
            due = now >= self.poll_at
            return "poll" if due else self._compares(now)
        if now >= self.reconcile_at:
            return "reconcile"
        return self._compares(now) or "poll"

    def _compares(self, now: float) -> str:
        return "compare" if now >= self._compare_at() else ""

    def reloads(self, now: float) -> bool:
        """Whether a reload that is owed is due: settled, or waited for long enough."""
        return now >= self._reload_at()

    def _reload_at(self) -> float:
        """Settled, or waited for long enough; and never sooner than that after the one before.

        The latter bounds what a burst costs whose changes come in with pauses, as they are read.
        """
        settled = self.reload_last + self.tempo.settle
        at_most = self.reload_first + self.tempo.at_most
        due = min(settled, at_most, self.reload_retry_at)
        return max(due, self.reload_began + self.tempo.at_most, self.reload_not_before)

    def wait(self, now: float) -> float:
        """Seconds until something is due, 0 if something is."""
        contacts = NEVER if self.failures else self.contacts_at
        due = (
            *(self.poll_at, self._compare_at(), self._reload_at(), self.prefer_at),
            *(self.look_at, contacts, self.files_at),
        )
        return max(0.0, min(due) - now)

    def prefers(self, now: float) -> bool:
        """Whether a better server than the one in use is to be looked for."""
        return now >= self.prefer_at

    def uses(self, now: float, rank: int, jitter: float) -> Pace:
        """After a reading from a server: with rank 0 there is none better."""
        if rank == 0:
            calm = self.prefer_at == NEVER and not self.prefer_tries
            return self if calm else self._replace(prefer_at=NEVER, prefer_tries=0)
        return self if self.prefer_at != NEVER else self.looked_for_better(now, jitter)

    def looked_for_better(self, now: float, jitter: float) -> Pace:
        """After a better server was looked for; 15 s later again, then ever more rarely."""
        tries, (shortest, longest) = self.prefer_tries, _PREFER_S
        rest = min(longest, shortest * 2.0 ** min(tries, 10)) * (0.5 + jitter / 2)
        return self._replace(prefer_at=now + rest, prefer_tries=tries + 1)

    def woken(self, now: float) -> Pace:
        """After a sign of a change: poll now, unless the directory is known to be away."""
        return self if self.failures else self._replace(poll_at=now)

    def retried(self, now: float) -> Pace:
        """After a person asked, or a password changed: try now, whatever failed before."""
        return self._replace(poll_at=now)

    def read(self, now: float, *, reconciled: bool = False, expiry_in: float = NEVER) -> Pace:
        """After a reading that worked; the next account expires in `expiry_in` seconds."""
        rest = max(0.0, min(self.tempo.poll, expiry_in))
        again = now + self.tempo.reconcile if reconciled else self.reconcile_at
        return self._replace(failures=0, poll_at=now + rest, reconcile_at=again)

    def resumed(self, failures: int, rest: float, now: float) -> Pace:
        """After a start during the `rest` that follows refusals of the account."""
        return self._replace(failures=failures, poll_at=now + rest)

    def failed(self, now: float, jitter: float, *, refused: bool) -> Pace:
        """After a reading that did not; `refused` where the account was the reason."""
        failures = self.failures + 1
        rest = REFUSED_S if refused else delay(failures, jitter)
        return self._replace(failures=failures, poll_at=now + max(rest, self.tempo.poll))

    def owes_comparison(self, *, owed: bool) -> Pace:
        """After the debt of a comparison was incurred or paid."""
        return self if owed == self.compare_owed else self._replace(compare_owed=owed)

    def compared(self, now: float, took: float) -> Pace:
        """After a comparison that lasted `took` seconds."""
        return self._replace(funds=self.funds_at(now) - took, funded_at=now)

    def owes_contacts(self, now: float, *, owed: bool) -> Pace:
        """After the debt of reading contacts was incurred or paid."""
        if not owed:
            calm = self.contacts_at == NEVER and not self.contacts_failures
            return self if calm else self._replace(contacts_at=NEVER, contacts_failures=0)
        return self._replace(contacts_at=now) if self.contacts_at == NEVER else self

    def reads_contacts(self, now: float) -> bool:
        """Whether contacts are to be read now: they wait while the directory is away."""
        return not self.failures and now >= self.contacts_at

    def contacts_failed(self, now: float, jitter: float) -> Pace:
        """After a reading of contacts that did not work: owed still, and tried again later."""
        failures = self.contacts_failures + 1
        return self._replace(contacts_failures=failures, contacts_at=now + delay(failures, jitter))

    def owes_reload(self, now: float) -> Pace:
        """After an output changed."""
        first = now if self.reload_first == NEVER else self.reload_first
        return self._replace(reload_first=first, reload_last=now)

    def reloading(self, now: float, *, begun: bool = True) -> Pace:
        """After every reload that was due has begun, unless none would change anything."""
        calm = self._replace(reload_first=NEVER, reload_last=NEVER, reload_retry_at=NEVER)
        return calm._replace(reload_began=now) if begun else calm

    def reload_done(self) -> Pace:
        """After a reload worked."""
        return self._replace(reload_failures=0, reload_retry_at=NEVER, reload_not_before=-NEVER)

    def reload_failed(self, now: float, jitter: float, *, taken: bool = True) -> Pace:
        """After a reload did not work: owed still, and tried again ever more rarely.

        Where Asterisk could not be told, nothing is tried until then. Where it was told and has
        not `taken` it, a change is told as soon as ever: it may be the one that mends it.
        """
        failures = self.reload_failures + 1
        seldom = min(_NOT_TAKEN_S, 2.0 ** min(failures, 20)) * (0.5 + jitter / 2)
        again = now + (delay(failures, jitter) if taken else seldom)
        pace = self._replace(reload_failures=failures, reload_retry_at=again)
        return pace._replace(reload_not_before=again if taken else -NEVER)

    def looks(self, now: float) -> bool:
        """Whether to look again at what was odd of the PBX after a reload."""
        return now >= self.look_at

    def saw(self, now: float, *, odd: bool) -> Pace:
        """After a look at the PBX: where something is odd, it is looked at again."""
        return self._replace(look_at=now + _LOOK_S if odd else NEVER)

    def at_tempo(self, tempo: Tempo, now: float, *, anew: bool) -> Pace:
        """After the configuration changed: polls at once, and keeps what is owed.

        A directory that failed rests on, unless it is `anew` another one: the account may have
        been refused, and would be locked.
        """
        poll_at = self.poll_at if self.failures and not anew else now
        reconcile_at = min(self.reconcile_at, now + tempo.reconcile)
        return self._replace(tempo=tempo, reconcile_at=reconcile_at, poll_at=poll_at)

    def touched(self, now: float) -> Pace:
        """After a sign that a file of the configuration, or an output, is another."""
        first = now if self.files_first == NEVER else self.files_first
        settled = min(now + _SETTLE_S, first + _UNSETTLED_S)
        return self._replace(files_first=first, files_at=max(settled, self.files_not_before))

    def looks_at_files(self, now: float) -> bool:
        """Whether to look what changed in the files: they have settled."""
        return now >= self.files_at

    def looked_at_files(self, now: float, *, again: bool = False) -> Pace:
        """After a look at the files; `again` where what they ask for may only be late."""
        return self._replace(files_at=now + _LONGEST_S if again else NEVER, files_first=NEVER)

    def restored(self, now: float, jitter: float) -> Pace:
        """After outputs that another hand had changed were written again.

        Where two go on writing one file, that is done ever more rarely.
        """
        lately = now - self.restored_at < _RESTORED_S
        times = self.restorations + 1 if lately else 0
        rest = now + delay(times, jitter) if times else -NEVER
        return self._replace(restored_at=now, restorations=times, files_not_before=rest)
