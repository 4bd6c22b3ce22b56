"""`adwatch render` as Asterisk's own #exec, on both Asterisks: with state, without, with nothing.

adwatch runs inside Asterisk's container: this machine's interpreter, seen there under /host.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from program import wait_for

from system.pbx import Asterisk, asterisk

_PEER = {
    16: "[{0}](lan)\nsecret = Rendered-1\n",
    22: "[{0}]\ntype = endpoint\naors = {0}\n[{0}]\ntype = aor\n",
}
_MAIN = {16: "users.conf", 22: "pjsip.conf"}
_RELOAD = {16: "sip reload", 22: "pjsip reload"}


def host_program() -> str:
    """A shell script's line that runs this interpreter's adwatch where / is under /host."""
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    libraries = sorted(path for path in mapped if ".so" in path and path.startswith("/"))
    loader = next(path for path in libraries if Path(path).name.startswith("ld-"))
    folders = ":".join(sorted({f"/host{Path(path).parent}" for path in libraries}))
    found = ":".join(f"/host{path}" for path in sys.path if path.startswith("/"))
    python = Path(sys.executable).resolve()
    return (
        f"PYTHONHOME=/host{sys.base_prefix} PYTHONPATH={found} exec /host{loader}"
        f' --library-path {folders} /host{python} -m adwatch "$@"\n'
    )


class Rendered:
    """An Asterisk whose peers come from `#exec adwatch render`; peer 509 is the admin's own."""

    def __init__(self, pbx: Asterisk) -> None:
        self.pbx, self.folder = pbx, pbx.folder
        self.last_good = self.folder / "state" / "outputs" / "peers"
        self.output = self.folder / "output"
        self.last_good.parent.mkdir(parents=True)
        program = self.folder / "adwatch"
        program.write_text("#!/bin/sh\n" + host_program())
        program.chmod(0o755)
        (self.folder / "config.yaml").write_text(
            "directory: {servers: [ldaps://dc.example.test], user: u, password: p}\n"
            "outputs: [{name: peers, path: output}]\nstate: state\n"
        )
        line = (
            "#exec /etc/asterisk/adwatch/adwatch render peers -c /etc/asterisk/adwatch/config.yaml"
        )
        name = _MAIN[pbx.version]
        own = pbx.inside("cat", f"/etc/asterisk/{name}").replace(f"#tryinclude adwatch/{name}", "")
        self._configure("asterisk.conf", "[options]\nexecincludes = yes\n")
        self._configure("logger.conf", "[logfiles]\nadwatch-test = warning,error\n")
        self._configure(name, f"{own}\n{line}\n{_PEER[pbx.version].format('509')}")

    def _configure(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        self.pbx.inside("cp", f"/etc/asterisk/adwatch/{name}", "/etc/asterisk/")

    def serve(self, *, state: str = "", output: str = "") -> None:
        """Puts a peer into the state and one into the output; "" removes that file."""
        for path, number in ((self.last_good, state), (self.output, output)):
            path.unlink(missing_ok=True)
            if number:
                path.write_text(_PEER[self.pbx.version].format(number))

    def reloads_to(self, *numbers: str) -> None:
        self.pbx.cli(_RELOAD[self.pbx.version])
        wait_for(f"{numbers}", lambda: self.peers() == list(numbers))

    def peers(self) -> list[str]:
        return [number for number in ("501", "502", "503", "509") if self.pbx.has(number)]

    def refused(self) -> bool:
        """Whether Asterisk said that what #exec should have written is not there."""
        log = self.pbx.inside("cat", "/var/log/asterisk/adwatch-test")
        return any("/var/tmp/exec." in line and "not exist" in line for line in log.splitlines())


@pytest.mark.parametrize("version", [16, 22])
def test_exec_serves_the_state_then_the_output_and_else_keeps_every_peer(
    version: int, tmp_path: Path
) -> None:
    with asterisk(version, tmp_path / "adwatch", "/:/host:ro") as pbx:
        site = Rendered(pbx)
        site.serve(state="501", output="502")
        pbx.docker("restart")
        wait_for("Asterisk", pbx.responsive, 60)
        assert site.peers() == ["501", "509"]

        site.serve(output="502")
        site.reloads_to("502", "509")

        site.serve()
        pbx.cli(_RELOAD[version])
        wait_for("the refusal", site.refused)
        assert site.peers() == ["502", "509"]

        site.serve(state="503")
        site.reloads_to("503", "509")
