"""The manager interface when the other side misbehaves: a real socket that speaks it wrongly."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from adwatch.edges.asterisk import Changes, Errand, Order, Wanted
from adwatch.edges.asterisk import ami as protocol
from adwatch.edges.asterisk.ami import Account, Ami
from adwatch.errors import AsteriskError

SECRET = "pa55-of-ami"
BANNER = b"Asterisk Call Manager/5.0.4\r\n"
Said = dict[str, str]
Reply = Callable[[Said], bytes | None]  # None: says nothing, for ever


def message(said: Said, *lines: str) -> bytes:
    return "".join(f"{x}\r\n" for x in (*lines, f"ActionID: {said.get('ActionID')}", "")).encode()


def good(said: Said) -> bytes | None:
    """As Asterisk answers when all is well (16.28)."""
    if said["Action"] == "Challenge":
        return message(said, "Response: Success", "Challenge: 108590189")
    if said["Action"] == "Login":
        key = hashlib.md5(f"108590189{SECRET}".encode()).hexdigest()
        if said["Username"] == "adwatch" and said["Key"] == key and said["Events"] == "off":
            return message(said, "Response: Success", "Message: Authentication accepted")
        return message(said, "Response: Error", "Message: Authentication failed")
    if said["Action"] == "Reload":
        return message(said, "Response: Success", "Message: Module Reloaded")
    if said["Action"] == "SIPpeers":
        return peers(said, "502", "503")
    return message(said, "Response: Error", "Message: Invalid/unknown command")


def peers(said: Said, *names: str) -> bytes:
    events = [message(said, "Event: PeerEntry", f"ObjectName: {name}") for name in names]
    return b"".join(
        [
            message(said, "Response: Success", "EventList: start"),
            *events,
            message(said, "Event: PeerlistComplete", "EventList: Complete"),
        ]
    )


class Wrong:
    """Listens, and answers as it is told to; `end` closes the connection behind an answer."""

    def __init__(self) -> None:
        self.reply: Reply = good
        self.banner: bytes | None = BANNER
        self.end = False
        self.reset = False
        self.heard: list[Said] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def actions(self) -> list[str]:
        return [said["Action"] for said in self.heard]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection.makefile("rb") as lines:
            if self.banner is not None:
                connection.sendall(self.banner)
            said: Said = {}
            for octets in lines:
                if octets != b"\r\n":
                    name, _, value = octets.decode().rstrip("\r\n").partition(": ")
                    said[name] = value
                    continue
                self.heard.append(said)
                answer, said = self.reply(said), {}
                if answer is not None:
                    connection.sendall(answer)
                if self.reset:
                    linger = b"\x01\0\0\0\0\0\0\0"  # on, for 0 s: a RST in place of a FIN
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if self.end or self.reset:
                    break
        with suppress(OSError):
            if not self.reset:
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
        self._thread.join(5)


@pytest.fixture
def wrong() -> Iterator[Wrong]:
    made = Wrong()
    yield made
    made.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_ANSWER_S", "_RELOAD_S", "_LIST_S"):
        monkeypatch.setattr(protocol, name, 1.0)  # what comes at once comes within that
    monkeypatch.setattr(protocol.Ami._ask, "__defaults__", (1.0, ""))


def client(wrong: Wrong, secret: str = SECRET, user: str = "adwatch") -> Ami:
    return Ami(Account("127.0.0.1", wrong.port, user, lambda: secret))


def opened(wrong: Wrong) -> Ami:
    ami = client(wrong)
    ami.open()
    return ami


def test_a_login_answers_a_challenge_and_never_sends_the_secret(wrong: Wrong) -> None:
    ami = opened(wrong)
    ami.close()
    assert wrong.actions()[:2] == ["Challenge", "Login"]
    assert not any(SECRET in value for said in wrong.heard for value in said.values())


def test_a_refused_login_names_the_user_and_what_to_compare(
    wrong: Wrong, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ami = client(wrong, secret="another")
    with pytest.raises(AsteriskError, match="refuses the user adwatch: Authentication failed") as e:
        ami.open()
    ami.close()
    assert "manager.conf" in e.value.hint
    assert "another" not in caplog.text + str(e.value)


def test_the_secret_is_read_anew_at_each_login(wrong: Wrong) -> None:
    secrets = iter(["old", SECRET])
    account = Account("127.0.0.1", wrong.port, "adwatch", lambda: next(secrets))
    first, second = Ami(account), Ami(account)
    with pytest.raises(AsteriskError, match="refuses"):
        first.open()
    first.close()
    second.open()
    second.close()


@pytest.mark.parametrize(
    ("banner", "cause"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is no manager interface"),
        (b"x" * 200_000, "an answer without an end"),
        (None, "no answer in time"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_is_no_manager_interface_is_told(
    wrong: Wrong, banner: bytes | None, cause: str
) -> None:
    wrong.banner = banner
    ami = client(wrong)
    with pytest.raises(AsteriskError, match=cause):
        ami.open()
    ami.close()


def test_nobody_listening_is_told_with_a_hint(wrong: Wrong) -> None:
    wrong.close()
    ami = client(wrong)
    with pytest.raises(AsteriskError, match=r"can't be reached: Connection refused") as error:
        ami.open()
    ami.close()
    assert "manager.conf" in error.value.hint


def half(said: Said) -> bytes | None:
    return b"Response: Suc" if said["Action"] in ("Reload", "SIPpeers") else good(said)


def silent(said: Said) -> bytes | None:
    return None if said["Action"] in ("Reload", "SIPpeers") else good(said)


def cut(said: Said) -> bytes | None:
    whole = peers(said, "502", "503")
    return whole[: whole.index(b"503")] if said["Action"] == "SIPpeers" else half(said)


@pytest.mark.parametrize("reply", [half, silent, cut])
@pytest.mark.parametrize("ending", ["end", "reset", "hang"])
@pytest.mark.usefixtures("quick")
def test_an_answer_that_does_not_come_whole_is_no_answer(
    wrong: Wrong, reply: Reply, ending: str
) -> None:
    for ask in (lambda ami: ami.reload("sip reload"), lambda ami: ami.peers("sip")):
        wrong.end = wrong.reset = False
        ami = opened(wrong)
        wrong.reply, wrong.end, wrong.reset = reply, ending == "end", ending == "reset"
        with pytest.raises(AsteriskError, match="manager interface at 127") as error:
            ask(ami)
        ami.close()
        assert error.value.hint
        wrong.reply = good


@pytest.mark.parametrize(
    ("said", "hint"),
    [("No such module", "is the module loaded"), ("Permission denied", "write = system")],
)
def test_a_reload_that_is_refused_says_why(wrong: Wrong, said: str, hint: str) -> None:
    ami = opened(wrong)
    wrong.reply = lambda a: message(a, "Response: Error", f"Message: {said}") + b"\r\n"
    with pytest.raises(AsteriskError) as error:
        ami.reload("module reload res_pjsip.so")
    ami.close()
    assert hint in error.value.hint
    assert [a["Module"] for a in wrong.heard if "Module" in a] == ["res_pjsip.so"]


def test_events_of_others_and_values_with_odd_line_ends_change_nothing(wrong: Wrong) -> None:
    def noisy(said: Said) -> bytes | None:
        if said["Action"] != "SIPpeers":
            return good(said)
        other = {"ActionID": "somebody else's"}
        noise = message(other, "Event: PeerEntry", "ObjectName: 666")
        odd = message(said, "Event: PeerEntry", "ObjectName: 502", "Description: a\x85b\u2028c\nd")
        start = message(said, "Response: Success", "EventList: start")
        done = message(said, "Event: PeerlistComplete", "EventList: Complete")
        return b"\r\n" + noise + start + noise + b"\r\n\r\n" + odd + done

    wrong.reply = noisy
    ami = opened(wrong)
    assert ami.peers("sip").names == {"502"}
    ami.close()


def test_a_list_that_asterisk_cuts_short_is_no_list(wrong: Wrong) -> None:
    ami = opened(wrong)
    wrong.reply = lambda said: (
        message(said, "Response: Success", "EventList: start")
        + message(said, "Event: PeerlistComplete", "EventList: cancelled")
    )
    with pytest.raises(AsteriskError, match="cut short"):
        ami.peers("sip")
    ami.close()


def test_an_answer_without_an_end_is_given_up(
    wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_LONGEST_ANSWER", 1 << 18)
    ami = opened(wrong)
    wrong.reply = lambda said: message(said, "Event: Noise") * 20_000
    with pytest.raises(AsteriskError, match="an answer without an end"):
        ami.peers("sip")
    ami.close()


@pytest.mark.parametrize("bad", ["a\r\nAction: Originate", "a\nb", "a\0"])
def test_no_value_can_be_another_action(wrong: Wrong, bad: str) -> None:
    ami = opened(wrong)
    before = wrong.actions()
    for ask in (lambda: ami.peer("sip", bad), lambda: ami.reload(f"module reload {bad}")):
        with pytest.raises(AsteriskError, match="can't hold a line end"):
            ask()
    ami.close()
    assert [a for a in wrong.actions() if a != "Logoff"] == before


def test_another_thread_ends_a_conversation_that_hangs(wrong: Wrong) -> None:
    wrong.reply = silent
    order = Order("sip reload", {"users": None})
    errand = Errand(client(wrong), [order], lambda: None)
    deadline = time.monotonic() + 10
    while "Reload" not in wrong.actions():
        assert time.monotonic() < deadline
    begun = time.monotonic()
    errand.kill()
    assert errand.done()
    assert time.monotonic() - begun < 3
    assert "is being stopped" in str(errand.results[0].fault)


def test_a_look_that_breaks_off_leaves_the_reload_acknowledged(wrong: Wrong) -> None:
    def breaks(said: Said) -> bytes | None:
        wrong.end = said["Action"] == "SIPpeers"
        return b"Resp" if wrong.end else good(said)

    wrong.reply = breaks
    ami = client(wrong)
    wanted = Wanted("sip", "[502](lan)\n", Changes(added=frozenset({"502"})))
    errand = Errand(ami, [Order("sip reload", {"users": wanted})], lambda: None)
    errand.wait()
    assert errand.done()
    (result,) = errand.results
    assert result.told
    assert "the connection ended" in str(result.fault)
    assert wrong.actions().count("Reload") == 1


def test_a_peer_that_is_away_while_it_is_read_again_is_not_gone(wrong: Wrong) -> None:
    def shows(said: Said) -> bytes | None:
        if said["Action"] != "SIPpeers":
            return good(said)
        away = wrong.actions().count("SIPpeers") == 1
        return peers(said, "502") if away else peers(said, "501", "502")

    wrong.reply = shows
    since = Changes(added=frozenset({"502"}), gone=frozenset({"501"}))
    order = Order("sip reload", {"users": Wanted("sip", "[502](lan)\n", since)})
    errand = Errand(client(wrong), [order], lambda: None, {"sip": 0.3})
    errand.wait()
    assert errand.done()
    assert errand.results[0].looks["users"].lingering == {"501"}
