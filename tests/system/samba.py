"""A real domain controller: started, changed, broken and asked, without adwatch's own code.

`with domain() as dc:` gives one that is gone afterwards; the suite's fixture `dc` is the same.
"""

from __future__ import annotations

import base64
import os
import random
import shlex
import socket
import ssl
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ldap3 import BASE, MODIFY_REPLACE, NONE, Connection, Server, Tls
from ldap3.core.exceptions import LDAPException
from ldap3.utils.dn import parse_dn
from pytest_docker.plugin import DockerComposeExecutor, Services

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE_FILE = DOCKER / "compose.yaml"
COMPOSE_FILES_OF_TWO = (COMPOSE_FILE, DOCKER / "compose.two.yaml")
CA_FILE = "/var/lib/samba/private/tls/ca.pem"
LIB = "/var/lib/samba"
DATABASE = f"{LIB}/private"
NEW_INVOCATION = """
import uuid, ldb
from samba.auth import system_session
from samba.dcerpc import misc
from samba.ndr import ndr_pack
from samba.param import LoadParm
from samba.samdb import SamDB
parameters = LoadParm()
parameters.load_default()
samdb = SamDB(session_info=system_session(), lp=parameters)
message = ldb.Message(ldb.Dn(samdb, samdb.get_dsServiceName()))
guid = ndr_pack(misc.GUID(str(uuid.uuid4())))
message["invocationId"] = ldb.MessageElement(guid, ldb.FLAG_MOD_REPLACE, "invocationId")
samdb.modify(message)
"""
READY_S = 180.0  # a first start takes about 7 s, on a loaded machine several times that
IDLE_S = 600.0  # Samba's MaxConnIdleTime is 900 s
DISABLED = 0x2  # userAccountControl, MS-ADTS 2.2.16

Entry = dict[str, list[bytes]]
Value = str | bytes | int
Values = Value | Sequence[Value] | None


def run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """The standard output of a command that succeeds; its whole output is in the error if not."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, **(env or {})}
    )
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def wait_until(true: Callable[[], object], timeout_s: float, what: str) -> None:
    """Look again and again until `true()`; TimeoutError when that takes longer than it may."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.1)


def free_port() -> int:
    """A free port below those that the kernel hands out, so that it stays free over a restart.

    Until this process ends nobody else is given it, be it in another process.
    """
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0 and _reserved(port):
                return port


def _reserved(port: int) -> bool:
    """Whether nobody else was given a port, of which this process leaves a mark."""
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0adwatch-tests-port-{port}")
    except OSError:
        mark.close()
        return False
    mark.detach()  # open as long as the process
    return True


def ensure() -> str:
    """The Compose command, after making sure of engine and image; RuntimeError when it cannot."""
    command = [str(DOCKER / "ensure")]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def project_name() -> str:
    """A name for one run's containers, network and volumes."""
    return f"adwatch-{uuid.uuid4().hex[:8]}"


@contextmanager
def services(
    compose: str, project: str, files: Sequence[Path] = (COMPOSE_FILE,), up: str = ""
) -> Iterator[Services]:
    """The containers of the Compose files, gone afterwards even when they came up only in part.

    pytest-docker itself brings them up outside of its `try`, and leaks those that did start.
    `up` names the services to begin with, all by default.
    """
    names = [f"DC{n}_{protocol}_PORT" for n in (1, 2) for protocol in ("LDAPS", "LDAP")]
    chosen = " ".join(f"{name}={free_port()}" for name in names)
    chosen += f" SUBNET=10.{random.randint(100, 250)}.{random.randint(0, 250)}"
    executor = DockerComposeExecutor(f"env {chosen} {compose}", list(map(str, files)), project)
    try:
        executor.execute(f"up -d {up}")
        yield Services(executor)
    finally:
        executor.execute("down -v --timeout 3")


@contextmanager
def domain() -> Iterator[SambaDC]:
    """A domain of one controller, ready and seeded."""
    with controller(ensure(), project_name()) as dc:
        yield dc


@contextmanager
def controller(compose: str, project: str) -> Iterator[SambaDC]:
    """The same for a project, whose volume may be there already."""
    with services(compose, project), tempfile.TemporaryDirectory() as folder:
        dc = SambaDC(project, "dc1", Path(folder))
        wait_until(dc.responsive, READY_S, "the domain controller answers")
        try:
            yield dc
        finally:
            dc.close()


@contextmanager
def two_controllers() -> Iterator[tuple[SambaDC, SambaDC]]:
    """A domain of two controllers that replicate with each other, ready and seeded."""
    project = project_name()
    with (
        services(ensure(), project, COMPOSE_FILES_OF_TWO, up="dc1") as running,
        tempfile.TemporaryDirectory() as folder,
    ):
        first = SambaDC(project, "dc1", Path(folder))
        wait_until(first.responsive, READY_S, "the first domain controller answers")
        running._docker_compose.execute("up -d dc2")
        second = SambaDC(project, "dc2", Path(folder))
        wait_until(second.responsive, READY_S, "the second domain controller answers")
        try:
            for source, target in ((first, second), (second, first)):
                wait_until(lambda s=source, t=target: replicates(s, t), READY_S, "they replicate")
            yield first, second
        finally:
            first.close()
            second.close()


def replicates(source: SambaDC, target: SambaDC) -> bool:
    """Brings `target` up to what `source` has now; False where it can't be done yet."""
    try:
        target.tool("drs", "replicate", target.name, source.name, source.base_dn, *source.as_admin)
    except RuntimeError:
        return False
    return True


def parse_ldif(text: str) -> dict[str, Entry]:
    """Entries by DN; attribute names as the server spells them, values as bytes (RFC 2849)."""
    entries: dict[str, Entry] = {}
    for block in text.replace("\r\n", "\n").replace("\n ", "").split("\n\n"):
        entry: Entry = {}
        for line in block.splitlines():
            if not line or line.startswith(("#", "version:")):
                continue
            name, _, value = line.partition(":")
            raw = base64.b64decode(value[1:]) if value[:1] == ":" else value.strip().encode()
            entry.setdefault(name, []).append(raw)
        if "dn" in entry:  # else a search reference
            entries[entry.pop("dn")[0].decode()] = entry
    return entries


class SambaDC:
    """One domain controller of a running Compose project.

    ldap3 must call it localhost, since it compares no IP addresses with a certificate; libldap
    must call it 127.0.0.1, since for localhost it expects the machine's own name there.
    """

    realm = "example.test"
    base_dn = "DC=example,DC=test"
    staff_dn = f"OU=Staff,{base_dn}"
    admin_user = f"Administrator@{realm}"
    admin_password = "Adwatch-Admin-1"
    service_user = f"svc-adwatch@{realm}"
    sync_user = f"svc-adwatch-sync@{realm}"  # may use DirSync and sees deleted objects
    service_password = "Adwatch-1234"  # of both

    def __init__(self, project: str, service: str, folder: Path) -> None:
        """Find the container; its CA's certificate is put into `folder` as soon as it is there."""
        labels = (f"project={project}", f"service={service}")
        filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
        self.name = service
        self.container = run("docker", "ps", "-aq", "--no-trunc", *filters).strip()
        if not self.container:
            raise RuntimeError(f"no container {service} in {project}")
        self.ldaps_port, self.ldap_port = self._port(636), self._port(389)
        self.ca_file = folder / f"{service}-ca.pem"
        self._admin: Connection | None = None
        self._asked_at = 0.0

    def _port(self, inside: int) -> int:
        return int(run("docker", "port", self.container, str(inside)).split(":")[-1])

    @property
    def ldaps_url(self) -> str:
        """For ldap3."""
        return f"ldaps://localhost:{self.ldaps_port}"

    @property
    def starttls_url(self) -> str:
        """For ldap3, which then starts TLS."""
        return f"ldap://localhost:{self.ldap_port}"

    def connect(self, user: str | None = None, password: str | None = None) -> Connection:
        """A new verified LDAPS connection, bound, yours to unbind; operations raise on failure."""
        tls = Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(self.ca_file))
        server = Server(self.ldaps_url, tls=tls, get_info=NONE, connect_timeout=5)
        connection = Connection(
            server, user, password, check_names=False, raise_exceptions=True, receive_timeout=60
        )
        try:
            connection.bind()
        except LDAPException:
            if connection.socket is not None:  # ldap3 leaves it open
                connection.socket.close()
            raise
        return connection

    @contextmanager
    def session(self, user: str | None = None, password: str | None = None) -> Iterator[Connection]:
        """The same, and closed afterwards; ldap3's own `with` would leave it open."""
        connection = self.connect(user, password)
        try:
            yield connection
        finally:
            connection.unbind()

    def admin(self) -> Connection:
        """The connection as Administrator, made anew after the controller was away.

        And after a while in which nobody used it, for Samba ends it then.
        """
        if time.monotonic() - self._asked_at > IDLE_S:
            self.close()
        if self._admin is None:
            self._admin = self.connect(self.admin_user, self.admin_password)
        self._asked_at = time.monotonic()
        return self._admin

    def responsive(self) -> bool:
        """Whether it answers a verified LDAPS query, which it does only once it is seeded.

        RuntimeError with its log when it has stopped.
        """
        if run("docker", "inspect", "-f", "{{.State.Running}}", self.container).strip() != "true":
            raise RuntimeError(f"the domain controller stopped: {self.logs()[-3000:]}")
        try:
            run("docker", "cp", f"{self.container}:{CA_FILE}", str(self.ca_file))
            return self.highest_usn() > 0
        except (RuntimeError, LDAPException):
            return False

    def highest_usn(self) -> int:
        """The rootDSE's highestCommittedUSN, asked without an account."""
        with self.session() as connection:
            connection.search("", "(objectClass=*)", BASE, attributes=["highestCommittedUSN"])
            return int(connection.response[0]["raw_attributes"]["highestCommittedUSN"][0])

    # Changes, as an administrator makes them; LDAPException says why one is refused.

    def add_user(self, login: str, parent: str | None = None, **attributes: Values) -> str:
        """Add an enabled user under `parent` (default OU=Staff), and give its DN."""
        name = str(attributes.pop("cn", login))
        dn = f"CN={name},{parent or self.staff_dn}"
        password = f'"{uuid.uuid4()}"'.encode("utf-16-le")
        whole = {"sAMAccountName": login, "userPrincipalName": f"{login}@{self.realm}"}
        whole |= {"userAccountControl": "512", "unicodePwd": password, **attributes}  # type: ignore[dict-item]
        self.admin().add(dn, ["user"], {k: _values(v) for k, v in whole.items() if v is not None})
        return dn

    def modify(self, dn: str, **changes: Values) -> None:
        """Replace the values of attributes; None clears one."""
        operations = {name: [(MODIFY_REPLACE, _values(value))] for name, value in changes.items()}
        self.admin().modify(dn, operations)

    def rename(self, dn: str, new_rdn: str) -> str:
        """Give an entry another name ("CN=New"), and give its new DN."""
        self.admin().modify_dn(dn, new_rdn)
        return f"{new_rdn},{_split(dn)[1]}"

    def move(self, dn: str, new_parent: str) -> str:
        """Put an entry elsewhere, and give its new DN."""
        rdn = _split(dn)[0]
        self.admin().modify_dn(dn, rdn, new_superior=new_parent)
        return f"{rdn},{new_parent}"

    def delete(self, dn: str) -> None:
        """Delete one entry that has no children."""
        self.admin().delete(dn)

    def disable(self, dn: str) -> None:
        """Disable an account."""
        self._set_control(dn, lambda control: control | DISABLED)

    def enable(self, dn: str) -> None:
        """Enable an account."""
        self._set_control(dn, lambda control: control & ~DISABLED)

    def set_password(self, login: str, password: str) -> None:
        """Give an account another password."""
        (dn,) = self.ldapsearch(f"(sAMAccountName={login})", "1.1")
        self.modify(dn, unicodePwd=f'"{password}"'.encode("utf-16-le"))

    def _set_control(self, dn: str, change: Callable[[int], int]) -> None:
        admin = self.admin()
        admin.search(dn, "(objectClass=*)", BASE, attributes=["userAccountControl"])
        now = int(admin.response[0]["raw_attributes"]["userAccountControl"][0])
        self.modify(dn, userAccountControl=change(now))

    def ldapsearch(
        self, *args: str, base: str | None = None, user: str | None = None
    ) -> dict[str, Entry]:
        """What OpenLDAP's own program reads, as Administrator or another `user`: an oracle."""
        login = user or self.admin_user
        password = self.admin_password if login == self.admin_user else self.service_password
        text = run(
            "ldapsearch", "-x", "-LLL", "-H", f"ldaps://127.0.0.1:{self.ldaps_port}",
            "-D", login, "-w", password, "-b", base or self.base_dn, *args,
            env={"LDAPTLS_CACERT": str(self.ca_file), "LDAPTLS_REQCERT": "demand"},
        )  # fmt: skip
        return parse_ldif(text)

    # Faults.

    def kill(self) -> None:
        """As when the power fails."""
        self.close()
        run("docker", "kill", self.container)

    def start(self) -> None:
        """Start it again on the same ports, and wait until it answers."""
        run("docker", "start", self.container)
        wait_until(self.responsive, READY_S, "the domain controller answers again")

    def stop(self) -> None:
        """An orderly end; `start` goes on from there."""
        self.close()
        run("docker", "stop", "-t", "5", self.container)

    def back_up(self, folder: Path) -> None:
        """Copies its database into a folder, while it is stopped."""
        self.stop()
        run("docker", "cp", f"{self.container}:{DATABASE}", str(folder))
        self.start()

    def restore(self, folder: Path, *, as_new: bool) -> None:
        """Puts back what `back_up` copied: as AD demands, with a new invocationId, or not."""
        self.stop()
        run("docker", "cp", str(folder / Path(DATABASE).name), f"{self.container}:{LIB}/")
        self.start()
        if as_new:
            run("docker", "exec", self.container, "python3", "-c", NEW_INVOCATION)
            self.stop()
            self.start()

    def pause(self) -> None:
        """Freeze it: connections stay, and nothing answers."""
        self.close()
        run("docker", "pause", self.container)

    def unpause(self) -> None:
        """Let it go on."""
        run("docker", "unpause", self.container)

    @property
    def address(self) -> str:
        """Its address in the network of the containers, where this machine reaches it too."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return run("docker", "inspect", "-f", form, self.container).strip()

    @property
    def as_admin(self) -> tuple[str, str]:
        """The options of samba-tool for an administrator."""
        return "-U", f"{self.admin_user.partition('@')[0]}%{self.admin_password}"

    def tool(self, *arguments: str) -> str:
        """What samba-tool prints inside of the container."""
        return run("docker", "exec", self.container, "samba-tool", *arguments)

    def take_in(self, *, changes: bool) -> None:
        """Whether it takes in what other controllers replicate to it."""
        sign = "-" if changes else "+"
        option = f"--dsa-option={sign}DISABLE_INBOUND_REPL"
        self.tool("drs", "options", self.name, option, *self.as_admin)

    def bad_passwords(self, login: str) -> int:
        """How many wrong passwords it has counted for a user."""
        (found,) = self.ldapsearch(f"(sAMAccountName={login})", "badPwdCount").values()
        return int(found.get("badPwdCount", [b"0"])[0])

    def logs(self) -> str:
        """All that it has printed."""
        command = ["docker", "logs", self.container]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout + done.stderr

    def close(self) -> None:
        """Close the administrator's connection; the next use opens another."""
        connection, self._admin = self._admin, None
        if connection is not None:
            connection.unbind()


def _values(value: Values) -> list[Any]:
    if value is None:
        return []
    many = [value] if isinstance(value, str | bytes | int) else value
    return [str(one) if isinstance(one, int) else one for one in many]


def _split(dn: str) -> tuple[str, str]:
    """The first RDN and the rest, both as they are written in `dn`."""
    name, value, _ = parse_dn(dn)[0]
    rdn = f"{name}={value}"
    return rdn, dn[len(rdn) + 1 :]
