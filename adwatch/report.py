"""What people ask the service: status, differences, explanations; nothing here changes a thing."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adwatch import __version__
from adwatch.core.model import Change, Entry, Finding, Hold, Known, Reach, Served, sort_key

if TYPE_CHECKING:  # who only asks the running service needs none of them
    from adwatch.core.incidents import Incident
    from adwatch.core.mapping import Mapper
    from adwatch.core.trace import Spread
    from adwatch.edges.store import Store
    from adwatch.output import Output
    from adwatch.service import Service
    from adwatch.turn import Turn

_RECALLED = 10
ONLINE, DEGRADED, HELD, NOT_RUNNING = 0, 1, 2, 3
STATES = {"online": ONLINE, "degraded": DEGRADED, "starting": DEGRADED, "held": HELD}


@lru_cache(maxsize=64)  # most are the same at every tick
def moment(seconds: float) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC, None for never."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None


@dataclass(slots=True)
class Health:
    """What the running service knows of itself beyond the store; `incidents` None: the store's."""

    started: float = 0.0
    turned: bool = False
    last_success: float = 0.0
    last_reconcile: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)
    listens: frozenset[str] = frozenset()
    reach: Reach = field(default_factory=Reach)
    incidents: Mapping[str, Incident] | None = None
    pid: int | None = None
    trace: Callable[[float], Mapping[str, Spread]] = lambda _: {}
    """What the parts of turns took within the last hour; made only where somebody asks."""


def status(service: Service, health: Health, now: float) -> dict[str, Any]:
    """The object of `status --json` (contract, section 4)."""
    held = service.store.pending()
    owed = service.store.owed("reload")
    outputs = [_output(service, health, one, owed=one.name in owed) for one in service.outputs]
    return {
        "state": _state(health, bool(held), any(output["fault"] for output in outputs)),
        "directory": _directory(service, health, now),
        "peers": {
            "served": service.store.count(),
            "rejected": service.store.count_rejected(),
            "held": len(held),
        },
        "held": [hold_json(hold) for hold in held],
        "outputs": outputs,
        "listens": sorted(health.listens),
        "faults": {part: f for part, f in health.faults.items() if not _told_elsewhere(part)},
        "known": service.known,
        "servers": list(service.config.directory.servers),
        "alerts": {
            "open": [_incident(one) for one in _incidents(service, health) if one.opened],
            "owed": service.store.count_letters(),
        },
        "pid": health.pid,
        "version": __version__,
        "started": moment(health.started),
        "trace": {},
    }


def _incidents(service: Service, health: Health) -> Iterable[Incident]:
    known = service.store.incidents() if health.incidents is None else health.incidents
    return known.values()


def _incident(one: Incident) -> dict[str, Any]:
    condition = one.condition
    return {
        "kind": condition.kind,
        "subject": condition.subject or None,
        "level": one.level,
        "since": moment(one.since),
        "cause": condition.cause,
    }


def _told_elsewhere(part: str) -> bool:
    """Whether a part's fault stands with the part itself."""
    return part in ("directory", "asterisk") or part.startswith("output ")


def _output(service: Service, health: Health, output: Output, *, owed: bool) -> dict[str, Any]:
    record = service.reloads.record(output.name)
    fault = health.faults.get(f"output {output.name}")
    return {
        "name": output.name,
        "path": str(output.path),
        "written": moment(_written(service, output)),
        "restored": moment(service.publisher.restored.get(output.name, 0.0)),
        "reload_owed": owed,
        "verified": record.verified,
        "refused": sorted(record.refused),
        "fault": fault or (health.faults.get("asterisk") if owed else None) or record.fault,
    }


def hold_json(hold: Hold) -> dict[str, Any]:
    """A loss that is held, as `status --json` lists it; `print` tells it from another one."""
    who = {"number": hold.number, "login": hold.login, "guid": hold.guid}
    return {**who, "reason": hold.reason, "since": moment(hold.since), "print": hold.print}


def _hold_line(hold: Mapping[str, Any]) -> str:
    who = f"{hold['number']} {hold['login'] or hold['guid']}"
    return f"{who}: {hold['reason']} (held since {hold['since']})"


def _written(service: Service, output: Output) -> float:
    if output.name in service.publisher.written:
        return service.publisher.written[output.name]
    try:
        return float(output.path.stat().st_mtime)
    except OSError:
        return 0.0


def _state(health: Health, held: bool, fault: bool) -> str:  # noqa: FBT001
    if health.pid is None:
        return "stopped"
    if held:
        return "held"
    if health.faults or fault:
        return "degraded"
    return "online" if health.turned else "starting"


def _directory(service: Service, health: Health, now: float) -> dict[str, Any]:
    reach = health.reach
    owed = [debt.reason for debt in service.store.owed("compare").values()]
    return {
        "server": reach.server or None,
        "failed": {server: fault for server, fault in reach.tried.items() if fault},
        "feed": reach.feed or None,
        "why": reach.why or None,
        "push": reach.push,
        "connected_since": moment(reach.connected_since),
        **times(health, now),
        "last_reconcile": moment(health.last_reconcile),
        "sees_deletions": reach.sees_deletions,
        "certificate_ends": moment(_certificate_end(reach.certificate_ends)),
        "slower": reach.feed == "usn" and service.had_dirsync(),
        "missed": list(service.missed),
        "comparison_owed": "; ".join(owed) or None,
        "fault": health.faults.get("directory"),
    }


def times(health: Health, now: float) -> dict[str, Any]:
    """What of the directory's status becomes another by time alone."""
    read = health.last_success
    lag = round(max(0.0, now - read), 3) if read else None
    return {"last_success": moment(read), "lag_seconds": lag}


@lru_cache(maxsize=8)
def _certificate_end(written: str) -> float:
    return float(ssl.cert_time_to_seconds(written)) if written else 0.0


def headline(said: Mapping[str, Any]) -> str:
    """`status` in one line: the state, how many peers are served, and the first fault."""
    text = f"{said['state']}: {said['peers']['served']} peers served"
    if said["state"] == "held":
        return f"{text}; {said['peers']['held']} losses wait for adwatch approve or adwatch reject"
    places = (said["directory"], *said["outputs"])
    fault = next((place["fault"] for place in places if place["fault"]), None)
    return f"{text}; {fault}" if fault else text


def _output_lines(output: Mapping[str, Any]) -> Iterator[str]:
    name = f"output {output['name']}"
    yield f"{name}: {output['path']}, written {output['written']}"
    if output["reload_owed"]:
        yield f"{name}: a reload is owed"
    if output["refused"]:
        yield f"{name}: Asterisk has no {', '.join(output['refused'])}; its log says why"
    if output["fault"]:
        yield f"{name} fault: {output['fault']}"


def _alert_lines(alerts: Mapping[str, Any]) -> Iterator[str]:
    for one in alerts["open"]:
        name = f"{one['kind']} {one['subject'] or ''}".strip()
        yield f"incident {name} since {one['since']}: {one['cause']}"
    if alerts["owed"]:
        yield f"alerts: {alerts['owed']} messages are not delivered yet"


def status_text(said: dict[str, Any]) -> str:
    """`status` for people: a line for each thing, faults in words."""
    directory, peers = said["directory"], said["peers"]
    lines = [f"{said['state']}: {peers['served']} peers served"]
    if peers["held"]:
        lines.append(f"held: {peers['held']} losses wait for adwatch approve or adwatch reject")
    lines += [f"    {_hold_line(hold)}" for hold in said["held"]]
    if peers["rejected"]:
        lines.append(f"rejected: {peers['rejected']} users have a value that can't be used")
    feed = f" by {directory['feed']}" if directory["feed"] else ""
    lines.append(f"directory: {directory['server'] or 'not connected'}{feed}")
    if directory["last_success"]:
        lines.append(f"last success: {directory['last_success']}")
    if directory["sees_deletions"] is False:
        lines.append("deletions: not visible to the account; found by comparing")
    if directory["fault"]:
        lines.append(f"directory fault: {directory['fault']}")
    else:
        lines += [f"controller {one}: {why}" for one, why in directory["failed"].items()]
    lines += [text for output in said["outputs"] for text in _output_lines(output)]
    lines += [f"{part} fault: {fault}" for part, fault in said["faults"].items()]
    lines += _alert_lines(said["alerts"])
    if trace := said.get("trace"):
        lines.append("the last hour, half and 95 % of all within, and the longest:")
        lines += [f"    {part}: {_spread_text(one)}" for part, one in trace.items()]
    return "\n".join(lines)


def _spread_text(one: Mapping[str, float]) -> str:
    times = (f"{one[name] * 1000:.3g} ms" for name in ("p50", "p95", "max"))
    return f"{', '.join(times)} ({one['count']})"


def peers(served: Iterable[Served]) -> list[dict[str, str]]:
    """The list of `peers --json`, by number; no secrets."""
    names = ("number", "name", "email", "context", "call_group", "pickup_group", "mobile")
    return [
        {name: getattr(peer, name) for name in (*names, "guid", "dn", "login")}
        for peer in sorted((s.peer for s in served), key=sort_key)
    ]


def change_text(change: Change) -> str:
    """A change for people: when, what, who, then the fields, old → new."""
    when = datetime.fromtimestamp(change.at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    head = f"{when} {change.what} {change.number or '-'} {change.login or change.guid}"
    reason = f": {change.reason}" if change.reason else ""
    fields = [f"    {name}: {old!r} → {new!r}" for name, old, new in change.values]
    return "\n".join([head + reason, *fields])


def change_json(change: Change) -> dict[str, Any]:
    """A change as `history --json` lists it."""
    return {
        "at": moment(change.at),
        "what": change.what,
        "guid": change.guid,
        "number": change.number,
        "login": change.login,
        "reason": change.reason,
        "changes": [{"field": f, "old": o, "new": n} for f, o, n in change.values],
    }


def hold_text(hold: Hold) -> str:
    """A loss that is held, for people."""
    return _hold_line(hold_json(hold))


def told(service: Service, turn: Turn) -> dict[str, Any]:
    """What a command that made a turn tells the person who asked for it."""
    return {
        "exit": turn.exit_code,
        "changes": [change_json(change) for change in turn.changes],
        "faults": [str(fault) for fault in turn.faults.values()],
        "held": turn.held,
        "peers": service.store.count(),
    }


def judged(held: Iterable[Hold], turn: Turn) -> dict[str, Any]:
    """What `approve` and `reject` tell."""
    faults = [str(fault) for fault in turn.faults.values()]
    return {"exit": 1 if faults else 0, "held": [hold_text(h) for h in held], "faults": faults}


def explain(service: Service, finding: Finding) -> dict[str, Any]:
    """Attributes read → mapping → peer, or the exact reason why there is none."""
    entry = finding.entry
    candidate = service.mapper.candidate(entry, time.time())
    known = service.store.known(
        frozenset({entry.guid}), [candidate.key] if candidate.key else [], time.time()
    )
    served = known.served.get(entry.guid)
    reasons = []
    if not finding.in_scope:
        reasons.append(finding.outside)
    if candidate.reason:
        reasons.append(candidate.reason)
    reasons += _rejected(known, entry.guid, candidate.reason) + _held(known, entry.guid)
    if not reasons and served is None:
        reasons.append("the next sync will serve it")
    return {
        "guid": entry.guid,
        "dn": entry.dn,
        "in_scope": finding.in_scope,
        "attributes": _shown(entry, service.mapper, service.config.secrets.attribute),
        "mapping": _mapping(service.mapper, entry),
        "peer": peers([served])[0] if served else None,
        "reasons": reasons,
    }


def recall(store: Store, who: str) -> list[dict[str, Any]]:
    """What the store alone says of whoever `who` names, in the form of `explain`."""
    found = sorted(store.find(who))[:_RECALLED]
    known = store.known(frozenset(found), [], time.time())
    return [_recalled(known, guid) for guid in found]


def _recalled(known: Known, guid: str) -> dict[str, Any]:
    candidate, served = known.candidates.get(guid), known.served.get(guid)
    reasons = [candidate.reason] if candidate is not None and candidate.reason else []
    if candidate is None:
        reasons.append("it was not in scope when AD was read last")
    reasons += _rejected(known, guid, candidate.reason if candidate else "")
    reasons += _held(known, guid)
    peer = served.peer if served else candidate.peer if candidate else None
    return {
        "guid": guid,
        "dn": candidate.dn if candidate else served.peer.dn if served else "",
        "in_scope": candidate is not None,
        "attributes": {},
        "mapping": dict(peer.values()) if peer else {},
        "peer": peers([served])[0] if served else None,
        "reasons": reasons,
    }


def _rejected(known: Known, guid: str, told: str) -> list[str]:
    return [
        f"output {r.output}: {r.reason}" if r.output else r.reason
        for r in known.rejections.get(guid, ())
        if r.reason != told
    ]


def _held(known: Known, guid: str) -> list[str]:
    hold = known.holds.get(guid)
    if hold is None:
        return []
    return [f"its removal is held ({hold.reason}) and {hold.verdict or 'waits for a person'}"]


def _shown(entry: Entry, mapper: Mapper, secret: str | None) -> dict[str, list[str]]:
    names = {name.lower(): name for name in mapper.attributes}
    shown = {}
    for name, values in sorted(entry.attributes.items()):
        masks = secret is not None and name == secret.lower()
        shown[names.get(name, name)] = ["********"] if masks else list(values)
    return shown


def _mapping(mapper: Mapper, entry: Entry) -> dict[str, str]:
    from adwatch.core.mapping import MappingError

    try:
        return mapper.fields(entry)
    except MappingError as error:
        return {"fault": str(error)}


def explain_text(said: dict[str, Any]) -> str:
    """An explanation for people."""
    lines = [said["dn"], f"  GUID {said['guid']}", "  attributes:"]
    lines += [f"    {name}: {', '.join(map(repr, v))}" for name, v in said["attributes"].items()]
    lines += ["  mapping:", *(f"    {name}: {v!r}" for name, v in said["mapping"].items())]
    if said["peer"]:
        lines.append(f"  peer: {said['peer']['number']} {said['peer']['name']}")
    else:
        lines.append("  no peer")
    lines += [f"  because: {reason}" for reason in said["reasons"]]
    return "\n".join(lines)
