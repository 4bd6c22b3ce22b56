"""The `peers` and `outputs` sections: what a peer is made of, and the files it is written to."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Final

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from adwatch.config import kinds, values
from adwatch.config.kinds import Section
from adwatch.config.part import Part
from adwatch.config.values import Mode, Wrong, Wrongness

DEFAULT_FORMAT: Final = "users.conf"


class Peers(Part):
    """`peers`: Jinja2 expressions that make a peer's fields out of LDAP attributes."""

    number: kinds.Expression = "telephoneNumber"
    """The extension; what gives an empty one is no peer."""
    name: kinds.Expression = "sAMAccountName[:1] | upper ~ sAMAccountName[1:]"
    """The name shown to the called."""
    email: kinds.Expression = "userPrincipalName"
    """The mail address."""
    context: kinds.Expression = 'facsimileTelephoneNumber or "users"'
    """The dialplan context of the peer's calls."""
    call_group: kinds.Expression = "number[:1]"
    """The call groups."""
    pickup_group: kinds.Expression = "number[:1]"
    """The groups whose calls the peer may pick up."""
    mobile: kinds.Expression = "mobile"
    """The mobile telephone."""
    extra: Annotated[dict[str, kinds.Expression], Section] = Field(default_factory=dict)
    """More fields for your own templates, by name."""

    @field_validator("*")
    @classmethod
    def _expressions(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name == "extra":
            if faults := tuple(_extra_faults(value)):
                raise Wrong(*faults)
        elif fault := _expression_fault(str(info.field_name), value):
            raise ValueError(fault)
        return value

    def fields(self) -> tuple[tuple[str, str], ...]:
        """Fields and expressions in the order of evaluation, extras last."""
        own = ((name, getattr(self, name)) for name in type(self).model_fields if name != "extra")
        return (*own, *self.extra.items())


_TAKEN: Final = frozenset(
    {"guid", "dn", "login", "secret", "ha1", "realm", "peer", "options", "entry"}
)


def _extra_faults(extra: Mapping[str, str]) -> Iterator[Wrongness]:
    taken = _TAKEN | Peers.model_fields.keys()
    for name, expression in extra.items():
        if name in taken:
            yield Wrongness((name,), "this name is taken; choose another", on_key=True)
        elif not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) or _is_word_of_jinja(name):
            yield Wrongness((name,), "cannot be a field's name (a-z 0-9 _)", on_key=True)
        if fault := _expression_fault(name, expression):
            yield Wrongness((name,), fault)


def _is_word_of_jinja(name: str) -> bool:
    return keyword.iskeyword(name) or name in {"true", "false", "none"}


def _expression_fault(field: str, expression: str) -> str | None:
    from adwatch.core.mapping import expression_fault

    try:
        return expression_fault(field, expression)
    except RecursionError:
        return "is nested too deeply"


_HASH: Final = {"hash": values.flag}
_KNOWN_OPTIONS: Final[Mapping[str, Mapping[str, Callable[[object], str | bool]]]] = {
    "users.conf": {"template": values.section_name, **_HASH},
    "sip.conf": {"template": values.section_name, **_HASH},
    "pjsip.conf": {
        "endpoint": values.section_name,
        "auth": values.section_name,
        "aor": values.section_name,
        **_HASH,
    },
    "voicemail.conf": {"context": values.section_name},
    "hints.conf": {"context": values.section_name, "tech": values.section_name},
}
_RELOADS: Final = {
    "users.conf": "sip reload",
    "sip.conf": "sip reload",
    "pjsip.conf": "module reload res_pjsip.so",
    "voicemail.conf": "voicemail reload",
    "hints.conf": "dialplan reload",
}


_OPTIONS_SCHEMA: Final = WithJsonSchema(
    {
        "type": "object",
        "properties": {
            name: {"type": ["boolean" if name == "hash" else "string", "null"]}
            for options in _KNOWN_OPTIONS.values()
            for name in options
        },
        "additionalProperties": False,
    }
)


def _derived(schema: dict[str, Any]) -> None:
    """Such a key has no one default: it follows from the others."""
    schema.pop("default", None)


class Output(Part):
    """One item of `outputs`: a file that Asterisk includes."""

    name: kinds.OutputName = Field(default="", json_schema_extra=_derived)
    """For `adwatch render NAME`; left out: the path's last part."""
    path: kinds.PlacedPath
    """The file that is written."""
    format: kinds.Format | None = Field(default=None, json_schema_extra=_derived)
    """What the file is; left out: users.conf, unless there is a template."""
    template: kinds.PlacedPath | None = None
    """Your own Jinja2 file, in place of format."""
    options: Annotated[dict[str, str | bool], _OPTIONS_SCHEMA] = Field(default_factory=dict)
    """Options of the format: template, hash; endpoint, auth, aor, hash for pjsip.conf; context
    for voicemail.conf and hints.conf, and tech for hints.conf."""
    reload: kinds.Line | None = Field(default=None, json_schema_extra=_derived)
    """The Asterisk CLI command after a change, or null; left out: the format's own."""
    mode: kinds.FileMode = Mode(0o640)
    """The file's permissions in octal."""
    owner: kinds.Owner | None = None
    """user:group of the file; null: as it is."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """Puts in what follows from the other keys."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if data.get("format") is None and data.get("template") is None:
            data["format"] = DEFAULT_FORMAT
        if "reload" not in data:
            data["reload"] = _RELOADS.get(str(data.get("format")))
        if data.get("name") is None and isinstance(data.get("path"), (str, Path)):
            data["name"] = PurePath(data["path"]).name
        return data

    @field_validator("options", mode="before")
    @classmethod
    def _options(cls, value: Any, info: ValidationInfo) -> dict[str, str | bool]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ValueError("must be a section, such as {template: lan}")  # noqa: TRY004
        form = info.data.get("format")
        if "format" not in info.data or "template" not in info.data:
            return {}  # their own fault is told, and the options can't be judged
        known = _KNOWN_OPTIONS.get(form, _HASH) if form else _HASH
        found: dict[str, str | bool] = {}
        faults = []
        for name, written in value.items():
            try:
                if name not in known:
                    message = f"unknown option; {form or 'a template'} knows {', '.join(known)}"
                    faults.append(Wrongness((name,), message, on_key=True))
                elif written is not None:
                    found[name] = known[name](written)
            except ValueError as error:
                faults.append(Wrongness((name,), str(error)))
        if faults:
            raise Wrong(*faults)
        return found

    def clashes(self) -> Iterator[Wrongness]:
        """A format, or a template."""
        if self.format is not None and self.template is not None:
            yield Wrongness(("template",), "and format are both given; keep one")
        if self.format not in (None, "hints.conf") and self.mode & 0o007:
            message = f"{self.mode} lets everybody read the SIP secrets; end it with 0"
            yield Wrongness(("mode",), message, (("mode",), ("format",)))
