"""auth: external, against OpenLDAP's server: Samba's AD takes no client certificates."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from certificates import Authority
from system.samba import DOCKER, ensure, free_port, run, wait_until

from adwatch.edges.directory.security import Security
from adwatch.edges.directory.session import Session
from adwatch.errors import DirectoryError, PasswordError


@dataclass
class Slapd:
    """A running server: the ports by scheme, its authority, a folder with ca.pem and client.pem."""

    ports: dict[str, int]
    folder: Path
    authority: Authority

    def open(self, scheme: str, **files: str) -> Session:
        start = "ldaps" if scheme == "ldaps" else "starttls"
        ca = str(self.folder / "ca.pem")
        security = Security(start, "", ca, verify=True, timeout_s=5.0, auth="external", **files)
        session = Session(f"{scheme}://localhost:{self.ports[scheme]}", security, "")
        session.open()
        return session


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    ensure()
    folder = tmp_path_factory.mktemp("slapd")
    authority = Authority("root")
    authority.file(folder)
    authority.server(folder).rename(folder / "server.pem")
    authority.server(folder, "svc-adwatch")
    (folder / "server.pem").chmod(0o644)
    run("docker", "build", "-q", "--network", "host", "-t", "adwatch-slapd", str(DOCKER / "slapd"))
    ports = {"ldap": free_port(), "ldaps": free_port()}
    published = [f"-p=127.0.0.1:{ports['ldap']}:389", f"-p=127.0.0.1:{ports['ldaps']}:636"]
    container = run(
        "docker", "run", "-d", "--rm", f"-v={folder}:/tls:ro", *published, "adwatch-slapd"
    ).strip()
    server = Slapd(ports, folder, authority)
    try:

        def answers() -> bool:
            try:
                server.open("ldaps", cert_file=str(folder / "svc-adwatch.pem")).close()
            except DirectoryError:
                return False
            return True

        wait_until(answers, 60, "slapd answers")
        yield server
    finally:
        subprocess.run(["docker", "kill", container], check=False, capture_output=True)


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
def test_the_certificate_says_who_it_is(slapd: Slapd, scheme: str) -> None:
    session = slapd.open(scheme, cert_file=str(slapd.folder / "svc-adwatch.pem"))
    who = session._connection.extend.standard.who_am_i()
    session.close()
    assert who == "dn:cn=svc-adwatch,dc=example,dc=test"


def test_no_certificate_is_refused(slapd: Slapd) -> None:
    with pytest.raises(DirectoryError, match=r"TLS failed.*(?i:certificate required)"):
        slapd.open("ldaps")


def test_a_certificate_of_somebody_elses_authority_is_refused(slapd: Slapd, tmp_path: Path) -> None:
    stranger = Authority("somebody").server(tmp_path, "svc-adwatch")
    with pytest.raises(DirectoryError, match=r"TLS failed.*(?i:unknown ca)"):
        slapd.open("ldaps", cert_file=str(stranger))


def test_a_certificate_that_cannot_be_used_is_said_in_words(slapd: Slapd, tmp_path: Path) -> None:
    own = slapd.authority.server(tmp_path, "one")
    other = slapd.authority.server(tmp_path, "two")
    with pytest.raises(PasswordError, match="client certificate") as raised:
        slapd.open("ldaps", cert_file=str(own), key_file=str(other))
    assert "belong together" in raised.value.hint
    with pytest.raises(PasswordError, match=r"/no/such\.pem"):
        slapd.open("ldaps", cert_file="/no/such.pem")
