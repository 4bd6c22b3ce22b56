"""Every way to bind, against a real domain; and each refusal told apart."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from system.samba import SambaDC, run

from adwatch.edges.directory import bind as bind_module
from adwatch.edges.directory.bind import refusal
from adwatch.edges.directory.security import Security
from adwatch.edges.directory.session import BASE as BASE_SCOPE
from adwatch.edges.directory.session import Session
from adwatch.errors import CredentialsError, DirectoryError, PasswordError

KRB5_CONF = """\
[libdefaults]
  default_realm = EXAMPLE.TEST
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
[realms]
  EXAMPLE.TEST = {{
    kdc = {address}
  }}
[domain_realm]
  localhost = EXAMPLE.TEST
"""


def security(dc: SambaDC, **changes: str) -> Security:
    start, user = changes.pop("start", "ldaps"), changes.pop("user", dc.service_user)
    return Security(start, user, str(dc.ca_file), verify=True, timeout_s=8.0, **changes)


def open_as(dc: SambaDC, made: Security, password: str = "", host: str = "localhost") -> str:
    """Who the server says that this is, or the fault."""
    port = dc.ldap_port if made.start == "starttls" else dc.ldaps_port
    scheme = "ldap" if made.start == "starttls" else "ldaps"
    session = Session(f"{scheme}://{host}:{port}", made, password)
    session.open()
    try:
        (row,) = session.search("", BASE_SCOPE, "(objectClass=*)", ["tokenGroups"])
        sids = row.values["tokengroups"]
        users = dc.ldapsearch("(objectClass=user)", "objectSid", "sAMAccountName")
        names = {e["objectSid"][0]: e["sAMAccountName"][0].decode() for e in users.values()}
        return next(names[sid] for sid in sids if sid in names)
    finally:
        session.close()


@pytest.mark.parametrize("start", ["ldaps", "starttls"])
@pytest.mark.parametrize("user", ["EXAMPLE\\svc-adwatch", "svc-adwatch@example.test"])
def test_ntlm_binds_over_tls_as_samba_demands_it(dc: SambaDC, start: str, user: str) -> None:
    made = security(dc, start=start, user=user, auth="ntlm")
    assert open_as(dc, made, dc.service_password) == "svc-adwatch"


def test_ntlm_without_the_certificates_binding_is_what_samba_refuses(
    dc: SambaDC, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bind_module, "end_point", lambda _: b"tls-server-end-point:another")
    with pytest.raises(DirectoryError, match="TLS does not end at the domain controller") as raised:
        open_as(dc, security(dc, auth="ntlm"), dc.service_password)
    assert not isinstance(raised.value, CredentialsError)


@pytest.mark.parametrize("auth", ["simple", "ntlm"])
def test_a_wrong_password_is_told_and_counts(dc: SambaDC, auth: str) -> None:
    with pytest.raises(CredentialsError, match="password is wrong") as raised:
        open_as(dc, security(dc, auth=auth), "wrong")
    assert raised.value.counts


@pytest.fixture
def keytab(dc: SambaDC, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A keytab of the service account, in a world where its realm is known."""
    dc.tool("spn", "add", "ldap/localhost", "DC1$")
    inside = f"/tmp/{tmp_path.name}.keytab"
    principal = "--principal=svc-adwatch@EXAMPLE.TEST"
    dc.tool("domain", "exportkeytab", inside, principal)
    run("docker", "cp", f"{dc.container}:{inside}", str(tmp_path / "keytab"))
    conf = tmp_path / "krb5.conf"
    conf.write_text(KRB5_CONF.format(address=dc.address))
    monkeypatch.setenv("KRB5_CONFIG", str(conf))
    return tmp_path / "keytab"


@pytest.fixture(autouse=True)
def no_spn_left(dc: SambaDC) -> Iterator[None]:
    yield
    if "ldap/localhost" in dc.tool("spn", "list", "DC1$"):
        dc.tool("spn", "delete", "ldap/localhost", "DC1$")


@pytest.mark.parametrize("start", ["ldaps", "starttls"])
def test_a_keytab_binds_with_no_kinit(dc: SambaDC, keytab: Path, start: str) -> None:
    made = security(dc, start=start, auth="kerberos", keytab=str(keytab))
    assert open_as(dc, made) == "svc-adwatch"


@pytest.mark.parametrize(
    ("change", "kind", "words", "mend"),
    [
        ({"keytab": "/no/such/keytab"}, PasswordError, "/no/such/keytab", "klist -k"),
        ({"user": "nobody@example.test"}, PasswordError, "nobody@EXAMPLE.TEST", "klist -k"),
    ],
)
def test_a_keytab_that_does_not_fit_is_said_in_words(
    dc: SambaDC,
    keytab: Path,
    change: dict[str, str],
    kind: type[DirectoryError],
    words: str,
    mend: str,
) -> None:
    made = replace(security(dc, auth="kerberos", keytab=str(keytab)), **change)  # type: ignore[arg-type]
    with pytest.raises(kind) as raised:
        open_as(dc, made)
    assert words in raised.value.message
    assert mend in raised.value.hint


def test_a_keytab_of_an_older_password_counts_as_a_wrong_one(dc: SambaDC, keytab: Path) -> None:
    dc.add_user("krb-old", dc.base_dn, unicodePwd=quoted("First-1234"))
    try:
        inside = f"/tmp/{keytab.parent.name}.old"
        dc.tool("domain", "exportkeytab", inside, "--principal=krb-old@EXAMPLE.TEST")
        run("docker", "cp", f"{dc.container}:{inside}", str(keytab))
        dc.set_password("krb-old", "Second-1234")
        made = security(dc, user="krb-old@example.test", auth="kerberos", keytab=str(keytab))
        with pytest.raises(CredentialsError, match="Kerberos for krb-old") as raised:
            open_as(dc, made)
        assert raised.value.counts
        assert "export the keytab anew" in raised.value.hint
    finally:
        dc.delete(f"CN=krb-old,{dc.base_dn}")


def test_a_server_that_kerberos_does_not_know_is_said_in_words(dc: SambaDC, keytab: Path) -> None:
    made = security(dc, auth="kerberos", keytab=str(keytab))
    with pytest.raises(DirectoryError, match="Kerberos for svc-adwatch") as raised:
        open_as(dc, made, host="127.0.0.1")
    assert "dc1.example.test" in raised.value.hint


def test_a_kdc_that_is_not_there_is_no_refusal(dc: SambaDC, keytab: Path) -> None:
    conf = Path(os.environ["KRB5_CONFIG"])
    conf.write_text(KRB5_CONF.format(address="127.0.0.1:1"))
    made = security(dc, auth="kerberos", keytab=str(keytab))
    with pytest.raises(DirectoryError) as raised:
        open_as(dc, made)
    assert not isinstance(raised.value, CredentialsError)
    assert "krb5.conf" in raised.value.hint


@pytest.mark.parametrize(("auth", "package"), [("ntlm", "spnego"), ("kerberos", "gssapi")])
def test_a_package_that_is_missing_is_said_with_the_command(
    dc: SambaDC, monkeypatch: pytest.MonkeyPatch, auth: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PasswordError, match=f"auth: {auth} needs") as raised:
        open_as(dc, security(dc, auth=auth), "x")
    assert f"pip install 'adwatch[{auth}]'" in raised.value.hint


def quoted(password: str) -> bytes:
    return f'"{password}"'.encode("utf-16-le")


@contextmanager
def account(dc: SambaDC, login: str) -> Iterator[str]:
    dn = dc.add_user(login, dc.base_dn, unicodePwd=quoted("Secret-1234"))
    try:
        yield dn
    finally:
        dc.delete(dn)


def lock(dc: SambaDC, _: str) -> None:
    dc.tool("domain", "passwordsettings", "set", "--account-lockout-threshold=2")
    try:
        for _ in range(3):
            with pytest.raises(CredentialsError):
                open_as(dc, security(dc, user="refused@example.test"), "wrong")
    finally:
        dc.tool("domain", "passwordsettings", "set", "--account-lockout-threshold=0")


@pytest.mark.parametrize(
    ("what", "words", "counts"),
    [
        (lambda dc, dn: dc.disable(dn), "the account is disabled", False),
        (lambda dc, dn: dc.modify(dn, accountExpires=10**17), "the account has expired", False),
        (lambda dc, dn: dc.modify(dn, pwdLastSet=0), "must change its password", False),
        (lock, "the account is locked", False),
        (lambda dc, dn: dc.modify(dn, logonHours=bytes(21)), "at this hour", False),
    ],
    ids=["disabled", "expired", "must change", "locked", "hours"],
)
def test_why_an_account_is_refused_is_told(
    dc: SambaDC, what: Callable[[SambaDC, str], None], words: str, counts: bool
) -> None:
    with account(dc, "refused") as dn:
        assert open_as(dc, security(dc, user="refused@example.test"), "Secret-1234") == "refused"
        what(dc, dn)
        with pytest.raises(CredentialsError) as raised:
            open_as(dc, security(dc, user="refused@example.test"), "Secret-1234")
    assert words in raised.value.message
    assert raised.value.counts is counts


def test_an_account_that_is_not_there_is_refused(dc: SambaDC) -> None:
    with pytest.raises(CredentialsError) as raised:
        open_as(dc, security(dc, user="nobody-at-all@example.test"), "x")
    assert raised.value.counts


@pytest.mark.parametrize(
    ("sub_code", "words"),
    [("525", "no such account"), ("531", "from here"), ("532", "password has expired")],
)
def test_what_samba_never_says_is_told_by_microsofts_number(sub_code: str, words: str) -> None:
    text = f"80090308: LdapErr: DSID-0C09044E, AcceptSecurityContext error, data {sub_code}, v"
    assert words in refusal("ldaps://dc", "u", text).message


def test_the_packages_are_not_loaded_for_a_simple_bind() -> None:
    code = "import adwatch.edges.directory.active, sys; print('spnego' in sys.modules)"
    assert run(sys.executable, "-c", code) == "False\n"
