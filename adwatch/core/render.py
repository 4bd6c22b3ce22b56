"""Peers become the text of an output: the same peers give the same bytes.

A template writes one peer. Whatever it substitutes passes through one escaper, so that no
template can forget it, and what the file's grammar can't hold raises UnsafeText.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Self

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined
from jinja2.loaders import PackageLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment

from adwatch.core.model import (
    MAPPED,
    Peer,
    UnsafeText,
    refuse_unsafe,
)
from adwatch.core.safe import character, surely_safe
from adwatch.core.secrets import ha1, pin
from adwatch.core.words import octets

REALM = "asterisk"  # what chan_sip and PJSIP announce unless told otherwise
# Asterisk 16 and 22 skip lines over 8,191 octets (main/config.c).
_MAX_LINE = 8000
_CONTEXT_MOST = 79
_RESERVED = {
    "users.conf": ("general",),
    "sip.conf": ("general", "authentication"),
    "pjsip.conf": ("global", "system"),
}
_IDENTITY = ("guid", "dn", "login")
_OPTIONS = ("template", "endpoint", "auth", "aor", "context", "tech")
_NO_OPTIONS: dict[str, str | bool] = dict.fromkeys(_OPTIONS, "")
# Between the fields of a mailbox stands a comma, and nothing escapes one (app_voicemail.c).
_FORBIDDEN = {"voicemail.conf": ",", "hints.conf": ",${}()"}
# Numeric groups are 0 to 63, single or from-to; chan_sip and PJSIP take all others as names.
_GROUP = r"(?:[0-5]?\d|6[0-3])"
_GROUPS = re.compile(rf"{_GROUP}(?:-{_GROUP})?(?:,{_GROUP}(?:-{_GROUP})?)*\Z", re.ASCII)
_MASK = re.compile(r"(?im)^(\s*(?:secret|md5secret|password|md5_cred)\s*=>?\s*)\S.*$")
_MOST_OCTETS = 4  # of a character in UTF-8
_ODD = re.compile(r"[\[#\]]")  # what begins or ends the name of a section, or begins a directive
_PIN = re.compile(r"(?m)^([ +-]?\S+ => )-?[0-9]{4,}(?=,)")  # in a unified diff, too


class RenderError(ValueError):
    """An output's own template fails whatever the peer is; the message says why."""


@dataclass(frozen=True, slots=True)
class Format:
    """How an output writes a peer: a shipped format's name, or the text of the admin's template.

    `options` are those of the contract's section 3; `source` is empty for a shipped format.
    """

    name: str
    options: tuple[tuple[str, str | bool], ...] = ()
    source: str = ""


@dataclass(slots=True)
class Renderer:
    """One output's text, with every peer's fragment kept until the peer or its secret changes."""

    form: Format
    secret_of: Callable[[Peer], str]
    origins: Mapping[str, str] = field(default_factory=dict)
    """What each field is made of, for the reasons of rejections."""
    _fragments: dict[str, tuple[Peer, str, str]] = field(default_factory=dict)
    _template: Any = None
    _fixed: dict[str, Any] = field(default_factory=dict)

    def fragment(self, peer: Peer) -> str:
        """The lines of one peer, ended by a line end.

        Raises UnsafeText where this output can't hold the peer, and RenderError where its
        template fails.
        """
        secret = self.secret_of(peer)
        cached = self._fragments.get(peer.guid)
        if cached is None or cached[0] != peer or cached[1] != secret:
            cached = (peer, secret, self._render(peer, secret))
            self._fragments[peer.guid] = cached
        return cached[2]

    def take(self, peer: Peer) -> str:
        """The same, for somebody who keeps it: what was kept here, from judging the peer, goes."""
        kept = self._fragments.pop(peer.guid, None)
        if kept is not None and kept[0] is peer:
            return kept[2]
        text = self.fragment(peer)
        del self._fragments[peer.guid]
        return text

    def forget(self) -> None:
        """Keeps no fragment of anybody any longer."""
        self._fragments.clear()

    def document(self, peers: Iterable[Peer]) -> str:
        """The whole output: a header, and the fragments by number."""
        ordered = sorted(peers, key=sort_key)
        text = HEADER + "".join(["\n" + self.fragment(peer) for peer in ordered])
        if len(self._fragments) > len(ordered):
            here = {peer.guid for peer in ordered}
            self._fragments = {g: f for g, f in self._fragments.items() if g in here}
        return text

    def template(self) -> str:
        """The template's text."""
        form = self.form
        if form.source:
            return form.source
        environment = _environment(form)
        assert environment.loader is not None
        return environment.loader.get_source(environment, form.name + ".j2")[0]

    def check(self) -> None:
        """Raises RenderError where the template can't be used for anybody."""
        if self._template is None:
            self._template = _load(self.form)
            options = _NO_OPTIONS | dict(self.form.options)
            self._fixed = {"options": options, "realm": REALM}

    def refusal(self, peer: Peer) -> str:
        """Why this output can't hold `peer`, empty where it can."""
        if peer.key in self._reserved():
            return f"number {peer.number} is a name that {self.form.name} uses itself"
        try:
            self.fragment(peer)
        except UnsafeText as error:
            return error.told(self.origins)
        except RenderError as error:
            return str(error)
        return ""

    def _reserved(self) -> frozenset[str]:
        names = [v for _, v in self.form.options if isinstance(v, str)]
        return frozenset(n.lower() for n in (*_RESERVED.get(self.form.name, ()), *names))

    def _render(self, peer: Peer, secret: str) -> str:
        self.check()
        try:
            variables = self._template.globals | _variables(peer, secret, self.form) | self._fixed
            context = self._template.new_context(variables, shared=True)
            pieces: list[str] = list(self._template.root_render_func(context))
        except UnsafeText:
            raise
        except Exception as error:  # the admin's template may raise anything
            raise RenderError(f"the template {self.form.name} fails: {error}") from error
        if any(piece.__class__ is _Value and _ODD.search(piece) for piece in pieces):
            _refuse_structure(pieces)
        text = "".join(pieces).strip("\n") + "\n"
        long = len(text) * _MOST_OCTETS > _MAX_LINE
        if long and any(len(line.encode()) > _MAX_LINE for line in text.split("\n")):
            longest = max((p for p in pieces if isinstance(p, _Value)), key=len, default=None)
            name = _field_of(longest)
            what = f"{name or 'a value'} would make a line of more than {_MAX_LINE} bytes"
            raise UnsafeText(f"{what}, which Asterisk may skip", name)
        return text


def _refuse_structure(pieces: Iterable[str]) -> None:
    """Raises UnsafeText where a value, not the template, would begin or end a section's name.

    And where one would begin a line as a directive.
    """
    line = ""  # what stands left of the piece, from the line's first character that is no blank
    for piece in pieces:
        if isinstance(piece, _Value) and (
            (not line and piece.startswith(("[", "#")))
            or (line.startswith("[") and "]" not in line and "]" in piece)
        ):
            what = f"{piece.field or 'a value'} ({piece[:40]!a})"
            raise UnsafeText(f"{what} would be a section or a directive there", piece.field)
        line = (line + piece).rpartition("\n")[2].lstrip()


HEADER = "; Written by adwatch from Active Directory. Changes made here do not last.\n"


def sort_key(peer: Peer) -> tuple[str, str]:
    """By number, as text: 10 before 9, the same everywhere."""
    return peer.number, peer.guid


def _variables(peer: Peer, secret: str, form: Format) -> dict[str, Any]:
    hashed = ("hash", True) in form.options
    values = {name: _checked(getattr(peer, name), name) for name in MAPPED}
    values |= {name: _Named(getattr(peer, name), name) for name in _IDENTITY}
    if form.source or form.name == "voicemail.conf":
        values["pin"] = _Named(pin(secret), "pin")
    values |= {name: _checked(value, name) for name, value in peer.extra}
    return values | {
        "peer": values,
        "secret": _Named("" if hashed else secret, "secret"),
        "ha1": ha1(peer.number, REALM, secret) if hashed else "",
    }


class _Named(str):
    """A field's text that still knows of which field it is."""

    __slots__ = ("field",)
    field: str

    def __new__(cls, text: str, field: str) -> Self:
        made = super().__new__(cls, text)
        made.field = field
        return made


class _Value(_Named):
    """What a template substituted, told from what it says itself."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


def _checked(text: str, field: str) -> _Named:
    """A field that `Peer` has looked at; where nothing in it is escaped, as it will stand."""
    return _Named(text, field) if ";" in text else _Value(text, field)


def _field_of(value: object) -> str:
    return value.field if isinstance(value, _Named) else ""


def escape(value: object) -> str:
    r"""A value as it must stand after `name = `, so that Asterisk reads back just that value.

    `\;` is the escape for a comment sign, `;--` included (measured on 16.28 and 22.10).
    """
    if value.__class__ is _Value and ";" not in value:
        return value
    if isinstance(value, Undefined):
        str(value)  # a StrictUndefined raises here and says which name it was
    text = value if isinstance(value, str) else str(value)
    name = _field_of(value)
    if not surely_safe(text):
        refuse_unsafe(name, text)
    return _Value(text.replace(";", "\\;"), name)


def quoted(value: str) -> str:
    r"""The name of a caller id between double quotes; `"` and `\` with a backslash before them.

    That is what Asterisk takes the name from (measured on 22.10).
    """
    text = value.replace("\\", "\\\\").replace('"', '\\"')
    return _Named(f'"{text}"', _field_of(value))


def _escape_for(form: Format) -> Callable[[object], str]:
    """The escaper of a format: what bites within its lines is refused as well."""
    forbidden = "" if form.source else _FORBIDDEN.get(form.name, "")
    if not forbidden:
        return escape

    def escape_here(value: object) -> str:
        escaped = escape(value)
        bad = next((one for one in escaped if one in forbidden), "")
        if bad:
            name = _field_of(value)
            what = f"{name or 'a value'} holds the character {character(bad)}"
            raise UnsafeText(f"{what}, which {form.name} can't hold", name)
        return escaped

    return escape_here


def dialplan(value: str) -> str:
    """The name of a context. Raises UnsafeText where Asterisk would take another one for it.

    It keeps 79 octets of it (AST_MAX_CONTEXT) and goes by what it kept.
    """
    if len(value.encode()) > _CONTEXT_MOST:
        name = _field_of(value)
        size = f"{len(value.encode())} octets, and Asterisk would cut it at {_CONTEXT_MOST}"
        raise UnsafeText(f"{name or 'a context'} has {size}", name)
    return value


def mailbox_pin(value: str) -> str:
    """A PIN of voicemail.conf. Raises UnsafeText for what nobody can dial, or an open mailbox.

    With a minus sign before it, its owner can't change it (voicemail.conf.sample).
    """
    if not re.fullmatch(r"-?[0-9]{4,}", value, re.ASCII):
        field = _field_of(value)
        raise UnsafeText(f"{field or 'a PIN'} must be four digits or more for a mailbox", field)
    return value


def numeric_groups(value: str) -> bool:
    """Whether call groups are numeric ones, such as `1,3-5`, and not names."""
    return bool(_GROUPS.match(value))


def _environment(form: Format) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=None if form.source else PackageLoader("adwatch"),
        undefined=StrictUndefined,
        finalize=_escape_for(form),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "quoted": quoted,
        "octets": octets,
        "dialplan": dialplan,
        "mailbox_pin": mailbox_pin,
    }
    environment.tests["numeric_groups"] = numeric_groups
    return environment


def _load(form: Format) -> Any:
    try:
        if form.source:
            return _environment(form).from_string(form.source)
        return _environment(form).get_template(form.name + ".j2")
    except TemplateSyntaxError as error:
        raise RenderError(
            f"the template {PurePath(form.name).name} is not Jinja2, line {error.lineno}:"
            f" {error.message}"
        ) from error


def masked(text: str, secrets: Iterable[str]) -> str:
    """An output's text with every secret masked: the given ones, and what stands for one."""
    known = {secret.replace(";", "\\;") for secret in secrets if secret}
    lookup = re.compile("[A-Za-z0-9]{24,}")
    plain = {secret for secret in known if lookup.fullmatch(secret)}
    sizes = sorted({len(secret) for secret in plain}, reverse=True)

    def hide(match: re.Match[str]) -> str:
        run = match[0]
        for size in sizes:
            for at in range(len(run) - size, -1, -1):
                if run[at : at + size] in plain:
                    run = run[:at] + "********" + run[at + size :]
        return run

    if plain:
        text = lookup.sub(hide, text)
    others = sorted(map(re.escape, known - plain), key=len, reverse=True)
    if others:
        text = re.sub("|".join(others), "********", text)
    return _PIN.sub(r"\1********", _MASK.sub(r"\1********", text))
