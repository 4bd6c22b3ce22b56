"""The test domain is what the other system tests take it for."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ldap3 import BASE, SUBTREE, Connection
from ldap3.core.exceptions import (
    LDAPInsufficientAccessRightsResult,
    LDAPInvalidCredentialsResult,
    LDAPSocketOpenError,
)
from pyasn1.codec.ber import encoder
from pyasn1.type.namedtype import NamedType, NamedTypes
from pyasn1.type.univ import Integer, OctetString, Sequence

from system import samba
from system.samba import SambaDC, run, wait_until

SHOW_DELETED = "1.2.840.113556.1.4.417"
DIRSYNC = "1.2.840.113556.1.4.841"
PEOPLE = "(&(telephoneNumber=*)(objectCategory=person)(objectClass=user)(sAMAccountName=*))"


class DirSyncValue(Sequence):
    componentType = NamedTypes(  # noqa: N815  (pyasn1's name)
        NamedType("flags", Integer()),
        NamedType("size", Integer()),
        NamedType("cookie", OctetString()),
    )


@pytest.fixture
def user_dn(dc: SambaDC) -> Iterator[str]:
    dn = dc.add_user("temporary", cn="Temporary, Tom".replace(",", "\\,"), telephoneNumber="990")
    yield dn
    for left in dc.ldapsearch("(sAMAccountName=temporary)", "1.1"):
        dc.delete(left)


def dirsync(connection: Connection, base: str) -> int:
    """The number of entries that DirSync gives from the beginning, without OBJECT_SECURITY."""
    value = DirSyncValue()
    value["flags"], value["size"], value["cookie"] = 0, 1 << 20, b""
    control = (DIRSYNC, True, encoder.encode(value))
    connection.search(base, "(objectClass=user)", SUBTREE, attributes=["name"], controls=[control])
    return len(connection.response)


def test_seed_holds_users_of_all_kinds(dc: SambaDC) -> None:
    people = dc.ldapsearch(PEOPLE, "*", base=dc.staff_dn)
    by_login = {entry["sAMAccountName"][0].decode(): entry for entry in people.values()}

    ryabov = by_login["ryabov"]
    assert ryabov["cn"] == ["Рябов Иван".encode()]
    assert ryabov["telephoneNumber"] == [b"502"]
    assert ryabov["userPrincipalName"] == ryabov["mail"] == [b"ryabov@example.test"]
    assert ryabov["facsimileTelephoneNumber"] == [b"1234567"]
    assert set(by_login["weiss"]["otherTelephone"]) == {b"352", b"353"}
    assert "CN=Weiß\\, Jürgen,OU=Engineering,OU=Staff,DC=example,DC=test" in people
    disabled = {
        login for login, entry in by_login.items() if entry["userAccountControl"] == [b"514"]
    }
    assert disabled == {"zaitsev"}
    enabled = {
        login for login, entry in by_login.items() if entry["userAccountControl"] == [b"512"]
    }
    assert enabled == by_login.keys() - disabled
    numbers = [entry["telephoneNumber"][0] for entry in by_login.values()]
    assert len(numbers) == len(set(numbers)) == 23
    assert not by_login.keys() & {"volkov", "intern", "scanner", "former"}


def test_certificates_are_verified(dc: SambaDC, tmp_path: Path) -> None:
    assert dc.highest_usn() > 0
    other = tmp_path / "other.pem"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Other CA",
        "-keyout", str(tmp_path / "other.key"), "-out", str(other))  # fmt: skip
    stranger = SambaDC.__new__(SambaDC)
    stranger.ldaps_port, stranger.ca_file = dc.ldaps_port, other
    with pytest.raises(LDAPSocketOpenError, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.highest_usn()
    with pytest.raises(RuntimeError, match="Can't contact LDAP server"):
        stranger.ldapsearch("(cn=x)")


def test_only_the_sync_account_sees_a_deleted_user(dc: SambaDC, user_dn: str) -> None:
    deleted = (
        "-E",
        f"!{SHOW_DELETED}",
        "(&(sAMAccountName=temporary)(isDeleted=TRUE))",
        "isDeleted",
    )
    assert not dc.ldapsearch(*deleted, user=dc.sync_user)
    dc.delete(user_dn)
    assert not dc.ldapsearch(*deleted, user=dc.service_user)
    (found,) = dc.ldapsearch(*deleted, user=dc.sync_user).items()
    assert found[0].startswith("CN=Temporary\\, Tom\\0ADEL:")
    assert found[1] == {"isDeleted": [b"TRUE"]}


def test_an_account_can_find_out_whether_it_sees_deletions(dc: SambaDC) -> None:
    ask = ("-E", f"!{SHOW_DELETED}", "-s", "base", "(objectClass=*)", "isDeleted")
    base = f"CN=Deleted Objects,{dc.base_dn}"
    assert list(dc.ldapsearch(*ask, base=base, user=dc.service_user).values()) == [{}]
    assert list(dc.ldapsearch(*ask, base=base, user=dc.sync_user).values()) == [
        {"isDeleted": [b"TRUE"]}
    ]


def test_only_the_sync_account_may_use_dirsync_by_right(dc: SambaDC) -> None:
    with dc.session(dc.sync_user, dc.service_password) as allowed:
        assert dirsync(allowed, dc.base_dn) > 25
    with (
        dc.session(dc.service_user, dc.service_password) as ordinary,
        pytest.raises(LDAPInsufficientAccessRightsResult),
    ):
        dirsync(ordinary, dc.base_dn)


def test_a_password_is_changed(dc: SambaDC, user_dn: str) -> None:
    dc.set_password("temporary", "Neu-1234")
    with dc.session(f"temporary@{dc.realm}", "Neu-1234") as connection:
        assert connection.bound
    with pytest.raises(LDAPInvalidCredentialsResult):
        dc.connect(f"temporary@{dc.realm}", "Neu-1235")
    assert user_dn


def test_each_change_moves_the_usn_by_one(dc: SambaDC, user_dn: str) -> None:
    dc.modify(user_dn, mobile="1")
    before = dc.highest_usn()
    dc.modify(user_dn, telephoneNumber="991")
    assert dc.highest_usn() == before + 1
    renamed = dc.rename(user_dn, "CN=Renamed")
    moved = dc.move(renamed, f"OU=Leavers,{dc.base_dn}")
    dc.disable(moved)
    assert dc.highest_usn() == before + 4
    dc.enable(moved)
    dc.modify(moved, mobile=None)
    (entry,) = dc.ldapsearch("(sAMAccountName=temporary)", "*").values()
    assert entry["uSNChanged"] == [str(before + 6).encode()]
    assert "mobile" not in entry
    dc.delete(moved)
    assert dc.highest_usn() == before + 7


def test_a_killed_controller_comes_back_as_it_was(dc: SambaDC, user_dn: str) -> None:
    address, usn = dc.ldaps_url, dc.highest_usn()
    dc.kill()
    with pytest.raises(LDAPSocketOpenError):
        dc.highest_usn()
    dc.start()
    assert dc.ldaps_url == address
    assert dc.highest_usn() >= usn
    assert user_dn in dc.ldapsearch(PEOPLE, "1.1", base=dc.staff_dn)


def test_a_paused_controller_goes_on_where_it_was(dc: SambaDC) -> None:
    with dc.session() as connection:
        dc.pause()
        state = run("docker", "inspect", "-f", "{{.State.Status}}", dc.container).strip()
        dc.unpause()
        connection.search("", "(objectClass=*)", BASE, attributes=["dnsHostName"])
        assert connection.response[0]["raw_attributes"]["dnsHostName"] == [b"dc1.example.test"]
    assert state == "paused"


def test_the_controller_reports_itself_healthy(dc: SambaDC) -> None:
    def healthy() -> bool:
        return (
            run("docker", "inspect", "-f", "{{.State.Health.Status}}", dc.container) == "healthy\n"
        )

    wait_until(healthy, 60, "the health check succeeds")


def test_a_failed_start_leaves_no_container(monkeypatch: pytest.MonkeyPatch, dc: SambaDC) -> None:
    del dc  # so that engine and image are there
    project = samba.project_name()
    monkeypatch.setattr(samba, "free_port", lambda: 1)  # both the same: the second cannot be had
    with pytest.raises(Exception, match="port"), samba.services(samba.ensure(), project):
        pass
    label = f"--filter=label=com.docker.compose.project={project}"
    listing = subprocess.run(["docker", "ps", "-aq", label], check=True, capture_output=True)
    assert listing.stdout == b""
