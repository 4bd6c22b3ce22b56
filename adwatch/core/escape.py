"""What a template substitutes, as it must stand in a file of Asterisk; and the template's filters.

A value still knows of which field it is, so that what can't be written is told by its field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Self

from jinja2 import Undefined

from adwatch.core.safe import UnsafeText, character, refuse_unsafe, surely_safe

_CONTEXT_MOST = 79
# Numeric groups are 0 to 63, single or from-to; chan_sip and PJSIP take all others as names.
_GROUP = r"(?:[0-5]?\d|6[0-3])"
_GROUPS = re.compile(rf"{_GROUP}(?:-{_GROUP})?(?:,{_GROUP}(?:-{_GROUP})?)*\Z", re.ASCII)


class Named(str):
    """A field's text that still knows of which field it is."""

    __slots__ = ("field",)
    field: str

    def __new__(cls, text: str, field: str) -> Self:
        """The text of a field of that name."""
        made = super().__new__(cls, text)
        made.field = field
        return made


class Value(Named):
    """What a template substituted, told from what it says itself."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


def checked(text: str, field: str) -> Named:
    """A field that `Peer` has looked at; where nothing in it is escaped, as it will stand."""
    return Named(text, field) if ";" in text else Value(text, field)


def field_of(value: object) -> str:
    """Of which field a value is, empty where that can't be told."""
    return value.field if isinstance(value, Named) else ""


def escape(value: object) -> str:
    r"""A value as it must stand after `name = `, so that Asterisk reads back just that value.

    `\;` is the escape for a comment sign, `;--` included (measured on 16.28 and 22.10).
    """
    if value.__class__ is Value and ";" not in value:
        return value
    if isinstance(value, Undefined):
        str(value)  # a StrictUndefined raises here and says which name it was
    text = value if isinstance(value, str) else str(value)
    name = field_of(value)
    if not surely_safe(text):
        refuse_unsafe(name, text)
    return Value(text.replace(";", "\\;"), name)


def quoted(value: str) -> str:
    r"""The name of a caller id between double quotes; `"` and `\` with a backslash before them.

    That is what Asterisk takes the name from (measured on 22.10).
    """
    text = value.replace("\\", "\\\\").replace('"', '\\"')
    return Named(f'"{text}"', field_of(value))


def escaper(form: str, forbidden: str) -> Callable[[object], str]:
    """The escaper of a format: the characters that bite within its lines are refused as well."""
    if not forbidden:
        return escape

    def escape_here(value: object) -> str:
        escaped = escape(value)
        bad = next((one for one in escaped if one in forbidden), "")
        if bad:
            name = field_of(value)
            what = f"{name or 'a value'} holds the character {character(bad)}"
            raise UnsafeText(f"{what}, which {form} can't hold", name)
        return escaped

    return escape_here


def dialplan(value: str) -> str:
    """The name of a context. Raises UnsafeText where Asterisk would take another one for it.

    It keeps 79 octets of it (AST_MAX_CONTEXT) and goes by what it kept.
    """
    if len(value.encode()) > _CONTEXT_MOST:
        name = field_of(value)
        size = f"{len(value.encode())} octets, and Asterisk would cut it at {_CONTEXT_MOST}"
        raise UnsafeText(f"{name or 'a context'} has {size}", name)
    return value


def mailbox_pin(value: str) -> str:
    """A PIN of voicemail.conf. Raises UnsafeText for what nobody can dial, or an open mailbox.

    With a minus sign before it, its owner can't change it (voicemail.conf.sample).
    """
    if not re.fullmatch(r"-?[0-9]{4,}", value, re.ASCII):
        field = field_of(value)
        raise UnsafeText(f"{field or 'a PIN'} must be four digits or more for a mailbox", field)
    return value


def numeric_groups(value: str) -> bool:
    """Whether call groups are numeric ones, such as `1,3-5`, and not names."""
    return bool(_GROUPS.match(value))
