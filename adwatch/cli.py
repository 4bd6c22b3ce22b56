"""The commands: words in, words out, exit codes. What they do is the service's business."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adwatch import __version__
from adwatch.errors import AdwatchError, ConfigError, DamagedError

if TYPE_CHECKING:
    from adwatch.config.schema import Config
    from adwatch.service import Service
    from adwatch.turn import Turn

USAGE: Final = 2


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    given = _parser().parse_args(arguments)
    try:
        code: int = given.do(given)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ConfigError as error:
        _complain(*error.lines(), *([error.hint] if error.hint else []))
        return error.exit_code
    except AdwatchError as error:
        _complain(f"adwatch: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="adwatch", description="Keeps the users of an Asterisk PBX in step with AD."
    )
    parser.add_argument("--version", action="version", version=f"adwatch {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-c", "--config", metavar="PATH", help="the configuration file")
    common.add_argument("-v", "--verbose", action="store_true", help="log every step on stderr")

    def command(name: str, do: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[common], help=text, description=text)
        made.set_defaults(do=do)
        return made

    command("run", _run, "the service, in the foreground, until SIGTERM")
    sync = command("sync", _sync, "one turn, then exit")
    sync.add_argument("--dry-run", action="store_true", help="write nothing at all")
    command("diff", _diff, "what a sync would change; exits 0 without changes, 2 with changes")
    check = command("check", _check, "looks whether everything that adwatch needs is there")
    check.add_argument("--offline", action="store_true", help="ask neither AD nor Asterisk")
    _json(command("status", _status, "whether the service is well; exits 0, 1, 2 or 3"))
    _json(command("peers", _peers, "the peers being served"))
    explain = command("explain", _explain, "why somebody has a peer, or has none")
    _json(explain).add_argument("who", metavar="WHO", help="number, login, mail, DN or GUID")
    history = command("history", _history, "what changed, when, field by field")
    _json(history).add_argument("who", metavar="WHO", nargs="?", help="number, login, mail, …")
    history.add_argument("--limit", type=int, default=1000, help="at most so many changes")
    render = command("render", _render, "prints an output's last good text, for #exec")
    render.add_argument("output", metavar="OUTPUT", help="the output's name")
    secret = command("secret", _secret, "the SIP secret of one peer")
    secret.add_argument("who", metavar="WHO", help="number, login, mail, DN or GUID")
    secret.add_argument("--rotate", action="store_true", help="make a new one first")
    command("approve", lambda a: _judge(a, "approved"), "lets through what the safety stop holds")
    command("reject", lambda a: _judge(a, "dismissed"), "keeps the peers that are held")
    config = command("config", _config, "the configuration's schema, or what is in force")
    config.add_argument("what", choices=("schema", "show"))
    return parser


def _json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _complain(*lines: str) -> None:
    for text in lines:
        print(text, file=sys.stderr)  # noqa: T201 - this is where people are told


def _say(text: str) -> None:
    if text:
        sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def _dump(value: Any) -> None:
    _say(json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "replace").decode())


def _path(given: Any) -> Path:
    from adwatch.config.source import default_path

    return Path(given.config) if given.config else default_path()


def _load(given: Any, level: int = logging.WARNING) -> Config:
    from adwatch import journal
    from adwatch.config.load import load

    journal.begin(logging.DEBUG if given.verbose else level)
    return load(_path(given))


@contextmanager
def _service(
    config: Config, *, dry: bool = False, secrets: bool = True, damaged: bool = False
) -> Iterator[Service]:
    """A service with its store open: the writer's, or one on a copy that writes nothing.

    Without `secrets` a lost key is no fault; with `damaged` a damaged store is one to tell of.
    """
    from adwatch.edges.control import Lock
    from adwatch.wiring import build

    service = build(config, dry=dry)
    lock = Lock(config.state)
    try:
        if not dry:
            service.prepare()
            lock.take()
        try:
            service.open(secrets=secrets)
        except DamagedError as error:
            if not damaged:
                raise
            service.open_without_store(error)
        yield service
    finally:
        service.close()
        lock.release()


def _handed_over(config: Config, request: dict[str, Any]) -> Any:
    """What the running service answers to a request, None where none runs."""
    from adwatch.edges.control import ask

    answer = ask(config.state, request)
    if answer is not None and "error" in answer:
        _complain(f"adwatch: {answer['error']}")
    return answer


def _run(given: Any) -> int:
    from adwatch.core.words import line
    from adwatch.run import Runner
    from adwatch.wiring import build, make_agi, make_web, proof_reader

    config = _load(given, logging.INFO)
    for key, sentence in config.not_yet():
        logging.getLogger("adwatch").warning(line("not_yet", key=key, cause=sentence))
    return Runner(build(config), proof_reader(config), make_web(config), make_agi(config)).run()


def _sync(given: Any) -> int:
    config = _load(given)
    if not given.dry_run:
        answer = _handed_over(config, {"command": "sync"})
        if answer is not None:
            return _told(answer)
    from adwatch.contacts import Contacts
    from adwatch.report import told

    with _service(config, dry=given.dry_run) as service, _progress() as progress:
        turn = _one_turn(service, progress)
        if not given.dry_run:
            service.reload_now(turn)
            if "directory" not in turn.faults:
                service.remember_success(service.clock())
                with turn.part("contacts"):
                    wanted = config.contacts is not None
                    Contacts(service.directory, service.store, wanted=wanted).read()
        return _told(told(service, turn))


def _one_turn(service: Service, progress: Callable[[int], None] | None) -> Turn:
    """A turn, and the comparison that it may have found to be owed."""
    turn = service.turn("reconcile" if service.reconcile_due() else "poll", progress)
    if "directory" not in turn.faults and service.store.owed("compare"):
        turn = turn.then(service.turn("compare"))
    return turn


def _told(answer: dict[str, Any]) -> int:
    for change in answer.get("changes", ()):
        reason = f": {change['reason']}" if change["reason"] else ""
        _say(f"{change['what']} {change['number'] or '-'} {change['login']}{reason}")
    for fault in answer.get("faults", ()):
        _complain(f"adwatch: {fault}")
    if answer.get("held"):
        _complain(f"adwatch: {answer['held']} losses are held (see adwatch status)")
    if "peers" in answer:
        _say(f"{answer['peers']} peers served")
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


def _diff(given: Any) -> int:
    from adwatch.report import difference

    config = _load(given)
    with _service(config, dry=True) as service, _progress() as progress:
        turns: list[Turn] = []

        def turn() -> tuple[Any, ...]:
            turns.append(_one_turn(service, progress))
            return turns[0].changes

        found = difference(service, turn)
        faults = list(turns[0].faults.values())
        for fault in faults:
            _complain(f"adwatch: {fault}")
        if faults:
            return 1
        _say(found.text())
        return 0 if found.empty else USAGE


def _check(given: Any) -> int:
    from adwatch.checks import run_checks

    config = _load(given)
    failed = False
    for result in run_checks(config, offline=given.offline):
        failed = failed or not result.good
        _say(result.text())
    return 1 if failed else 0


def _status(given: Any) -> int:
    from adwatch.report import NOT_RUNNING, STATES, Health, status, status_text

    config = _load(given)
    answer = _handed_over(config, {"command": "status"})
    if answer is not None:
        said = answer["status"]
        code = STATES.get(said.get("state", "starting"), 1)
    else:
        with _service(config, dry=True, secrets=False, damaged=True) as service:
            meta = service.store.meta
            health = Health(
                last_success=float(meta("last_success") or 0),
                last_reconcile=float(meta("last_reconcile") or 0),
                faults={"store": str(fault)} if (fault := service.store_fault()) else {},
            )
            said, code = status(service, health, service.clock()), NOT_RUNNING
    if given.json:
        _dump(said)
    else:
        _say(status_text(said))
    return code


def _peers(given: Any) -> int:
    from adwatch.report import peers

    with _service(_load(given), dry=True, secrets=False) as service:
        listed = peers(service.store.served())
    if given.json:
        _dump(listed)
    else:
        for peer in listed:
            _say(f"{peer['number']:<12} {peer['name']:<24} {peer['email']}")
    return 0


def _explain(given: Any) -> int:
    from adwatch.report import explain, explain_text

    with _service(_load(given), dry=True, secrets=False) as service:
        findings = service.directory.find(given.who, service.mapper.number_attributes)
        explained = [explain(service, finding) for finding in findings]
    if not explained:
        raise AdwatchError(
            f"nobody in AD is called {given.who!r}, as far as the account may see",
            "give a number, login, mail, DN or GUID",
        )
    if given.json:
        _dump(explained)
    else:
        _say("\n\n".join(map(explain_text, explained)))
    return 0


def _history(given: Any) -> int:
    from adwatch.report import change_json, change_text

    with _service(_load(given), dry=True, secrets=False) as service:
        guids = service.store.find(given.who) if given.who else None
        changes = service.store.history(guids, given.limit)
    if given.json:
        _dump([change_json(change) for change in changes])
    else:
        _say("\n".join(map(change_text, changes)))
    return 0


def _render(given: Any) -> int:
    """Prints configuration and nothing else, whatever is wrong: Asterisk reads stderr too."""
    from adwatch.lastgood import UNUSABLE, last_good, refuse_reload

    text = last_good(_path(given), given.output)
    if text is None:
        refuse_reload(sys.stdout.fileno())
    sys.stdout.buffer.write(UNUSABLE if text is None else text)
    sys.stdout.buffer.flush()
    return 0 if text is not None else 1


def _secret(given: Any) -> int:
    config = _load(given)
    with _service(config, dry=True) as service:
        peer = service.peer(given.who)
        secret = service.secret(peer)
    if given.rotate:
        answer = _handed_over(config, {"command": "rotate", "guid": peer.guid})
        if answer is None:
            with _service(config) as service:
                turn = service.rotate(peer)
                service.reload_now(turn)
                secret, code = service.secret(peer), turn.exit_code
                faults = [str(fault) for fault in turn.faults.values()]
        elif "secret" in answer:
            secret, code, faults = answer["secret"], answer["exit"], answer["faults"]
        else:
            return int(answer["exit"])
        for fault in faults:
            _complain(f"adwatch: {fault}")
        if code not in (0, 6):
            return int(code)
    _say(secret)
    return 0


def _judge(given: Any, verdict: str) -> int:
    config = _load(given)
    answer = _handed_over(config, {"command": verdict})
    if answer is None:
        from adwatch.report import judged

        with _service(config) as service:
            held, turn = service.judge(verdict)
            service.reload_now(turn)
            answer = judged(held, turn)
    if "held" not in answer:
        return int(answer["exit"])
    for text in answer["held"]:
        _say(f"{verdict} {text}")
    if not answer["held"]:
        _say("nothing is held")
    for fault in answer["faults"]:
        _complain(f"adwatch: {fault}")
    return int(answer["exit"])


def _config(given: Any) -> int:
    from adwatch.config.show import json_schema, show

    if given.what == "schema":
        _dump(json_schema())
        return 0
    _say(show(_load(given)).rstrip("\n"))
    return 0
