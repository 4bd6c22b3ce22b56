"""How a connection is made safe: whom it trusts, what it shows, and what mends a certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

from adwatch.errors import DirectoryError, PasswordError

# X509_V_ERR_… of OpenSSL.
_MEND_TRUST: Final = "set directory.tls.ca_file to the CA that signed it"
_MEND_CERTIFICATE: Final = {
    9: "set the clocks of this machine and of the domain controller",
    10: "renew it on the domain controller",
    62: "call the domain controller by its DNS name in directory.servers",
    64: "call the domain controller by its DNS name in directory.servers",
}


@dataclass(frozen=True, slots=True)
class Security:
    """How a connection is made safe, and who binds.

    `auth` is simple, ntlm, kerberos or external; `keytab`, `cert_file` and `key_file` are paths,
    empty where there is none.
    """

    start: str  # ldaps | starttls | none
    user: str
    ca_file: str | None
    verify: bool
    timeout_s: float
    auth: str = "simple"
    keytab: str = ""
    cert_file: str = ""
    key_file: str = ""

    def context(self) -> ssl.SSLContext:
        """The TLS context. Raises DirectoryError where a file can't be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise DirectoryError(
                f"the CA file {self.ca_file} can't be used: {error}",
                "point directory.tls.ca_file at a PEM file with the CA's certificate",
            ) from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file:
            try:
                context.load_cert_chain(self.cert_file, self.key_file or None, password="")
            except (OSError, ssl.SSLError) as error:
                raise PasswordError(
                    f"the client certificate {self.cert_file} can't be used: {error}",
                    "let directory.tls.cert_file and key_file be PEM files that belong together",
                ) from error
        return context


def mend_certificate(error: OSError) -> str:
    """What mends a server's certificate that is refused."""
    return _MEND_CERTIFICATE.get(getattr(error, "verify_code", 0), _MEND_TRUST)
