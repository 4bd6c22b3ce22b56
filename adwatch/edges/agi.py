"""FastAGI: Asterisk connects, says who calls, and is told the caller's name.

One thread serves everybody and only reads a frozen index. Whoever says too much, nothing, or
something else is hung up on; no connection lasts longer than its deadline.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Thread
from typing import Final
from urllib.parse import unquote

from adwatch.core.callers import Callers, known_region
from adwatch.core.words import line
from adwatch.errors import AdwatchError

log = logging.getLogger(__name__)

_CONVERSATION_S: Final = 5.0
_OCTETS: Final = 16 << 10  # of a whole conversation; Asterisk's takes about 1,000
_CONNECTIONS: Final = 64  # for one more, the oldest is hung up on
# Escaped, twice as long at most; of 1,010 quotes 16.28 cut one off, 22.10 none of 1,100.
_NAME_OCTETS: Final = 1000
_ENDED_S: Final = 1.0
_REST_S: Final = 0.1
_HEADER: Final = re.compile(r"(agi_\w+): ?(.*)\Z", re.ASCII | re.DOTALL)

# What a path of agi://HOST/PATH sets.
_VARIABLES: Final = {"": "CALLERID(name)", "callerid": "CALLERID(name)", "lookup": "ADWATCH_NAME"}


@dataclass(frozen=True, slots=True)
class Question:
    """What Asterisk wants to know: whose number it is, read in a region, and for which path."""

    path: str
    number: str
    region: str = ""

    @classmethod
    def of(cls, said: Mapping[str, str]) -> Question:
        """From Asterisk's `agi_…` lines; `?number=` goes before the argument and the caller."""
        path, _, query = said.get("agi_network_script", "").partition("?")
        asked: dict[str, str] = {}
        for part in query.split("&"):
            key, _, value = part.partition("=")
            asked.setdefault(key, unquote(value))
        number = said.get("agi_arg_1", said.get("agi_callerid", ""))
        return cls(path.strip("/"), asked.get("number", number), asked.get("region", "").upper())


def command(variable: str, value: str) -> bytes:
    """The AGI command that gives a variable a value, one line however hostile the value."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'SET VARIABLE {variable} "{quoted}"\n'.encode()


@dataclass(slots=True)
class Conversation:
    """What is said on one connection, octets in and octets out. `over`: nothing more is to be.

    `answer` gives the command for a question, empty where there is none.
    """

    answer: Callable[[Question], bytes]
    over: bool = False
    _octets: int = 0
    _rest: bytes = b""
    _asked: bool = False
    _said: dict[str, str] = field(default_factory=dict)

    def hear(self, octets: bytes) -> bytes:
        """What to send for what came."""
        self._octets += len(octets)
        if self._octets > _OCTETS:
            self.over = True
            return b""
        *lines, self._rest = (self._rest + octets).split(b"\n")
        reply = b""
        for one in lines:
            if not self.over:
                reply += self._take(one.removesuffix(b"\r").decode("utf-8", "replace"))
        return reply

    def _take(self, text: str) -> bytes:
        """Asterisk's lines, an empty one, then its answer to the command or HANGUP."""
        header = _HEADER.match(text)
        if self._asked or (text and not header):
            self.over = True
            if not text.startswith(("200 ", "HANGUP")):
                log.debug(line("agi", said=text))
        elif header:
            self._said.setdefault(header[1], header[2])
        else:
            self._asked = True
            reply = self.answer(Question.of(self._said))
            self.over = not reply
            return reply
        return b""


@dataclass(slots=True)
class Agi:
    """The server on one address. `show()` replaces whom it knows, in one step.

    A conversation is over after `within_s` seconds at the latest.
    """

    host: str
    port: int
    within_s: float = _CONVERSATION_S
    _callers: Callers = field(default_factory=Callers)
    _complaint: str = ""
    _thread: Thread | None = None
    _waker: socket.socket | None = None

    def show(self, callers: Callers) -> None:
        """Who is known from now on."""
        self._callers = callers

    def open(self) -> None:
        """Begins to listen, on every address of the host. Raises AdwatchError where it can't."""
        try:
            listening = _listen(self.host, self.port)
        except OSError as error:
            raise AdwatchError(
                f"agi can't listen on {self.host} port {self.port}: {_cause(error)}",
                "end what listens there, or choose another address in agi",
            ) from error
        self._waker, woken = socket.socketpair()
        work = (listening, woken)
        self._thread = Thread(target=self._serve, args=work, name="agi", daemon=True)
        self._thread.start()
        log.info(line("listening", part="agi", host=self.host, port=self.port))

    def close(self) -> None:
        """Stops listening, and hangs up on whoever is there."""
        if self._waker is not None and self._thread is not None:
            self._waker.close()
            self._thread.join(_ENDED_S)
            self._waker = None

    def _serve(self, listening: list[socket.socket], woken: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            guests = _Guests(selector, self._answer, self.within_s)
            stack.callback(guests.close)
            for one in listening:
                stack.callback(one.close)
                selector.register(one, selectors.EVENT_READ, partial(guests.greet, one))
            stack.callback(woken.close)
            selector.register(woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(guests.patience(time.monotonic())):
                    if key.data is None:  # woken
                        return
                    key.data()
                guests.dismiss(time.monotonic())

    def _answer(self, question: Question) -> bytes:
        """The command that tells a name. Only `lookup` is told, too, that there is none."""
        variable = _VARIABLES.get(question.path)
        if variable is None:
            self._complain(f"{question.path!a} is no path: agi://HOST/callerid or /lookup")
            return b""
        if question.region and not known_region(question.region):
            self._complain(f"{question.region!a} is no region, such as DE")
            name = ""
        else:
            name = self._callers.name(question.number, question.region)
        if len(name.encode()) > _NAME_OCTETS:
            name = ""
        return command(variable, name) if name or variable == "ADWATCH_NAME" else b""

    def _complain(self, text: str) -> None:
        """Logs what is wrong with a dialplan, once and not at each call."""
        if text != self._complaint:
            self._complaint = text
            log.warning(line("agi", cause=text, hint="see docs/caller-names.md"))


def _listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of a host; one that this machine lacks is left out.

    Raises OSError where an address is taken, or none is left.
    """
    listening: list[socket.socket] = []
    lacking = OSError(f"{host} has no address")
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        both = family == socket.AF_INET6 and address[0] == "::"
        try:
            one = socket.create_server(address, family=family, backlog=128, dualstack_ipv6=both)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                for one in listening:
                    one.close()
                raise
            lacking = error
        else:
            one.setblocking(False)
            listening.append(one)
    if not listening:
        raise lacking
    return listening


def _cause(error: OSError) -> str:
    """Why, in words; create_server() adds the address to strerror, and a resolver has its own."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return str(error.strerror or error)


@dataclass(slots=True)
class _Guest:
    """A connection, what is said on it, and when it must be over."""

    connection: socket.socket
    conversation: Conversation
    until: float


class _Guests:
    """Whoever is connected, the oldest first; all of it happens on the server's thread."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        answer: Callable[[Question], bytes],
        within_s: float,
    ) -> None:
        self._selector = selector
        self._within_s = within_s
        self._answer = answer
        self._there: dict[int, _Guest] = {}

    def greet(self, listening: socket.socket) -> None:
        """Lets one in; where there are too many, in place of the oldest."""
        if len(self._there) >= _CONNECTIONS:
            self._leave_oldest()
        try:
            connection, _ = listening.accept()
        except OSError as error:
            log.debug(line("agi", cause=error))
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._leave_oldest()
                time.sleep(_REST_S)  # the one at the door is still there: else this would spin
            return
        connection.setblocking(False)
        until = time.monotonic() + self._within_s
        guest = _Guest(connection, Conversation(self._answer), until)
        self._there[connection.fileno()] = guest
        self._selector.register(connection, selectors.EVENT_READ, partial(self._hear, guest))

    def _hear(self, guest: _Guest) -> None:
        if guest.connection.fileno() < 0:  # left in this round
            return
        try:
            octets = guest.connection.recv(_OCTETS)
            reply = guest.conversation.hear(octets)
            # The first that is sent there: what a socket does not take at once, nobody reads.
            sent = guest.connection.send(reply) if reply else 0
        except OSError:
            self._leave(guest)
            return
        except Exception:
            log.exception(line("agi", cause="a bug; this call stays without a name"))
            self._leave(guest)
            return
        if not octets or guest.conversation.over or sent < len(reply):
            self._leave(guest)

    def patience(self, now: float) -> float | None:
        """Seconds until somebody's time is up."""
        oldest = next(iter(self._there.values()), None)
        return max(0.0, oldest.until - now) if oldest else None

    def dismiss(self, now: float) -> None:
        """Hangs up on everybody whose time is up."""
        for guest in [guest for guest in self._there.values() if guest.until <= now]:
            self._leave(guest)

    def close(self) -> None:
        """Hangs up on everybody."""
        for guest in list(self._there.values()):
            self._leave(guest)

    def _leave_oldest(self) -> None:
        for guest in list(self._there.values())[:1]:
            self._leave(guest)

    def _leave(self, guest: _Guest) -> None:
        del self._there[guest.connection.fileno()]
        self._selector.unregister(guest.connection)
        guest.connection.close()
