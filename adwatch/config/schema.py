"""The configuration as frozen models: every key, its default, and which keys go together.

Values arrive as text (see `source`); what a text means is said in `values`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, PrivateAttr, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from adwatch.config import kinds
from adwatch.config.directory import Directory, Tls
from adwatch.config.kinds import Section
from adwatch.config.outputs import Output, Peers
from adwatch.config.part import Part, one_secret
from adwatch.config.quick import STATE
from adwatch.config.source import (
    DEFAULT_PATH,
    OUTPUT,
    OUTPUT_NAME,
    Marks,
    Position,
    Way,
    dotted,
    position,
)
from adwatch.config.values import Address, Duration, Wrong, Wrongness, quoted
from adwatch.errors import ConfigError, Fault

__all__ = [
    "Alerts",
    "Ami",
    "Asterisk",
    "Config",
    "Contacts",
    "Directory",
    "Http",
    "Output",
    "Peers",
    "Safety",
    "Secrets",
    "Target",
    "Tls",
]


class Secrets(Part):
    """`secrets`: where the SIP secrets come from."""

    key_file: kinds.PlacedPath | None = None
    """The key that secrets are derived from; null: secret.key in the state directory."""
    attribute: kinds.Attribute | None = None
    """An AD attribute that holds the SIP secret, in place of derived ones."""


class Ami(Part):
    """`asterisk.ami`: the manager interface, in place of running a command."""

    host: kinds.Host = "127.0.0.1"
    """Host name or IP address."""
    port: kinds.Port = 5038
    """TCP port."""
    user: kinds.Line
    """The user of manager.conf."""
    secret: kinds.Secret | None = None
    """The user's secret; better in secret_file."""
    secret_file: kinds.GivenPath | None = None
    """File with the user's secret."""

    def clashes(self) -> Iterator[Wrongness]:
        """One secret."""
        yield from one_secret(self.secret, self.secret_file, "secret")


class Asterisk(Part):
    """`asterisk`: how the PBX is told, and looked at."""

    command: kinds.Command = ("asterisk", "-rx")
    """Runs a CLI command, which is put behind it."""
    ami: Ami | None = None
    """The manager interface, in place of command."""
    verify: kinds.Flag = True
    """Whether to look, after a reload, if the PBX really has the peers."""
    settle: kinds.Seconds = Duration("200ms")
    """Wait for this much quiet before a reload,"""
    at_most: kinds.Seconds = Duration("2s")
    """but never longer than this."""

    @field_validator("command")
    @classmethod
    def _runs_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("must name a program, such as [asterisk, -rx]")
        return value

    def clashes(self) -> Iterator[Wrongness]:
        """The two waits."""
        if self.at_most < self.settle:
            message = f"{self.at_most} is shorter than settle, which is {self.settle}"
            yield Wrongness(("at_most",), message, (("settle",), ("at_most",)))


class Safety(Part):
    """`safety`: when removals wait for a person."""

    window: kinds.SomeSeconds = Duration("10m")
    """Removals are counted over this long."""
    max_removals: kinds.Count = 5
    """More peers gone than this,"""
    max_removals_percent: kinds.Percent = 10
    """and a larger share of all than this: the removals are held."""


class Target(Part):
    """One item of `alerts.targets`: an Apprise URL by itself, or with a level."""

    url: kinds.Url | None = None
    """Apprise URL."""
    url_file: kinds.GivenPath | None = None
    """File with an Apprise URL."""
    min_level: kinds.Level = "info"
    """The least level that is sent there."""

    @model_validator(mode="before")
    @classmethod
    def _url_alone(cls, data: Any) -> Any:
        return {"url": data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """An object, or a URL alone."""
        return {"anyOf": [{"type": "string", "pattern": "://"}, handler(core_schema)]}

    def clashes(self) -> Iterator[Wrongness]:
        """One URL."""
        yield from one_secret(self.url, self.url_file, "url")


class Alerts(Part):
    """`alerts`: who is told, in which language, when."""

    targets: tuple[Target, ...] = ()
    """Apprise URLs, or {url_file: …}, {url: …, min_level: error}."""
    language: kinds.Language = "en"
    """The language of the messages."""
    after: kinds.Seconds = Duration("30s")
    """An outage that is shorter than this stays silent."""
    remind: kinds.SomeSeconds = Duration("4h")
    """How often a fault that lasts is told again."""


class Http(Part):
    """`http`: status page, metrics and phone books."""

    listen: kinds.HostPort = Address("127.0.0.1", 8389)
    """Address and port to listen on."""
    token_file: kinds.GivenPath | None = None
    """File with the token that visitors must show."""
    allow: tuple[kinds.Cidr, ...] = ()
    """Networks whose visitors are let in; none: whoever has the token, else this machine."""
    approve: kinds.Flag = False
    """Whether the status page has buttons to approve and reject what is held; needs token_file."""

    def clashes(self) -> Iterator[Wrongness]:
        """Nobody decides who has not shown a token."""
        if self.approve and self.token_file is None:
            message = "lets visitors decide without a token; set token_file, too"
            yield Wrongness(("approve",), message, (("approve",), ("token_file",)))


class Contacts(Part):
    """`contacts`: AD contacts that the phone books show too."""

    base: kinds.Bases = ()
    """Distinguished names to search below; empty: those of directory."""
    filter: kinds.Filter = "(&(objectCategory=person)(objectClass=contact))"
    """LDAP filter: which objects are contacts."""


def _doubles(outputs: tuple[Output, ...]) -> Iterator[Wrongness]:
    """No two outputs have one name or one file."""
    own = ("name", "path")
    for key in own:
        seen: dict[str, int] = {}
        for index, output in enumerate(outputs):
            value = os.path.normpath(getattr(output, key))
            if (first := seen.setdefault(value, index)) != index:
                rests_on = tuple((at, of) for at in (index, first) for of in own)
                message = f"{quoted(value)} is the {key} of outputs[{first}] too"
                yield Wrongness((index, key), message, rests_on)


def _overwrites(config: Config) -> Iterator[Wrongness]:
    """No output takes the place of a file that adwatch itself reads."""
    password_file = config.directory.password_file
    read = {
        config.origin: "the configuration",
        config.resolve(password_file) if password_file else None: "the password file",
        config.key_path: "the secret key",
    }
    taken = {os.path.abspath(path): what for path, what in read.items() if path}  # noqa: PTH100
    for index, output in enumerate(config.outputs):
        if what := taken.get(os.path.abspath(output.path)):  # noqa: PTH100 - no link is followed
            yield Wrongness(("outputs", index, "path"), f"is {what} itself")


class Config(Part):
    """The whole configuration. `origin` is the file it was read from, as it was given."""

    directory: Annotated[Directory, Section]
    peers: Annotated[Peers, Section] = Peers()
    secrets: Annotated[Secrets, Section] = Secrets()
    outputs: tuple[Output, ...] = (Output(name=OUTPUT_NAME, path=Path(OUTPUT)),)
    """The files that Asterisk includes."""
    asterisk: Annotated[Asterisk, Section] = Asterisk()
    safety: Annotated[Safety, Section] = Safety()
    alerts: Annotated[Alerts, Section] = Alerts()
    state: kinds.PlacedPath = Path(STATE)
    """The directory where adwatch keeps what it knows."""
    http: Http | None = None
    contacts: Contacts | None = None
    agi: kinds.HostPort | None = None
    """Address and port for caller names over FastAGI."""

    _origin: Path = PrivateAttr(default=DEFAULT_PATH)
    _beside: Path = PrivateAttr(default=DEFAULT_PATH.parent)
    _marks: Marks = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Keeps where the configuration was read, from the context of the validation."""
        if context:
            self._origin, self._marks = context["origin"], context["marks"]
            self._beside = context["beside"]

    @model_validator(mode="before")
    @classmethod
    def _with_directory(cls, data: Any) -> Any:
        """A missing directory is an empty one, whose own faults say what it needs."""
        return {"directory": {}, **data} if isinstance(data, dict) else data

    def clashes(self) -> Iterator[Wrongness]:
        """Nothing that adwatch reads is written over."""
        yield from _overwrites(self)

    @field_validator("outputs")
    @classmethod
    def _distinct(cls, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
        if faults := tuple(_doubles(outputs)):
            raise Wrong(*faults)
        return outputs

    @property
    def origin(self) -> Path:
        """The file that the configuration was read from, as it was given."""
        return self._origin

    @property
    def key_path(self) -> Path:
        """The file of the key that secrets are derived from."""
        return self.secrets.key_file or self.state / "secret.key"

    def resolve(self, path: Path) -> Path:
        """Where a file of a secret is: $CREDENTIALS_DIRECTORY first, else beside `origin`."""
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        found = Path(credentials or "/nonexistent") / path  # an absolute path stays itself
        try:
            found.stat()
        except PermissionError:
            return found  # who reads it says so, with the path
        except OSError:
            return self._beside / path
        return found

    def fault(self, way: Way, message: str) -> ConfigError:
        """A fault that shows only when the configuration is put to use, where it stands."""
        return ConfigError(str(self.origin), [Fault(*self.position(*way), dotted(way), message)])

    def position(self, *way: str | int) -> Position:
        """Line and column of a value, or of the nearest section above where it is absent."""
        return position(self._marks, way)
