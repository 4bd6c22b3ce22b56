"""Sockets and threads: who gets a place, how long a request and its answer may take."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event, Thread
from typing import Final

import h11

from adwatch.core.words import line
from adwatch.edges.web.answer import Answer, View, refused, said, send, shown, signed_in
from adwatch.edges.web.request import Gate, Request
from adwatch.edges.web.stream import Follow, stream
from adwatch.errors import AdwatchError

log = logging.getLogger(__name__)

_HEAD_MOST: Final = 16 << 10  # octets of the request's head
_BODY_MOST: Final = 64 << 10  # of a POST
_REQUEST_S: Final = 10.0  # for all of the request
_ANSWER_S: Final = 60.0  # for all of the answer: megabytes to an old phone
_LINGER_S: Final = 1.0
_REST_S: Final = 0.1  # before accept() is tried again
_GUESTS: Final = 64  # at a time; whoever comes later waits in the kernel's queue
_STRANGERS: Final = 8  # whose network is not let in; whoever comes later is hung up on
_FULL: Final = "As many as may follow do so already; come again in half a minute."
_FOLLOWERS: Final = 16  # of answers that go on; whoever comes later is asked to come again


@dataclass(slots=True)
class Web:
    """Listens on one address. `show()` replaces what is shown and `admit()` who is let in."""

    host: str
    port: int
    gate: Gate
    _views: Mapping[str, View] = field(default_factory=dict)
    _socket: socket.socket | None = None
    _closed: Event = field(default_factory=Event)
    _dismissed: Event = field(default_factory=Event)
    _guests: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_GUESTS))
    _strangers: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_STRANGERS))
    _followers: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_FOLLOWERS))

    def show(self, views: Mapping[str, View]) -> None:
        """What is shown from now on, by path."""
        self._views = views

    def admit(self, gate: Gate) -> None:
        """Who is let in from now on; whoever follows an answer has to come again, and pass."""
        if gate is not self.gate:
            self.gate = gate  # first, for whoever comes from now on is not dismissed
            self._dismiss()

    def _dismiss(self) -> None:
        dismissed, self._dismissed = self._dismissed, Event()
        dismissed.set()

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
        self._closed = Event()
        work = (self._socket, self._closed)
        Thread(target=self._accept, args=work, name="http", daemon=True).start()

    def close(self) -> None:
        """Stops listening; answers on their way are finished by their threads.

        Those that go on are ended by theirs.
        """
        self._closed.set()
        self._dismiss()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # or accept() would go on waiting
            self._socket.close()
            self._socket = None

    def _accept(self, listening: socket.socket, closed: Event) -> None:
        failing = False
        while not closed.is_set():
            try:
                connection, address = listening.accept()
                failing = False
            except OSError as error:  # closed; or too many open files, say
                if not closed.wait(_REST_S) and not failing:
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
        work = (connection, address, room, self._dismissed)
        try:
            Thread(target=self._serve, args=work, name="http", daemon=True).start()
        except RuntimeError as error:  # as many threads as the system allows
            log.warning(line("http", peer=address, cause=error))
            connection.close()
            room.release()

    def _serve(
        self, connection: socket.socket, address: str, room: BoundedSemaphore, dismissed: Event
    ) -> None:
        talk = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_MOST)
        follow = None
        try:
            with connection:
                try:
                    follow = self._converse(connection, talk, address)
                finally:
                    room.release()
                if follow is not None:
                    stream(connection, talk, follow, dismissed)
                    _linger(connection)
        except OSError as error:  # gone, or too slow
            log.debug(line("http", peer=address, cause=error))
        finally:
            if follow is not None:
                self._followers.release()

    def _converse(
        self, connection: socket.socket, talk: h11.Connection, address: str
    ) -> Follow | None:
        """One request and its answer; what is to be followed, with a place, where that goes on."""
        deadline = time.monotonic() + _REQUEST_S
        method = ""
        try:
            event, body = _read(connection, talk, deadline)
            if event is None:
                return None
            request = Request.of(event, body)
            method = request.method
            answer = self._answer(request, address)
            log.debug(line("http", peer=address, path=request.path, status=answer.status))
        except h11.RemoteProtocolError as error:
            answer = said(error.error_status_hint, address)
        except (ValueError, UnicodeDecodeError):
            answer = said(400, address)
        follow = answer.follow if method == "GET" else None
        if follow is not None and not self._followers.acquire(blocking=False):
            answer, follow = said(503, address, ("Retry-After", "30"), words=_FULL), None
        try:
            connection.settimeout(_ANSWER_S)
            send(connection, talk, answer, silent=method == "HEAD")
            if follow is None:
                _linger(connection)
        except OSError:
            if follow is not None:
                self._followers.release()
            raise
        return follow

    def _answer(self, request: Request, address: str) -> Answer:
        gate, views = self.gate, self._views
        view = views.get(request.path)
        cookie = f"adwatch-{self.port}"  # a browser tells no ports apart
        kept_out = _kept_out(gate, request, address, cookie, view)
        if kept_out is not None:
            return kept_out
        if view is None:
            return refused(404, "There is only:\n" + "\n".join(sorted(views)))
        if not view.open and not gate.answers_to(request.host, page=view.page):
            return said(421, address)
        if request.method not in view.methods:
            return said(405, address, ("Allow", ", ".join(view.methods)))
        if view.page and gate.token and "token" in request.query and request.method == "GET":
            return signed_in(request, gate.sign_in(cookie))
        return shown(view, request, address)


def _kept_out(
    gate: Gate, request: Request, address: str, cookie: str, view: View | None
) -> Answer | None:
    """Why a visitor is not let in, None where it is."""
    if not gate.knows(address):
        return said(403, address)
    try:
        if (view is not None and view.open) or gate.trusts(request, cookie):
            return None
    except AdwatchError:
        return said(503, address)
    return said(401, address, ("WWW-Authenticate", 'Basic realm="adwatch"'))


def _read(
    connection: socket.socket, talk: h11.Connection, deadline: float
) -> tuple[h11.Request | None, bytes]:
    """The request's head and body; None where none came in time, no body where it is too long."""
    head, body = None, b""
    while True:
        event = talk.next_event()
        if event is h11.NEED_DATA:
            if head is not None and talk.they_are_waiting_for_100_continue:
                return head, b""
            left = deadline - time.monotonic()
            if left <= 0:
                return head, b""
            connection.settimeout(left)
            talk.receive_data(connection.recv(1 << 14))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _BODY_MOST:
                return head, b""
        else:  # the end of the request, or of the connection
            return head, body


def _linger(connection: socket.socket) -> None:
    """Lets the other side read to the end: closing on what it still sends would cut that off."""
    connection.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + _LINGER_S
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        if not connection.recv(1 << 14):
            return
