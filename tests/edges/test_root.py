"""The gate: the same octets mean the same, and nothing else is taken for what was read before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from adwatch.edges.directory.feeds import read_gate
from adwatch.edges.directory.requests import ROOT_NUMBER
from adwatch.edges.directory.security import Security
from adwatch.edges.directory.session import LdapError, Session
from adwatch.errors import DirectoryError


def element(tag: int, content: bytes) -> bytes:
    return bytes((tag, len(content))) + content


def message(operation: bytes, number: int = ROOT_NUMBER) -> bytes:
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return element(0x30, element(0x02, octets) + operation)


def entry(usn: str) -> bytes:
    value = element(0x31, element(0x04, usn.encode()))
    name = element(0x04, b"highestCommittedUSN")
    return message(element(0x64, element(0x04, b"") + sequence_of(element(0x30, name + value))))


def sequence_of(content: bytes) -> bytes:
    return element(0x30, content)


def done(code: int = 0) -> bytes:
    result = element(0x0A, bytes((code,))) + element(0x04, b"") + element(0x04, b"")
    return message(element(0x65, result))


class Wire:
    """A socket whose other end answers each request with the receipts that stand there."""

    def __init__(self) -> None:
        self.receipts: list[bytes] = []
        self.sent: list[bytes] = []

    def sendall(self, octets: bytes) -> None:
        self.sent.append(octets)

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def recv(self, _: int) -> bytes:
        if not self.receipts:
            raise TimeoutError
        return self.receipts.pop(0)

    def close(self) -> None:
        pass


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def session(wire: Wire) -> Session:
    made = Session("ldap://dc", Security("none", "u", None, True, 4.0), "p")
    strategy = SimpleNamespace(close=lambda: None)
    made._connection = SimpleNamespace(socket=wire, strategy=strategy)
    return made


def test_each_answer_is_the_one_that_came(session: Session, wire: Wire) -> None:
    for usn in (7, 7, 8, 8, 8, 7, 12345, 12345):
        wire.receipts = [entry(str(usn)) + done()]
        assert read_gate(session) == usn
    assert len(set(wire.sent)) == 1
    assert session.searches == 8


def test_an_answer_in_pieces_is_read_to_its_end(session: Session, wire: Wire) -> None:
    for usn in (7, 7, 8):
        whole = entry(str(usn)) + done()
        for cut in (1, len(whole) // 2, len(entry(str(usn))), len(whole) - 1):
            wire.receipts = [whole[:cut], whole[cut:]]
            assert read_gate(session) == usn
            assert not session._buffer
        wire.receipts = [whole]
        assert read_gate(session) == usn


def test_what_another_message_goes_before_is_not_remembered(session: Session, wire: Wire) -> None:
    stray = message(element(0x65, element(0x0A, b"\0") + element(0x04, b"") * 2), number=3)
    session._buffer += stray
    wire.receipts = [entry("7") + done()]
    assert read_gate(session) == 7
    session._buffer += stray
    wire.receipts = [entry("8") + done()]
    assert read_gate(session) == 8


def test_a_refusal_is_one_each_time(session: Session, wire: Wire) -> None:
    wire.receipts = [entry("7") + done()]
    assert read_gate(session) == 7
    for _ in range(2):
        wire.receipts = [entry("7") + done(51)]
        with pytest.raises(LdapError) as raised:
            read_gate(session)
        assert raised.value.code == 51
    wire.receipts = [entry("7") + done()]
    assert read_gate(session) == 7


@pytest.mark.parametrize(
    "receipts",
    [[], [b""], [entry("7")], [entry("7"), b""], [b"\x31\0"], [message(element(0x78, b""), 0)]],
)
def test_what_is_no_whole_answer_ends_the_connection(
    session: Session, wire: Wire, receipts: list[bytes]
) -> None:
    wire.receipts = [entry("7") + done()]
    assert read_gate(session) == 7
    wire.receipts = list(receipts)
    with pytest.raises(DirectoryError):
        read_gate(session)
    assert not session.is_open
