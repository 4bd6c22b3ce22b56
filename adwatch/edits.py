"""An edited configuration takes effect in full or not at all; what it did not change goes on.

The files are looked at once they have settled. A bad edit leaves all as it was, and is told with
the line that it stands in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Final

from adwatch.config.load import load
from adwatch.config.schema import Config
from adwatch.core.mapping import Mapper
from adwatch.core.words import line
from adwatch.edges.agi import Agi
from adwatch.edges.directory import Directory
from adwatch.edges.keyfile import KeyFile
from adwatch.edges.store import Store
from adwatch.edges.watch import Watch, digest
from adwatch.edges.web import Web
from adwatch.errors import (
    AdwatchError,
    CertificateError,
    ConfigError,
    CredentialsError,
    DirectoryError,
    PasswordError,
    StoreError,
)
from adwatch.output import Output
from adwatch.parts import Parts
from adwatch.telling import Telling
from adwatch.wiring import (
    make_agi,
    make_directory,
    make_mapper,
    make_outputs,
    make_pbx,
    make_security,
    make_settings,
    make_telling,
    make_web,
    proof_reader,
)

log = logging.getLogger(__name__)

Way = tuple[str | int, ...]
_NEW_STATE: Final = (
    "adwatch can't move what it knows while it runs; stop it, move the directory, start it"
)


@dataclass(frozen=True, slots=True)
class Edition:
    """A configuration, and everything that is made of it.

    `contents` are digests of the files that each of its sections names; `changed` are the
    sections in which it differs from the edition before. The first one has `origin`, the digest
    of the configuration's own file; of a later one whoever takes it has kept an eye on that.
    """

    parts: Parts
    proof: Callable[[], str]
    telling: Telling
    web: Web | None
    agi: Agi | None
    contents: Mapping[str, tuple[str, ...]]
    changed: frozenset[str] = frozenset()
    origin: str = ""


def first_edition(parts: Parts, store: Store, origin: str | None = None) -> Edition:
    """What a start makes of its configuration.

    `origin` is the file's digest from before it was read, for it may have been edited since.
    """
    config = parts.config
    return Edition(
        parts,
        proof_reader(config),
        make_telling(config, store),
        make_web(config),
        make_agi(config),
        _contents(config),
        origin=digest(config.origin) if origin is None else origin,
    )


def next_edition(before: Edition, config: Config, store: Store) -> Edition:
    """What another configuration makes, sharing with the one before all that it can.

    A directory that is another is tried where the one before is connected, for a bad edit must
    not cost a good connection. Raises ConfigError; nothing is changed then.
    """
    old, contents = before.parts, _contents(config)
    was = old.config

    changed = _changed(was, config, before.contents, contents)
    if config.state != was.state:
        raise config.fault(("state",), _NEW_STATE)
    mapper = make_mapper(config)
    mapper = old.mapper if mapper.digest == old.mapper.digest else mapper
    key = _key(config, was) if "secrets" in changed else old.key
    kept = changed.isdisjoint({"outputs", "secrets", "peers"})
    outputs = old.outputs if kept else make_outputs(config, key, mapper)
    if not kept and mapper is old.mapper:
        _tried_on(store, config, outputs)
    pbx = old.pbx if _reaches(config) == _reaches(was) else (lambda: make_pbx(config))
    web = _openable(config, make_web(config)) if "http" in changed else before.web
    agi = make_agi(config) if "agi" in changed else before.agi
    telling = make_telling(config, store)
    directory = old.directory
    files_changed = contents["directory"] != before.contents["directory"]
    if files_changed or _asks(config, mapper) != _asks(was, old.mapper):
        directory = _tried(config, make_directory(config, mapper, store.cursor), directory)
    parts = Parts(config, directory, mapper, key, outputs, pbx)
    web = _going_on(before.web, web)  # last, for nothing refuses the edit any more
    return Edition(parts, proof_reader(config), telling, web, agi, contents, changed)


def _reaches(config: Config) -> Any:
    """All of a configuration that makes the way to Asterisk another one, and breaks a reload off.

    What AMI's secret file holds does not: it is read anew at each login.
    """
    wanted = config.asterisk
    return wanted.command, wanted.ami, wanted.verify


def _asks(config: Config, mapper: Mapper) -> Any:
    """All of a configuration that makes the directory another one."""
    wanted = config.directory
    return make_settings(config, mapper), wanted.push, wanted.password


def _key(config: Config, was: Config) -> KeyFile:
    """The key opened anew. Where secrets came from AD before, no peer needs an older one."""
    key = KeyFile(config.key_path)
    if not config.secrets.attribute:
        try:
            key.open(fresh=bool(was.secrets.attribute))
        except AdwatchError as error:
            raise config.fault(("secrets", "key_file"), str(error)) from error
    return key


def _openable(config: Config, web: Web | None) -> Web | None:
    """With a token that can be read; an address that is taken is tried again and again."""
    if web is not None and web.gate.token is not None:
        try:
            web.gate.token()
        except AdwatchError as error:
            raise config.fault(("http", "token_file"), str(error)) from error
    return web


def _going_on(before: Web | None, web: Web | None) -> Web | None:
    """The server before, which lets in whom the next one would, where the address is the same."""
    if before and web and (before.host, before.port) == (web.host, web.port):
        before.admit(web.gate)
        return before
    return web


def _tried_on(store: Store, config: Config, outputs: Iterable[Output]) -> None:
    """Refuses a template that nobody who is served now could be written by."""
    served = [one.peer for one in store.served()]
    for index, output in enumerate(outputs):
        said = ""
        for peer in served:
            said = output.renderer.refusal(peer)
            if not said:
                break
        if said:
            raise config.fault(("outputs", index, "template"), said)


def _tried(config: Config, directory: Directory, old: Directory) -> Directory:
    """A directory that answers, or at least one in whose place none answers."""
    try:
        make_security(config).context()
    except DirectoryError as error:
        file = "cert_file" if isinstance(error, PasswordError) else "ca_file"
        raise config.fault(("directory", "tls", file), str(error)) from error
    try:
        if old.reach().server:
            directory.open()
    except DirectoryError as error:
        if not _answers(old):
            return directory
        directory.close()
        raise config.fault(("directory", *_place(config, error)), str(error)) from error
    return directory


def _answers(directory: Directory) -> bool:
    try:
        directory.check()
    except DirectoryError:
        return False
    return True


def _place(config: Config, error: DirectoryError) -> Way:
    """The key that a fault of the directory is best mended at."""
    wanted = config.directory
    if isinstance(error, PasswordError | CredentialsError):
        return ("password_file",) if wanted.password_file else ("user",)
    if isinstance(error, CertificateError):
        return ("tls", "ca_file") if wanted.tls.ca_file else ("tls",)
    return ("servers",) if wanted.servers else ("domain",)


def _files(config: Config) -> dict[str, tuple[Path, ...]]:
    """The files that each section names."""
    wanted, ami = config.directory, config.asterisk.ami
    named: dict[str, Iterable[Path | None]] = {
        "directory": (
            *(wanted.tls.ca_file, wanted.tls.cert_file, wanted.tls.key_file),
            *(wanted.keytab, wanted.password_file),
        ),
        "outputs": (Path(o.template) if o.template else None for o in config.outputs),
        "asterisk": (ami.secret_file if ami else None,),
        "http": (config.http.token_file if config.http else None,),
        "alerts": (target.url_file for target in config.alerts.targets),
        "secrets": () if config.secrets.attribute else (config.key_path,),
    }
    return {
        section: tuple(config.resolve(path) for path in paths if path)
        for section, paths in named.items()
    }


def _contents(config: Config) -> dict[str, tuple[str, ...]]:
    return {section: tuple(map(digest, paths)) for section, paths in _files(config).items()}


def _changed(
    was: Config, now: Config, before: Mapping[str, Any], after: Mapping[str, Any]
) -> frozenset[str]:
    """The sections that are others now, be it by the content of a file that they name."""
    return frozenset(
        name
        for name in Config.model_fields
        if getattr(was, name) != getattr(now, name) or before.get(name) != after.get(name)
    )


class Edits:
    """Follows the files of the edition in force, and of an edit that is not.

    `touched` is set when one may be another.
    """

    def __init__(self, edition: Edition, store: Store, wake: Callable[[], None]) -> None:
        self.edition = edition
        self.touched = Event()
        self.again = False
        """Whether the last edit may be taken later without being edited again."""
        self._store = store
        self._wake = wake
        self._watch = Watch(self._sign)
        self.fault: ConfigError | None = None
        self._refused: Config | None = None
        self._looked_at = {edition.parts.config.origin: edition.origin}

    def open(self) -> None:
        """Begins to watch the files. A key that the start has made is no edit."""
        config, contents = self.edition.parts.config, self.edition.contents
        now = _contents(config)
        self.edition = replace(self.edition, contents={**contents, "secrets": now["secrets"]})
        self._looked_at = self._follow() | self._looked_at
        self.again = now != self.edition.contents  # one is another than it was read
        if self.changed():
            self.touched.set()
        self._watch.open()

    def close(self) -> None:
        """Ends watching."""
        self._watch.close()

    def _sign(self) -> None:
        self.touched.set()
        self._wake()

    def _follow(self) -> dict[Path, str]:
        """Watches all files; gives a digest of each but the outputs."""
        files = {self.edition.parts.config.origin}
        for config in (self.edition.parts.config, self._refused):
            if config is not None:
                files |= {path for paths in _files(config).values() for path in paths}
        self._watch.follow(files | {output.path for output in self.edition.parts.outputs})
        return {path: digest(path) for path in files}

    def changed(self) -> bool:
        """Whether the files are others than at the last look, or an edit is to be tried again."""
        return self.again or self._follow() != self._looked_at

    def take(self) -> Edition | None:
        """The next edition; None, and a `fault`, where the files can't be used as they are now."""
        before, seen = self.edition, self._follow()  # what comes while they are read is news
        self.again, self.fault, self._refused = False, None, None
        try:
            config = self._refused = load(before.parts.config.origin)
            seen = self._follow() | seen  # with the files that it is the first to name
            self.edition = next_edition(before, config, self._store)
        except ConfigError as error:
            cause, self.fault = error.__cause__, error
            wrong = isinstance(cause, CredentialsError) and cause.counts
            lasts = wrong or isinstance(cause, PasswordError)
            self.again = isinstance(cause, DirectoryError) and not lasts
            return None
        except StoreError:
            self.again = True
            raise
        finally:
            self._looked_at = {path: seen.get(path, now) for path, now in self._follow().items()}
        changed = [name for name in Config.model_fields if name in self.edition.changed]
        log.info(line("configured", file=config.origin, changed=",".join(changed) or None))
        return self.edition
