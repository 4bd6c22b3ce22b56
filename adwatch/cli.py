"""The command line: which words there are, and what a command's fault looks like."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from adwatch import __version__, commands
from adwatch.console import collect_seldom, complain
from adwatch.errors import AdwatchError, ConfigError


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    collect_seldom()
    given = parser().parse_args(arguments)
    try:
        code: int = given.do(given)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ConfigError as error:
        complain(*error.lines(), *([error.hint] if error.hint else []))
        return error.exit_code
    except AdwatchError as error:
        complain(f"adwatch: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    """Every word and option that there is."""
    parser = argparse.ArgumentParser(
        prog="adwatch", description="Keeps the users of an Asterisk PBX in step with AD."
    )
    parser.add_argument("--version", action="version", version=f"adwatch {__version__}")
    words = parser.add_subparsers(metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    config = common.add_argument("-c", "--config", metavar="PATH", help="the configuration file")
    config.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]
    common.add_argument("-v", "--verbose", action="store_true", help="log every step on stderr")

    def command(name: str, do: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        made = words.add_parser(name, parents=[common], help=text, description=text)
        made.set_defaults(do=do)
        return made

    _init(command("init", commands.init, "asks, tries the domain, and writes a configuration"))
    command("run", commands.run, "the service, in the foreground, until SIGTERM")
    sync = command("sync", commands.sync, "one turn, then exit")
    _json(sync).add_argument("--dry-run", action="store_true", help="write nothing at all")
    what = "what a sync would change; exits 0 without, 2 with changes"
    _json(command("diff", commands.diff, what))
    check = command("check", commands.check, "looks whether everything adwatch needs is there")
    _json(check).add_argument("--offline", action="store_true", help="ask neither AD nor Asterisk")
    status = command("status", commands.status, "whether the service is well; exits 0, 1, 2 or 3")
    _json(status).add_argument("--watch", action="store_true", help="again at every change")
    _json(command("peers", commands.peers, "the peers being served"))
    explain = command("explain", commands.explain, "why somebody has a peer, or has none")
    _json(explain).add_argument("who", metavar="WHO", help="number, login, mail, DN or GUID")
    history = command("history", commands.history, "what changed, when, field by field")
    _json(history).add_argument("who", metavar="WHO", nargs="?", help="number, login, mail, …")
    limit = "at most so many changes; 1000 where nothing is said"
    history.add_argument("--limit", metavar="N", type=int, default=1000, help=limit)
    render = command("render", commands.render, "prints an output's last good text, for #exec")
    render.add_argument("output", metavar="OUTPUT", help="the output's name")
    secret = command("secret", commands.secret, "the SIP secret of one peer")
    _json(secret).add_argument("who", metavar="WHO", help="number, login, mail, DN or GUID")
    secret.add_argument("--rotate", action="store_true", help="make a new one first")
    approve = lambda given: commands.judge(given, "approved")  # noqa: E731
    reject = lambda given: commands.judge(given, "dismissed")  # noqa: E731
    _json(command("approve", approve, "lets through what the safety stop holds"))
    _json(command("reject", reject, "keeps the peers that are held"))
    shown = command("config", commands.config, "the configuration's schema, or what is in force")
    what = "the JSON Schema for editors, or all that is in force with secrets masked"
    _json(shown).add_argument("what", choices=("schema", "show"), help=what)
    alert = command("alert", commands.alert, "sends a test message to every alert target")
    _json(alert).add_argument("what", choices=("test",), help="the only thing to do so far")
    completion = command("completion", commands.completion, "what a shell needs to complete words")
    shells = ("bash", "zsh", "tcsh")
    completion.add_argument("shell", choices=shells, help="for which one")
    completion.set_defaults(parser=parser)
    return parser


def _json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _init(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--domain", metavar="NAME", help="its controllers are found by DNS")
    add("--server", metavar="URL", action="append", help="a controller, in place of --domain")
    add("--user", metavar="NAME", help="the account that adwatch reads with")
    add("--password-file", metavar="PATH", help="a file with its password, used from there")
    add("--ca-file", metavar="PATH", help="the certificate of the domain's CA")
    add("--base", metavar="DN", help="where the users are; left out: the whole domain")
    add("--format", choices=("pjsip.conf", "users.conf", "sip.conf"), help="what Asterisk includes")
    add("--force", action="store_true", help="replace a configuration that is there")
