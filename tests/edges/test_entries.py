"""The decoder against ldap3's own: the same result, or an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import search_result_entry_response_to_dict_fast
from ldap3.utils.asn1 import decode_message_fast

from adwatch.edges.directory.entries import (
    SEARCH_ENTRY,
    DecodeError,
    frame,
    read_entry,
    read_message,
    read_result,
    read_sequence,
    sequence,
)


def element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    octets = size.to_bytes(4, "big")
    return bytes([tag, 0x84]) + octets + content


def entry(number: int, dn: str, attributes: dict[str, list[bytes]]) -> bytes:
    listed = b"".join(
        element(
            0x30,
            element(4, name.encode()) + element(0x31, b"".join(element(4, v) for v in values)),
        )
        for name, values in attributes.items()
    )
    body = element(4, dn.encode()) + element(0x30, listed)
    identity = element(2, number.to_bytes(4, "big"))
    return element(0x30, identity + element(0x64, body))


def done(code: int, text: str, controls: bytes = b"") -> bytes:
    body = element(0x0A, bytes([code])) + element(4, b"") + element(4, text.encode())
    return element(0x30, element(2, b"\x07") + element(0x65, body) + controls)


names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True)
values = st.lists(st.binary(max_size=300), max_size=4)


@given(st.integers(1, 2**31 - 1), st.text(max_size=60), st.dictionaries(names, values, max_size=6))
def test_the_same_as_ldap3(number: int, dn: str, attributes: dict[str, list[bytes]]) -> None:
    lowered = {name.lower(): found for name, found in attributes.items()}
    if len(lowered) < len(attributes):
        return
    data = entry(number, dn, attributes)
    assert frame(data) == len(data)
    message = read_message(data)
    assert (message.id, message.tag) == (number, SEARCH_ENTRY)
    assert read_entry(message.body) == (dn, lowered)
    theirs = decode_message_fast(data)
    said = search_result_entry_response_to_dict_fast(
        theirs["payload"], None, None, check_names=False
    )
    assert said["raw_dn"].decode() == dn
    raw = {name.lower(): list(found or ()) for name, found in said["raw_attributes"].items()}
    assert raw == lowered


def test_a_message_that_is_not_all_there_is_waited_for() -> None:
    data = entry(5, "CN=x", {"cn": [b"x" * 300], "mail": []})
    for cut in range(len(data)):
        assert frame(data[:cut]) == 0
        with pytest.raises(DecodeError):
            read_message(data[:cut])
    assert frame(data + b"\x30\x03") == len(data)


def test_octets_behind_a_message_are_refused() -> None:
    with pytest.raises(DecodeError, match="followed by other octets"):
        read_message(entry(5, "CN=x", {}) + b"\0")


@given(st.binary(max_size=200))
def test_rubbish_is_an_error_and_nothing_else(data: bytes) -> None:
    for decode in (frame, read_message, read_entry, read_result, read_sequence):
        try:
            decode(data)
        except DecodeError:
            continue


@given(st.binary(min_size=1, max_size=4), st.integers(0, 60))
def test_a_message_with_spoilt_octets_is_an_error_or_another_message(
    spoilt: bytes, at: int
) -> None:
    data = bytearray(entry(5, "CN=x", {"cn": [b"abc"], "mail": [b"d", b"e"]}))
    data[at : at + len(spoilt)] = spoilt
    try:
        message = read_message(bytes(data))
        read_entry(message.body)
    except DecodeError:
        return


def test_results_and_their_controls() -> None:
    control = element(0x30, element(4, b"1.2.3") + element(1, b"\xff") + element(4, b"value"))
    bare = element(0x30, element(4, b"1.2.4"))
    message = read_message(done(4, "size limit", element(0xA0, control + bare)))
    assert message.controls == {"1.2.3": b"value", "1.2.4": b""}
    assert (read_result(message.body).code, read_result(message.body).text) == (4, "size limit")


@given(st.integers(0, 2**31 - 1), st.binary(max_size=200))
def test_what_is_written_reads_back(number: int, octets: bytes) -> None:
    first, second = read_sequence(sequence(number, octets))
    assert int.from_bytes(first, "big", signed=True) == number
    assert second == octets
