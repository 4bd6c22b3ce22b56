"""A request as it came, and the gate that it has to pass: network, token, name of the host."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlencode

import h11

from adwatch.core.page import Asked, Origin

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_WORDS: Final = 16  # of a query or a form
_FORM: Final = "application/x-www-form-urlencoded"
_KEY: Final = secrets.token_bytes(32)  # this process's
_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read once."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @classmethod
    def of(cls, event: h11.Request, body: bytes) -> Request:
        """Raises ValueError for a target that is none."""
        target = event.target.decode("ascii")
        path, _, query = re.sub("^https?://[^/?]*", "", target, count=1).partition("?")
        # A phone may put its own question behind one that is there already.
        words = parse_qsl(query.replace("?", "&"), keep_blank_values=True, max_num_fields=_WORDS)
        headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        return cls(event.method.decode(), re.sub("/+", "/", path), dict(words), headers, body)

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
    def host(self) -> str:
        """The host and port that it was sent to, empty where that is none."""
        host = self.headers.get("host", "")
        return host if _HOST.fullmatch(host) else ""

    def cookie(self, name: str) -> str:
        """A cookie's value, empty where there is none."""
        try:
            found = SimpleCookie(self.headers.get("cookie", "")).get(name)
        except CookieError:
            return ""
        return found.value if found is not None else ""

    @property
    def origin(self) -> Origin:
        """Whose page led here. Two headers say it, and both must agree where both are there.

        Browsers send Sec-Fetch-Site to https and to this machine only, Origin with each POST.
        """
        said, site = self.headers.get("origin"), self.headers.get("sec-fetch-site")
        if said is not None and (not self.host or said.partition("://")[2] != self.host):
            return "other"
        if site not in (None, "none", "same-origin"):
            return "other"
        return "own" if said is not None or site == "same-origin" else ""

    def asked(self, address: str) -> Asked:
        """What a view gets to know; a token in the query is carried on by links."""
        keep = (("token", self.query["token"]),) if "token" in self.query else ()
        url = f"http://{self.host}{self.path}" if self.host else self.path
        last = self.headers.get("last-event-id", "")
        form = self._form() if self.method == "POST" else None
        return Asked(url, self.query, keep, address, self.origin, form, last)

    def without_token(self) -> str:
        """The same address with the token left out of it, as seen from there."""
        query = urlencode([(name, text) for name, text in self.query.items() if name != "token"])
        own = self.path.rpartition("/")[2] or "./"
        return f"{own}?{query}" if query else own

    def _form(self) -> Mapping[str, str]:
        if self.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            return {}
        try:
            return dict(parse_qsl(self.body.decode("ascii"), max_num_fields=_WORDS))
        except ValueError:
            return {}


@dataclass(frozen=True, slots=True)
class Gate:
    """Who may come in: `allow` are networks, `token` gives the token anew at each request.

    Without networks it is everybody who has the token, and where there is none, this machine.
    `token` raises AdwatchError where it can't be read. A browser that showed the token once is
    known by a cookie, which is worth nothing to another process and after another token.
    """

    allow: tuple[Network, ...] = ()
    token: Callable[[], str] | None = None
    key: bytes = field(default=_KEY, repr=False)

    def knows(self, address: str) -> bool:
        """Whether an address is in a network that is let in."""
        found = ipaddress.ip_address(address.partition("%")[0])
        found = getattr(found, "ipv4_mapped", None) or found
        if not self.allow:
            return self.token is not None or found.is_loopback
        return any(found in network for network in self.allow)

    def trusts(self, request: Request, cookie: str) -> bool:
        """Whether a request shows the token, or the cookie of that name which stands for it."""
        if self.token is None:
            return True
        token = self.token()
        shown = request.token.encode("utf-8", "surrogateescape")
        proof = request.cookie(cookie).encode("utf-8", "surrogateescape")
        known = hmac.compare_digest(self._proof(token).encode(), proof)
        return hmac.compare_digest(token.encode(), shown) or (known and not shown)

    def sign_in(self, cookie: str) -> str:
        """The header's value that gives a browser the cookie."""
        assert self.token is not None
        proof = self._proof(self.token())
        return f"{cookie}={proof}; Path=/; HttpOnly; SameSite=Strict"

    def _proof(self, token: str) -> str:
        return hmac.new(self.key, token.encode(), hashlib.sha256).hexdigest()

    def answers_to(self, host: str, *, page: bool) -> bool:
        """Whether a request may be sent to that host.

        Where no token is asked for, a page of another site could have its own name lead to this
        address and then read what is here (DNS rebinding), by a browser that is let in. So there
        a page is shown under an address or a name of this machine's alone; and where only this
        machine is let in, so is everything.
        """
        if self.token is not None or (self.allow and not page) or not host:
            return True
        name = host.rpartition(":")[0] if re.search(r":[0-9]+\Z", host) else host
        name = name.strip("[]").rstrip(".").lower()
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name)
            return True
        if name in ("localhost", socket.gethostname().lower()) or name.endswith(".localhost"):
            return True
        return name == socket.getfqdn().lower()  # which may ask DNS
