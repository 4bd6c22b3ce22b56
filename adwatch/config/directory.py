"""The `directory` section: the domain, the way to it, and what of it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import ConfigDict

from adwatch.config import kinds
from adwatch.config.kinds import Section
from adwatch.config.part import Part, one_secret
from adwatch.config.values import Duration, Wrongness, quoted


class Tls(Part):
    """`directory.tls`: how the connection is made safe."""

    start: kinds.Start = "ldaps"
    """ldaps, starttls, or none, which is refused unless allow_plaintext is true."""
    ca_file: kinds.PlacedPath | None = None
    """PEM file with the certificate authority of the domain; null: the system's."""
    verify: kinds.Flag = True
    """Whether the server's certificate must be valid and name the server."""
    cert_file: kinds.PlacedPath | None = None
    """PEM file with the client certificate, for auth: external."""
    key_file: kinds.PlacedPath | None = None
    """PEM file with the client certificate's key, for auth: external."""
    allow_plaintext: kinds.Flag = False
    """Whether start: none may send the password and all data unencrypted."""

    def clashes(self) -> Iterator[Wrongness]:
        """No TLS needs a second word of consent."""
        if self.start == "none" and not self.allow_plaintext:
            yield Wrongness(
                ("start",),
                "none sends the password unencrypted; use ldaps or starttls, or set"
                " allow_plaintext: true",
                (("start",), ("allow_plaintext",)),
            )


class Directory(Part):
    """`directory`: which domain is watched, as whom, and how."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["servers"]}, {"required": ["domain"]}]}
    )

    servers: kinds.Servers = ()
    """ldaps:// or ldap:// URLs of the domain controllers, the preferred one first."""
    domain: kinds.Domain | None = None
    """The domain's DNS name: its servers are found through DNS SRV records."""
    auth: kinds.Auth = "simple"
    """How adwatch proves who it is."""
    user: kinds.Line | None = None
    """The account that reads the directory, such as svc-adwatch@example.test."""
    password: kinds.Secret | None = None
    """The account's password; better in password_file."""
    password_file: kinds.GivenPath | None = None
    """File with the account's password, read again at each bind."""
    keytab: kinds.GivenPath | None = None
    """Kerberos keytab of the account, for auth: kerberos."""
    tls: Annotated[Tls, Section] = Tls()
    base: kinds.Bases = ()
    """Distinguished names to search below; empty: the whole domain."""
    filter: kinds.Filter = (
        "(&(telephoneNumber=*)(objectCategory=person)(objectClass=user)(sAMAccountName=*))"
    )
    """LDAP filter: who is a user of the phone system."""
    disabled: kinds.Disabled = "drop"
    """What becomes of the peers of accounts that are disabled in AD, or have expired."""
    feed: kinds.Feed = "auto"
    """How changes are learnt of; auto takes the best that the account may use."""
    push: kinds.Flag = True
    """Whether to listen for change notifications of AD as well."""
    poll: kinds.SomeSeconds = Duration("1s")
    """How often the domain is asked whether anything changed."""
    reconcile: kinds.SomeSeconds = Duration("1h")
    """At least this often, everything is compared."""
    timeout: kinds.SomeSeconds = Duration("10s")
    """How long to wait for each answer; connecting may take half of it."""

    def clashes(self) -> Iterator[Wrongness]:
        """Servers and TLS, authentication and what it needs."""
        servers, domain, start = ("servers",), ("domain",), ("tls", "start")
        if not self.servers and self.domain is None:
            yield Wrongness(servers, "is required, unless domain is given", (servers, domain))
        wanted = "ldaps" if self.tls.start == "ldaps" else "ldap"
        for index, url in enumerate(self.servers):
            if url.partition("://")[0] != wanted:
                message = f"{quoted(url)} contradicts tls.start: {self.tls.start}"
                yield Wrongness(
                    ("servers", index), f"{message}, which needs {wanted}://", (servers, start)
                )
        if len(self.base) > 1 and any(re.fullmatch("(?i)dc=[^,]*", dn) for dn in self.base[1:]):
            message = "are the parts of one name; put it in quotes, for a comma ends an item"
            yield Wrongness(("base",), message)
        yield from self._external()
        yield from self._identity()

    def _external(self) -> Iterator[Wrongness]:
        if self.auth == "external" and self.tls.start == "none":
            yield Wrongness(
                ("auth",),
                "external shows a certificate in TLS, and tls.start is none",
                (("auth",), ("tls", "start")),
            )

    def _identity(self) -> Iterator[Wrongness]:
        auth = (("auth",),)
        by_password = self.auth in {"simple", "ntlm"}
        if self.auth != "external" and self.user is None:
            yield Wrongness(("user",), f"is required for auth: {self.auth}", (*auth, ("user",)))
        if by_password:
            yield from one_secret(self.password, self.password_file, "password", auth)
        needs: dict[tuple[str, ...], tuple[Any, str]] = {
            ("password",): (self.password, "simple or ntlm"),
            ("password_file",): (self.password_file, "simple or ntlm"),
            ("keytab",): (self.keytab, "kerberos"),
            ("tls", "cert_file"): (self.tls.cert_file, "external"),
            ("tls", "key_file"): (self.tls.key_file, "external"),
        }
        for path, (value, wanted) in needs.items():
            if value is not None and self.auth not in wanted:
                yield Wrongness(path, f"is for auth: {wanted}, not {self.auth}", auth)
            if value is None and self.auth == wanted == "external":
                yield Wrongness(path, "is required for auth: external", (*auth, path))
