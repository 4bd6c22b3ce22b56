"""Refusals seen a second time: by whom an account is tried again, and what is said of it."""

from __future__ import annotations

import ssl
from pathlib import Path
from threading import Event

import pytest
from proxy import ber, message, proxy
from system.samba import SambaDC, run

from adwatch.checks import run_checks
from adwatch.config.load import load
from adwatch.core.pace import Pace, Tempo
from adwatch.edges.directory.better import Better
from adwatch.edges.directory.links import Links, Servers
from adwatch.edges.directory.push import Push
from adwatch.edges.directory.security import Security
from adwatch.edges.directory.session import Session
from adwatch.errors import CredentialsError, DirectoryError, PasswordError

PASSWORD = "Secret-1234"
LOGIN = "twice"
WINDOW_S = 1800  # the usual "reset account lockout counter after"
THRESHOLD = 3  # the lowest that is usual


def security(ca_file: Path | str = "", **changes: str) -> Security:
    start, user = changes.pop("start", "ldaps"), changes.pop("user", f"{LOGIN}@example.test")
    return Security(start, user, str(ca_file) or None, verify=True, timeout_s=8.0, **changes)


# How often.


def test_a_wrong_password_is_not_tried_as_often_as_a_low_threshold_allows() -> None:
    """Who knows nothing of a wrong password but waits must find the account unlocked."""
    now, tried = 0.0, list[float]()
    pace = Pace.begin(Tempo(poll=1.0, reconcile=3600.0, settle=0.2, at_most=2.0), now, 3600.0)
    while now < 24 * 3600:
        if pace.reads(now):
            tried.append(now)
            pace = pace.failed(now, 0.5, refused=True)
        now = pace.poll_at
    most = max(sum(begin <= t < begin + WINDOW_S for t in tried) for begin in tried)
    assert most < THRESHOLD, f"{most} wrong passwords within {WINDOW_S} s, at {tried[:5]}"


def test_push_tries_a_refused_password_once_after_it_was_told_of_a_new_connection() -> None:
    """Word of a new connection that came while push listened is no reason to try twice."""
    tried, again = Event(), Event()

    def connect() -> tuple[Session, str]:
        (again if tried.is_set() else tried).set()
        raise CredentialsError("the password is wrong")

    push = Push(connect, lambda: None)
    push.follow("ldaps://dc1.example.test")
    push.start()
    try:
        assert tried.wait(10)
        assert not again.wait(2)
    finally:
        push.end()
        push.join(10)


# By whom.


def links(urls: tuple[str, ...], made: Security, password: str = PASSWORD) -> Links:
    return Links(Servers(urls, None, made), lambda: password, "auto", ())


def test_looking_for_a_better_server_survives_a_password_file_that_is_away() -> None:
    """It is being replaced, perhaps; the loop that asks for this has nobody to catch a fault."""

    def away() -> str:
        raise PasswordError("the password file can't be read")

    looking = Links(Servers(("ldaps://dc1.example.test",), None, security()), away, "auto", ())
    Better(looking).look(1)


def test_two_servers_do_not_hide_that_the_password_cannot_be_read() -> None:
    """A fault of this machine's is none of the servers', and has its own hint and exit status."""

    def away() -> str:
        raise PasswordError("the password file can't be read", "put it there")

    urls = ("ldaps://dc1.example.test", "ldaps://dc2.example.test")
    with pytest.raises(PasswordError) as raised:
        Links(Servers(urls, None, security()), away, "auto", ()).first()
    assert raised.value.hint == "put it there"
    assert raised.value.exit_code == 3


# In words.


@pytest.mark.parametrize("creds", [b"", b"garbage", b"NTLMSSP\0garbage"], ids=repr)
def test_an_answer_that_is_no_ntlm_is_a_fault_in_words_and_no_bug(
    dc: SambaDC, tmp_path: Path, creds: bytes
) -> None:
    bind_response, in_progress = 0x61, b"\x0e"
    body = ber(10, in_progress) + ber(4) + ber(4) + ber(0x87, creds)
    with proxy(dc, tmp_path) as between:
        between.on_answer = lambda m: (
            [message(m.id, bind_response, body)] if m.tag == bind_response else None
        )
        with pytest.raises(DirectoryError):
            Session(between.url, security(dc.ca_file, auth="ntlm"), PASSWORD).open()


def test_check_says_of_a_wrong_name_what_mends_it(dc: SambaDC, tmp_path: Path) -> None:
    """Another CA file would not help: this is the very one, and the name is wrong."""
    key, own = str(tmp_path / "own.key"), str(tmp_path / "own.pem")
    named = ("-subj", "/CN=elsewhere", "-addext", "subjectAltName=DNS:elsewhere")
    run(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        *named,
        "-keyout",
        key,
        "-out",
        own,
    )
    (tmp_path / "password").write_text(PASSWORD)
    config = tmp_path / "config.yaml"
    with proxy(dc, tmp_path) as between:
        between.refuse()
        between._inward = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        between._inward.load_cert_chain(own, key)
        between.accept()
        config.write_text(
            f"directory:\n  servers: [{between.url}]\n  user: {LOGIN}@example.test\n"
            f"  password_file: password\n  tls: {{ca_file: {own}}}\n"
            f"state: state\noutputs: [{{path: users.conf, reload: null}}]\n"
        )
        (tls,) = [r for r in run_checks(load(config), offline=False) if r.what.startswith("TLS")]
    assert "Hostname mismatch" in tls.said
    assert "DNS name" in tls.hint
