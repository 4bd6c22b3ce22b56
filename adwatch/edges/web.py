"""The HTTP server: shows frozen values, and only reads. It never asks the store or the directory.

h11 speaks HTTP/1.1; here is what it leaves to others: sockets, threads, limits, who may come in.
A connection is one request, ends by a deadline whatever the other side does, and nothing that a
visitor says about itself (X-Forwarded-For) is believed.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from threading import BoundedSemaphore, Event, Thread
from typing import Final
from urllib.parse import parse_qsl

import h11

from adwatch.core.page import Asked, Document
from adwatch.core.words import line
from adwatch.errors import AdwatchError

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HEAD_MOST: Final = 16 << 10  # octets of the request's head
_BODY_MOST: Final = 64 << 10  # of a POST, which nobody reads
_REQUEST_S: Final = 10.0  # for all of the request
_ANSWER_S: Final = 60.0  # for all of the answer: megabytes to an old phone
_LINGER_S: Final = 1.0
_REST_S: Final = 0.1  # before accept() is tried again
_GUESTS: Final = 64  # at a time; whoever comes later waits in the kernel's queue
_STRANGERS: Final = 8  # whose network is not let in; whoever comes later is hung up on
_TEXT: Final = "text/plain; charset=utf-8"
_SERVER_WORDS: Final = {
    400: "That is no HTTP request.",
    401: "Show the token: ?token=…, or as bearer or as the password of the HTTP login.",
    403: "Your address {address} is not let in: put its network in http.allow.",
    405: "Only GET and HEAD are answered.",
    431: "The request is too long.",
    503: "The token can't be read: see adwatch status.",
}


@dataclass(frozen=True, slots=True)
class View:
    """What a path shows, last changed at `modified` (seconds since the epoch; None: just now).

    `show` is called on many threads at once and reads frozen values only; `posts`: a POST is
    answered as a GET is; `open`: nobody need show a token.
    """

    show: Callable[[Asked], Document]
    modified: float | None
    posts: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """Who may come in: `allow` are networks, `token` gives the token anew at each request.

    Without networks it is everybody who has the token, and where there is none, this machine.
    `token` raises AdwatchError where it can't be read.
    """

    allow: tuple[Network, ...] = ()
    token: Callable[[], str] | None = None

    def knows(self, address: str) -> bool:
        """Whether an address is in a network that is let in."""
        found = ipaddress.ip_address(address.partition("%")[0])
        found = getattr(found, "ipv4_mapped", None) or found
        if not self.allow:
            return self.token is not None or found.is_loopback
        return any(found in network for network in self.allow)

    def trusts(self, request: _Request) -> bool:
        """Whether a request shows the token."""
        if self.token is None:
            return True
        shown = request.token.encode("utf-8", "surrogateescape")
        return hmac.compare_digest(self.token().encode(), shown)


@dataclass(frozen=True, slots=True)
class _Request:
    """A request's head, read once."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @classmethod
    def of(cls, event: h11.Request) -> _Request:
        """Raises ValueError for a target that is none."""
        target = event.target.decode("ascii")
        path, _, query = re.sub("^https?://[^/?]*", "", target, count=1).partition("?")
        # A phone may put its own question behind one that is there already.
        words = parse_qsl(query.replace("?", "&"), keep_blank_values=True, max_num_fields=16)
        headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        return cls(event.method.decode(), re.sub("/+", "/", path), dict(words), headers)

    @property
    def token(self) -> str:
        """The token as it is shown, empty where none is."""
        if "token" in self.query:
            return self.query["token"]
        how, _, proof = self.headers.get("authorization", "").partition(" ")
        if how.lower() == "basic":  # many phones know no other
            with contextlib.suppress(binascii.Error, UnicodeDecodeError):
                return base64.b64decode(proof, validate=True).decode().partition(":")[2]
        return proof.strip() if how.lower() == "bearer" else ""

    @property
    def asked(self) -> Asked:
        """What a view gets to know; a token in the query is carried on by links."""
        host = self.headers.get("host", "")
        host = host if re.fullmatch(r"[A-Za-z0-9.:\[\]_-]{1,255}", host, re.ASCII) else ""
        keep = (("token", self.query["token"]),) if "token" in self.query else ()
        return Asked(f"http://{host}{self.path}" if host else self.path, self.query, keep)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    content: bytes = b""


@dataclass(slots=True)
class Web:
    """Listens on one address. `show()` replaces what is shown, in one step."""

    host: str
    port: int
    gate: Gate
    _views: Mapping[str, View] = field(default_factory=dict)
    _socket: socket.socket | None = None
    _closed: Event = field(default_factory=Event)
    _guests: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_GUESTS))
    _strangers: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_STRANGERS))

    def show(self, views: Mapping[str, View]) -> None:
        """What is shown from now on, by path."""
        self._views = views

    def open(self) -> None:
        """Begins to listen. Raises AdwatchError where the address or the token can't be had."""
        if self.gate.token is not None:
            self.gate.token()
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            both = family == socket.AF_INET6 and address[0] == "::"
            self._socket = socket.create_server(
                address[:2], family=family, backlog=128, dualstack_ipv6=both
            )
        except OSError as error:
            raise AdwatchError(
                f"http can't listen on {self.host} port {self.port}: {error.strerror or error}",
                "end what listens there, or choose another address in http.listen",
            ) from error
        self._closed.clear()
        Thread(target=self._accept, args=(self._socket,), name="http", daemon=True).start()

    def close(self) -> None:
        """Stops listening; answers on their way are finished by their threads."""
        self._closed.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # or accept() would go on waiting
            self._socket.close()
            self._socket = None

    def _accept(self, listening: socket.socket) -> None:
        failing = False
        while not self._closed.is_set():
            try:
                connection, address = listening.accept()
                failing = False
            except OSError as error:  # closed; or too many open files, say
                if not self._closed.wait(_REST_S) and not failing:
                    failing = True
                    log.warning(line("http", cause=error))
                continue
            self._take(connection, address[0])

    def _take(self, connection: socket.socket, address: str) -> None:
        """Has a connection served on a thread of its own, once there is a place for it."""
        known = self.gate.knows(address)
        room = self._guests if known else self._strangers
        if not room.acquire(blocking=known):
            connection.close()
            return
        work = (connection, address, room)
        try:
            Thread(target=self._serve, args=work, name="http", daemon=True).start()
        except RuntimeError as error:  # as many threads as the system allows
            log.warning(line("http", peer=address, cause=error))
            connection.close()
            room.release()

    def _serve(self, connection: socket.socket, address: str, room: BoundedSemaphore) -> None:
        try:
            with connection:
                self._converse(connection, address)
        except OSError as error:  # gone, or too slow
            log.debug(line("http", peer=address, cause=error))
        finally:
            room.release()

    def _converse(self, connection: socket.socket, address: str) -> None:
        """One request and its answer."""
        talk = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_MOST)
        deadline = time.monotonic() + _REQUEST_S
        method = ""
        try:
            event = _read(connection, talk, deadline)
            if event is None:
                return
            request = _Request.of(event)
            method = request.method
            answer = self._answer(request, address)
            log.debug(line("http", peer=address, path=request.path, status=answer.status))
        except h11.RemoteProtocolError as error:
            answer = _said(error.error_status_hint, address)
        except (ValueError, UnicodeDecodeError):
            answer = _said(400, address)
        connection.settimeout(_ANSWER_S)
        _send(connection, talk, answer, silent=method == "HEAD")
        _linger(connection)

    def _answer(self, request: _Request, address: str) -> _Answer:
        if not self.gate.knows(address):
            return _said(403, address)
        views = self._views
        view = views.get(request.path)
        try:
            trusted = (view is not None and view.open) or self.gate.trusts(request)
        except AdwatchError:
            return _said(503, address)
        if not trusted:
            return _said(401, address, ("WWW-Authenticate", 'Basic realm="adwatch"'))
        if view is None:
            listed = "".join(f"{path}\n" for path in sorted(views))
            return _Answer(404, _kind(_TEXT), f"There is only:\n{listed}".encode())
        if request.method not in ("GET", "HEAD", *(["POST"] * view.posts)):
            return _said(405, address, ("Allow", "GET, HEAD" + ", POST" * view.posts))
        return _shown(view, request)


def _read(connection: socket.socket, talk: h11.Connection, deadline: float) -> h11.Request | None:
    """The request's head, its body read and thrown away; None where none came in time."""
    head, body = None, 0
    while True:
        event = talk.next_event()
        if event is h11.NEED_DATA:
            if head is not None and talk.they_are_waiting_for_100_continue:
                return head
            left = deadline - time.monotonic()
            if left <= 0:
                return head
            connection.settimeout(left)
            talk.receive_data(connection.recv(1 << 14))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += len(event.data)
            if body > _BODY_MOST:
                return head
        else:  # the end of the request, or of the connection
            return head


def _send(
    connection: socket.socket, talk: h11.Connection, answer: _Answer, *, silent: bool
) -> None:
    headers = [
        ("Date", formatdate(usegmt=True)),
        ("Connection", "close"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        *answer.headers,
    ]
    if answer.status != 304:
        headers.append(("Content-Length", str(len(answer.content))))
    if talk.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    reason = HTTPStatus(answer.status).phrase
    head = h11.Response(status_code=answer.status, headers=headers, reason=reason)
    octets = talk.send(head) or b""
    if answer.status != 304 and not silent:
        octets += talk.send(h11.Data(data=answer.content)) or b""
    connection.sendall(octets)


def _linger(connection: socket.socket) -> None:
    """Lets the other side read to the end: closing on what it still sends would cut that off."""
    connection.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + _LINGER_S
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        if not connection.recv(1 << 14):
            return


def _kind(kind: str) -> tuple[tuple[str, str], ...]:
    return ("Content-Type", kind), ("Cache-Control", "no-store")


def _said(status: int, address: str, *headers: tuple[str, str]) -> _Answer:
    words = _SERVER_WORDS.get(status, _SERVER_WORDS[400]).format(address=address)
    return _Answer(status, (*_kind(_TEXT), *headers), f"{words}\n".encode())


def _shown(view: View, request: _Request) -> _Answer:
    """A document, or 304 where the visitor has it already (RFC 9110, 13)."""
    document = view.show(request.asked)
    if view.modified is None:
        headers = (("Content-Type", document.kind), ("Cache-Control", "no-store"))
        return _Answer(document.status, headers, document.content)
    tag = '"' + hashlib.sha256(document.content).hexdigest()[:32] + '"'
    validators = (
        ("ETag", tag),
        ("Last-Modified", formatdate(view.modified, usegmt=True)),
        ("Cache-Control", "private, no-cache"),
    )
    if _has(request, tag, view.modified):
        return _Answer(304, validators)
    return _Answer(200, (("Content-Type", document.kind), *validators), document.content)


def _has(request: _Request, tag: str, modified: float) -> bool:
    known = request.headers.get("if-none-match")
    if known is not None:
        tags = (one.strip().removeprefix("W/") for one in known.split(","))
        return known.strip() == "*" or tag in tags
    try:
        since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
        return int(modified) <= since.timestamp()
    except (ValueError, OverflowError):
        return False
