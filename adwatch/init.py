"""`adwatch init`: asks what it can't find out, tries it on the domain, then writes a configuration.

Nothing is written before a domain controller has let the account in and shown its users.
"""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from adwatch.config.load import load
from adwatch.config.quick import STATE
from adwatch.core.model import Rejection
from adwatch.edges.directory.locate import domain_controllers
from adwatch.errors import (
    AdwatchError,
    CertificateError,
    CredentialsError,
    DirectoryError,
)
from adwatch.report import peers
from adwatch.terminal import show_table
from adwatch.wiring import build, read_secret

_TRIES: Final = 3  # fewer than a domain locks an account after
_DNS_S: Final = 5.0
_SHOWN: Final = 10
_SERVES: Final = Path("/etc/adwatch/config.yaml")  # what the unit runs with
_UNITS: Final = ("/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system")

_TEXT: Final = """\
# Written by adwatch init. Every other key has its default: see config.yaml.example.
# An edit takes effect as soon as it is saved; adwatch check looks whether all is there.

directory:
{servers}
  user: {user}
  password_file: {password_file}   # the password alone, for adwatch's user only
  tls:
    ca_file: {ca_file}   # PEM file of the domain's CA; null: the system's
  base: {base}   # names to search below; []: the whole domain

outputs:
  - name: peers
    path: {output}   # to be included from {include}
    format: {format}

state: {state}
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a configuration is made of."""

    domain: str = ""
    servers: tuple[str, ...] = ()
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    base: str = ""
    format: str = "pjsip.conf"


class Talk:
    """Questions to a person, or to nobody: then only the options and the defaults answer."""

    def __init__(self) -> None:
        self.with_a_person = sys.stdin.isatty()

    def ask(self, what: str, option: str, default: str = "") -> str:
        """An answer; never empty. Raises AdwatchError where nobody gives one."""
        if not self.with_a_person:
            if default:
                return default
            raise AdwatchError(f"nobody is there to say: {what}", f"give {option}")
        said = ""
        while not said:
            shown = f" [{default}]" if default else ""
            said = input(f"{what}{shown}: ").strip() or default
        return said

    def password(self, user: str) -> str:
        """The password of `user`, unseen."""
        if not self.with_a_person:
            raise AdwatchError(f"nobody is there to give {user}'s password", "give --password-file")
        return getpass.getpass(f"Password of {user}: ")

    def say(self, text: str) -> None:
        """Tells something."""
        sys.stdout.write(f"{text}\n")


def init(path: Path, given: Answers, password_file: Path | None, *, force: bool) -> int:
    """Makes the configuration at `path`. Raises AdwatchError, and then nothing was written."""
    if path.exists() and not force:
        raise AdwatchError(f"{path} is there already", "give --force to replace it")
    talk = Talk()
    if password_file is not None:
        given = replace(given, password=read_secret(password_file, "password"))
    answers = _asked(talk, given)
    answers = _tried(talk, answers)
    secret = password_file.absolute() if password_file else Path("bind-password")
    _write(path, answers, secret, given=password_file is not None)
    talk.say(_what_next(path, answers, secret))
    return 0


def _asked(talk: Talk, given: Answers) -> Answers:
    domain = given.domain
    if not given.servers:
        domain = domain or talk.ask("Domain", "--domain", own_domain())
        found = domain_controllers(domain, "ldaps", _DNS_S)
        talk.say("Domain controllers, by DNS: " + ", ".join(url for _, url in found))
    user = given.user or talk.ask("Account that may read the users (name@domain)", "--user")
    if "@" not in user and "\\" not in user and "=" not in user and domain:
        user = f"{user}@{domain}"
    password = given.password or talk.password(user)
    return replace(given, domain=domain, user=user, password=password)


def own_domain() -> str:
    """The domain that this machine is in, by its name or its resolver; empty if neither knows."""
    _, _, domain = socket.getfqdn().partition(".")
    if domain and domain != "localdomain":
        return domain
    with suppress(OSError):
        for line in Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] in ("search", "domain"):
                return words[1]
    return ""


def _tried(talk: Talk, answers: Answers) -> Answers:
    """The answers with which the domain could be read, some asked for again where it could not."""
    for left in reversed(range(_TRIES)):
        try:
            _show(talk, answers)
        except DirectoryError as error:
            again = _mend(talk, answers, error) if talk.with_a_person and left else None
            if again is None:
                raise
            talk.say(f"✗ {error}")
            answers = again()
        else:
            break
    return answers


def _mend(talk: Talk, answers: Answers, error: DirectoryError) -> Callable[[], Answers] | None:
    if isinstance(error, CertificateError):
        question = "PEM file with the certificate of the domain's CA"
        return lambda: replace(answers, ca_file=talk.ask(question, "--ca-file"))
    if isinstance(error, CredentialsError) and error.counts:
        return lambda: replace(answers, password=talk.password(answers.user))
    return None


def _show(talk: Talk, answers: Answers) -> None:
    """Reads all users as the service would, and shows what it makes of them."""
    with TemporaryDirectory(prefix="adwatch-init-") as name:
        folder = Path(name)
        secret = folder / "bind-password"
        secret.touch(mode=0o600)
        secret.write_text(answers.password + "\n", encoding="utf-8")
        trial = folder / "config.yaml"
        trial.write_text(text_of(answers, secret, folder), encoding="utf-8")
        service = build(load(trial), dry=True)
        try:
            service.open(secrets=False)
            turn = service.turn("reconcile")
            if (fault := turn.faults.get("directory")) is not None:
                raise fault
            reach = service.directory.reach()
            served, rejected = peers(service.store.served()), service.store.rejections()
        finally:
            service.close()
    talk.say(f"✓ {reach.server} lets {answers.user} in")
    sees = "sees deletions" if reach.sees_deletions else "does not see deletions; they are compared"
    talk.say(f"✓ changes are followed by {reach.feed}; the account {sees}")
    talk.say(f"✓ {len(served)} users have a number that can be used, {len(rejected)} have not\n")
    columns = ("number", "name", "email", "context", "login")
    show_table(columns, ([one[column] for column in columns] for one in served[:_SHOWN]))
    if len(served) > _SHOWN:
        talk.say(f"… and {len(served) - _SHOWN} more")
    for line in _reasons(rejected):
        talk.say(line)


def _reasons(rejected: list[Rejection]) -> list[str]:
    lines = [f"✗ {one.login or one.dn}: {one.reason}" for one in rejected[:_SHOWN]]
    more = len(rejected) - len(lines)
    return [*lines, f"… and {more} more"] if more else lines


def text_of(answers: Answers, password_file: Path, trial: Path | None = None) -> str:
    """The configuration; with `trial` one whose state and output are in that directory."""
    state, output = Path(STATE), Path("/etc/asterisk/adwatch") / answers.format
    if trial is not None:
        state, output = trial / "state", trial / "output"
    servers = f"  domain: {_quoted(answers.domain)}   # its controllers are found by DNS"
    if answers.servers:
        servers = f"  servers: [{', '.join(map(_quoted, answers.servers))}]   # preferred first"
    return _TEXT.format(
        servers=servers,
        user=_quoted(answers.user),
        password_file=_quoted(str(password_file)),
        ca_file=_quoted(str(Path(answers.ca_file).absolute())) if answers.ca_file else "null",
        base=f"[{_quoted(answers.base)}]" if answers.base else "[]",
        output=_quoted(str(output)),
        include=f"/etc/asterisk/{answers.format}",
        format=answers.format,
        state=_quoted(str(state)),
    )


def _quoted(text: str) -> str:
    """A YAML string in single quotes, in which nothing but these has a meaning."""
    return "'" + text.replace("'", "''") + "'"


def _write(path: Path, answers: Answers, secret: Path, *, given: bool) -> None:
    """The password first, then the configuration in one step.

    In a directory whose files take its group by the setgid bit that group is the service's, and
    may read the password.
    """
    temporary = path.with_name(f".{path.name}.adwatch~")
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if not given:
            shared = path.parent.stat().st_mode & stat.S_ISGID
            _put(path.with_name(secret.name), answers.password + "\n", 0o640 if shared else 0o600)
        _put(temporary, text_of(answers, secret), 0o640)
        temporary.replace(path)
    except OSError as error:
        raise AdwatchError(
            f"{error.filename or path} can't be written: {error.strerror}",
            "run adwatch init as root, or give another place by --config",
        ) from error


def _put(path: Path, text: str, mode: int) -> None:
    path.unlink(missing_ok=True)  # whose mode, or whose other end, nobody knows
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _what_next(path: Path, answers: Answers, secret: Path) -> str:
    output = f"/etc/asterisk/adwatch/{answers.format}"
    return f"""
{path} is written. What is left to do:

  adwatch check                          # what is still missing, and how to mend it
  adwatch sync                           # one turn: writes {output}
  systemctl enable --now adwatch         # from now on, within a second
{_installing(path, secret)}
In /etc/asterisk/{answers.format}:

  #tryinclude {output}"""


def _installing(path: Path, secret: Path) -> str:
    """What makes a service of adwatch, where it came without the unit, as a wheel does."""
    shared = Path(sys.prefix) / "share" / "adwatch" / "systemd"
    if any((Path(one) / "adwatch.service").exists() for one in _UNITS) or not shared.is_dir():
        return ""
    if path.absolute() != _SERVES:
        return f"\nThe service is not installed. It takes {_SERVES} alone.\n"
    put, source = "install -D -m 644", shlex.quote(str(shared))
    files = shlex.join(map(str, (_SERVES, _SERVES.parent / secret)))
    return f"""
The service is not installed. Before systemctl, as root:

  {put} {source}/adwatch.service /etc/systemd/system/adwatch.service
  {put} {source}/adwatch.sysusers.conf /etc/sysusers.d/adwatch.conf
  {put} {source}/adwatch.tmpfiles.conf /etc/tmpfiles.d/adwatch.conf
  ln -sf {shlex.quote(str(Path(sys.prefix) / "bin" / "adwatch"))} /usr/bin/adwatch
  systemd-sysusers adwatch.conf
  systemd-tmpfiles --create adwatch.conf
  chgrp adwatch {_SERVES.parent} {files}
  chmod 2750 {_SERVES.parent}
  chmod 640 {files}
  systemctl daemon-reload
"""
