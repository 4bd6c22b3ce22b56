"""Peers become the text of an output: the same peers give the same bytes.

A template writes one peer. Whatever it substitutes passes through one escaper, so that no
template can forget it, and what the file's grammar can't hold raises UnsafeText.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError
from jinja2.loaders import PackageLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment

from adwatch.core.escape import (
    Named,
    Value,
    checked,
    dialplan,
    escaper,
    field_of,
    mailbox_pin,
    numeric_groups,
    quoted,
)
from adwatch.core.model import MAPPED, Peer, sort_key
from adwatch.core.safe import UnsafeText
from adwatch.core.secrets import ha1, pin
from adwatch.core.shortcut import IDENTITY, Shortcut, shortcut
from adwatch.core.words import octets

REALM = "asterisk"  # what chan_sip and PJSIP announce unless told otherwise
# Asterisk 16 and 22 skip lines over 8,191 octets (main/config.c).
_MAX_LINE = 8000
_RESERVED = {
    "users.conf": ("general",),
    "sip.conf": ("general", "authentication"),
    "pjsip.conf": ("global", "system"),
}
_OPTIONS = ("template", "endpoint", "auth", "aor", "context", "tech")
_NO_OPTIONS: dict[str, str | bool] = dict.fromkeys(_OPTIONS, "")
# Between the fields of a mailbox stands a comma, and nothing escapes one (app_voicemail.c).
_FORBIDDEN = {"voicemail.conf": ",", "hints.conf": ",${}()"}
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

    @property
    def forbidden(self) -> str:
        """The characters that bite within its lines."""
        return "" if self.source else _FORBIDDEN.get(self.name, "")


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
    _shortcut: Shortcut | None = None
    _reserved: frozenset[str] = frozenset()

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
            tree = self._template.environment.parse(self.template())
            made, fixed = _made(self.form), {"realm": REALM}
            self._shortcut = shortcut(tree, made, fixed, options, self.form.forbidden)
            names = [v for _, v in self.form.options if isinstance(v, str)]
            reserved = (*_RESERVED.get(self.form.name, ()), *names)
            self._reserved = frozenset(name.lower() for name in reserved)

    def refusal(self, peer: Peer) -> str:
        """Why this output can't hold `peer`, empty where it can."""
        self.check()
        if peer.key in self._reserved:
            return f"number {peer.number} is a name that {self.form.name} uses itself"
        try:
            self.fragment(peer)
        except UnsafeText as error:
            return error.told(self.origins)
        except RenderError as error:
            return str(error)
        return ""

    def _render(self, peer: Peer, secret: str) -> str:
        self.check()
        text = self._shortcut.text(peer, secret) if self._shortcut else ""
        if text and len(text) * _MOST_OCTETS <= _MAX_LINE:
            return text.strip("\n") + "\n"
        try:
            variables = self._template.globals | _variables(peer, secret, self.form) | self._fixed
            context = self._template.new_context(variables, shared=True)
            pieces: list[str] = list(self._template.root_render_func(context))
        except UnsafeText:
            raise
        except Exception as error:  # the admin's template may raise anything
            raise RenderError(f"the template {self.form.name} fails: {error}") from error
        if any(piece.__class__ is Value and _ODD.search(piece) for piece in pieces):
            _refuse_structure(pieces)
        text = "".join(pieces).strip("\n") + "\n"
        long = len(text) * _MOST_OCTETS > _MAX_LINE
        if long and any(len(line.encode()) > _MAX_LINE for line in text.split("\n")):
            longest = max((p for p in pieces if isinstance(p, Value)), key=len, default=None)
            name = field_of(longest)
            what = f"{name or 'a value'} would make a line of more than {_MAX_LINE} bytes"
            raise UnsafeText(f"{what}, which Asterisk may skip", name)
        return text


def _refuse_structure(pieces: Iterable[str]) -> None:
    """Raises UnsafeText where a value, not the template, would begin or end a section's name.

    And where one would begin a line as a directive.
    """
    line = ""  # what stands left of the piece, from the line's first character that is no blank
    for piece in pieces:
        if isinstance(piece, Value) and (
            (not line and piece.startswith(("[", "#")))
            or (line.startswith("[") and "]" not in line and "]" in piece)
        ):
            what = f"{piece.field or 'a value'} ({piece[:40]!a})"
            raise UnsafeText(f"{what} would be a section or a directive there", piece.field)
        line = (line + piece).rpartition("\n")[2].lstrip()


HEADER = "; Written by adwatch from Active Directory. Changes made here do not last.\n"


def _made(form: Format) -> dict[str, Callable[[Peer, str], str]]:
    """The variables that are made of a peer and its secret."""
    hashed = ("hash", True) in form.options
    made: dict[str, Callable[[Peer, str], str]] = {
        "secret": (lambda _, __: "") if hashed else (lambda _, secret: secret),
        "ha1": (lambda peer, secret: ha1(peer.number, REALM, secret))
        if hashed
        else (lambda _, __: ""),
    }
    if form.source or form.name == "voicemail.conf":
        made["pin"] = lambda _, secret: pin(secret)
    return made


def _variables(peer: Peer, secret: str, form: Format) -> dict[str, Any]:
    made = {name: make(peer, secret) for name, make in _made(form).items()}
    values = {name: checked(getattr(peer, name), name) for name in MAPPED}
    values |= {name: Named(getattr(peer, name), name) for name in IDENTITY}
    if "pin" in made:
        values["pin"] = Named(made["pin"], "pin")
    values |= {name: checked(value, name) for name, value in peer.extra}
    return values | {
        "peer": values,
        "secret": Named(made["secret"], "secret"),
        "ha1": made["ha1"],
    }


def _environment(form: Format) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=None if form.source else PackageLoader("adwatch"),
        undefined=StrictUndefined,
        finalize=escaper(form.name, form.forbidden),
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
