"""The decoder against ldap3's own: the same result, or an error."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import (
    search_operation,
    search_result_entry_response_to_dict_fast,
)
from ldap3.protocol import rfc4511
from ldap3.protocol.convert import build_controls_list
from ldap3.utils.asn1 import decode_message_fast
from ldap3.utils.asn1 import encode as ldap3_encode
from pyasn1.codec.ber.encoder import encode
from pyasn1.type import univ

from adwatch.edges.directory.entries import (
    EXTENDED_RESPONSE,
    SEARCH_DONE,
    SEARCH_ENTRY,
    DecodeError,
    Result,
    frame,
    operation_of,
    read_entries,
    read_entry,
    read_message,
    read_result,
    read_sequence,
    sequence,
    write_message,
)
from adwatch.edges.directory.feeds import guid_text
from adwatch.errors import DirectoryError


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


def test_every_truncation_of_every_message_is_an_error_or_waited_for() -> None:
    control = element(0x30, element(4, b"1.2.3") + element(1, b"\xff") + element(4, b"value"))
    whole = done(0, "text", element(0xA0, control))
    for cut in range(len(whole)):
        assert frame(whole[:cut]) == 0
        with pytest.raises(DecodeError):
            read_message(whole[:cut])
    body = read_message(entry(5, "CN=x", {"cn": [b"x" * 200], "mail": [b"y"]})).body
    for cut in range(len(body)):
        with pytest.raises(DecodeError):
            read_entry(body[:cut])
    body = read_message(whole).body
    for cut in range(len(body)):
        with pytest.raises(DecodeError):
            read_result(body[:cut])
    value = sequence(1, b"cookie")
    for cut in range(len(value)):
        with pytest.raises(DecodeError):
            read_sequence(value[:cut])


@pytest.mark.parametrize("decode", [read_entry, read_sequence])
def test_octets_behind_a_body_are_refused(decode: Callable[[bytes], object]) -> None:
    body = read_message(entry(5, "CN=x", {"cn": [b"a"]})).body
    whole = body if decode is read_entry else sequence(1)
    decode(whole)
    with pytest.raises(DecodeError):
        decode(whole + b"\0")


def test_octets_behind_controls_and_within_attributes_are_refused() -> None:
    control = element(0x30, element(4, b"1.2.3"))
    with pytest.raises(DecodeError, match="followed by other octets"):
        read_message(done(0, "", element(0xA0, control) + b"\x04\0"))
    attribute = element(0x30, element(4, b"cn") + element(0x31, b"") + element(4, b"more"))
    with pytest.raises(DecodeError, match="followed by other octets"):
        read_entry(element(4, b"CN=x") + element(0x30, attribute))


@pytest.mark.parametrize("length", [b"\x80", b"\x85\0\0\0\0\1", b"\xff"])
def test_lengths_that_ldap_does_not_allow_are_refused_at_once(length: bytes) -> None:
    with pytest.raises(DecodeError, match="length"):
        frame(b"\x30" + length)
    with pytest.raises(DecodeError):
        read_message(b"\x30" + length + b"\0" * 8)


def test_what_is_no_ldap_message_is_refused_at_its_first_octet() -> None:
    for first in (b"HTTP/1.1", b"\x16\x03\x01", b"\0"):
        with pytest.raises(DecodeError, match="begins with"):
            frame(first)
    assert frame(b"") == 0


@pytest.mark.parametrize("size", [0, 100, 127, 128, 255, 256, 65535, 65536])
@pytest.mark.parametrize("octets", [0, 1, 2, 3, 4])
def test_a_length_is_read_in_every_form_that_holds_it(size: int, octets: int) -> None:
    def framed(tag: int, content: bytes) -> bytes:
        count = max(octets, (len(content).bit_length() + 7) // 8, 1)
        if not octets and len(content) < 128:
            return bytes([tag, len(content)]) + content
        return bytes([tag, 0x80 | count]) + len(content).to_bytes(count, "big") + content

    value = framed(4, b"v" * size)
    attribute = framed(0x30, framed(4, b"cn") + framed(0x31, value))
    body = framed(4, b"CN=x") + framed(0x30, attribute)
    data = framed(0x30, framed(2, b"\x05") + framed(0x64, body))
    assert frame(data) == len(data)
    assert frame(data[:-1]) == 0
    assert read_entry(read_message(data).body) == ("CN=x", {"cn": [b"v" * size]})


@given(st.integers(-(2**63), 2**63), st.binary(max_size=300))
def test_what_is_written_is_what_pyasn1_writes(number: int, octets: bytes) -> None:
    theirs = univ.Sequence()
    theirs[0], theirs[1] = univ.Integer(number), univ.OctetString(octets)
    assert sequence(number, octets) == encode(theirs)


def test_the_tags_are_those_of_the_rfc() -> None:
    for name, kind, tag in (
        ("searchResEntry", rfc4511.SearchResultEntry(), SEARCH_ENTRY),
        ("extendedResp", rfc4511.ExtendedResponse(), EXTENDED_RESPONSE),
        ("searchResDone", rfc4511.SearchResultDone(), SEARCH_DONE),
    ):
        if name == "searchResEntry":
            kind["object"] = rfc4511.LDAPDN("CN=x")
            kind["attributes"] = rfc4511.PartialAttributeList()
        else:
            kind["resultCode"] = rfc4511.ResultCode(52)
            kind["matchedDN"] = rfc4511.LDAPDN("")
            kind["diagnosticMessage"] = rfc4511.LDAPString("going")
        message = rfc4511.LDAPMessage()
        message["messageID"] = rfc4511.MessageID(0)
        message["protocolOp"] = rfc4511.ProtocolOp().setComponentByName(name, kind)
        assert read_message(encode(message)).tag == tag


def test_several_messages_in_one_buffer_are_taken_one_by_one() -> None:
    buffer = bytearray(entry(1, "CN=a", {}) + entry(2, "CN=b", {}) + done(0, "")[:5])
    numbers = []
    while size := frame(buffer):
        numbers.append(read_message(bytes(buffer[:size])).id)
        del buffer[:size]
    assert numbers == [1, 2]


def test_octets_that_are_no_utf8_stay_what_they_were() -> None:
    dn, found = read_entry(
        element(4, b"CN=\xe9")
        + element(0x30, element(0x30, element(4, b"CN") + element(0x31, element(4, b"\xe9\0"))))
    )
    assert dn.encode("utf-8", "surrogateescape") == b"CN=\xe9"
    assert found == {"cn": [b"\xe9\0"]}


def test_an_attribute_that_comes_in_two_parts_keeps_all_its_values() -> None:
    part = [element(0x30, element(4, n) + element(0x31, element(4, n))) for n in (b"cn", b"CN")]
    assert read_entry(element(4, b"") + element(0x30, b"".join(part)))[1] == {"cn": [b"cn", b"CN"]}


@given(st.integers(0, 80), st.text(max_size=200), st.integers(0, 2**31 - 1))
def test_a_result_is_what_ldap3_encodes(code: int, text: str, number: int) -> None:
    message = rfc4511.LDAPMessage()
    message["messageID"] = rfc4511.MessageID(number)
    result = rfc4511.SearchResultDone()
    result["resultCode"] = rfc4511.ResultCode(code)
    result["matchedDN"] = rfc4511.LDAPDN("")
    result["diagnosticMessage"] = rfc4511.LDAPString(text)
    message["protocolOp"] = rfc4511.ProtocolOp().setComponentByName("searchResDone", result)
    read = read_message(encode(message))
    assert (read.id, read.tag) == (number, SEARCH_DONE)
    assert read_result(read.body) == Result(code, text.rstrip("\0\n"))


@given(st.integers(0, 2**31 - 1), st.binary(max_size=200))
def test_what_is_written_reads_back(number: int, octets: bytes) -> None:
    first, second = read_sequence(sequence(number, octets))
    assert int.from_bytes(first, "big", signed=True) == number
    assert second == octets


def one_by_one(data: bytes, number: int) -> tuple[list[tuple[str, dict[str, list[bytes]]]], int]:
    """What `read_entries` is to give, by reading message after message."""
    found, at = [], 0
    while size := frame(data[at:]):
        message = read_message(data[at : at + size])
        if message.id != number or message.tag != SEARCH_ENTRY:
            break
        found.append(read_entry(message.body))
        at += size
    return found, at


def both(dn: str, values: dict[str, list[bytes]]) -> tuple[str, dict[str, list[bytes]]]:
    return dn, values


@given(st.lists(st.dictionaries(names, values, max_size=4), max_size=5), st.integers(0, 40))
def test_many_at_once_are_the_same_as_one_by_one(
    listed: list[dict[str, list[bytes]]], cut: int
) -> None:
    data = b"".join(entry(7, f"CN={at}", attributes) for at, attributes in enumerate(listed))
    data += done(0, "") + entry(7, "CN=behind", {})
    whole = read_entries(data, 7, both)
    assert whole == one_by_one(data, 7)
    assert len(whole[0]) == len(listed)
    assert read_entries(data[: len(data) - cut], 7, both) == one_by_one(data[: len(data) - cut], 7)
    assert read_entries(data, 8, both) == ([], 0)


@given(
    st.dictionaries(names, values, min_size=1, max_size=3),
    st.binary(min_size=1, max_size=4),
    st.integers(0, 200),
)
def test_spoilt_octets_give_the_same_entries_at_once_as_one_by_one_or_an_error(
    attributes: dict[str, list[bytes]], spoilt: bytes, at: int
) -> None:
    data = bytearray(entry(7, "CN=a", attributes) + entry(7, "CN=b", {"cn": [b"x"]}))
    data[at : at + len(spoilt)] = spoilt
    try:
        wanted = one_by_one(bytes(data), 7)
    except DecodeError:
        with pytest.raises(DecodeError):  # at once, or from who reads what stands behind them
            read_message(bytes(data[read_entries(bytes(data), 7, both)[1] :]))
        return
    assert read_entries(bytes(data), 7, both) == wanted


def wide(tag: int, content: bytes) -> bytes:
    """An element as Microsoft's AD writes one that holds others."""
    return bytes([tag, 0x84]) + len(content).to_bytes(4, "big") + content


def written(holding: Callable[[int, bytes], bytes], attributes: dict[str, list[bytes]]) -> bytes:
    """An entry whose SEQUENCEs and SETs have their lengths in one form or another."""
    listed = b"".join(
        holding(
            0x30,
            element(4, name.encode())
            + holding(0x31, b"".join(element(4, value) for value in values)),
        )
        for name, values in attributes.items()
    )
    return element(4, b"CN=x") + holding(0x30, listed)


holdings = st.sampled_from([element, wide])


@given(st.lists(st.tuples(holdings, st.dictionaries(names, values, max_size=4)), max_size=6))
def test_an_entry_is_what_it_is_whatever_came_before_it(
    listed: list[tuple[Callable[[int, bytes], bytes], dict[str, list[bytes]]]],
) -> None:
    for holding, attributes in listed * 2:
        wanted: dict[str, list[bytes]] = {}
        for name, found in attributes.items():
            wanted.setdefault(name.lower(), []).extend(found)
        assert read_entry(written(holding, attributes)) == ("CN=x", wanted)


@pytest.mark.parametrize("holding", [element, wide])
def test_spoilt_octets_show_also_where_an_entry_is_like_the_one_before(
    holding: Callable[[int, bytes], bytes],
) -> None:
    body = written(holding, {"cn": [b"abc"], "mail": [b"d"], "title": [b"e" * 20], "l": [b""]})
    other = written(element, {name: [b"1", b"2"] for name in ("l", "title", "mail", "cn")})
    for at in range(len(body)):
        for octet in range(256):
            spoilt = body[:at] + bytes([octet]) + body[at + 1 :]
            outcomes = []
            for before in (other, body):
                read_entry(before)
                read_entry(before)
                outcomes.append(outcome(spoilt))
            assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("tag", range(256))
def test_an_attribute_is_a_sequence_however_short_it_is(tag: int) -> None:
    read_entry(written(element, {"cn": [b"a"], "sn": [b"b"]}))
    dn, attribute = element(4, b"cn=x"), element(tag, b"\4hi")
    with pytest.raises(DecodeError):
        read_entry(
            dn + element(0x30, element(0x30, element(4, b"cn") + b"\x31\3\4\1a") + attribute)
        )
    with pytest.raises(DecodeError):
        read_entry(dn + element(0x30, attribute))


def outcome(body: bytes) -> object:
    try:
        return read_entry(body)
    except DecodeError:
        return None


def test_entries_come_as_their_octets_do() -> None:
    data = b"".join(entry(7, f"CN={at}", {"cn": [b"x" * at]}) for at in range(0, 300, 50))
    buffer, found = bytearray(), []
    for octet in data:
        buffer.append(octet)
        taken, read = read_entries(bytes(buffer), 7, both)
        found += taken
        del buffer[:read]
    assert (found, len(buffer)) == (one_by_one(data, 7)[0], 0)


controls = st.lists(
    st.tuples(st.sampled_from(["1.2.3", "1.2.840"]), st.booleans(), st.none() | st.binary()),
    max_size=3,
)


@given(st.integers(0, 2**31 - 1), controls, st.text(max_size=20), st.integers(0, 5))
def test_a_request_is_what_ldap3_sends(
    number: int, controls: list[tuple[str, bool, bytes | None]], base: str, size_limit: int
) -> None:
    text, names = "(&(cn=a\\2ab)(objectClass=*))", ["cn", "mail"]
    request = search_operation(base, text, 2, 0, names, size_limit, 0, False, False, False)
    message = rfc4511.LDAPMessage()
    message["messageID"] = rfc4511.MessageID(number)
    message["protocolOp"] = rfc4511.ProtocolOp().setComponentByName("searchRequest", request)
    operation = operation_of(ldap3_encode(message))
    if listed := build_controls_list(controls):
        message["controls"] = listed
    assert write_message(number, operation, controls) == ldap3_encode(message)


@given(st.binary(min_size=16, max_size=16))
def test_a_guid_is_written_as_python_writes_it(octets: bytes) -> None:
    assert guid_text(octets) == str(UUID(bytes_le=octets))


@pytest.mark.parametrize("octets", [b"", b"x" * 15, b"x" * 17])
def test_what_is_no_guid_is_a_fault_of_the_directory(octets: bytes) -> None:
    with pytest.raises(DirectoryError, match="objectGUID"):
        guid_text(octets)
