"""LDAP search filters as text (RFC 4515): are they well formed, and what do they ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ITEM = re.compile(
    r"""(?P<attribute>[A-Za-z][A-Za-z0-9-]*(?:;[A-Za-z0-9-]+)*)   # description and options
        (?::dn)?(?::(?P<rule>[A-Za-z0-9.-]+))?                    # extensible match
        (?P<kind>:=|[~<>]?=)
        (?P<value>(?:[^()\\\0]|\\[0-9A-Fa-f]{2})*)""",
    re.VERBOSE,
)


class FilterError(ValueError):
    """The text is no LDAP filter; the message says where and what was expected."""


def filter_attributes(text: str) -> tuple[str, ...]:
    """The attributes that filter `text` tests, in its own spelling, each once, in order.

    Raises FilterError where the text is not a filter in the form of RFC 4515.
    """
    position, found = _parse(text.strip(), 0, 0)
    if position != len(text.strip()):
        raise FilterError(f"unexpected text after the filter, at character {position + 1}")
    first: dict[str, str] = {}
    for name in found:
        first.setdefault(name.lower(), name)
    return tuple(first.values())


def filter_fault(text: str) -> str | None:
    """What is wrong with filter `text` in a clause, or None where it is well formed."""
    try:
        filter_attributes(text)
    except FilterError as error:
        return f"is not an LDAP filter: {error}"
    return None


def escape(value: str) -> str:
    r"""`value` as an assertion value of a filter: the RFC 4515 specials become `\xx`."""
    return re.sub(r"[\\*()\0]", lambda match: f"\\{ord(match[0]):02x}", value)


def guid_clause(guid: str) -> str:
    """A filter for one objectGUID, written as dashed lower-case text.

    AD stores the first three groups little-endian (MS-DTYP 2.3.4.2).
    """
    groups = guid.split("-")
    swapped = "".join(bytes.fromhex(group)[::-1].hex() for group in groups[:3])
    octets = bytes.fromhex(swapped + groups[3] + groups[4])
    return "(objectGUID=" + "".join(f"\\{octet:02x}" for octet in octets) + ")"


def any_of(clauses: Iterator[str]) -> str:
    """A filter that matches where one of `clauses` does."""
    return "(|" + "".join(clauses) + ")"


_MAX_DEPTH = 100


def _parse(text: str, position: int, depth: int) -> tuple[int, list[str]]:
    """Reads one parenthesised filter at `position`; gives where it ends and its attributes."""
    if depth > _MAX_DEPTH:
        raise FilterError(f"it is nested more than {_MAX_DEPTH} deep")
    if not text.startswith("(", position):
        raise FilterError(f"'(' expected at character {position + 1}")
    position += 1
    operator = text[position : position + 1]
    if operator and operator in "&|!":
        position, found = _parse_list(text, position + 1, depth, only_one=operator == "!")
    else:
        match = _ITEM.match(text, position)
        if match is None:
            raise FilterError(f"'attribute=value' expected at character {position + 1}")
        position, found = match.end(), [match["attribute"].split(";")[0]]
    if not text.startswith(")", position):
        raise FilterError(f"')' expected at character {position + 1}")
    return position + 1, found


def _parse_list(text: str, position: int, depth: int, *, only_one: bool) -> tuple[int, list[str]]:
    found: list[str] = []
    start = position
    while text.startswith("(", position) and not (only_one and position > start):
        position, inner = _parse(text, position, depth + 1)
        found += inner
    if position == start:
        raise FilterError(f"'(' expected at character {position + 1}")
    return position, found
