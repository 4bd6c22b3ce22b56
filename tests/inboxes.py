"""Where alerts arrive in the tests: a real SMTP server, and HTTP servers that behave or do not."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from system.samba import free_port


class Mailbox:
    """Mails as a server took them. `refuses` makes it turn them away."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refuses = False
        self._controller = Controller(self, hostname="127.0.0.1", port=0, ready_timeout=60)
        self.port = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        del server, session
        if self.refuses:
            return "554 no"
        made = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append(made)  # type: ignore[arg-type]
        return "250 taken"

    @property
    def url(self) -> str:
        """For Apprise."""
        return (
            f"mailto://localhost:{self.port}?from=adwatch@example.test"
            "&to=admin@example.test&mode=insecure"
        )

    def subjects(self) -> list[str]:
        return [str(mail["subject"]) for mail in self.mails]

    def open(self) -> None:
        self._controller.port = free_port()
        self._controller.start()
        self.port = self._controller.port

    def close(self) -> None:
        self._controller.stop()


class Hook:
    """A webhook. `mode`: well, error (500), refuse (hangs up), hang, or drip (a byte a second)."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.asked = 0
        self.mode = "well"
        self._over = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        """For Apprise; the path is a secret."""
        return f"json://127.0.0.1:{self.port}/hook-s3cret"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["content-length"]))
        self.asked += 1
        if self.mode == "refuse":
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.mode in ("hang", "drip"):
            with suppress(OSError):
                request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not self._over.wait(1.0) and self.mode in ("hang", "drip"):
                    request.wfile.write(b"x" * (self.mode == "drip"))
            return
        if self.mode == "well":
            self.said.append(json.loads(body))
        request.send_response(200 if self.mode == "well" else 500)
        request.end_headers()

    def titles(self) -> list[str]:
        return [str(one["title"]) for one in self.said]

    def open(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def inboxes() -> Iterator[tuple[Mailbox, Hook]]:
    """Both, open."""
    mailbox, hook = Mailbox(), Hook()
    mailbox.open()
    hook.open()
    try:
        yield mailbox, hook
    finally:
        mailbox.close()
        hook.close()
