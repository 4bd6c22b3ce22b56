"""The kinds of value that the schema is made of: how each is read, and its JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, PlainValidator, SecretStr, WithJsonSchema

from adwatch.config import values
from adwatch.config.values import Address, AlertUrl, Duration, Mode, Network

DURATION_PATTERN: Final = "^[0-9]{1,12}(ms|s|m|h|d)$"
MODE_PATTERN: Final = "^0?[0-7]{3}$"


def _json(kind: str = "string", **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, **more})


def _words(*words: str) -> WithJsonSchema:
    return _json(enum=list(words))


def _strings(**more: Any) -> WithJsonSchema:
    """A list of texts that may be written as a single one."""
    item = {"type": "string", **more}
    return WithJsonSchema({"anyOf": [{"type": "array", "items": item}, item]})


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _section(value: object) -> object:
    return {} if value is None else value


def _format(value: object) -> str:
    return values.one_of(*FORMATS)(value)


FORMATS: Final = ("users.conf", "sip.conf", "pjsip.conf", "voicemail.conf", "hints.conf")

Line = Annotated[str, PlainValidator(values.line), _json(minLength=1)]
Flag = Annotated[
    bool,
    PlainValidator(values.flag),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no", "on", "off"]}]}),
]
Count = Annotated[
    int, PlainValidator(values.count(0, 1_000_000)), _json("integer", minimum=0, maximum=1_000_000)
]
Percent = Annotated[
    int, PlainValidator(values.count(0, 100)), _json("integer", minimum=0, maximum=100)
]
Port = Annotated[
    int, PlainValidator(values.count(1, 65535)), _json("integer", minimum=1, maximum=65535)
]
Seconds = Annotated[Duration, PlainValidator(values.duration), _json(pattern=DURATION_PATTERN)]
"""Seconds as a float, zero included."""
SomeSeconds = Annotated[
    Duration, PlainValidator(values.positive_duration), _json(pattern=DURATION_PATTERN)
]
"""Seconds as a float, more than zero."""
FileMode = Annotated[Mode, PlainValidator(values.mode), _json(pattern=MODE_PATTERN)]
Owner = Annotated[str, PlainValidator(values.owner), _json(pattern="^[^: ]*(:[^: ]+)?$")]
GivenPath = Annotated[Path, PlainValidator(values.given_path), _json(minLength=1)]
"""As written: the reader calls `Config.resolve`."""
PlacedPath = Annotated[Path, PlainValidator(values.placed_path), _json(minLength=1)]
"""Absolute: a relative one stands beside the configuration."""
HostPort = Annotated[Address, PlainValidator(values.address), _json(pattern="^.+:[0-9]{1,5}$")]
Host = Annotated[str, PlainValidator(values.host), _json(minLength=1)]
Domain = Annotated[str, PlainValidator(values.domain), _json(minLength=1)]
Server = Annotated[str, PlainValidator(values.server)]
Servers = Annotated[
    tuple[Server, ...], BeforeValidator(_listed), _strings(pattern="^ldaps?://[^/@]+/?$")
]
Dn = Annotated[str, PlainValidator(values.name_of_dn)]
Bases = Annotated[tuple[Dn, ...], BeforeValidator(_listed), _strings(pattern="^.+=.+$")]
Attribute = Annotated[
    str, PlainValidator(values.attribute), _json(pattern="^[A-Za-z][A-Za-z0-9-]*$")
]
Filter = Annotated[str, PlainValidator(values.ldap_filter), _json(pattern=r"^\s*\(")]
Expression = Annotated[str, PlainValidator(values.text), _json(minLength=1)]
Secret = Annotated[SecretStr, PlainValidator(values.secret), _json(minLength=1, writeOnly=True)]
Url = Annotated[
    AlertUrl,
    PlainValidator(values.alert_url),
    _json(pattern="^[A-Za-z][A-Za-z0-9]*://", writeOnly=True),
]
Cidr = Annotated[Network, PlainValidator(values.network), _json(minLength=1)]
Command = Annotated[
    tuple[Annotated[str, PlainValidator(values.line)], ...],
    BeforeValidator(values.words),
    _strings(minLength=1),
]
OutputName = Annotated[
    str, PlainValidator(values.output_name), _json(pattern="^[A-Za-z0-9_-][A-Za-z0-9._-]*$")
]

Section = BeforeValidator(_section)
"""A section with nothing below it is one of defaults."""

Auth = Annotated[
    Literal["simple", "ntlm", "kerberos", "external"],
    PlainValidator(values.one_of("simple", "ntlm", "kerberos", "external")),
    _words("simple", "ntlm", "kerberos", "external"),
]
Start = Annotated[
    Literal["ldaps", "starttls", "none"],
    PlainValidator(values.one_of("ldaps", "starttls", "none")),
    _words("ldaps", "starttls", "none"),
]
Disabled = Annotated[
    Literal["drop", "keep"],
    PlainValidator(values.one_of("drop", "keep")),
    _words("drop", "keep"),
]
Feed = Annotated[
    Literal["auto", "dirsync", "usn"],
    PlainValidator(values.one_of("auto", "dirsync", "usn")),
    _words("auto", "dirsync", "usn"),
]
Format = Annotated[str, PlainValidator(_format), _words(*FORMATS)]
Language = Annotated[
    Literal["en", "ru"], PlainValidator(values.one_of("en", "ru")), _words("en", "ru")
]
Level = Annotated[
    Literal["info", "warning", "error"],
    PlainValidator(values.one_of("info", "warning", "error")),
    _words("info", "warning", "error"),
]
