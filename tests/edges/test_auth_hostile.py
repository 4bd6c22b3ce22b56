"""Ways to bind that fail, where a traceback, a wait without end or wrong words would be a bug."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from certificates import Authority
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from edges.test_auth import KRB5_CONF, quoted, security
from edges.test_tls import listening
from system.samba import SambaDC, run

from adwatch import checks
from adwatch.config.load import load
from adwatch.edges.directory.security import Security
from adwatch.edges.directory.session import Session
from adwatch.errors import DirectoryError

LOGIN = "krb-refused"
DAY = timedelta(days=1)
TIMEOUT_S = 4.0


@pytest.fixture
def account(dc: SambaDC) -> Iterator[str]:
    dn = dc.add_user(LOGIN, dc.base_dn, unicodePwd=quoted("First-1234"))
    yield dn
    dc.delete(dn)


@pytest.fixture
def keytab(dc: SambaDC, account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The account's keytab, in a world where its realm is known."""
    assert account
    inside = f"/tmp/{tmp_path.name}.keytab"
    dc.tool("domain", "exportkeytab", inside, f"--principal={LOGIN}@EXAMPLE.TEST")
    run("docker", "cp", f"{dc.container}:{inside}", str(tmp_path / "keytab"))
    conf = tmp_path / "krb5.conf"
    conf.write_text(KRB5_CONF.format(address=dc.address))
    monkeypatch.setenv("KRB5_CONFIG", str(conf))
    return tmp_path / "keytab"


def fault_of(url: str, made: Security, password: str = "") -> DirectoryError:
    session = Session(url, made, password)
    with closing(session), pytest.raises(DirectoryError) as raised:
        session.open()
    return raised.value


@pytest.mark.parametrize("auth", ["ntlm", "kerberos"])
def test_without_tls_the_servers_refusal_is_told(dc: SambaDC, keytab: Path, auth: str) -> None:
    made = security(dc, start="none", auth=auth, user=f"{LOGIN}@example.test")
    made = replace(made, keytab=str(keytab) if auth == "kerberos" else "")
    fault = fault_of(f"ldap://localhost:{dc.ldap_port}", made, "First-1234")
    assert "getpeercert" not in fault.message


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda dc, dn: dc.disable(dn), "enable"),
        (lambda dc, dn: dc.modify(dn, accountExpires=10**17), "expir"),
        (lambda dc, dn: dc.modify(dn, pwdLastSet=0), "must change"),
    ],
    ids=["disabled", "expired", "must change"],
)
def test_with_a_keytab_too_the_hint_is_about_the_account(
    dc: SambaDC, account: str, keytab: Path, change: Callable[[SambaDC, str], None], hint: str
) -> None:
    change(dc, account)
    made = security(dc, auth="kerberos", keytab=str(keytab), user=f"{LOGIN}@example.test")
    fault = fault_of(dc.ldaps_url, made)
    assert "krb5.conf" not in fault.hint
    assert hint in fault.hint


def test_a_kdc_that_never_answers_is_waited_for_no_longer_than_the_timeout_says(
    dc: SambaDC, keytab: Path, tmp_path: Path
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf,
    ):
        port = silent.getsockname()[1]
        deaf.bind(("127.0.0.1", port))
        (tmp_path / "krb5.conf").write_text(KRB5_CONF.format(address=f"127.0.0.1:{port}"))
        made = security(dc, auth="kerberos", keytab=str(keytab), user=f"{LOGIN}@example.test")
        begun = time.monotonic()
        fault_of(dc.ldaps_url, replace(made, timeout_s=TIMEOUT_S))
        assert time.monotonic() - begun < 2 * TIMEOUT_S


@contextmanager
def answering(pem: Path, body: bytes) -> Iterator[int]:
    """A server that answers the first bind over TLS with `body`, a bindResponse; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                plain, _ = server.accept()
                with context.wrap_socket(plain, server_side=True) as secured:
                    asked = secured.recv(4096)
                    at = 2 + (asked[1] & 0x7F if asked[1] & 0x80 else 0)  # behind the length
                    message = asked[at : at + 2 + asked[at + 1]] + body
                    secured.sendall(bytes([0x30, len(message)]) + message)
                    secured.recv(4096)

        Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def test_a_token_that_is_no_ntlm_is_a_fault_of_the_server_and_not_of_kerberos(
    tmp_path: Path,
) -> None:
    root = Authority("root")
    body = bytes.fromhex("610e0a010e040004008705") + b"no-ne"  # saslBindInProgress, serverSaslCreds
    body = bytes([0x61, len(body) - 2]) + body[2:]
    with answering(root.server(tmp_path), body) as port:
        ca = str(root.file(tmp_path))
        made = Security("ldaps", "u@example.test", ca, True, TIMEOUT_S, auth="ntlm")
        fault = fault_of(f"ldaps://localhost:{port}", made, "secret")
    assert "token" in fault.message.lower() or "ntlm" in fault.message.lower()
    assert "Kerberos" not in str(fault)
    assert "krb5" not in str(fault)
    assert "secret" not in str(fault)


CLIENT = """
import sys
from adwatch.edges.directory.security import Security
from adwatch.errors import AdwatchError
cert, key = sys.argv[1:]
made = Security("ldaps", "", None, True, 4.0, auth="external", cert_file=cert, key_file=key)
try:
    made.context()
except AdwatchError as error:
    print(error)
"""


def test_a_client_key_with_a_passphrase_is_refused_and_asks_nobody(tmp_path: Path) -> None:
    authority = Authority("client")
    pem = authority.file(tmp_path)
    form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    (tmp_path / "key.pem").write_bytes(authority.key.private_bytes(*form))
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, pem, tmp_path / "key.pem"],
        stdin=subprocess.PIPE,  # held open, as a terminal is
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as client:
        try:
            client.wait(20)
        except subprocess.TimeoutExpired:
            client.kill()
            pytest.fail("it waits for somebody to type the passphrase")
        assert client.stdout is not None
        assert "can't be used" in client.stdout.read()


def test_a_client_certificate_that_the_server_refuses_is_told_as_that(tmp_path: Path) -> None:
    root, stranger = Authority("root"), Authority("stranger")
    (tmp_path / "client").mkdir()
    own = stranger.server(tmp_path / "client", "adwatch")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=root.file(tmp_path))
    context.load_cert_chain(root.server(tmp_path))
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                plain, _ = server.accept()
                with closing(plain):
                    context.wrap_socket(plain, server_side=True)

        Thread(target=serve, daemon=True).start()
        port, ca = server.getsockname()[1], str(tmp_path / "ca.pem")
        made = Security("ldaps", "", ca, True, TIMEOUT_S, "external", "", str(own), str(own))
        fault = fault_of(f"ldaps://localhost:{port}", made)
    assert "cert_file" in fault.hint


def test_check_mends_an_expired_certificate_as_run_does(tmp_path: Path) -> None:
    root, now = Authority("root"), datetime.now(UTC)
    pem = root.server(tmp_path, begins=now - 3 * DAY, ends=now - DAY)
    root.file(tmp_path)
    with listening(pem, starttls=False) as port:
        config = tmp_path / "config.yaml"
        config.write_text(
            f"directory: {{servers: ['ldaps://localhost:{port}'], user: u, password: p,"
            f" tls: {{ca_file: ca.pem}}, timeout: 4s}}\n"
            "outputs: [{name: users, path: users.conf}]\nstate: state\n"
        )
        results = list(checks._network(load(config), f"ldaps://localhost:{port}"))
    (told,) = [r for r in results if r.what.startswith("TLS")]
    assert "expired" in told.said
    assert "renew" in told.hint


def test_external_without_tls_is_refused_by_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "directory:\n  servers: [ldap://dc.example.test]\n  auth: external\n"
        "  tls: {start: none, allow_plaintext: true, cert_file: c.pem, key_file: k.pem}\n"
        "outputs: [{name: users, path: users.conf}]\nstate: state\n"
    )
    with pytest.raises(Exception, match="external"):
        load(config)
