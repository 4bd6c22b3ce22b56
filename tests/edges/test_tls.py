"""Certificates that must not be trusted, each said in words, on ldaps and after StartTLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from certificates import DAY, Authority, key_of, pem_of
from system.samba import SambaDC

from adwatch.edges.directory.security import Security
from adwatch.edges.directory.session import Session
from adwatch.errors import DirectoryError

START_TLS_DONE = bytes.fromhex("78070a010004000400")  # RFC 4511, 4.14.2


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
