"""What is answered: a document as a view makes it, or a refusal in words."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import h11

from adwatch.core.page import Asked, Document
from adwatch.edges.web.request import Request
from adwatch.edges.web.stream import Follow

_TEXT: Final = "text/plain; charset=utf-8"
_SERVER_WORDS: Final = {
    400: "That is no HTTP request.",
    401: "Show the token: ?token=…, or as bearer or as the password of the HTTP login.",
    403: "Your address {address} is not let in: put its network in http.allow.",
    405: "That is not answered here; see Allow.",
    421: "That name is not known to be this machine's: without a token, ask by its address.",
    431: "The request is too long.",
    503: "The token can't be read: see adwatch status.",
}


@dataclass(frozen=True, slots=True)
class View:
    """What a path shows, last changed at `modified` (seconds since the epoch; None: just now).

    `show` is called on many threads at once and reads frozen values only; `posts`: a POST is
    answered too; `open`: nobody need show a token; `page`: it is for browsers, which are told to
    keep the token out of their address. With `follow` the answer is a stream of events that goes
    on after what `show` gives.
    """

    show: Callable[[Asked], Document]
    modified: float | None
    posts: bool = False
    open: bool = False
    page: bool = False
    follow: Callable[[Asked], Follow] | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are answered."""
        return ("GET", "HEAD", "POST") if self.posts else ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Answer:
    """A head and octets; `follow` gives what comes after them, for as long as it goes on."""

    status: int
    headers: tuple[tuple[str, str], ...]
    content: bytes = b""
    follow: Follow | None = None


def send(connection: socket.socket, talk: h11.Connection, answer: Answer, *, silent: bool) -> None:
    """An answer's head, and its content unless `silent`; of one that goes on only the beginning."""
    headers = [
        ("Date", formatdate(usegmt=True)),
        ("Connection", "close"),
        ("X-Content-Type-Options", "nosniff"),
        *answer.headers,
    ]
    if "Referrer-Policy" not in dict(answer.headers):
        headers.append(("Referrer-Policy", "no-referrer"))
    if answer.status != 304 and answer.follow is None:
        headers.append(("Content-Length", str(len(answer.content))))
    if talk.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    reason = HTTPStatus(answer.status).phrase
    head = h11.Response(status_code=answer.status, headers=headers, reason=reason)
    octets = talk.send(head) or b""
    if answer.status != 304 and answer.content and not silent:
        octets += talk.send(h11.Data(data=answer.content)) or b""
    connection.sendall(octets)


def _kind(kind: str) -> tuple[tuple[str, str], ...]:
    return ("Content-Type", kind), ("Cache-Control", "no-store")


def refused(status: int, words: str, *headers: tuple[str, str]) -> Answer:
    """A refusal in words."""
    return Answer(status, (*_kind(_TEXT), *headers), f"{words}\n".encode())


def said(status: int, address: str, *headers: tuple[str, str], words: str = "") -> Answer:
    """A refusal in the server's own words, or in others."""
    words = words or _SERVER_WORDS.get(status, _SERVER_WORDS[400]).format(address=address)
    return refused(status, words, *headers)


def signed_in(request: Request, cookie: str) -> Answer:
    """Leads a browser to the same page without the token in its address, which it may show."""
    headers = ("Location", request.without_token()), ("Set-Cookie", cookie)
    return refused(303, "See the same page without the token in its address.", *headers)


def shown(view: View, request: Request, address: str) -> Answer:
    """A document, or 304 where the visitor has it already (RFC 9110, 13)."""
    asked = request.asked(address)
    document = view.show(asked)
    if view.modified is None:
        headers = (*_kind(document.kind), *document.headers)
        follow = view.follow(asked) if view.follow is not None else None
        return Answer(document.status, headers, document.content, follow)
    tag = '"' + hashlib.sha256(document.content).hexdigest()[:32] + '"'
    validators = (
        ("ETag", tag),
        ("Last-Modified", formatdate(view.modified, usegmt=True)),
        ("Cache-Control", "private, no-cache"),
    )
    headers = (("Content-Type", document.kind), *validators, *document.headers)
    if _has(request, tag, view.modified):
        return Answer(304, (*validators, *document.headers))
    return Answer(200, headers, document.content)


def _has(request: Request, tag: str, modified: float) -> bool:
    known = request.headers.get("if-none-match")
    if known is not None:
        tags = (one.strip().removeprefix("W/") for one in known.split(","))
        return known.strip() == "*" or tag in tags
    try:
        since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
        return int(modified) <= since.timestamp()
    except (ValueError, OverflowError):
        return False
