"""The commands: words in, words out, exit codes. What they do is the service's business."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adwatch.console import (
    collect_seldom,
    complain,
    dump,
    dump_line,
    handed_over,
    load,
    opened,
    path_of,
    say,
)
from adwatch.errors import AdwatchError

if TYPE_CHECKING:
    from adwatch.service import Service
    from adwatch.turn import Turn

USAGE: Final = 2


def run(given: Any) -> int:
    """The service, until it is told to stop."""
    from adwatch.edges.watch import digest
    from adwatch.edits import first_edition
    from adwatch.run import Runner
    from adwatch.wiring import build

    before = digest(path_of(given))
    service = build(load(given, logging.INFO))
    collect_seldom()
    return Runner(service, first_edition(service.parts, service.store, before)).run()


def sync(given: Any) -> int:
    """One turn."""
    if not given.dry_run:
        answer = handed_over(given, {"command": "sync"})
        if answer is not None:
            return _told(given, answer)
    config = load(given)
    from adwatch.contacts import Contacts
    from adwatch.report import told

    with opened(config, dry=given.dry_run) as service, _progress() as progress:
        turn = _one_turn(service, progress)
        if not given.dry_run:
            service.reload_now(turn)
            if "directory" not in turn.faults:
                service.remember_success(service.clock())
                with turn.part("contacts"):
                    wanted = config.contacts is not None
                    Contacts(service.directory, service.store, wanted=wanted).read()
        if given.json:
            return _told(given, told(service, turn))
        heads = ((c.what, c.number, c.login, c.reason) for c in turn.changes)
        return _told(given, told(service, replace(turn, changes=())), heads)


def _one_turn(service: Service, progress: Callable[[int], None] | None) -> Turn:
    """A turn, and the comparison that it may have found to be owed."""
    turn = service.turn("reconcile" if service.reconcile_due() else "poll", progress)
    if "directory" not in turn.faults and service.store.owed("compare"):
        turn = turn.then(service.turn("compare"))
    return turn


def _told(given: Any, answer: dict[str, Any], heads: Iterable[tuple[str, ...]] = ()) -> int:
    """Says what came of it; `heads` are changes that the answer does not have."""
    if given.json:
        dump(answer)
        return int(answer["exit"])
    changes = answer.get("changes", ())
    told = (tuple(c[n] for n in ("what", "number", "login", "reason")) for c in changes)
    for what, number, login, reason in chain(heads, told):
        say(f"{what} {number or '-'} {login}" + (f": {reason}" if reason else ""))
    for fault in answer.get("faults", ()):
        complain(f"adwatch: {fault}")
    if answer.get("held"):
        complain(f"adwatch: {answer['held']} losses are held (see adwatch status)")
    if "peers" in answer:
        say(f"{answer['peers']} peers served")
    return int(answer["exit"])


@contextmanager
def _progress() -> Iterator[Callable[[int], None] | None]:
    """A bar for the first full read, where a person looks on."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("asking the directory")
        yield lambda count: bar.update(task, description=f"{count} users read")


def diff(given: Any) -> int:
    """What a sync would change."""
    from adwatch.difference import difference

    config = load(given)
    with opened(config, dry=True) as service, _progress() as progress:
        turns: list[Turn] = []

        def turn() -> tuple[Any, ...]:
            turns.append(_one_turn(service, progress))
            return turns[0].changes

        found = difference(service, turn)
        faults = list(turns[0].faults.values())
        for fault in faults:
            complain(f"adwatch: {fault}")
        if faults:
            return 1
        if given.json:
            dump(found.json())
        else:
            say(found.text())
        return 0 if found.empty else USAGE


def check(given: Any) -> int:
    """Every check, a line each."""
    from adwatch.checks import run_checks

    config = load(given)
    results = []
    for result in run_checks(config, offline=given.offline):
        results.append(result)
        if not given.json:
            say(result.text())
    if given.json:
        dump([asdict(result) for result in results])
    return 0 if all(result.good for result in results) else 1


def status(given: Any) -> int:
    """Whether the service is well."""
    from adwatch.terminal import watch

    if given.watch:
        return watch(lambda: _status(given), dump_line if given.json else _show_status)
    said, code = _status(given)
    (dump if given.json else _show_status)(said)
    return code


def _show_status(said: dict[str, Any]) -> None:
    from adwatch.report import status_text
    from adwatch.terminal import show_status

    if sys.stdout.isatty():
        show_status(said)
    else:
        say(status_text(said))


def _status(given: Any) -> tuple[dict[str, Any], int]:
    """The status and its exit code: the running service's, or what the store knows."""
    from adwatch.report import NOT_RUNNING, STATES, Health, status

    answer = handed_over(given, {"command": "status"})
    if answer is not None:
        said = answer["status"]
        return said, STATES.get(said.get("state", "starting"), 1)
    with opened(load(given), dry=True, secrets=False, damaged=True) as service:
        meta = service.store.meta
        health = Health(
            last_success=float(meta("last_success") or 0),
            last_reconcile=float(meta("last_reconcile") or 0),
            faults={"store": str(fault)} if (fault := service.store_fault()) else {},
        )
        return status(service, health, service.clock()), NOT_RUNNING


def peers(given: Any) -> int:
    """The peers served."""
    from adwatch.report import peers

    with opened(load(given), dry=True, secrets=False) as service:
        listed = peers(service.store.served())
    if given.json:
        dump(listed)
    elif sys.stdout.isatty():
        from adwatch.terminal import show_table

        shown = ("number", "name", "email", "context", "login")
        show_table(shown, ([peer[one] for one in shown] for peer in listed))
    else:
        for peer in listed:
            say(f"{peer['number']:<12} {peer['name']:<24} {peer['email']}")
    return 0


def explain(given: Any) -> int:
    """Why somebody has a peer, or has none."""
    from adwatch.report import explain, explain_text

    with opened(load(given), dry=True, secrets=False) as service:
        findings = service.directory.find(given.who, service.mapper.number_attributes)
        explained = [explain(service, finding) for finding in findings]
    if not explained:
        raise AdwatchError(
            f"nobody in AD is called {given.who!r}, as far as the account may see",
            "give a number, login, mail, DN or GUID",
        )
    if given.json:
        dump(explained)
    else:
        say("\n\n".join(map(explain_text, explained)))
    return 0


def history(given: Any) -> int:
    """What changed."""
    from adwatch.report import change_json, change_text

    with opened(load(given), dry=True, secrets=False) as service:
        guids = service.store.find(given.who) if given.who else None
        changes = service.store.history(guids, given.limit)
    if given.json:
        dump([change_json(change) for change in changes])
    else:
        say("\n".join(map(change_text, changes)))
    return 0


def render(given: Any) -> int:
    """Prints configuration and nothing else, whatever is wrong: Asterisk reads stderr too."""
    from adwatch import lastgood

    return lastgood.render(str(path_of(given)), given.output)


def secret(given: Any) -> int:
    """The secret of a peer, or a new one."""
    config = load(given)
    with opened(config, dry=True) as service:
        peer = service.peer(given.who)
        secret = service.secret(peer)
    if given.rotate:
        answer = handed_over(given, {"command": "rotate", "guid": peer.guid})
        if answer is None:
            with opened(config) as service:
                turn = service.rotate(peer)
                service.reload_now(turn)
                secret, code = service.secret(peer), turn.exit_code
                faults = [str(fault) for fault in turn.faults.values()]
        elif "secret" in answer:
            secret, code, faults = answer["secret"], answer["exit"], answer["faults"]
        else:
            return int(answer["exit"])
        for fault in faults:
            complain(f"adwatch: {fault}")
        if code not in (0, 6):
            return int(code)
    if given.json:
        dump({"number": peer.number, "login": peer.login, "guid": peer.guid, "secret": secret})
    else:
        say(secret)
    return 0


def judge(given: Any, verdict: str) -> int:
    """A verdict on what the safety stop holds."""
    answer = handed_over(given, {"command": verdict})
    if answer is None:
        from adwatch.report import judged

        with opened(load(given)) as service:
            held, turn = service.judge(verdict)
            service.reload_now(turn)
            answer = judged(held, turn)
    if "held" not in answer:
        return int(answer["exit"])
    if given.json:
        dump({"verdict": verdict, **answer})
        return int(answer["exit"])
    for text in answer["held"]:
        say(f"{verdict} {text}")
    if not answer["held"]:
        say("nothing is held")
    for fault in answer["faults"]:
        complain(f"adwatch: {fault}")
    return int(answer["exit"])


def config(given: Any) -> int:
    """The schema, or what is in force."""
    from adwatch.config.show import json_schema, show

    if given.what == "schema":
        dump(json_schema())
        return 0
    shown = show(load(given))
    if given.json:
        import yaml

        dump(yaml.safe_load(shown))
    else:
        say(shown.rstrip("\n"))
    return 0


def alert(given: Any) -> int:
    """`alert test`: a message to every target, whatever its level, and what came of it."""
    from adwatch.wiring import make_telling

    telling = make_telling(load(given))
    if not telling.targets:
        say("there is no target: put one in alerts.targets")
        return 1
    results = []
    for result in telling.trial():
        results.append(result)
        if not given.json:
            say(f"{'✓' if result.good else '✗'} {result.target}: {result.said}")
    if given.json:
        dump([asdict(result) for result in results])
    return 0 if all(result.good for result in results) else 1


def completion(given: Any) -> int:
    """What a shell needs to complete adwatch's words."""
    import shtab

    say(shtab.complete(given.parser, given.shell).rstrip("\n"))
    return 0


def init(given: Any) -> int:
    """A configuration made by questions and tried on the domain."""
    from adwatch import journal
    from adwatch.init import Answers, init

    journal.begin(logging.DEBUG if given.verbose else logging.ERROR)
    wanted = ("domain", "user", "ca_file", "base", "format")
    answers = {name: value for name in wanted if (value := getattr(given, name))}
    secret = Path(given.password_file) if given.password_file else None
    servers = tuple(given.server or ())
    return init(path_of(given), Answers(**answers, servers=servers), secret, force=given.force)
