"""Certificates that must not be trusted, each said in words, on ldaps and after StartTLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from system.samba import SambaDC

from adwatch.edges.directory.session import Security, Session
from adwatch.errors import DirectoryError

START_TLS_DONE = bytes.fromhex("78070a010004000400")  # RFC 4511, 4.14.2
DAY = timedelta(days=1)


class Authority:
    """A certificate authority, in memory."""

    def __init__(self, name: str, above: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signer = above or self
        self.certificate = (
            self._begun(self.name, signer.name, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )

    @staticmethod
    def _begun(name: Any, issuer: Any, key: Any, begins: Any = None, ends: Any = None) -> Any:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins or now - DAY)
            .not_valid_after(ends or now + DAY)
        )

    def server(self, folder: Path, host: str = "localhost", **dates: Any) -> Path:
        """A PEM file with the key and certificate of a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        certificate = (
            self._begun(subject, self.name, key, **dates)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        pem = folder / "server.pem"
        pem.write_bytes(key_of(key) + pem_of(certificate))
        return pem

    def file(self, folder: Path) -> Path:
        path = folder / "ca.pem"
        path.write_bytes(pem_of(self.certificate))
        return path


def pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@contextmanager
def listening(pem: Path, *, starttls: bool) -> Iterator[int]:
    """A server that shows a certificate, and then says nothing; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    plain, _ = server.accept()
                    with closing(plain), suppress(OSError):
                        if starttls:
                            asked = plain.recv(1000)
                            answer = asked[2 : 4 + asked[3]] + START_TLS_DONE
                            plain.sendall(bytes([0x30, len(answer)]) + answer)
                        context.wrap_socket(plain, server_side=True).close()

        Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def refusal(pem: Path, ca: Path | None, start: str, host: str = "localhost") -> DirectoryError:
    with listening(pem, starttls=start == "starttls") as port:
        scheme = "ldap" if start == "starttls" else "ldaps"
        security = Security(start, "u@example.test", str(ca) if ca else None, True, 4.0)
        with pytest.raises(DirectoryError) as raised:
            Session(f"{scheme}://{host}:{port}", security, "secret").open()
    return raised.value


@pytest.mark.parametrize("start", ["ldaps", "starttls"])
@pytest.mark.parametrize(
    ("wrong", "words", "mend"),
    [
        ("expired", "certificate has expired", "renew it on the domain controller"),
        ("too early", "certificate is not yet valid", "clock"),
        ("wrong host", "Hostname mismatch", "its DNS name"),
        ("unknown CA", "unable to get local issuer certificate", "directory.tls.ca_file"),
        ("self-signed", "self-signed certificate", "directory.tls.ca_file"),
        ("no intermediate", "unable to get local issuer certificate", "directory.tls.ca_file"),
    ],
)
def test_a_certificate_that_must_not_be_trusted_is_said_in_words(
    tmp_path: Path, start: str, wrong: str, words: str, mend: str
) -> None:
    now, root = datetime.now(UTC), Authority("root")
    signer, trusted = root, root.file(tmp_path)
    dates: dict[str, Any] = {}
    if wrong == "expired":
        dates = {"begins": now - 3 * DAY, "ends": now - DAY}
    if wrong == "too early":
        dates = {"begins": now + DAY, "ends": now + 3 * DAY}
    if wrong == "unknown CA":
        signer = Authority("somebody")
    if wrong == "no intermediate":
        signer = Authority("between", root)
    pem = signer.server(tmp_path, "elsewhere" if wrong == "wrong host" else "localhost", **dates)
    if wrong == "self-signed":
        own = Authority("localhost")
        pem.write_bytes(key_of(own.key) + pem_of(own.certificate))
    fault = refusal(pem, trusted, start)
    assert "its certificate is refused" in fault.message
    assert words in fault.message
    assert mend in fault.hint
    assert "secret" not in str(fault)


def test_a_certificate_through_an_intermediate_that_the_server_sends_is_trusted(
    tmp_path: Path,
) -> None:
    root = Authority("root")
    between = Authority("between", root)
    pem = between.server(tmp_path)
    pem.write_bytes(pem.read_bytes() + pem_of(between.certificate))
    fault = refusal(pem, root.file(tmp_path), "ldaps")
    assert "certificate" not in fault.message  # it got as far as the bind


def test_verification_can_be_switched_off(tmp_path: Path) -> None:
    pem = Authority("somebody").server(tmp_path, "elsewhere")
    with listening(pem, starttls=False) as port:
        security = Security("ldaps", "u@example.test", None, False, 4.0)
        with pytest.raises(DirectoryError) as raised:
            Session(f"ldaps://localhost:{port}", security, "secret").open()
    assert "certificate" not in raised.value.message


def test_a_server_may_be_named_by_an_address_that_its_certificate_has(dc: SambaDC) -> None:
    security = Security("ldaps", dc.service_user, str(dc.ca_file), verify=True, timeout_s=5)
    session = Session(f"ldaps://127.0.0.1:{dc.ldaps_port}", security, dc.service_password)
    session.open()
    session.close()
