"""Faults, injected for real: what breaks, how it is mended, and what must be said of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from certificates import Authority
from inboxes import Hook
from program import Adwatch
from proxy import Proxy

from system.follower import SALES
from system.rights import LIST_AND_READ, denied
from system.samba import SambaDC, run


@dataclass
class Site:
    """An installation between a real domain controller, a proxy and a webhook.

    `user` adds a user to AD, who is gone after the test; `out` and `state` are file systems of
    their own.
    """

    dc: SambaDC
    between: Proxy
    adwatch: Adwatch
    hook: Hook
    user: Callable[..., str]

    @property
    def out(self) -> Path:
        return self.adwatch.folder / "out"

    @property
    def state(self) -> Path:
        return self.adwatch.folder / "state"

    def in_its_network(self, *command: str) -> None:
        """Runs a command of this machine in the domain controller's network namespace."""
        pid = run("docker", "inspect", "-f", "{{.State.Pid}}", self.dc.container).strip()
        run("nsenter", "-t", pid, "-n", *command)


@contextmanager
def killed(site: Site) -> Iterator[None]:
    site.dc.kill()
    try:
        yield
    finally:
        site.dc.start()


@contextmanager
def frozen(site: Site) -> Iterator[None]:
    site.dc.pause()
    try:
        yield
    finally:
        site.dc.unpause()


@contextmanager
def refusing(site: Site) -> Iterator[None]:
    site.between.refuse()
    site.between.reset()
    try:
        yield
    finally:
        site.between.accept()


@contextmanager
def silent(site: Site) -> Iterator[None]:
    """Connections stay, and nothing passes any more."""
    site.between.freeze()
    try:
        yield
    finally:
        site.between.thaw()


@contextmanager
def dropping(site: Site) -> Iterator[None]:
    rule = ("INPUT", "-p", "tcp", "--dport", "636", "-j", "DROP")
    site.in_its_network("iptables", "-I", *rule)
    try:
        yield
    finally:
        site.in_its_network("iptables", "-D", *rule)


@contextmanager
def slow(site: Site) -> Iterator[None]:
    site.in_its_network(
        "tc", "qdisc", "add", "dev", "eth0", "root", "tbf",
        "rate", "64kbit", "burst", "1600", "latency", "400ms",
    )  # fmt: skip
    try:
        yield
    finally:
        site.in_its_network("tc", "qdisc", "del", "dev", "eth0", "root")


@contextmanager
def unknown_authority(site: Site) -> Iterator[None]:
    """The CA that adwatch trusts is another one, and the connection begins anew."""
    path = site.adwatch.folder / "ca.pem"
    before = path.read_bytes()
    path.write_bytes(Authority("another").file(site.adwatch.folder).read_bytes())
    site.between.reset()
    try:
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def password_changed(site: Site) -> Iterator[None]:
    """In AD; mended by putting the new one into the file."""
    run("docker", "exec", site.dc.container, "samba-tool", "user", "setpassword", "svc-faults",
        "--newpassword=Another-5678")  # fmt: skip
    site.between.reset()
    yield
    site.adwatch.password_file.write_text("Another-5678\n")


@contextmanager
def blind(site: Site) -> Iterator[None]:
    """The account may not read the users any more, and the connection begins anew."""
    with denied(site.dc, SALES, "svc-faults", LIST_AND_READ):
        site.between.reset()
        yield
    site.between.reset()


@contextmanager
def full(site: Site, folder: Path) -> Iterator[None]:
    """The file system of a folder is full, and there is something to write."""
    filler = folder / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1k"], check=False,
                   capture_output=True)  # fmt: skip
    site.user(f"full{folder.name}", telephoneNumber="7501")
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(site: Site) -> Iterator[None]:
    run("mount", "-o", "remount,ro", str(site.out))
    site.user("readonly", telephoneNumber="7502")
    try:
        yield
    finally:
        run("mount", "-o", "remount,rw", str(site.out))


@contextmanager
def asterisk_down(site: Site) -> Iterator[None]:
    down = site.adwatch.folder / "down"
    down.touch()
    site.user("down", telephoneNumber="7503")
    try:
        yield
    finally:
        down.unlink()


@contextmanager
def one_number_twice(site: Site) -> Iterator[None]:
    site.user("twice", telephoneNumber="7504")
    dn = site.user("again", telephoneNumber="7504")
    yield
    site.dc.modify(dn, telephoneNumber="7505")


@contextmanager
def hostile_number(site: Site) -> Iterator[None]:
    dn = site.user("hostile", telephoneNumber="75;06")
    yield
    site.dc.modify(dn, telephoneNumber="7506")


@dataclass(frozen=True)
class Fault:
    """`incident`: what people are told of, empty for nothing; `reaches`: whether changes arrive."""

    name: str
    injected: str
    inject: Callable[[Site], AbstractContextManager[None]]
    incident: str = "directory"
    reaches: bool = False
    ad_up: bool = True


FAULTS = (
    Fault("domain controller killed", "docker kill", killed, ad_up=False),
    Fault("domain controller frozen", "docker pause", frozen, ad_up=False),
    Fault("connections refused", "TCP proxy", refusing),
    Fault("half-open connection", "TCP proxy passes nothing", silent),
    Fault("packets dropped", "iptables DROP in the controller's namespace", dropping, ad_up=False),
    Fault("slow link", "tc tbf 64 kbit/s in the controller's namespace", slow, "", reaches=True),
    Fault("certificate of an unknown CA", "ca_file replaced", unknown_authority, "certificate"),
    Fault("bind password changed in AD", "samba-tool", password_changed, "credentials"),
    Fault("right to read the users taken", "an ACE that denies", blind, "held"),
    Fault("disk of the outputs full", "tmpfs, dd", lambda s: full(s, s.out), "output"),
    Fault("directory of the outputs read-only", "mount -o remount,ro", read_only, "output"),
    Fault("disk of the store full", "tmpfs, dd", lambda s: full(s, s.state), "store"),
    Fault("Asterisk down", "its command fails", asterisk_down, "reload"),
    Fault("one number twice", "two users in AD", one_number_twice, "conflict", reaches=True),
    Fault("a value that can't be used", "typed into AD", hostile_number, "rejected", reaches=True),
)
