"""The whole system as people try it: docker/try, with adwatch as an image."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import wait_for

from system.pbx import image
from system.samba import DOCKER, free_port, run

STOPS_WITHIN_S = 3.0
IMAGES = ("samba-ad-dc", "asterisk-22", "asterisk-16", "adwatch")
DOC = (DOCKER.parent / "docs" / "try.md").read_text()
# What each line of docs/try.md must lead to, by what is in it; "" for one that has only to succeed.
# A person looks again until it is there.
LEADS_TO = {
    "docker/ensure ": "adwatch:",
    "up -d": "",
    "create anna": "",
    "show endpoint 777": "Endpoint:  777",
    "show endpoint 502": "Endpoint:  502",
    "adwatch secret 777": r"(?m)^[A-Za-z0-9]{24}$",
    "user disable anna": "",
    "history anna": "777",
    "list endpoints": "Endpoint:  502",
    "sip show peers": r"(?m)^502 ",
    "adwatch check": "✓ asterisk peers: has 22",
    "yealink.xml": "<Name>Ryabov</Name>",
    "stop dc1": "",
    "start dc1": "",
    "down -v": "",
}
STATUS = iter(("online: 22 peers", "degraded: ", "online: 22 peers"))


class Site:
    """One `docker-compose up` of docker/try."""

    def __init__(self, compose: list[str]) -> None:
        self.port = free_port()
        self.compose = compose
        self.project = f"adwatchtry{uuid.uuid4().hex[:8]}"
        file = str(DOCKER / "try" / "compose.yaml")
        self._command = [*compose, "-p", self.project, "-f", file]

    def __call__(self, *command: str) -> str:
        return run(*self._command, *command, env={"ADWATCH_HTTP_PORT": str(self.port)})

    def inside(self, service: str, *command: str) -> str:
        return self("exec", "-T", service, *command)

    def fails(self, service: str, *command: str) -> bool:
        done = subprocess.run(
            [*self._command, "exec", "-T", service, *command],
            check=False, capture_output=True, env={**os.environ, "ADWATCH_HTTP_PORT": "0"},
        )  # fmt: skip
        return done.returncode != 0

    def type(self, line: str, folder: Path) -> str:
        """What a line of the documentation says, typed into a shell in that folder."""
        # No terminal is there, and Compose may be Docker's own.
        command = shlex.join(self.compose)
        shell = (
            "docker-compose() { local verb=$1; shift; "
            f'[ "$verb" = exec ] && set -- -T "$@"; command {command} "$verb" "$@"; }}\n'
        )
        known = {"COMPOSE_PROJECT_NAME": self.project, "ADWATCH_HTTP_PORT": str(self.port)}
        done = subprocess.run(
            ["bash", "-c", shell + line.replace(":8389", f":{self.port}")],
            check=False, cwd=folder, capture_output=True, text=True, env={**os.environ, **known},
        )  # fmt: skip
        return done.stdout + (f"\nexit status {done.returncode}" if done.returncode else "")

    def about(self, service: str) -> dict[str, object]:
        found = json.loads(run("docker", "inspect", self("ps", "-q", service).strip()))
        return dict(found[0]["State"])

    def healthy(self, service: str) -> bool:
        return dict(self.about(service)["Health"])["Status"] == "healthy"  # type: ignore[call-overload]

    def endpoints(self) -> str:
        return self.inside("asterisk", "asterisk", "-rx", "pjsip list endpoints")

    def peers(self) -> str:
        return self.inside("asterisk-16", "asterisk", "-rx", "sip show peers")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    for name in IMAGES:
        image(name)
    said = run(str(DOCKER / "ensure")).split()
    made = Site(said[2:])  # env SAMBA_IMAGE_TAG=… and the words of Compose
    try:
        made("up", "-d", "--no-build")
        yield made
    finally:
        made("down", "-v", "--timeout", "3")


def test_a_user_of_the_domain_is_on_both_asterisks_until_it_is_disabled(site: Site) -> None:
    tool = ("samba-tool", "user")
    wait_for("the first peers", lambda: "502" in site.endpoints() and "502" in site.peers(), 60)
    assert site.inside("adwatch", "adwatch", "status").startswith("online: ")
    words = ("--random-password", "--telephone-number=778", "--userou=OU=Staff")
    site.inside("dc1", *tool, "create", "olga", *words)
    wait_for("olga", lambda: "778" in site.endpoints() and "778" in site.peers())
    url = f"http://127.0.0.1:{site.port}/phonebook/yealink.xml"
    assert '<Telephone label="Office">778</Telephone>' in run("curl", "-sS", url)
    hints = ("asterisk", "asterisk", "-rx", "core show hints")
    wait_for("the hint, which is another reload", lambda: "778" in site.inside(*hints))
    site.inside("dc1", *tool, "disable", "olga")
    wait_for("her end", lambda: "778" not in site.endpoints() and "778" not in site.peers())


def test_adwatch_is_nobody_special_and_its_key_is_for_nobody_else(site: Site) -> None:
    wait_for("the output", lambda: "502" in site.endpoints(), 60)
    assert site.inside("adwatch", "id", "-u").strip() == "8389"
    mode, group = "%a %G", ("stat", "-c")
    output = site.inside("asterisk", *group, mode, "/etc/asterisk/adwatch/pjsip.conf")
    assert output.strip() == "640 asterisk"
    key = site.inside("adwatch", *group, mode, "/var/lib/adwatch/secret.key")
    assert key.strip() == "600 adwatch"
    assert site.fails("adwatch", "touch", "/opt/adwatch/x")
    assert site.fails("adwatch", "sh", "-c", "command -v pip gcc")


def test_it_is_healthy_also_without_the_domain_and_stops_at_once(site: Site) -> None:
    wait_for("health", lambda: site.healthy("adwatch"), 60)
    site("stop", "dc1")
    try:
        degraded = ("sh", "-c", "adwatch status; true")
        wait_for("a fault", lambda: "degraded" in site.inside("adwatch", *degraded))
        # What the image's own health check runs, so that nobody waits for its interval.
        check = run(
            "docker", "inspect", "adwatch:latest", "--format", "{{json .Config.Healthcheck}}"
        )
        command = json.loads(check)["Test"][1]
        site.inside("adwatch", "sh", "-c", command)
        assert "502" in site.endpoints()
    finally:
        site("start", "dc1")
    container = site("ps", "-q", "adwatch").strip()
    assert stopped(container) < STOPS_WITHIN_S
    assert json.loads(run("docker", "inspect", container))[0]["State"]["ExitCode"] == 0


def stopped(container: str) -> float:
    """Stops a container; the seconds from its signal to its end, as the engine tells them."""
    begun, told = time.time(), dict[str, int]()
    words = ("--filter", f"container={container}", "--format", "{{.Action}} {{.TimeNano}}")

    def over() -> bool:
        said = run("docker", "events", "--since", str(begun), "--until", str(time.time()), *words)
        for line in said.splitlines():
            what, at = line.rsplit(" ", 1)
            told.setdefault(what, int(at))
        return {"kill", "die"} <= told.keys()

    run("docker", "stop", container)
    wait_for("its end", over)
    return (told["die"] - told["kill"]) / 1e9


def test_what_the_documentation_has_people_type_does_what_it_says(site: Site) -> None:
    """The last one here: it also types what removes everything."""
    folder = DOCKER.parent
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", DOC)
    for line in "".join(blocks).replace("\\\n", "").splitlines():
        if line.startswith("cd "):
            folder /= line[3:]
            continue
        wanted = next((told for key, told in LEADS_TO.items() if key in line), None)
        if wanted is None:
            assert line.endswith("adwatch status"), f"nobody knows what {line!r} leads to"
            wanted = next(STATUS)
        if wanted:
            wait_for(line, lambda: re.search(wanted, site.type(line, folder)), 60)  # noqa: B023
        else:
            assert "exit status" not in site.type(line, folder)
    assert not run("docker", "ps", "-aq", "--filter", f"name={site.project}")
