"""The server of caller names, over real sockets, with Asterisk's words and with others'."""

from __future__ import annotations

import itertools
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from program import wait_for
from system.samba import free_port

from adwatch.core.callers import Callers, Listing
from adwatch.edges.agi import Agi, Conversation, Question, command
from adwatch.errors import AdwatchError

HOSTILE = 'Q"uo\\te, ${SHELL(id)} <1>; $[1+1] %s|&=>;--'
PEOPLE = Callers.of(
    [
        Listing("Ryabov", ("502", "+49 171 1234567"), "502"),
        Listing(HOSTILE, extension="666"),
        Listing("Ёжик 🦔", extension="777"),
        Listing("x" * 1001, extension="888"),
    ]
)


@pytest.fixture
def agi() -> Iterator[Agi]:
    server = Agi("127.0.0.1", free_port(), within_s=1)
    server.open()
    server.show(PEOPLE)
    yield server
    server.close()


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def words(caller: str = "502", script: str = "callerid", **more: str) -> bytes:
    said = {
        "agi_network": "yes",
        "agi_network_script": script,
        "agi_request": f"agi://127.0.0.1/{script}",
        "agi_callerid": caller,
        **more,
    }
    return "".join(f"{k}: {v}\n" for k, v in said.items()).encode() + b"\n"


def call(server: Agi) -> socket.socket:
    connection = socket.create_connection((server.host, server.port), timeout=10)
    connection.settimeout(10)
    return connection


def heard(connection: socket.socket) -> bytes:
    """One line, or what came before the end of the connection."""
    data = b""
    while not data.endswith(b"\n") and (more := connection.recv(1)):
        data += more
    return data


def ask(server: Agi, said: bytes) -> bytes:
    """A whole conversation as Asterisk has it: the command that the server gives, if any."""
    with call(server) as connection:
        connection.sendall(said)
        given = heard(connection)
        if given:
            connection.sendall(b"200 result=1\n")
            assert connection.recv(1) == b""
        return given


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_caller_gets_the_name_that_belongs_to_its_number(agi: Agi) -> None:
    assert ask(agi, words("502")) == b'SET VARIABLE CALLERID(name) "Ryabov"\n'
    assert ask(agi, words("01711234567", script="")) == b'SET VARIABLE CALLERID(name) "Ryabov"\n'
    assert ask(agi, words("777")).decode() == 'SET VARIABLE CALLERID(name) "Ёжик 🦔"\n'


@pytest.mark.parametrize("caller", ["503", "", "unknown", "Anonymous", "+49 171 1234568", "888"])
def test_who_is_not_known_gets_nothing_and_the_conversation_ends(agi: Agi, caller: str) -> None:
    assert ask(agi, words(caller)) == b""


@pytest.mark.parametrize(
    "said",
    [
        words("1", script="callerid?number=502"),
        words("1", script="callerid?number=%2B491711234567"),
        words("1", script="callerid?number=+491711234567"),
        words("1", script="callerid?region=DE&number=0171%201234567"),
        words("1", script="callerid?region=de&number=01711234567"),
        words("1", script="callerid", agi_arg_1="502"),
        words("1", script="/callerid?number=502&number=1", agi_arg_1="1"),
        words("502").replace(b"\n", b"\r\n"),
        words("502").replace(b"agi_network_script: callerid\n", b""),
    ],
)
def test_the_number_may_be_given_in_other_ways(agi: Agi, said: bytes) -> None:
    assert ask(agi, said) == b'SET VARIABLE CALLERID(name) "Ryabov"\n'


def test_a_number_that_is_given_and_empty_is_nobodys(agi: Agi) -> None:
    assert ask(agi, words("502", script="callerid?number=")) == b""
    assert ask(agi, words("502", agi_arg_1="")) == b""


def test_a_number_of_another_region_is_not_his(agi: Agi) -> None:
    assert ask(agi, words("01711234567", script="callerid?region=FR")) == b""


def test_lookup_leaves_the_caller_id_alone_and_clears_what_an_earlier_one_found(agi: Agi) -> None:
    assert ask(agi, words("502", script="lookup")) == b'SET VARIABLE ADWATCH_NAME "Ryabov"\n'
    assert ask(agi, words("503", script="lookup")) == b'SET VARIABLE ADWATCH_NAME ""\n'


def test_a_hostile_name_stays_between_its_quotes(agi: Agi) -> None:
    expected = r'"Q\"uo\\te, ${SHELL(id)} <1>; $[1+1] %s|&=>;--"' + "\n"
    assert ask(agi, words("666")).decode() == "SET VARIABLE CALLERID(name) " + expected


def as_asterisk_reads(octets: bytes) -> list[str]:
    """The words of a command: blanks part them, quotes hold them together, \\ takes the next."""
    read, quoted, escaped, apart = list[str](), False, False, True
    for c in octets.decode().removesuffix("\n"):
        if c == '"' and not escaped:
            quoted = not quoted
            if quoted and apart:
                read.append("")
                apart = False
        elif c in " \t" and not (quoted or escaped):
            apart = True
        elif c == "\\" and not escaped:
            escaped = True
            continue
        else:
            if apart:
                read.append("")
            read[-1] += c
            apart = False
        escaped = False
    return read


@given(st.text(st.characters(codec="utf-8")))
def test_whatever_a_name_is_the_command_is_one_line_of_four_words(name: str) -> None:
    shown = Callers.of([Listing(name, extension="1")]).name("1")
    said = command("CALLERID(name)", shown)
    assert said.count(b"\n") == 1
    assert as_asterisk_reads(said) == ["SET", "VARIABLE", "CALLERID(name)", shown]


GARBAGE = {
    "nothing": b"",
    "an early end": words()[:20],
    "a half line": b"agi_callerid: 50",
    "no AGI at all": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a TLS hello": bytes.fromhex("16030100a5010000a10303") + bytes(range(256)),
    "zeros": bytes(20_000),
    "a line without end": b"agi_callerid: " + b"5" * 40_000,
    "lines without end": b"agi_x: y\n" * 5_000,
    "a hung-up channel": b"HANGUP\n",
    "a hang-up among the words": words()[:-1] + b"HANGUP\n\n",
    "an answer to nothing": b"200 result=1\n",
    "octets that are no text": b"\xff\xfe\x00\n\n",
    "a number that is no text": b"agi_callerid: \xff\xfe\xed\xa0\x80\n\n",
    "a number of 10,000 digits": b"agi_callerid: " + b"5" * 10_000 + b"\n\n",
    "a number of marks": words("+()-/ .~(0)(0)"),
    "exotic digits": words("٠٣٠١٢٣²½Ⅷ"),
    "a path up and away": words(script="../../etc/passwd"),
    "a query of nonsense": words(script="callerid?&&=&number&number=%zz%00%ff&region=\x00"),
}


@pytest.mark.parametrize("octets", GARBAGE.values(), ids=list(GARBAGE))
def test_a_hostile_client_gets_nothing_and_costs_nobody_else_anything(
    agi: Agi, octets: bytes
) -> None:
    with call(agi) as hostile:
        try:
            hostile.sendall(octets)
            hostile.shutdown(socket.SHUT_WR)
        except OSError:  # hung up on already
            pass
        assert ended(hostile)
    assert ask(agi, words()).startswith(b"SET VARIABLE")


def test_a_hang_up_in_place_of_the_answer_and_an_error_end_the_conversation(agi: Agi) -> None:
    for answer in (
        b"HANGUP\n",
        b"511 Command Not Permitted\n",
        b"520-Usage\n",
        b"\n",
        b"\0" * 99_999,
    ):
        with call(agi) as connection:
            connection.sendall(words())
            assert heard(connection).startswith(b"SET VARIABLE")
            try:
                connection.sendall(answer)
            except OSError:
                continue
            assert ended(connection)


def test_a_client_that_drips_is_hung_up_on_and_meanwhile_others_are_served(agi: Agi) -> None:
    octets = itertools.cycle(b"agi_x: y\n")
    with call(agi) as dripping:
        dripping.settimeout(0.1)

        def over() -> bool:
            assert ask(agi, words()).startswith(b"SET VARIABLE")
            try:
                dripping.sendall(bytes([next(octets)]))
                return dripping.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_for("the dripping client's end", over)


def test_a_client_that_never_reads_nor_answers_is_hung_up_on(agi: Agi) -> None:
    with call(agi) as silent:
        silent.sendall(words())
        assert heard(silent).startswith(b"SET VARIABLE")
        assert silent.recv(1) == b""


def test_however_many_sit_there_one_more_is_served(agi: Agi, sockets: ExitStack) -> None:
    sitting = [sockets.enter_context(call(agi)) for _ in range(300)]
    assert ask(agi, words()).startswith(b"SET VARIABLE")
    assert ended(sitting[0])


def test_whom_it_knows_is_replaced_while_it_listens(agi: Agi) -> None:
    agi.show(Callers.of([Listing("Another", extension="502")]))
    assert ask(agi, words()) == b'SET VARIABLE CALLERID(name) "Another"\n'


def test_closing_waits_for_nobody_and_hangs_up_on_everybody(sockets: ExitStack) -> None:
    server = Agi("127.0.0.1", free_port())
    server.open()
    sitting = sockets.enter_context(call(server))
    sitting.sendall(b"agi_callerid: 5")
    begun = time.monotonic()
    server.close()
    assert time.monotonic() - begun < 3  # the contract's for SIGTERM
    assert ended(sitting)
    with pytest.raises(OSError, match="refused"):
        call(server)
    server.close()


def test_it_can_be_opened_again_at_once_after_it_was_used(agi: Agi) -> None:
    ask(agi, words())
    agi.close()
    agi.open()
    assert ask(agi, words()).startswith(b"SET VARIABLE")


def test_an_address_in_use_is_told_in_one_sentence(agi: Agi) -> None:
    with pytest.raises(AdwatchError) as caught:
        Agi(agi.host, agi.port).open()
    assert str(caught.value) == (
        f"agi can't listen on 127.0.0.1 port {agi.port}: Address already in use"
        " (end what listens there, or choose another address in agi)"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_this_machine_has_not_is_told_too(host: str) -> None:
    with pytest.raises(
        AdwatchError, match=f"agi can't listen on {host} port 4573: .*address in agi"
    ):
        Agi(host, 4573).open()


@pytest.mark.parametrize(
    ("host", "reached"),
    [("::1", ["::1"]), ("::", ["::1", "127.0.0.1"]), ("localhost", ["127.0.0.1"])],
)
def test_it_listens_on_ipv6_too(host: str, reached: list[str]) -> None:
    server = Agi(host, free_port())
    server.open()
    try:
        server.show(PEOPLE)
        for address in reached:
            seen = Agi(address, server.port)
            assert ask(seen, words()).startswith(b"SET VARIABLE")
    finally:
        server.close()


def test_a_path_or_region_that_is_none_is_logged_once(
    agi: Agi, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert ask(agi, words(script="caller")) == b""
        for _ in range(3):
            assert ask(agi, words(script="callerid?region=XX")) == b""
    assert [record.getMessage() for record in caplog.records] == [
        (
            "event=agi cause=\"'caller' is no path: agi://HOST/callerid or /lookup\""
            ' hint="see docs/caller-names.md"'
        ),
        'event=agi cause="\'XX\' is no region, such as DE" hint="see docs/caller-names.md"',
    ]


def test_a_bug_in_one_answer_costs_that_call_alone(
    agi: Agi, caplog: pytest.LogCaptureFixture
) -> None:
    agi.show(None)  # type: ignore[arg-type]
    assert ask(agi, words()) == b""
    assert "a bug; this call stays without a name" in caplog.text
    agi.show(PEOPLE)
    assert ask(agi, words()).startswith(b"SET VARIABLE")


@given(st.lists(st.integers(1, 40)))
def test_it_is_all_one_in_how_many_pieces_the_words_come(sizes: list[int]) -> None:
    asked: list[Question] = []

    def answer(question: Question) -> bytes:
        asked.append(question)
        return b"!\n"

    conversation, rest, said = Conversation(answer), words("502"), b""
    for size in [*sizes, len(rest)]:
        said += conversation.hear(rest[:size])
        rest = rest[size:]
    assert (asked, said, conversation.over) == ([Question("callerid", "502")], b"!\n", False)
    assert conversation.hear(b"200 result=1\n") == b""
    assert conversation.over
