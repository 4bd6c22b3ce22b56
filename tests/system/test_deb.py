"""The package on a clean Debian 12 with a systemd of its own, beside a real domain."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import wait_for

from system.pbx import image
from system.samba import DOCKER, SambaDC, run

OUTPUT = "/etc/asterisk/adwatch/users.conf"
SECRET = "/etc/adwatch/bind-password"
CREDENTIAL = "/etc/credstore/bind-password"
CA = "/etc/ssl/certs/ca-of-example.pem"


class Machine:
    """A container whose first process is systemd. It has the tests' network, and their domain."""

    def __init__(self) -> None:
        self.name = f"adwatch-debian-{uuid.uuid4().hex[:8]}"
        run(
            "docker", "run", "-d", "--name", self.name, "--network", "host",
            "--cgroupns", "host", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined",
            "-v", "/sys/fs/cgroup:/sys/fs/cgroup", "--tmpfs", "/run", "--tmpfs", "/run/lock",
            image("debian-12"),
        )  # fmt: skip
        up = ("running", "degraded")
        wait_for("systemd", lambda: self("systemctl", "is-system-running").stdout.strip() in up)
        # As on a machine; in a container systemd leaves it to others, and credentials stay unseen.
        self.done("mount", "--make-rshared", "/")

    def __call__(self, *command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "exec", "-i", self.name, *command],
            input=given, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def done(self, *command: str, given: str | None = None) -> str:
        """The output of a command that must succeed."""
        done = self(*command, given=given)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.journal()}"
        return done.stdout + done.stderr

    def journal(self) -> str:
        return self("journalctl", "-u", "adwatch", "--no-pager", "-n", "40").stdout

    def put(self, file: Path, path: str) -> None:
        run("docker", "cp", str(file), f"{self.name}:{path}")

    def unit(self, *names: str) -> list[str]:
        """What systemd knows of the service."""
        shown = self("systemctl", "show", "adwatch", "--property", ",".join(names)).stdout
        known = dict(one.split("=", 1) for one in shown.splitlines())
        return [known[name] for name in names]

    def active(self) -> bool:
        return self.unit("ActiveState") == ["active"]

    def text(self) -> str:
        return self("cat", OUTPUT).stdout

    def edit(self, old: str, new: str) -> None:
        text = self.done("cat", "/etc/adwatch/config.yaml")
        assert old in text
        self.done("sh", "-c", "cat > /etc/adwatch/config.yaml", given=text.replace(old, new))

    def remove(self) -> None:
        run("docker", "rm", "-f", "-v", self.name)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The package, and before it one of an older version."""
    folder = tmp_path_factory.mktemp("deb")
    container = run("docker", "create", image("deb")).strip()
    try:
        run("docker", "cp", f"{container}:/out", str(folder))
    finally:
        run("docker", "rm", container)
    return sorted((folder / "out").glob("adwatch_*.deb"))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    one = Machine()
    yield one
    one.remove()


def test_from_a_package_to_peers_and_back(
    machine: Machine, packages: list[Path], dc: SambaDC
) -> None:
    old, new = packages
    install(machine, old)
    brings_its_manual(machine)
    serves_after_init(machine, dc)
    follows_edits(machine)
    is_started_again_when_its_loop_hangs(machine)
    takes_its_password_as_a_credential(machine)
    secret = machine.done("adwatch", "secret", "100")
    install(machine, new)
    keeps_everything_over_an_upgrade(machine, secret, new)
    stays_down_with_a_configuration_that_never_worked(machine)
    as_from_a_wheel = keep_what_a_wheel_has(machine)
    goes_and_leaves_its_state_until_it_is_purged(machine)
    becomes_a_service_by_the_commands_of_init(machine, dc, as_from_a_wheel)


def install(machine: Machine, package: Path) -> None:
    machine.put(package, f"/root/{package.name}")
    command = ("apt-get", "install", "-qy", "--no-install-recommends")
    said = machine.done(*command, f"/root/{package.name}")
    assert "Traceback" not in said


def brings_its_manual(machine: Machine) -> None:
    files = machine.done("dpkg", "-L", "adwatch").splitlines()
    for page in ("man1/adwatch.1.gz", "man5/adwatch-config.5.gz"):
        assert f"/usr/share/man/{page}" in files
    for page in ("runbook.md", "attributes.md", "contrib/prometheus/adwatch.rules.yaml"):
        assert f"/usr/share/doc/adwatch/{page}" in files, "hints of adwatch name it"
    script = 'source "$0" && declare -p _shtab_adwatch_subparsers'
    words = machine.done("bash", "-c", script, "/usr/share/bash-completion/completions/adwatch")
    assert '"explain"' in words


def serves_after_init(machine: Machine, dc: SambaDC) -> None:
    assert not machine.active(), "nobody has configured it"
    machine.put(dc.ca_file, CA)
    machine.done("chmod", "644", CA)
    resolver = f"search example.test\nnameserver {dc.address}\n"
    machine.done("sh", "-c", "cat > /etc/resolv.conf", given=resolver)
    machine.done("install", "-g", "adwatch", "-m", "640", "/dev/null", SECRET)
    machine.done("sh", "-c", f"cat > {SECRET}", given=f"{dc.service_password}\n")
    said = init(machine, dc)
    assert "Domain controllers, by DNS: ldaps://dc1.example.test" in said
    assert "systemctl enable --now adwatch" in said
    assert "adwatch.sysusers.conf" not in said, "the package has brought them"
    machine.edit("    format: users.conf", "    format: users.conf\n    reload: null")
    machine.done("systemctl", "enable", "--now", "adwatch")
    wait_for("peers", lambda: "[100]" in machine.text())
    assert machine.done("stat", "-c", "%U:%G %a", OUTPUT).strip() == "adwatch:asterisk 640"
    assert "[100]" in machine.done("runuser", "-u", "asterisk", "--", "cat", OUTPUT)
    wait_for("the state", lambda: "online" in machine.unit("StatusText")[0])
    assert "online" in machine.done("adwatch", "status")
    assert "✗" not in machine.done("runuser", "-u", "adwatch", "--", "adwatch", "check")


def follows_edits(machine: Machine) -> None:
    pid = machine.unit("MainPID")
    machine.edit("state:", "peers:\n  context: '\"room1\"'\nstate:")
    machine.done("systemctl", "reload", "adwatch")
    wait_for("the edit", lambda: "context = room1" in machine.text())
    machine.edit("context:", "contxet:")
    machine.done("systemctl", "reload", "adwatch")
    wait_for("the fault", lambda: "contxet: unknown key" in machine("adwatch", "status").stdout)
    assert "context = room1" in machine.text()
    machine.edit("contxet:", "context:")
    wait_for("all is well", lambda: machine("adwatch", "status").returncode == 0)
    assert machine.active()
    assert machine.unit("MainPID") == pid, "the same process all the while"


def init(machine: Machine, dc: SambaDC) -> str:
    """`adwatch init` in the domain that the machine's resolver names."""
    return machine.done(
        "adwatch", "init", "--user", "svc-adwatch", "--password-file", SECRET,
        "--ca-file", CA, "--base", dc.staff_dn, "--format", "users.conf",
    )  # fmt: skip


def is_started_again_when_its_loop_hangs(machine: Machine) -> None:
    """With a patience that a test can wait for. Its other threads get on: only the loop is held.

    By a pipe that nobody writes into, in place of a file that the loop reads.
    """
    drop_in = "/etc/systemd/system/adwatch.service.d"
    machine.done("mkdir", "-p", drop_in)
    machine.done("sh", "-c", f"cat > {drop_in}/patience.conf", given="[Service]\nWatchdogSec=3\n")
    machine.done("systemctl", "daemon-reload")
    machine.done("systemctl", "restart", "adwatch")
    wait_for("it runs", lambda: "online" in machine.unit("StatusText")[0])
    (pid,) = machine.unit("MainPID")
    before = machine.journal().count("Watchdog timeout")
    machine.done("sh", "-c", f"mv {SECRET} {SECRET}.kept; mkfifo -m 644 {SECRET}")
    wait_for("the watchdog", lambda: machine.journal().count("Watchdog timeout") > before)
    # One that was started since may wait at the pipe, too: it is told what it waits for.
    let_go = "ln $0 $0.pipe; mv $0.kept $0; cat $0 1<> $0.pipe; rm $0.pipe"
    machine.done("sh", "-c", let_go, SECRET)
    wait_for("another process", lambda: machine.active() and machine.unit("MainPID") != [pid])
    wait_for("it runs", lambda: "online" in machine.unit("StatusText")[0])
    machine.done("rm", "-r", drop_in)
    machine.done("systemctl", "daemon-reload")


def takes_its_password_as_a_credential(machine: Machine) -> None:
    """From a file that root alone can read."""
    machine.done("install", "-d", "-m", "700", "/etc/credstore")
    machine.done("install", "-m", "600", SECRET, CREDENTIAL)
    machine.done("rm", SECRET)
    assert machine("runuser", "-u", "adwatch", "--", "cat", CREDENTIAL).returncode != 0
    machine.edit(f"password_file: '{SECRET}'", "password_file: bind-password")
    machine.done("systemctl", "restart", "adwatch")
    wait_for("it runs", lambda: "online" in machine.unit("StatusText")[0])
    by_hand = ("env", "CREDENTIALS_DIRECTORY=/etc/credstore", "adwatch", "check")
    assert "✓ bind: svc-adwatch" in machine.done(*by_hand)


def keeps_everything_over_an_upgrade(machine: Machine, secret: str, package: Path) -> None:
    assert f"Version: {package.name.split('_')[1]}" in machine.done("dpkg", "-s", "adwatch")
    wait_for("it runs", lambda: "online" in machine.unit("StatusText")[0])
    assert machine.done("adwatch", "secret", "100") == secret
    assert "room1" in machine.done("cat", "/etc/adwatch/config.yaml")
    assert "context = room1" in machine.text()


def stays_down_with_a_configuration_that_never_worked(machine: Machine) -> None:
    machine.edit("context:", "contxet:")
    machine("systemctl", "restart", "adwatch")
    wait_for("it gives up", lambda: machine.unit("ActiveState") == ["failed"])
    assert machine.unit("ExecMainStatus", "SubState") == ["3", "failed"]
    wait_for("why", lambda: "contxet: unknown key" in machine.journal())
    assert "context = room1" in machine.text()
    machine.edit("contxet:", "context:")
    machine.done("systemctl", "start", "adwatch")
    wait_for("it runs", machine.active)


def goes_and_leaves_its_state_until_it_is_purged(machine: Machine) -> None:
    machine.done("apt-get", "remove", "-qy", "adwatch")
    assert not machine.active()
    assert machine("pgrep", "-u", "adwatch").stdout == ""
    assert machine.done("ls", "/var/lib/adwatch/secret.key", "/etc/adwatch/config.yaml")
    assert machine("ls", "/opt/adwatch/lib").returncode != 0
    machine.done("apt-get", "purge", "-qy", "adwatch")
    assert machine("ls", "/var/lib/adwatch").returncode != 0
    assert "[100]" in machine.text(), "Asterisk's peers are not adwatch's to take away"


def keep_what_a_wheel_has(machine: Machine) -> str:
    """A copy of the virtual environment, with what a wheel shares; gives where it is."""
    machine.done("cp", "-a", "/opt/adwatch", "/opt/kept")
    shared = "/opt/kept/share/adwatch/systemd"
    machine.done("mkdir", "-p", shared)
    for unit in (DOCKER.parent / "systemd").iterdir():
        machine.put(unit, f"{shared}/{unit.name}")
    return "/opt/kept"


def becomes_a_service_by_the_commands_of_init(machine: Machine, dc: SambaDC, kept: str) -> None:
    """Each line of the shell that init prints, as it stands there."""
    machine.done("userdel", "adwatch")
    machine.done("rm", "-rf", "/etc/asterisk/adwatch")
    machine.done("mv", kept, "/opt/adwatch")
    machine.done("install", "-D", "-m", "600", CREDENTIAL, SECRET)
    machine.done("ln", "-s", "/opt/adwatch/bin/adwatch", "/usr/local/bin/adwatch")
    said = init(machine, dc)
    commands = re.search(r"Before systemctl, as root:\n\n((?:  .*\n)+)", said)
    assert commands is not None
    machine.done("sh", "-ec", commands[1])
    machine.edit("    format: users.conf", "    format: users.conf\n    reload: null")
    machine.done("systemctl", "enable", "--now", "adwatch")
    wait_for("peers", lambda: "[100]" in machine.text())
    wait_for("the state", lambda: "online" in machine.unit("StatusText")[0])
