"""Asterisk by its manager interface: one connection for a round of reloads and looks.

Lines end with CR LF, an empty one ends a message (Asterisk's documentation of AMI; measured on
16.28 and 22.10). Whatever the other side sends, an answer is whole, or an AsteriskError.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from adwatch.edges.asterisk.command import caller_name
from adwatch.edges.asterisk.look import PJSIP, SIP, Shown, Visible
from adwatch.errors import AsteriskError

_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 10.0
_RELOAD_S: Final = 120.0  # 20,000 PJSIP endpoints took 14 s
_LIST_S: Final = 60.0
_LONGEST_LINE: Final = 1 << 16
_LONGEST_ANSWER: Final = 1 << 26
_BANNER: Final = b"Asterisk Call Manager/"
# Modules that a command of the CLI reloads: `Reload` needs fewer rights than `Command`, and says
# where there is no such module.
_MODULES: Final = {
    "sip reload": "chan_sip.so",
    "dialplan reload": "pbx_config.so",
    "voicemail reload": "app_voicemail.so",
}
_MODULE_RELOAD: Final = re.compile(r"module reload (\S+)\Z")
_LIST: Final = {SIP: ("SIPpeers", "peerentry"), PJSIP: ("PJSIPShowEndpoints", "endpointlist")}
_RIGHTS: Final = "in manager.conf it needs write = system; for some commands, command, too"

Message = dict[str, str]  # names in lower case; of a name that comes again, a line for each


@dataclass(frozen=True, slots=True)
class Account:
    """Where the manager interface is, and who asks. `secret` is read anew at each login."""

    host: str
    port: int
    user: str
    secret: Callable[[], str]


class _RefusedError(AsteriskError):
    """Asterisk answered, and the answer is no; `said` is its own word for it."""

    def __init__(self, message: str, hint: str, said: str) -> None:
        super().__init__(message, hint)
        self.said = said


class Ami:
    """A synchronous client, for a thread of its own; another thread may `abort` it."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._socket: socket.socket | None = None
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._octets = 0
        self._count = 0
        self._aborted = False

    def open(self) -> None:
        """Connects and logs in; the secret itself is never sent, but an answer to a challenge."""
        where = self._where()
        try:
            address = (self._account.host, self._account.port)
            self._socket = socket.create_connection(address, _CONNECT_S)
        except OSError as error:
            raise AsteriskError(
                f"{where} can't be reached: {error.strerror or error}",
                "is Asterisk up, and enabled = yes with that port in manager.conf?",
            ) from error
        if self._aborted:
            self._break()
        if not self._line(time.monotonic() + _ANSWER_S).startswith(_BANNER):
            raise AsteriskError(f"{where} is no manager interface", "correct asterisk.ami.port")
        self._login()

    def _login(self) -> None:
        secret = self._account.secret()
        challenge = self._ask("Challenge", {"AuthType": "MD5"}).get("challenge", "")
        key = hashlib.md5((challenge + secret).encode(), usedforsecurity=False).hexdigest()
        said = {"AuthType": "MD5", "Username": self._account.user, "Key": key, "Events": "off"}
        try:
            self._ask("Login", said)
        except _RefusedError as error:
            raise AsteriskError(
                f"{self._where()} refuses the user {self._account.user}: {error.said}",
                "compare asterisk.ami with the user's secret, deny and permit in manager.conf,"
                " and run asterisk -rx 'manager reload' after a change there",
            ) from error

    def version(self) -> str:
        """As the core's settings say it."""
        settings = self._ask("CoreSettings", {})
        return f"Asterisk {settings.get('asteriskversion', 'of unknown version')}"

    def reload(self, cli: str) -> None:
        """Reloads a module, or carries out any other command."""
        found = _MODULE_RELOAD.match(cli)
        module = found[1] if found else _MODULES.get(cli)
        if module:
            self._ask("Reload", {"Module": module}, _RELOAD_S, cli)
            return
        said = self._ask("Command", {"Command": cli}, _RELOAD_S, cli).get("output", "")
        if re.search(r"(?i)no such command|no such module", said):
            raise AsteriskError(f"{cli!r} failed: {said[:200]}", "correct outputs.reload")

    def peers(self, kind: str) -> Shown:
        """The peers listed."""
        action, event = _LIST[kind]
        try:
            found = [m for m in self._list(action) if m.get("event", "").lower() == event]
        except _RefusedError as error:
            if "no endpoints found" in error.said.lower():  # PJSIPShowEndpoints of none
                return Shown(frozenset())
            return Shown(None, str(error))
        names = frozenset(m.get("objectname", "").lower() for m in found)
        return Shown(names) if "" not in names else Shown(None, f"{action} names nobody")

    def peer(self, kind: str, name: str) -> Visible | None:
        """As SIPshowpeer and PJSIPShowEndpoint say it."""
        try:
            if kind == SIP:
                said = self._ask("SIPshowpeer", {"Peer": name})
            else:
                listed = list(self._list("PJSIPShowEndpoint", {"Endpoint": name}))
                said = next((m for m in listed if m.get("event") == "EndpointDetail"), {})
        except _RefusedError:
            return None
        if "context" not in said:
            return None
        return said["context"], caller_name(said.get("callerid", ""))

    def close(self) -> None:
        """Logs off without waiting for the good-bye."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.settimeout(1.0)
                self._socket.sendall(b"Action: Logoff\r\n\r\n")
            self._socket.close()

    def abort(self) -> None:
        """Breaks the connection under whoever waits on it."""
        self._aborted = True
        self._break()

    def _break(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _where(self) -> str:
        return f"the manager interface at {self._account.host}:{self._account.port}"

    def _ask(
        self, action: str, said: dict[str, str], timeout_s: float = _ANSWER_S, what: str = ""
    ) -> Message:
        """What Asterisk answers to an action. Raises _RefusedError where it answers no."""
        deadline = time.monotonic() + timeout_s
        self._send(action, said, deadline)
        message = next(m for m in self._mine(deadline) if "response" in m)
        if message["response"].lower() not in ("success", "goodbye"):
            answer = " ".join(f"{message.get('output', '')} {message.get('message', '')}".split())
            raise self._refused(what or action, answer[:200] or "no reason given")
        return message

    def _refused(self, what: str, said: str) -> _RefusedError:
        user = self._account.user
        if "permission denied" in said.lower():
            return _RefusedError(f"the user {user} of AMI may not {what!r}", _RIGHTS, said)
        return _RefusedError(
            f"{what!r} failed: {said}", "is the module loaded, and the command right?", said
        )

    def _list(self, action: str, said: dict[str, str] | None = None) -> Iterator[Message]:
        """The events of a list, up to the one that completes it."""
        self._ask(action, said or {}, _LIST_S)
        for message in self._mine(time.monotonic() + _LIST_S):
            if message.get("eventlist", "").lower() == "cancelled":
                raise self._broken(f"{action} was cut short")
            if message.get("eventlist", "").lower() == "complete":
                return
            yield message

    def _send(self, action: str, said: dict[str, str], deadline: float) -> None:
        """One action: a line for each value, an empty one behind them.

        Raises AsteriskError for a value with a line end, which would be another action.
        """
        self._count += 1
        self._octets = 0
        lines = {"Action": action, "ActionID": str(self._count), **said}
        for name, value in lines.items():
            if re.search(r"[\r\n\0]", value):
                raise AsteriskError(f"{name} of AMI can't hold a line end", "correct asterisk.ami")
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
        assert self._socket is not None
        try:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            self._socket.sendall(text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise self._broken(str(error.strerror or error)) from error

    def _mine(self, deadline: float) -> Iterator[Message]:
        """The messages that belong to the action sent last."""
        while True:
            message = self._message(deadline)
            # An action that could not be parsed is answered without its ActionID.
            if message.get("actionid", str(self._count)) == str(self._count):
                yield message

    def _message(self, deadline: float) -> Message:
        message: Message = {}
        while True:
            octets = self._line(deadline)
            if not octets and message:
                return message
            name, _, value = octets.decode("utf-8", "replace").partition(":")
            key = name.strip().lower()
            if key:
                value = value.removeprefix(" ")
                message[key] = f"{message[key]}\n{value}" if key in message else value

    def _line(self, deadline: float) -> bytes:
        """The next line. Raises AsteriskError where it does not come whole, and in time."""
        assert self._socket is not None
        while not self._lines:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._broken("no answer in time")
            if len(self._rest) > _LONGEST_LINE or self._octets > _LONGEST_ANSWER:
                raise self._broken("an answer without an end")
            self._socket.settimeout(left)
            try:
                more = self._socket.recv(1 << 16)
            except TimeoutError:
                raise self._broken("no answer in time") from None
            except OSError as error:
                raise self._broken(str(error.strerror or error)) from error
            if not more:
                raise self._broken("the connection ended")
            self._octets += len(more)
            *whole, self._rest = (self._rest + more).split(b"\r\n")
            self._lines.extend(whole)
        return self._lines.popleft()

    def _broken(self, cause: str) -> AsteriskError:
        if self._aborted:
            return AsteriskError(f"{self._where()}: adwatch is being stopped")
        return AsteriskError(f"{self._where()}: {cause}", "is Asterisk up, and not hanging?")
