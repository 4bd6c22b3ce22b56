"""The configuration becomes a service: which edges there are, and how they are put together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING

import yaml

from adwatch.config.schema import Config
from adwatch.config.schema import Output as OutputConfig
from adwatch.config.schema import Target as TargetConfig
from adwatch.core.mapping import Expressions, Mapper
from adwatch.core.model import Cursor
from adwatch.core.pace import Tempo
from adwatch.core.render import Format, Renderer, RenderError
from adwatch.edges.asterisk import Pbx
from adwatch.edges.directory import Directory
from adwatch.edges.directory.active import ActiveDirectory
from adwatch.edges.directory.security import Security
from adwatch.edges.directory.settings import Settings
from adwatch.edges.keyfile import KeyFile
from adwatch.edges.store import Store
from adwatch.errors import AsteriskError, PasswordError
from adwatch.output import Output
from adwatch.parts import Parts, secret_of
from adwatch.service import Service

if TYPE_CHECKING:  # what `sync` does not use is imported where it is made
    from adwatch.edges.agi import Agi
    from adwatch.edges.alerts import Target
    from adwatch.edges.web import Web
    from adwatch.telling import Telling


def build(config: Config, *, dry: bool = False, directory: Directory | None = None) -> Service:
    """A service for a configuration, nothing opened yet.

    Raises ConfigError where a template of the administrator's own can't be used.
    """
    mapper = make_mapper(config)
    key = KeyFile(config.key_path)
    store = Store(config.state)
    parts = Parts(
        config,
        directory or make_directory(config, mapper, store.cursor),
        mapper,
        key,
        make_outputs(config, key, mapper),
        lambda: make_pbx(config),
    )
    return Service(parts, store, dry=dry)


def make_outputs(config: Config, key: KeyFile, mapper: Mapper) -> tuple[Output, ...]:
    """The outputs with their templates compiled. Raises ConfigError where one can't be used."""
    return tuple(_output(config, key, mapper, index) for index in range(len(config.outputs)))


def make_mapper(config: Config) -> Mapper:
    """The compiled `peers` section."""
    return Mapper(
        Expressions(
            fields=config.peers.fields(),
            secret_attribute=config.secrets.attribute or "",
            drop_disabled=config.directory.disabled == "drop",
        )
    )


def make_tempo(config: Config) -> Tempo:
    """How often and how soon, as configured."""
    return Tempo(
        poll=config.directory.poll,
        reconcile=config.directory.reconcile,
        settle=config.asterisk.settle,
        at_most=config.asterisk.at_most,
    )


def make_agi(config: Config) -> Agi | None:
    """The server of caller names as configured, None where there is none."""
    from adwatch.edges.agi import Agi

    return Agi(config.agi.host, config.agi.port) if config.agi else None


def make_web(config: Config) -> Web | None:
    """The HTTP server as configured, None where there is none."""
    from adwatch.edges.web import Gate, Web

    wanted = config.http
    if wanted is None:
        return None
    token = None
    if wanted.token_file is not None:
        token = _secret_reader(config, wanted.token_file, "token")
    return Web(wanted.listen.host, wanted.listen.port, Gate(wanted.allow, token))


def make_targets(config: Config) -> tuple[Target, ...]:
    """Who is told, as configured; a URL in a file is read at each use."""
    return tuple(_target(config, wanted) for wanted in config.alerts.targets)


def _target(config: Config, wanted: TargetConfig) -> Target:
    from adwatch.edges.alerts import Target

    if wanted.url is not None:
        url, shown = wanted.url.get_secret_value(), str(wanted.url)
        return Target(_digest(url), shown, wanted.min_level, lambda: url)
    assert wanted.url_file is not None
    read = _secret_reader(config, wanted.url_file, "alert URL")
    path = str(config.resolve(wanted.url_file))
    return Target(_digest(path), path, wanted.min_level, read)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_telling(config: Config, store: Store | None = None) -> Telling:
    """Who is told, when, and in which language."""
    from adwatch.core.incidents import Rules
    from adwatch.telling import STALE_S, Telling

    wanted = config.alerts
    words = files("adwatch").joinpath("languages", f"{wanted.language}.yaml")
    return Telling(
        store or Store(config.state),
        make_targets(config),
        yaml.safe_load(words.read_text(encoding="utf-8")),
        Rules(wanted.after, wanted.remind),
        gethostname(),
        stale_s=max(STALE_S, 3 * config.directory.poll),
    )


def _secret_reader(config: Config, file: Path, what: str) -> Callable[[], str]:
    """Reads a secret that stands alone in a file, without a line end behind it.

    What it gives raises PasswordError where the file can't be read or is empty.
    """

    return lambda: read_secret(config.resolve(file), what)


def read_secret(path: Path, what: str) -> str:
    """A secret that stands alone in a file, without a line end behind it.

    Raises PasswordError where the file can't be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PasswordError(
            f"the {what} file {path} can't be read: {_cause(error)}",
            f"put the {what} there and let adwatch's user read it",
        ) from error
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise PasswordError(f"the {what} file {path} is empty", f"put the {what} there")
    return secret


def make_directory(
    config: Config, mapper: Mapper, last: Callable[[], Cursor | None] = lambda: None
) -> ActiveDirectory:
    """The directory as configured; it connects when it is first asked.

    `last` gives up to where its changes are known.
    """
    return ActiveDirectory(make_settings(config, mapper), last=last)


def make_settings(config: Config, mapper: Mapper) -> Settings:
    """Which directory is asked for what, as configured."""
    wanted, contacts = config.directory, config.contacts
    return Settings(
        servers=tuple(wanted.servers),
        domain=wanted.domain,
        security=make_security(config),
        password=password_reader(config),
        bases=tuple(wanted.base),
        filter=wanted.filter,
        feed=wanted.feed,
        attributes=mapper.attributes,
        contact_bases=tuple(contacts.base) if contacts else (),
        contact_filter=contacts.filter if contacts else "",
    )


def make_security(config: Config) -> Security:
    """How a connection to the directory is made safe, as configured."""
    wanted = config.directory
    return Security(
        start=wanted.tls.start,
        user=wanted.user or "",
        ca_file=str(wanted.tls.ca_file) if wanted.tls.ca_file else None,
        verify=wanted.tls.verify,
        timeout_s=wanted.timeout,
        auth=wanted.auth,
        keytab=_path(config, wanted.keytab),
        cert_file=str(wanted.tls.cert_file or ""),
        key_file=str(wanted.tls.key_file or ""),
    )


def make_pbx(config: Config) -> Pbx:
    """The way to Asterisk as configured, for one conversation; not opened yet."""
    wanted = config.asterisk.ami
    if wanted is None:
        from adwatch.edges.asterisk.command import CommandLine

        return CommandLine(config.asterisk.command)
    from adwatch.edges.asterisk.ami import Account, Ami

    return Ami(Account(wanted.host, wanted.port, wanted.user, lambda: _ami_secret(config)))


def _ami_secret(config: Config) -> str:
    """The secret of AMI, read anew, without a line end behind it."""
    wanted = config.asterisk.ami
    assert wanted is not None
    if wanted.secret is not None:
        return wanted.secret.get_secret_value()
    assert wanted.secret_file is not None
    path = config.resolve(wanted.secret_file)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AsteriskError(
            f"the secret of AMI in {path} can't be read: {_cause(error)}",
            "put it there and let adwatch's user read it",
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def _path(config: Config, given: Path | None) -> str:
    return str(config.resolve(given)) if given else ""


def proof_reader(config: Config) -> Callable[[], str]:
    """Reads anew at each call what proves who adwatch is, to tell one proof from another."""
    wanted = config.directory
    if wanted.auth in ("simple", "ntlm"):
        password = password_reader(config)
        return lambda: f"{wanted.user}\0{password()}"
    return _file_reader(_path(config, wanted.keytab) or str(wanted.tls.cert_file or ""))


def _file_reader(path: str) -> Callable[[], str]:
    def read() -> str:
        try:
            return Path(path).read_bytes().hex() if path else ""
        except OSError as error:
            raise PasswordError(
                f"{path} can't be read: {_cause(error)}", "let adwatch's user read it"
            ) from error

    return read


def password_reader(config: Config) -> Callable[[], str]:
    """Reads the bind password anew at each call, without a line end behind it.

    For Kerberos and a client certificate it gives the content of their file, which nobody sends,
    but which tells one from another.
    What it gives raises PasswordError where the file can't be read or is empty.
    """

    if config.directory.auth not in ("simple", "ntlm"):
        return proof_reader(config)

    given = config.directory.password
    if given is not None:
        return given.get_secret_value
    assert config.directory.password_file is not None
    return _secret_reader(config, config.directory.password_file, "password")


def _output(config: Config, key: KeyFile, mapper: Mapper, index: int) -> Output:
    wanted = config.outputs[index]
    form = _format(config, wanted, index)
    renderer = Renderer(form, lambda peer: secret_of(config, key, peer), mapper.origins)
    if wanted.mode & 0o007 and re.search(r"\b(secret|ha1)\b", form.source):
        message = f"{wanted.mode} lets everybody read the secrets that the template writes"
        raise config.fault(("outputs", index, "mode"), message)
    if wanted.template is not None:  # those that come with adwatch are read when they are used
        try:
            renderer.check()
        except RenderError as error:
            raise config.fault(("outputs", index, "template"), str(error)) from error
    return Output(
        name=wanted.name,
        path=wanted.path,
        renderer=renderer,
        mode=wanted.mode,
        owner=wanted.owner,
        reload=wanted.reload,
    )


def _format(config: Config, wanted: OutputConfig, index: int) -> Format:
    options = tuple(sorted(wanted.options.items()))
    if wanted.template is None:
        assert wanted.format is not None
        return Format(wanted.format, options)
    try:
        source = Path(wanted.template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise config.fault(
            ("outputs", index, "template"), f"{wanted.template}: {_cause(error)}"
        ) from error
    return Format(str(wanted.template), options, source or "\n")


def _cause(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8"
