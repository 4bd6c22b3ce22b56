"""The domain that the system tests share; without Docker they fail, and say how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pytest_docker.plugin import Services
from system import samba

settings.register_profile("adwatch", deadline=None)  # what things cost is the bench's business
settings.load_profile("adwatch")

SYSTEM = Path(__file__).parent / "system"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if SYSTEM in item.path.parents or {"dc", "dcs"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.docker)
    if hasattr(config, "workerinput"):  # the short ones last, to fill what is left
        items.sort(key=lambda item: SYSTEM not in item.path.parents)


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    return samba.ensure()


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(samba.COMPOSE_FILE)


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    return samba.project_name()


@pytest.fixture(scope="session")
def docker_services(
    docker_compose_command: str, docker_compose_project_name: str
) -> Iterator[Services]:
    # Ours, and so without docker_setup and docker_cleanup: see there.
    with samba.services(docker_compose_command, docker_compose_project_name) as services:
        yield services


@pytest.fixture(scope="session")
def dc(
    docker_services: Services,
    docker_compose_project_name: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[samba.SambaDC]:
    """The domain controller, seeded. A test leaves it running, with the seed as it was."""
    controller = samba.SambaDC(docker_compose_project_name, "dc1", tmp_path_factory.mktemp("dc1"))
    docker_services.wait_until_responsive(controller.responsive, timeout=samba.READY_S, pause=0.1)
    yield controller
    controller.close()


@pytest.fixture(scope="session")
def dcs() -> Iterator[tuple[samba.SambaDC, samba.SambaDC]]:
    """Two controllers of another domain. A test leaves them running and in step."""
    with samba.two_controllers() as both:
        yield both
