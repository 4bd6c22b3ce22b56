"""Reloads through the control socket's group, without root, as docs/reload.md says to set it up."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import Adwatch, configured

from system.pbx import Asterisk
from system.samba import SambaDC
from system.test_pbx import _OUTPUT

DOC = (Path(__file__).parents[2] / "docs" / "reload.md").read_text()
GROUP = 5060  # that of Asterisk in its images
NOBODY = 8389


@pytest.fixture(params=[16, 22])
def pbx(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asterisk]:
    """An Asterisk that runs as its own user and opens its socket to its group."""
    found = re.search(r"```ini\n(\[files\]\n.*?)```", DOC, re.DOTALL)
    assert found is not None
    (tmp_path / "asterisk.conf").write_text(found[1])
    folder = tmp_path / "adwatch"
    folder.mkdir()
    os.chown(folder, -1, GROUP)
    folder.chmod(0o2755)  # what is written here belongs to the group, which may read it
    own = f"{tmp_path}/asterisk.conf:/etc/asterisk/asterisk.conf:ro"
    made = Asterisk(request.param, folder, own)
    made.arguments = ("asterisk", "-f", "-U", "asterisk")
    try:
        made.open()
        yield made
    finally:
        made.close()


def installed(dc: SambaDC, pbx: Asterisk, folder: Path, user: str) -> Adwatch:
    """An adwatch whose commands Asterisk is given by that user and group."""
    config = configured(dc.ldaps_url, Path(dc.ca_file))
    output = _OUTPUT[pbx.version].format(folder=pbx.folder)
    before, _, _ = config.partition("outputs:\n")
    command = f"[docker, exec, --user, {user!r}, {pbx.name}, asterisk, -rx]"
    config = f"{before}outputs:\n  - name: peers\n    {output}\nasterisk: {{command: {command}}}\n"
    return Adwatch(folder / "installed", config + "state: state\n", dc.service_password)


def test_the_group_of_the_control_socket_is_enough_to_reload_and_to_look(
    dc: SambaDC, pbx: Asterisk, tmp_path: Path
) -> None:
    assert pbx.inside("stat", "-c", "%U", "/proc/1").strip() == "asterisk"
    stranger = installed(dc, pbx, tmp_path, f"{NOBODY}:{NOBODY}")
    done = stranger("sync")
    assert done.returncode == 1
    assert "failed: Unable to connect to remote asterisk" in done.stderr
    assert stranger.status()["outputs"][0]["reload_owed"]
    assert not pbx.has("502")

    member = installed(dc, pbx, tmp_path, f"{NOBODY}:{GROUP}")
    done = member("sync")
    assert done.returncode == 0, done.stderr
    (output,) = member.status()["outputs"]
    assert (output["reload_owed"], output["verified"], output["refused"]) == (False, True, [])
    assert pbx.has("502")
    assert "✓ asterisk: Asterisk " in member("check").stdout
