"""The pace as the last process left it: the configured times, and what the store says is due."""

from __future__ import annotations

from adwatch.config.schema import Config
from adwatch.core.pace import SAVED_S, SHARE, Pace, Tempo
from adwatch.edges.store import Store


def resumed(config: Config, store: Store, now: float, wall: float) -> Pace:
    """A pace to begin with; `now` is of the monotonic clock, `wall` seconds since the epoch."""
    tempo = Tempo(
        poll=config.directory.poll,
        reconcile=config.directory.reconcile,
        settle=config.asterisk.settle,
        at_most=config.asterisk.at_most,
    )
    due = float(store.meta("last_reconcile") or 0) + tempo.reconcile - wall
    ended, funds = (float(x) for x in (store.meta("compared") or f"0 {SAVED_S}").split())
    funds += SHARE * max(0.0, wall - ended)
    pace = Pace.begin(tempo, now, min(max(due, 0.0), tempo.reconcile), funds)
    pace = pace.owes_comparison(owed=bool(store.owed("compare")))
    return pace.owes_contacts(now, owed=bool(store.owed("contacts")))
