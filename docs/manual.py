"""Writes man/adwatch.1 and man/adwatch-config.5 from the program itself: `make docs`.

By hand, for argparse-manpage 4.8 says each help text three times, knows no exit codes and no files,
and puts today's date in, so that no two builds are the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import reference

from adwatch import __version__
from adwatch.config.schema import Config

MAN = Path(__file__).parents[1] / "man"
_NOTE = '.\\" Written by docs/manual.py; an edit here does not last.'
_FILES = (
    ("/etc/adwatch/config.yaml", "the configuration, see adwatch-config(5)"),
    ("/etc/adwatch/bind-password", "the password of the account, where adwatch init puts it"),
    ("/etc/asterisk/adwatch/", "the outputs, for Asterisk to include"),
    ("/var/lib/adwatch/adwatch.db", "users, peers, history, and what is owed"),
    ("/var/lib/adwatch/secret.key", "the key of all SIP secrets: keep a copy of it"),
)
_ENVIRONMENT = (
    ("ADWATCH_CONFIG", "the configuration file, where there is no --config"),
    ("CREDENTIALS_DIRECTORY", "where a relative password_file is looked for first (systemd)"),
    ("NO_COLOR", "no colours, where it is set"),
)
_EXAMPLES = (
    ("adwatch init", "asks for the domain, tries it, and writes a configuration"),
    ("adwatch check", "what is missing, and how to mend it"),
    ("adwatch diff", "what a sync would change"),
    ("adwatch explain 502", "why this number has a peer, or has none"),
    ("adwatch status --watch", "how the service is, again at every change"),
)
_WHAT = (
    "adwatch watches an Active Directory domain, Microsoft's or Samba's, and keeps the users of an"
    " Asterisk PBX in step with it, within about a second. While AD can't be reached, the phones go"
    " on working from the last good state, and a person is told once."
)


def program() -> str:
    """adwatch(1): every command and option, exit codes, files."""
    shared, commands = reference.words()
    lines = [*_head("adwatch", 1), ".SH NAME"]
    lines += [text("adwatch - keeps the users of an Asterisk PBX in step with Active Directory")]
    lines += [".SH SYNOPSIS", r".B adwatch \fICOMMAND\fR [\fIOPTION\fR]\|.\|.\|."]
    lines += [".br", text(".B adwatch --version", raw=True)]
    lines += [".SH DESCRIPTION", text(_WHAT)]
    lines += [".SH OPTIONS", "Every command takes these:", *_options(shared)]
    lines += [".SH COMMANDS"]
    for one in commands:
        lines += [f".SS adwatch {one.name}", text(one.what), ".PP", text(one.usage)]
        lines += _options(one.actions)
    codes = ((str(code), what) for code, what in reference.codes())
    lines += [".SH EXIT STATUS", *_tagged(codes)]
    lines += [".SH ENVIRONMENT", *_tagged(_ENVIRONMENT), ".SH FILES", *_tagged(_FILES)]
    lines += [".SH EXAMPLES", *_tagged(_EXAMPLES)]
    lines += [".SH SEE ALSO", ".BR adwatch-config (5),", ".BR asterisk (8),", ".BR systemctl (1)"]
    return "\n".join([*lines, ""])


def configuration() -> str:
    """adwatch-config(5): every key with its default and what it means."""
    lines = [*_head("adwatch-config", 5), ".SH NAME"]
    lines += [text("adwatch-config - the configuration of adwatch"), ".SH DESCRIPTION"]
    lines += [text(
        "/etc/adwatch/config.yaml, or what --config or $ADWATCH_CONFIG says, is YAML. Durations are"
        " written 500ms, 1s, 10m, 1h or 1d. Relative paths begin where the file is. A running"
        " adwatch takes an edit as soon as it is saved, or refuses all of it, and says in which"
        " line and column it is wrong."
    )]  # fmt: skip
    section = ""
    for key, default, what in reference.keys(Config):
        first = key.partition(".")[0].partition("[")[0]
        if first != section:
            section = first
            lines += [f".SH {text(section.upper())}"]
        lines += [".TP", rf"\fB{text(key)}\fR ({text(default)})", text(what)]
    lines += [".SH SEE ALSO", ".BR adwatch (1)"]
    return "\n".join([*lines, ""])


def text(said: str, *, raw: bool = False) -> str:
    """A sentence as roff has it: Markdown's code is bold, no character is a request."""
    said = said.replace("\\|", "|").replace("\\", r"\e").replace("-", r"\-")
    said = re.sub(r"`` (.*?) ``|`([^`]+)`", lambda m: rf"\fB{m[1] or m[2]}\fR", said)
    return said if raw else re.sub(r"^(?=[.'])", r"\\&", said)


def _head(name: str, section: int) -> Iterator[str]:
    yield _NOTE
    yield f'.TH {name.upper()} {section} "" "adwatch {__version__}" adwatch'


def _options(actions: Iterable[reference.argparse.Action]) -> Iterator[str]:
    for action in actions:
        names, value = reference.shown(action)
        words = [", ".join(rf"\fB{text(name)}\fR" for name in names)] if names else []
        yield ".TP"
        yield " ".join([*words, rf"\fI{text(value)}\fR"] if value else words)
        yield text(action.help or "")


def _tagged(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, what in rows:
        yield ".TP"
        yield rf"\fB{text(name)}\fR"
        yield text(what)


PAGES = {"adwatch.1": program, "adwatch-config.5": configuration}

if __name__ == "__main__":
    MAN.mkdir(exist_ok=True)
    for page, make in PAGES.items():
        (MAN / page).write_text(make(), encoding="utf-8")
        sys.stdout.write(f"man/{page}\n")
