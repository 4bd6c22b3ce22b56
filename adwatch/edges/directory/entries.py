"""LDAP messages off the wire (RFC 4511, 4.1 and 4.5.2): strict, and quick for search entries.

ldap3's own decoding takes 150 µs an entry; the first read of a large domain is little else.
Everything here raises DecodeError for octets that are not exactly what the RFC allows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

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
    found, start, stop = _header(data, at, end)
    if found != tag:
        raise DecodeError(f"tag 0x{tag:02x} expected, 0x{found:02x} found")
    return start, stop


def frame(buffer: bytes | bytearray) -> int:
    """How many octets the first message in `buffer` takes, 0 while it is not all there."""
    if not buffer:
        return 0
    if buffer[0] != _SEQUENCE:
        raise DecodeError(f"a message begins with 0x{buffer[0]:02x}")
    if len(buffer) < 2:
        return 0
    length, at = buffer[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= _MAX_LENGTH_OCTETS:
            raise DecodeError("a message has a length that can't be")
        if len(buffer) < 2 + count:
            return 0
        length, at = int.from_bytes(buffer[2 : 2 + count], "big"), 2 + count
    return at + length if len(buffer) >= at + length else 0


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
    end = len(body)
    start, at = _expect(body, 0, end, _OCTETS)
    dn = body[start:at].decode("utf-8", "surrogateescape")
    at, stop = _expect(body, at, end, _SEQUENCE)
    if stop != end:
        raise DecodeError("an entry is followed by other octets")
    attributes: dict[str, list[bytes]] = {}
    while at < end:
        item, at = _expect(body, at, end, _SEQUENCE)
        start, item = _expect(body, item, at, _OCTETS)
        name = body[start:item].decode("ascii", "replace").lower()
        item, stop = _expect(body, item, at, _SET)
        if stop != at:
            raise DecodeError("an attribute is followed by other octets")
        values = attributes.setdefault(name, [])
        while item < at:
            start, item = _expect(body, item, at, _OCTETS)
            values.append(body[start:item])
    return dn, attributes


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
        _element(_OCTETS, item)
        if isinstance(item, bytes)
        else _element(_INTEGER, item.to_bytes(item.bit_length() // 8 + 1, "big", signed=True))
        for item in items
    ]
    return _element(_SEQUENCE, b"".join(encoded))
