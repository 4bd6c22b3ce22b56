"""What the HTTP server tells machines: metrics, whether the loop lives, whether peers are served.

Made on the asking thread, from counters and from the status that the loop published last.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from adwatch.core.board import STUCK_S
from adwatch.core.incidents import KINDS as INCIDENTS
from adwatch.core.page import Document
from adwatch.core.tally import KINDS, RESULTS, Tally
from adwatch.core.trace import PARTS
from adwatch.edges.web import View

STATES: Final = ("starting", "online", "degraded", "held")
_TEXT: Final = "text/plain; charset=utf-8"
_HOWS: Final = ("poll", "compare", "reconcile")


def machine_views(
    status: Callable[[], Mapping[str, Any]], tally: Tally, alive: Callable[[], float]
) -> Mapping[str, View]:
    """The paths that machines ask. `alive` is when the loop last came round, monotonic seconds."""
    return {
        "/metrics": View(lambda _: metrics(status(), tally), None),
        "/healthz": View(lambda _: health(time.monotonic() - alive()), None, open=True),
        "/readyz": View(lambda _: readiness(status()), None, open=True),
    }


def health(quiet_s: float) -> Document:
    """Whether the loop came round lately: a process that is to be killed where it did not."""
    if quiet_s < STUCK_S:
        return _plain("alive")
    return _plain(f"the loop has not come round for {quiet_s:.0f} s", 503)


def readiness(status: Mapping[str, Any]) -> Document:
    """Whether peers are served, from AD or from what was known before.

    A directory that can't be reached is no reason to be unready: the cache is served.
    """
    if not status or not status["known"]:
        return _plain("no peers are known yet: AD has not been read so far", 503)
    faults = [f"{output['name']}: {output['fault']}" for output in status["outputs"]
              if output["fault"] and not output["reload_owed"]]  # fmt: skip
    if faults:
        return _plain("not every output is written: " + "; ".join(faults), 503)
    return _plain(f"{status['peers']['served']} peers are served")


def _plain(text: str, status: int = 200) -> Document:
    return Document(_TEXT, f"{text}\n".encode(), status)


def metrics(status: Mapping[str, Any], tally: Tally) -> Document:
    """The metrics in Prometheus' text format, version 0.0.4."""
    import prometheus_client as prometheus
    from prometheus_client.registry import Collector

    class Now(Collector):
        def collect(self) -> Iterator[Any]:
            yield from _counted(tally)
            yield from _seen(status)

    prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = prometheus.CollectorRegistry()
    registry.register(Now())
    prometheus.ProcessCollector(registry=registry)
    return Document(prometheus.CONTENT_TYPE_PLAIN_0_0_4, prometheus.generate_latest(registry))


def _counted(tally: Tally) -> Iterator[Any]:
    from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

    by = ["how", "result"]
    turns = CounterMetricFamily("adwatch_turns", "Readings of the directory.", labels=by)
    took = HistogramMetricFamily("adwatch_turn_seconds", "How long they took.", labels=["how"])
    for how in _HOWS:
        for result in RESULTS:
            turns.add_metric([how, result], tally.turns[how, result])
        if durations := tally.took.get(how):
            took.add_metric([how], durations.buckets(), durations.total)
    what = "What the parts of turns took."
    parts = HistogramMetricFamily("adwatch_turn_part_seconds", what, labels=["part"])
    for part in PARTS[:-1]:  # the whole turn is adwatch_turn_seconds
        if durations := tally.parts.get(part):
            parts.add_metric([part], durations.buckets(), durations.total)
    changes = CounterMetricFamily("adwatch_changes", "Rows of history.", labels=["kind"])
    for kind in KINDS:
        changes.add_metric([kind], tally.changes[kind])
    reloads = CounterMetricFamily("adwatch_reloads", "Reloads of Asterisk.", labels=["result"])
    for result in RESULTS:
        reloads.add_metric([result], tally.reloads[result])
    yield from (turns, took, parts, changes, reloads)


def _seen(status: Mapping[str, Any]) -> Iterator[Any]:
    """Gauges from the status. A value that is not known yet is absent."""
    from prometheus_client.metrics_core import InfoMetricFamily

    yield InfoMetricFamily("adwatch", "The program.", {"version": status["version"]})
    states = {one: one == status["state"] for one in STATES}
    yield _labelled("state", "1 for the state that adwatch is in.", "state", states)
    yield _gauge("start_timestamp_seconds", "When it started.", _seconds(status["started"]))
    yield _labelled("peers", "Peers by what became of them.", "state", status["peers"])
    faults = dict.fromkeys(status["faults"], True)
    yield _labelled("part_fault", "1 for each further part with a fault.", "part", faults)
    alerts = status["alerts"]
    yield _gauge("alerts_open", "Incidents that are not over.", len(alerts["open"]))
    kinds = dict.fromkeys(INCIDENTS, 0) | Counter(one["kind"] for one in alerts["open"])
    yield _labelled("incidents_open", "The same by their kind.", "kind", kinds)
    yield _gauge("alerts_owed", "Messages that are not delivered yet.", alerts["owed"])
    yield from _directory(status["directory"], status["servers"])
    yield from _outputs({output["name"]: output for output in status["outputs"]})


def _directory(directory: Mapping[str, Any], servers: Iterable[str]) -> Iterator[Any]:
    read = _seconds(directory["last_success"])
    compared = _seconds(directory["last_reconcile"])
    ends = _seconds(directory["certificate_ends"])
    lag = time.time() - read if read else None
    used = {server: server == directory["server"] for server in (*servers, directory["server"])}
    used.pop(None, None)
    failed = {server: server in directory["failed"] for server in (*used, *directory["failed"])}
    yield _gauge("last_success_timestamp_seconds", "When the directory was last read.", read)
    yield _gauge("last_reconcile_timestamp_seconds", "When everything was compared.", compared)
    yield _gauge("lag_seconds", "Since the directory was last read.", lag)
    owed = directory["comparison_owed"] is not None
    yield _gauge("comparison_owed", "1 while everybody has to be compared.", owed)
    fault = directory["fault"] is not None
    yield _gauge("directory_fault", "1 while the directory can't be read.", fault)
    yield _labelled("directory_connected", "1 for the controller in use.", "server", used)
    yield _labelled("directory_server_fault", "1 where the last try failed.", "server", failed)
    yield _gauge("directory_certificate_end_timestamp_seconds", "Its certificate's end.", ends)


def _outputs(outputs: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    written = {name: at for name, one in outputs.items() if (at := _seconds(one["written"]))}
    owed = {name: one["reload_owed"] for name, one in outputs.items()}
    faults = {name: one["fault"] is not None for name, one in outputs.items()}
    when = "When a file was written."
    yield _labelled("output_written_timestamp_seconds", when, "output", written)
    yield _labelled("output_reload_owed", "1 while Asterisk has to be told.", "output", owed)
    yield _labelled("output_fault", "1 while something is wrong with it.", "output", faults)


def _gauge(name: str, what: str, value: float | None) -> Any:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(f"adwatch_{name}", what, value)


def _labelled(name: str, what: str, label: str, values: Mapping[str, float]) -> Any:
    from prometheus_client.metrics_core import GaugeMetricFamily

    family = GaugeMetricFamily(f"adwatch_{name}", what, labels=[label])
    for of, value in values.items():
        family.add_metric([of], value)
    return family


def _seconds(moment: str | None) -> float | None:
    return datetime.fromisoformat(moment).timestamp() if moment else None
