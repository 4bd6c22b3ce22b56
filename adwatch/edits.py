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
    Fault,
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

    `contents` is a digest of the files that each of its sections names.
    """

    parts: Parts
    proof: Callable[[], str]
    telling: Telling
    web: Web | None
    agi: Agi | None
    contents: Mapping[str, str]


def first_edition(parts: Parts, store: Store) -> Edition:
    """What a start makes of its configuration."""
    config = parts.config
    return Edition(
        parts,
        proof_reader(config),
        make_telling(config, store),
        make_web(config),
        make_agi(config),
        _contents(config),
    )


def next_edition(before: Edition, config: Config, store: Store) -> Edition:
    """What another configuration makes, sharing with the one before all that it can.

    A directory that is another is tried where the one before is connected, for a bad edit must
    not cost a good connection. Raises ConfigError; nothing is changed then.
    """
    old, contents = before.parts, _contents(config)
    was = old.config

    def same(section: str, *also: Any) -> bool:
        kept = contents.get(section) == before.contents.get(section)
        sections = getattr(config, section), getattr(was, section)
        return kept and sections[0] == sections[1] and all(a == b for a, b in also)

    if config.resolve(config.state) != was.resolve(was.state):
        raise _refused(config, ("state",), _NEW_STATE)
    mapper = make_mapper(config)
    mapper = old.mapper if mapper.digest == old.mapper.digest else mapper
    key = old.key if same("secrets", (config.key_path, was.key_path)) else _key(config, was)
    kept = same("outputs") and key is old.key and config.secrets == was.secrets
    kept = kept and config.peers == was.peers
    outputs = old.outputs if kept else make_outputs(config, key, mapper)
    if not kept and mapper is old.mapper:
        _tried_on(store, config, outputs)
    pbx = old.pbx if same("asterisk") else lambda: make_pbx(config)
    alike = contents["directory"] == before.contents["directory"] and _asks(config) == _asks(was)
    web = before.web if same("http") else _openable(config, make_web(config))
    agi = before.agi if config.agi == was.agi else make_agi(config)
    telling = make_telling(config, store)
    directory = old.directory
    if not alike:
        directory = _tried(config, make_directory(config, mapper, store.cursor), directory)
    parts = Parts(config, directory, mapper, key, outputs, pbx)
    return Edition(parts, proof_reader(config), telling, web, agi, contents)


def _asks(config: Config) -> Any:
    """All of a configuration that makes the directory another one."""
    wanted = config.directory
    return make_settings(config, make_mapper(config)), wanted.push, wanted.password


def _key(config: Config, was: Config) -> KeyFile:
    """The key opened anew. Where secrets came from AD before, no peer needs an older one."""
    key = KeyFile(config.key_path)
    if not config.secrets.attribute:
        try:
            key.open(fresh=bool(was.secrets.attribute))
        except AdwatchError as error:
            raise _refused(config, ("secrets", "key_file"), str(error)) from error
    return key


def _openable(config: Config, web: Web | None) -> Web | None:
    """With a token that can be read; an address that is taken is tried again and again."""
    if web is not None and web.gate.token is not None:
        try:
            web.gate.token()
        except AdwatchError as error:
            raise _refused(config, ("http", "token_file"), str(error)) from error
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
            raise _refused(config, ("outputs", index, "template"), said)


def _tried(config: Config, directory: Directory, old: Directory) -> Directory:
    """A directory that answers, or at least one in whose place none answers."""
    try:
        make_security(config).context()
    except DirectoryError as error:
        file = "cert_file" if isinstance(error, PasswordError) else "ca_file"
        raise _refused(config, ("directory", "tls", file), str(error)) from error
    try:
        if old.reach().server:
            directory.open()
    except DirectoryError as error:
        if not _answers(old):
            return directory
        directory.close()
        raise _refused(config, ("directory", *_place(config, error)), str(error)) from error
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


def _refused(config: Config, way: Way, message: str) -> ConfigError:
    line_, column = config.position(*way)
    key = ".".join(map(str, way))
    return ConfigError(str(config.origin), [Fault(line_, column, key, message)])


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


def _contents(config: Config) -> dict[str, str]:
    return {section: digest(paths) for section, paths in _files(config).items()}


def _changed(before: Edition, after: Edition) -> list[str]:
    """The sections that are others now, be it by a file that they name."""
    was, now = before.parts.config, after.parts.config
    return [
        name
        for name in Config.model_fields
        if getattr(was, name) != getattr(now, name)
        or before.contents.get(name) != after.contents.get(name)
    ]


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
        self._looked_at = {edition.parts.config.origin: digest([edition.parts.config.origin])}

    def open(self) -> None:
        """Begins to watch the files. A key that the start has made is no edit."""
        config, contents = self.edition.parts.config, self.edition.contents
        now = _contents(config)
        self.edition = replace(self.edition, contents={**contents, "secrets": now["secrets"]})
        self._looked_at = self._follow() | self._looked_at
        if now != self.edition.contents or self.changed():
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
        return {path: digest([path]) for path in files}

    def changed(self) -> bool:
        """Whether the files are others than at the last look, or an edit is to be tried again."""
        return self.again or self._follow() != self._looked_at

    def take(self) -> Edition | None:
        """The next edition; None, and a `fault`, where the files can't be used as they are now."""
        before, seen = self.edition, self._follow()  # what comes while they are read is news
        self.again, self.fault, self._refused = False, None, None
        try:
            config = self._refused = load(before.parts.config.origin)
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
            self._looked_at = self._follow() | seen
        said = ",".join(_changed(before, self.edition)) or None
        log.info(line("configured", file=config.origin, changed=said))
        return self.edition
