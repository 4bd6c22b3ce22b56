"""One round of reloads and the looks after them, on a thread of its own: nobody waits for it.

The thread writes nothing but its results, and ends at once when it is killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Final

from adwatch.edges.asterisk.look import PATIENCE_S, Look, Pbx, Shown, Wanted
from adwatch.errors import AsteriskError

_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8)  # between looks; the last one goes on
_LONGEST_S: Final = 60.0  # of looking, however much still moves


@dataclass(frozen=True, slots=True)
class Order:
    """A reload, and what should be there after it for each output that it is owed for.

    `wanted` is None for an output that is not looked at; `told` says that Asterisk has
    acknowledged this reload before, so that there is only the look to make.
    """

    cli: str
    wanted: Mapping[str, Wanted | None]
    told: bool = False


@dataclass(slots=True)
class Result:
    """What became of an order: `told` once Asterisk acknowledged it, `fault` where it did not.

    `looked` says that the look, if there was one to make, has come to its end.
    """

    order: Order
    told: bool = False
    fault: AsteriskError | None = None
    looked: bool = False
    looks: dict[str, Look] = field(default_factory=dict)


class Errand:
    """Carries out orders one after the other; `woken` is called on every step forward."""

    def __init__(
        self,
        pbx: Pbx,
        orders: Sequence[Order],
        woken: Callable[[], None],
        patience_s: Mapping[str, float] = PATIENCE_S,
    ) -> None:
        self.results = [Result(order, order.told) for order in orders]
        self._pbx = pbx
        self._woken = woken
        self._patience_s = patience_s
        self._stop = Event()
        self._ended = Event()
        self._bug: BaseException | None = None
        self._thread = Thread(target=self._run, name="asterisk", daemon=True)
        self._thread.start()

    def done(self) -> bool:
        """Whether it has ended; a bug in it is raised here."""
        if not self._ended.is_set():
            return False
        if self._bug is not None:
            raise self._bug
        return True

    def wait(self) -> None:
        """Waits for its end, for callers that do nothing else."""
        self._thread.join()

    def kill(self) -> None:
        """Ends it, whatever hangs."""
        self._stop.set()
        self._pbx.abort()
        self._thread.join(1.0)

    def _run(self) -> None:
        try:
            self._carry_out()
        except AsteriskError as error:  # the way to Asterisk is at fault, for all that is left
            for result in self.results:
                if result.fault is None and not result.looked:
                    result.fault = error
        except BaseException as error:  # noqa: BLE001 - raised again by `done`
            self._bug = error
        finally:
            self._pbx.close()
            self._ended.set()
            self._woken()

    def _carry_out(self) -> None:
        self._pbx.open()
        for result in self.results:
            if self._stop.is_set():
                raise AsteriskError("adwatch is being stopped")
            if not result.told:
                try:
                    self._pbx.reload(result.order.cli)
                except AsteriskError as error:
                    result.fault = error
                    continue
                result.told = True
                self._woken()
        for result in self.results:
            if result.fault is None:
                self._look(result)

    def _look(self, result: Result) -> None:
        """Looks until everything is as it should be, or has stood still for long enough.

        Two looks have to agree that a peer is gone that may but be away for a moment.
        """
        wanted = {name: one for name, one in result.order.wanted.items() if one is not None}
        kinds = {one.kind for one in wanted.values()}
        patience_s = max((self._patience_s[kind] for kind in kinds), default=0.0)
        once = not any(one.may_be_away for one in wanted.values())
        begun = moved = time.monotonic()
        before: dict[str, Look] = {}
        for number in range(1 << 20):
            shown = {kind: self._pbx.peers(kind) for kind in kinds}
            looks = {name: self._check(one, shown[one.kind]) for name, one in wanted.items()}
            now = time.monotonic()
            stands = looks == before
            if not stands:
                before, moved = looks, now
            late = now - moved >= patience_s or now - begun >= _LONGEST_S
            if late or ((stands or once) and all(look.settled for look in looks.values())):
                result.looks, result.looked = looks, True
                return
            self._stop.wait(_PAUSES_S[min(number, len(_PAUSES_S) - 1)])
            if self._stop.is_set():
                raise AsteriskError("adwatch is being stopped")

    def _check(self, wanted: Wanted, shown: Shown) -> Look:
        sample = wanted.sample()
        if not sample or shown.names is None:
            return wanted.check(shown)
        return wanted.check(shown, {sample: self._pbx.peer(wanted.kind, sample)})
