"""One connection to one domain controller: connect, TLS, bind, search; every wait has an end.

ldap3 speaks the protocol's requests and the bind; answers are read here, so that each has a
deadline, a result code that is looked at, and a decoder that keeps up.
"""

from __future__ import annotations

import logging
import math
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import ldap3
from ldap3.core.exceptions import LDAPException

from adwatch.core.words import line
from adwatch.edges.directory import entries
from adwatch.edges.directory.bind import Identity, Outcome, bind, refusal
from adwatch.edges.directory.requests import (
    ANYTHING,
    ROOT_NUMBER,
    Control,
    root_request,
    search_request,
)
from adwatch.edges.directory.security import Security, mend_certificate
from adwatch.edges.directory.wire import Tls, keep_alive
from adwatch.errors import CertificateError, DirectoryError

log = logging.getLogger(__name__)

BASE, SUBTREE = 0, 2
SHOW_DELETED: Final = "1.2.840.113556.1.4.417"
PAGED: Final = "1.2.840.113556.1.4.319"
SIZE_LIMIT_EXCEEDED: Final = 4
INVALID_CREDENTIALS: Final = 49
PAGE_SIZE: Final = 1000  # MaxPageSize of Microsoft's AD (KB 315071)
_RECEIVE = 1 << 16
_FEW: Final = 2  # receipts of a small answer, which does not have to be drained


class LdapError(DirectoryError):
    """An operation's result code was not success; `code` is the LDAP one."""

    def __init__(self, code: int, text: str, hint: str = "") -> None:
        super().__init__(text, hint)
        self.code = code


@dataclass(frozen=True, slots=True)
class Row:
    """One search entry: attributes by lower-case name, values as octets."""

    dn: str
    values: dict[str, list[bytes]]

    def text(self, name: str) -> str:
        """The first value of an attribute as text, empty where there is none."""
        found = self.values.get(name)
        return found[0].decode("utf-8", "surrogateescape") if found else ""


def host_and_port(url: str) -> tuple[str, int]:
    """Where an ldap:// or ldaps:// URL leads."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (636 if parts.scheme == "ldaps" else 389)


class Session:
    """A bound connection. `open()` fetches, `close()` ends, `abort()` may come from any thread.

    Every method raises DirectoryError for whatever the network or the server do; a refused
    account is CredentialsError.
    """

    def __init__(self, url: str, security: Security, password: str) -> None:
        self.url = url
        self._security = security
        self._password = password
        self._connection: Any = None
        self._buffer = bytearray()
        self._receipts = 0
        self._root: tuple[tuple[str, bytes], list[Row]] = ("", b""), []
        self.answer_controls: dict[str, bytes] = {}
        self.searches = 0
        self.certificate: dict[str, Any] = {}

    @property
    def user(self) -> str:
        """Who is bound."""
        return self._security.user

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    def open(self) -> None:
        """Connects, secures and binds; connecting takes half of the timeout at the most."""
        tls = Tls(self._security.context())
        host, port = host_and_port(self.url)
        timeout_s = self._security.timeout_s
        server = ldap3.Server(
            host,
            port=port,
            use_ssl=self.url.startswith("ldaps:"),
            tls=tls,
            get_info=ldap3.NONE,
            connect_timeout=timeout_s / 2,
            allowed_referral_hosts=[],
        )
        self._connection = ldap3.Connection(
            server,
            user=self._security.user,
            password=self._password,
            client_strategy=ldap3.SYNC,
            receive_timeout=math.ceil(timeout_s),
            auto_referrals=False,
            check_names=False,
            auto_encode=False,
            auto_escape=False,
        )
        try:
            self._connection.open(read_server_info=False)
            keep_alive(self._connection.socket, timeout_s)
            if self._security.start == "starttls":
                self._connection.start_tls(read_server_info=False)
            identity = Identity(self._security.auth, self._security.user, self._security.keytab)
            outcome = bind(self._connection, identity, host, self._password, timeout_s)
        except (LDAPException, OSError) as error:
            failure = tls.failure or error
            self.close()
            raise self._unreachable(failure) from error
        except DirectoryError:
            self.close()
            raise
        if outcome.code:
            self.close()
            raise self._refused(outcome)
        self._connection.socket.settimeout(timeout_s)
        if self._security.start != "none":
            self.certificate = self._connection.socket.getpeercert() or {}

    def _unreachable(self, error: Exception) -> DirectoryError:
        """What went wrong while connecting, in words."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return CertificateError(
                f"{self.url}: its certificate is refused: {error.verify_message}",
                mend_certificate(error),
            )
        if isinstance(error, ssl.SSLError):
            reason = getattr(error, "reason", None) or error  # ldap3's own has none
            hint = "let it trust the CA of directory.tls.cert_file" * bool(self._security.cert_file)
            return DirectoryError(f"{self.url}: TLS failed: {reason}", hint)
        if isinstance(error, TimeoutError):
            return DirectoryError(f"{self.url}: no answer in time", "is it up and reachable?")
        words = str(error).removeprefix("socket connection error while opening: ")
        if words == "invalid server address":  # ldap3's word for a name that DNS doesn't know
            return DirectoryError(f"{self.url}: DNS does not know this name", "is it spelt right?")
        return DirectoryError(f"{self.url}: {words}", "is it up and reachable?")

    def _refused(self, outcome: Outcome) -> DirectoryError:
        """A bind that failed, in words."""
        if outcome.code == INVALID_CREDENTIALS:
            return refusal(self.url, self._security.user or "the client certificate", outcome.text)
        words = f"{self.url}: the bind failed with code {outcome.code}: {outcome.text}"
        return LdapError(outcome.code, words)

    def close(self) -> None:
        """Ends the connection without waiting for anybody."""
        connection, self._connection = self._connection, None
        if connection is not None:
            held = connection.socket
            connection.strategy.close()
            if held is not None:
                held.close()  # ldap3 leaves one open that never got connected

    def abort(self) -> None:
        """Makes whatever waits on this connection fail at once; safe from any thread."""
        held = self._connection
        held = held.socket if held is not None else None
        if held is not None:
            try:
                held.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                log.debug(line("abort", server=self.url, error=error))

    def search(
        self,
        base: str,
        scope: int,
        text: str,
        attributes: Sequence[str],
        *,
        controls: Sequence[Control] = (),
        size_limit: int = 0,
    ) -> Iterator[Row]:
        """Rows of one search, as they arrive; `answer_controls` holds the server's afterwards.

        Raises LdapError for every result but success: rows seen until then are part of an
        answer that must not be used.
        """
        return self._rows(self.send(base, scope, text, attributes, controls, size_limit))

    def send(
        self,
        base: str,
        scope: int,
        text: str,
        attributes: Sequence[str],
        controls: Sequence[Control],
        size_limit: int = 0,
    ) -> int:
        """Sends a search request without waiting; gives its message number."""
        if self._connection is None:
            raise DirectoryError(f"{self.url}: the connection is closed")
        if log.isEnabledFor(logging.DEBUG):
            log.debug(line("search", base=base, scope=scope, filter=text[:200]))
        number: int = self._connection.server.next_message_id()
        try:
            request = search_request(number, base, scope, text, attributes, controls, size_limit)
        except LDAPException as error:
            raise self._lost(error) from error
        self._write(request)
        return number

    def _write(self, request: bytes) -> None:
        if self._connection is None:
            raise DirectoryError(f"{self.url}: the connection is closed")
        self.searches += 1
        self._receipts = 0
        try:
            self._connection.socket.sendall(request)
        except (OSError, AttributeError) as error:
            raise self._lost(error) from error

    def search_root(self, attribute: str) -> list[Row]:
        """The rows of a search of the rootDSE for an attribute that is asked for again and again.

        Its number is the same each time, which it may be once an answer was read to its end
        (RFC 4511, 4.1.1.1). So the same answer has the same octets, and is decoded once.
        """
        new = not self._buffer
        if log.isEnabledFor(logging.DEBUG):
            log.debug(line("search", base="", scope=BASE, filter=ANYTHING))
        self._write(root_request(attribute))
        if new and not self._receive(time.monotonic() + self._security.timeout_s):
            raise self._lost(TimeoutError())
        octets = bytes(self._buffer)
        if new and (attribute, octets) == self._root[0]:
            self._buffer.clear()
            return self._root[1]
        rows = list(self._rows(ROOT_NUMBER))
        whole = new and self._receipts == 1 and not self._buffer
        self._root = ((attribute, octets) if whole else ("", b"")), rows
        return rows

    def _rows(self, number: int) -> Iterator[Row]:
        messages = self.messages(number)
        while True:
            if self._buffer:
                yield from self._entries(number)
            message = next(messages)
            if message.tag == entries.SEARCH_ENTRY:
                yield Row(*self._decoded(entries.read_entry, message.body))
            elif message.tag == entries.SEARCH_DONE:
                self._finish(message)
                return

    def _entries(self, number: int) -> list[Row]:
        """The entries that have arrived whole and stand in front, all at once."""
        if not self._decoded(entries.frame, self._buffer):
            return []
        data = bytes(self._buffer)
        rows, read = self._decoded(lambda d: entries.read_entries(d, number, Row), data)
        del self._buffer[:read]
        return rows  # type: ignore[no-any-return]

    def _finish(self, message: entries.Message) -> None:
        result = self._decoded(entries.read_result, message.body)
        if result.code != 0:
            raise LdapError(
                result.code, f"{self.url} answers with code {result.code}: {result.text}"
            )
        self.answer_controls = message.controls

    def messages(self, number: int) -> Iterator[entries.Message]:
        """The messages that answer request `number`, each within the timeout."""
        while True:
            message = self.next_message(self._security.timeout_s)
            if message is None:
                raise self._lost(TimeoutError())
            if message.id == number:
                yield message

    def next_message(self, timeout_s: float) -> entries.Message | None:
        """The next message, whatever it answers, or None where none came in time."""
        deadline = time.monotonic() + timeout_s
        while not (size := self._decoded(entries.frame, self._buffer)):
            if not self._receive(deadline):
                return None
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        message: entries.Message = self._decoded(entries.read_message, data)
        if message.id == 0:
            raise self._lost(ConnectionResetError("the server ended the session"))
        return message

    def _receive(self, deadline: float) -> bool:
        """Takes in what has arrived; False where nothing had by `deadline`."""
        if self._connection is None:
            raise DirectoryError(f"{self.url}: the connection is closed")
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        try:
            self._connection.socket.settimeout(left)
            data = self._connection.socket.recv(_RECEIVE)
            self._buffer += data
            self._receipts += 1
            if data and self._receipts > _FEW:
                self._take_all()
        except TimeoutError:
            return False
        except (OSError, AttributeError) as error:
            raise self._lost(error) from error
        if not data:
            raise self._lost(ConnectionResetError("the server closed the connection"))
        return True

    def _take_all(self) -> None:
        """Takes in what else is there of a large answer, whose records of TLS are small."""
        held = self._connection.socket
        held.settimeout(0)
        try:
            while len(self._buffer) < _RECEIVE and (data := held.recv(_RECEIVE)):
                self._buffer += data
        except OSError:
            return  # there is no more yet, or what is wrong shows at the next look

    def _decoded(self, decode: Any, data: Any) -> Any:
        try:
            return decode(data)
        except entries.DecodeError as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> DirectoryError:
        self.close()
        if isinstance(error, TimeoutError):
            waited = f"{self._security.timeout_s:g} s"
            return DirectoryError(f"{self.url}: no answer within {waited}", "is it overloaded?")
        return DirectoryError(f"{self.url}: the connection broke: {error or type(error).__name__}")

    def search_all(self, base: str, text: str, attributes: Sequence[str]) -> Iterator[Row]:
        """Every row of a subtree search, in pages where the server gives no more at once.

        One unpaged answer is several times quicker than pages on Samba, and Microsoft's AD
        refuses it after 1,000 rows with sizeLimitExceeded; those rows then come again, so a
        row may be seen twice.
        """
        try:
            yield from self.search(base, SUBTREE, text, attributes)
        except LdapError as error:
            if error.code != SIZE_LIMIT_EXCEEDED:
                raise
            yield from self._paged(base, text, attributes)

    def _paged(self, base: str, text: str, attributes: Sequence[str]) -> Iterator[Row]:
        """The rows page by page; the next one is asked for before this one is decoded."""
        number = self._ask_page(base, text, attributes, b"")
        while number:
            bodies, cookie = self._page(number)
            number = self._ask_page(base, text, attributes, cookie) if cookie else 0
            for body in bodies:
                yield Row(*self._decoded(entries.read_entry, body))

    def _ask_page(self, base: str, text: str, attributes: Sequence[str], cookie: bytes) -> int:
        control = (PAGED, True, entries.sequence(PAGE_SIZE, cookie))
        return self.send(base, SUBTREE, text, attributes, [control])

    def _page(self, number: int) -> tuple[list[bytes], bytes]:
        """The entries of a page that came whole, not decoded yet, and the next one's cookie."""
        bodies = []
        for message in self.messages(number):
            if message.tag == entries.SEARCH_ENTRY:
                bodies.append(message.body)
            elif message.tag == entries.SEARCH_DONE:
                self._finish(message)
                break
        answer = self.answer_controls.get(PAGED)
        if answer is None:
            raise DirectoryError(f"{self.url}: a page came without its cookie")
        cookie: bytes = self._decoded(entries.read_sequence, answer)[1]
        return bodies, cookie
