"""LDAP messages off the wire (RFC 4511, 4.1 and 4.5.2): strict, and quick for search entries.

ldap3's own decoding takes 150 µs an entry; the first read of a large domain is little else.
Everything here raises DecodeError for octets that are not exactly what the RFC allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeVar

T = TypeVar("T")

SEARCH_ENTRY: Final = 0x64
SEARCH_DONE: Final = 0x65
EXTENDED_RESPONSE: Final = 0x78
_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_INTEGER: Final = 0x02
_OCTETS: Final = 0x04
_ENUMERATED: Final = 0x0A
_BOOLEAN: Final = 0x01
_CONTROLS: Final = 0xA0
_MAX_LENGTH_OCTETS: Final = 4
_SHORT: Final = 0x80  # from here on a length takes more than one octet


class DecodeError(ValueError):
    """The octets are no LDAP message."""


@dataclass(frozen=True, slots=True)
class Message:
    """One LDAPMessage: `tag` is the protocolOp's, `body` what stands in it."""

    id: int
    tag: int
    body: bytes
    controls: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """An LDAPResult: the code, and the server's own words."""

    code: int
    text: str


def _header(data: bytes | bytearray, at: int, end: int) -> tuple[int, int, int]:
    """The tag at `at`, and where its content begins and ends."""
    if at + 2 > end:
        raise DecodeError("an element is cut off in its header")
    tag, length = data[at], data[at + 1]
    at += 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= _MAX_LENGTH_OCTETS or at + count > end:
            raise DecodeError("an element has a length that can't be")
        length = int.from_bytes(data[at : at + count], "big")
        at += count
    if at + length > end:
        raise DecodeError("an element is longer than what holds it")
    return tag, at, at + length


def _expect(data: bytes | bytearray, at: int, end: int, tag: int) -> tuple[int, int]:
    if at + 2 <= end and data[at] == tag and (length := data[at + 1]) < _SHORT:
        stop = at + 2 + length
        if stop <= end:
            return at + 2, stop
    found, start, stop = _header(data, at, end)
    if found != tag:
        raise DecodeError(f"tag 0x{tag:02x} expected, 0x{found:02x} found")
    return start, stop


def frame(buffer: bytes | bytearray, at: int = 0) -> int:
    """How many octets the message at `at` in `buffer` takes, 0 while it is not all there."""
    here = len(buffer) - at
    if not here:
        return 0
    if buffer[at] != _SEQUENCE:
        raise DecodeError(f"a message begins with 0x{buffer[at]:02x}")
    if here < 2:
        return 0
    length, octets = buffer[at + 1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= _MAX_LENGTH_OCTETS:
            raise DecodeError("a message has a length that can't be")
        octets += count
        if here < octets:
            return 0
        length = int.from_bytes(buffer[at + 2 : at + octets], "big")
    return octets + length if here >= octets + length else 0


def read_message(data: bytes) -> Message:
    """Decodes one whole LDAPMessage; `data` must hold it and nothing else."""
    at, end = _expect(data, 0, len(data), _SEQUENCE)
    if end != len(data):
        raise DecodeError("a message is followed by other octets")
    start, at = _expect(data, at, end, _INTEGER)
    number = int.from_bytes(data[start:at], "big", signed=True)
    tag, start, at = _header(data, at, end)
    body = bytes(data[start:at])
    controls = _read_controls(data, at, end) if at < end else {}
    return Message(number, tag, body, controls)


def _read_controls(data: bytes, at: int, end: int) -> dict[str, bytes]:
    at, stop = _expect(data, at, end, _CONTROLS)
    if stop != end:
        raise DecodeError("controls are followed by other octets")
    controls = {}
    while at < end:
        item, at = _expect(data, at, end, _SEQUENCE)
        start, item = _expect(data, item, at, _OCTETS)
        name, value = data[start:item].decode("ascii", "replace"), b""
        while item < at:
            tag, start, item = _header(data, item, at)
            if tag == _OCTETS:
                value = data[start:item]
            elif tag != _BOOLEAN:
                raise DecodeError(f"a control holds the tag 0x{tag:02x}")
        controls[name] = value
    return controls


def read_entry(body: bytes) -> tuple[str, dict[str, list[bytes]]]:
    """A SearchResultEntry's DN and its attributes by lower-case name, values as octets."""
    return _entry(body, 0, len(body))


def read_entries(
    data: bytes, number: int, take: Callable[[str, dict[str, list[bytes]]], T]
) -> tuple[list[T], int]:
    """The entries that answer request `number` at the beginning of `data`, each taken by `take`.

    Ends before the first message that is not all there, or is another one. Gives also how many
    octets were read. Raises DecodeError as `read_message` and `read_entry` do.
    """
    found: list[T] = []
    at, mine = 0, _number(number)
    while True:
        size = frame(data, at)
        if not size:
            return found, at
        length, end = data[at + 1], at + size
        start = at + 2 + (length & 0x7F if length & 0x80 else 0)
        if data.startswith(mine, start):
            start += len(mine)
        else:
            begin, start = _expect(data, start, end, _INTEGER)
            if int.from_bytes(data[begin:start], "big", signed=True) != number:
                return found, at
        tag, begin, stop = _header(data, start, end)
        if tag != SEARCH_ENTRY:
            return found, at
        if stop < end:
            _read_controls(data, stop, end)
        found.append(take(*_entry(data, begin, stop)))
        at = end


def _entry(data: bytes, at: int, end: int) -> tuple[str, dict[str, list[bytes]]]:
    """What `read_entry` gives. Entries have the same few attributes in the same order, so the
    one that follows is guessed by what its octets would be up to its value, if that is single and
    short; whatever begins otherwise is decoded header by header.
    """
    start, at = _expect(data, at, end, _OCTETS)
    dn = data[start:at].decode("utf-8", "surrogateescape")
    at, stop = _expect(data, at, end, _SEQUENCE)
    if stop != end:
        raise DecodeError("an entry is followed by other octets")
    attributes: dict[str, list[bytes]] = {}
    name = ""
    try:
        while at < end:
            before = name
            name, short, long = _FOLLOWS.get(before, _NOTHING)
            length = data[at + 1]
            if length == _LONG:  # as Microsoft's AD writes every length of a SEQUENCE or SET
                length = data[at + 5]
                beginning, stop = long[length], at + 6 + length
            else:
                beginning, stop = short[length], at + 2 + length
            if data.startswith(beginning, at) and stop <= end and name not in attributes:
                attributes[name] = [data[at + len(beginning) : stop]]
                at = stop
            else:
                octets, at = _attribute(data, at, end, attributes)
                name = _name(octets)
                if len(_FOLLOWS) > _MOST_NAMES:
                    _FOLLOWS.clear()
                _FOLLOWS[before] = name, _beginnings(octets, b""), _beginnings(octets, _WIDE)
    except IndexError:
        raise DecodeError("an element is cut off in its header") from None
    return dn, attributes


_MOST_NAMES: Final = 1024
_LONG: Final = 0x84
_WIDE: Final = b"\x84\0\0\0"  # and then the length
_NEVER: Final[tuple[()]] = ()  # with which nothing begins, as bytes.startswith takes it
_Beginnings = tuple[bytes | tuple[()], ...]
_NONE: Final[_Beginnings] = (_NEVER,) * 256
_NOTHING: Final = ("", _NONE, _NONE)
_FOLLOWS: Final[dict[str, tuple[str, _Beginnings, _Beginnings]]] = {}
"""By an attribute's name, that of the one which came after it last, and its `_beginnings`."""


@lru_cache(maxsize=2 * _MOST_NAMES)
def _beginnings(name: bytes, wide: bytes) -> _Beginnings:
    """By the octet of its length, how an attribute begins up to its single, short value.

    Its name and its length tell all that stands there. `wide` are the octets before a SEQUENCE's
    or a SET's length.
    """
    found: list[bytes | tuple[()]] = list(_NONE)
    if len(name) < _SHORT:
        head = bytes((_OCTETS, len(name))) + name + bytes((_SET,)) + wide
        for value in range(_SHORT - 2 - len(head) - 3):
            length = len(head) + 3 + value
            begin = bytes((_SEQUENCE,)) + wide + bytes((length,))
            found[length] = begin + head + bytes((value + 2, _OCTETS, value))
    return tuple(found)


def _attribute(
    data: bytes, at: int, end: int, attributes: dict[str, list[bytes]]
) -> tuple[bytes, int]:
    """Adds the attribute at `at`; gives its name as it is written, and where it ends.

    Headers are read in place here, since this is what a first reading does most: one whose
    length takes a single octet is whole exactly where its content is. An IndexError is one that
    is cut off at the end of `data`.
    """
    length = data[at + 1]
    item, stop = at + 2, at + 2 + length
    if data[at] != _SEQUENCE or length & 0x80 or stop > end:
        item, stop = _expect(data, at, end, _SEQUENCE)
    length = data[item + 1]
    start, at = item + 2, item + 2 + length
    if data[item] != _OCTETS or length & 0x80 or at > stop:
        start, at = _expect(data, item, stop, _OCTETS)
    octets = data[start:at]
    length = data[at + 1]
    item, last = at + 2, at + 2 + length
    if data[at] != _SET or length & 0x80 or last > stop:
        item, last = _expect(data, at, stop, _SET)
    if last != stop:
        raise DecodeError("an attribute is followed by other octets")
    values = attributes.setdefault(_name(octets), [])
    while item < stop:
        length = data[item + 1]
        start, at = item + 2, item + 2 + length
        if data[item] != _OCTETS or length & 0x80 or at > stop:
            start, at = _expect(data, item, stop, _OCTETS)
        values.append(data[start:at])
        item = at
    return octets, stop


@lru_cache(maxsize=1024)
def _name(octets: bytes) -> str:
    """An attribute's name in lower case; the same few come again with every entry."""
    return octets.decode("ascii", "replace").lower()


def read_result(body: bytes) -> Result:
    """The code and the text of an LDAPResult, or of the result within an extended response."""
    end = len(body)
    start, at = _expect(body, 0, end, _ENUMERATED)
    code = int.from_bytes(body[start:at], "big")
    _, at = _expect(body, at, end, _OCTETS)
    start, at = _expect(body, at, end, _OCTETS)
    return Result(code, body[start:at].decode("utf-8", "replace").rstrip("\0\n"))


def read_sequence(data: bytes) -> list[bytes]:
    """The contents of the elements in a SEQUENCE, such as a control's value."""
    at, end = _expect(data, 0, len(data), _SEQUENCE)
    if end != len(data):
        raise DecodeError("a sequence is followed by other octets")
    found = []
    while at < end:
        _, start, at = _header(data, at, end)
        found.append(data[start:at])
    return found


def _element(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def sequence(*items: int | bytes) -> bytes:
    """A BER SEQUENCE of INTEGERs and OCTET STRINGs, the form of most controls' values."""
    encoded = [
        _element(_OCTETS, item) if isinstance(item, bytes) else _number(item) for item in items
    ]
    return _element(_SEQUENCE, b"".join(encoded))


def operation_of(message: bytes) -> bytes:
    """The protocolOp of a whole message, with its tag and length, for `write_message`."""
    at, end = _expect(message, 0, len(message), _SEQUENCE)
    _, at = _expect(message, at, end, _INTEGER)
    _, _, stop = _header(message, at, end)
    return message[at:stop]


def write_message(
    number: int, operation: bytes, controls: Sequence[tuple[str, bool, bytes | None]] = ()
) -> bytes:
    """An LDAPMessage; a control is its OID, whether it is critical, and its value."""
    written = [
        _element(_OCTETS, name.encode("ascii"))
        + (_element(_BOOLEAN, b"\xff") if critical else b"")
        + (_element(_OCTETS, value) if value is not None else b"")
        for name, critical, value in controls
    ]
    listed = b"".join(_element(_SEQUENCE, one) for one in written)
    behind = _element(_CONTROLS, listed) if listed else b""
    return _element(_SEQUENCE, _number(number) + operation + behind)


def _number(number: int) -> bytes:
    """An INTEGER as short as it can be."""
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
    return _element(_INTEGER, octets)
