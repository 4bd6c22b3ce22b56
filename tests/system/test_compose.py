"""The whole system as people try it: docker/try, with adwatch as an image."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest
from program import wait_for

from system.pbx import image
from system.samba import DOCKER, free_port, run

STOPS_WITHIN_S = 3.0
IMAGES = ("samba-ad-dc", "asterisk-22", "asterisk-16", "adwatch")
FILES = ("compose.yaml", "chan_sip.yaml")


class Site:
    """One `docker-compose up` of docker/try, with both Asterisks."""

    def __init__(self, compose: list[str]) -> None:
        self.port = free_port()
        project = f"adwatchtry{uuid.uuid4().hex[:8]}"
        files = [word for name in FILES for word in ("-f", str(DOCKER / "try" / name))]
        self._command = [*compose, "-p", project, *files]

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
    words = ("--random-password", "--telephone-number=777", "--userou=OU=Staff")
    site.inside("dc1", *tool, "create", "anna", *words)
    wait_for("anna", lambda: "777" in site.endpoints() and "777" in site.peers())
    url = f"http://127.0.0.1:{site.port}/phonebook/yealink.xml"
    assert '<Telephone label="Office">777</Telephone>' in run("curl", "-sS", url)
    assert "777" in site.inside("asterisk", "asterisk", "-rx", "core show hints")
    site.inside("dc1", *tool, "disable", "anna")
    wait_for("her end", lambda: "777" not in site.endpoints() and "777" not in site.peers())


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
    took = wait_for("its end", lambda: run("docker", "stop", container))
    assert took < STOPS_WITHIN_S
    assert json.loads(run("docker", "inspect", container))[0]["State"]["ExitCode"] == 0
