"""The main job, shown: a user is edited in a real Active Directory, and the phone system knows.

Starts a Samba AD domain controller and `adwatch run`, changes users over LDAP, and shows what
arrives in the file that Asterisk includes, and when. Leaves nothing behind.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from system.samba import SambaDC, domain

ADWATCH = Path(sys.executable).with_name("adwatch")
LONGEST_S = 20.0

CONFIG = """\
directory:
  servers: [{server}]
  user: svc-adwatch@example.test
  password_file: bind-password
  tls: {{ca_file: {ca}}}
  base: ["OU=Staff,DC=example,DC=test"]
outputs:
  - name: users
    path: users.conf
    options: {{template: lan}}
    reload: sip reload
asterisk:
  command: [sh, -c, 'echo "$0" >> reloads']
state: state
"""


class Demo:
    """A domain, an adwatch that watches it, and the file that it writes."""

    def __init__(self, dc: SambaDC, folder: Path) -> None:
        self.dc = dc
        self.folder = folder
        self.output = folder / "users.conf"

    def configure(self) -> None:
        """Writes the few keys that every site must set; the rest is adwatch's own default."""
        config = CONFIG.format(server=self.dc.ldaps_url, ca=self.dc.ca_file)
        (self.folder / "config.yaml").write_text(config)
        (self.folder / "bind-password").write_text(self.dc.service_password + "\n")

    def start(self) -> subprocess.Popen[str]:
        """`adwatch run`, with its log in the folder."""
        log = (self.folder / "log").open("w")
        command = [ADWATCH, "run", "--config", "config.yaml"]
        return subprocess.Popen(command, cwd=self.folder, stderr=log, stdout=log, text=True)

    def section(self, number: str) -> str:
        """The lines of one peer in the include file, empty where it has none."""
        sections = self.output.read_text().split("\n\n") if self.output.exists() else []
        return next((s.strip() for s in sections if s.startswith(f"[{number}]")), "")

    def await_change(self, seen: Callable[[], bool]) -> float:
        """Seconds until `seen()`."""
        begun = time.monotonic()
        while not seen():
            if time.monotonic() - begun > LONGEST_S:
                raise TimeoutError(f"not in {self.output} within {LONGEST_S:g} s")
            time.sleep(0.01)
        return time.monotonic() - begun

    def show(self, what: str, change: Callable[[], object], seen: Callable[[], bool]) -> None:
        """Makes one change in AD and says when the file had it."""
        change()
        print(f"  {what:<52} {self.await_change(seen):5.2f} s")


def play(demo: Demo) -> None:
    """The whole story."""
    dc = demo.dc
    count = len(demo.output.read_text().split("\n\n")) - 1
    print(f"\n{count} users of the domain are peers now. One of them in {demo.output.name}:\n")
    print("    " + hidden(demo.section("502")).replace("\n", "\n    "))
    print("\nChanges made in AD over LDAP, and when the include file had them (poll: 1s):\n")
    dn = dc.add_user("newcomer", telephoneNumber="700", userPrincipalName="newcomer@example.test")
    print(f"  {'a user is created with number 700':<52} ", end="")
    print(f"{demo.await_change(lambda: bool(demo.section('700'))):5.2f} s")

    def gone(number: str) -> Callable[[], bool]:
        return lambda: not demo.section(number)

    demo.show(
        "the number becomes 701",
        lambda: dc.modify(dn, telephoneNumber="701"),
        lambda: bool(demo.section("701")) and not demo.section("700"),
    )
    demo.show(
        "the login becomes 'newname'",
        lambda: dc.modify(dn, sAMAccountName="newname"),
        lambda: "fullname = Newname" in demo.section("701"),
    )
    demo.show("the account is disabled", lambda: dc.disable(dn), gone("701"))
    demo.show("the account is enabled", lambda: dc.enable(dn), lambda: bool(demo.section("701")))
    demo.show("the user is deleted", lambda: dc.delete(dn), gone("701"))


def hidden(section: str) -> str:
    """A section without its secret: this text is shown to people."""
    lines = section.split("\n")
    return "\n".join("secret = ********" if s.startswith("secret") else s for s in lines)


def main() -> int:
    """Plays the demo; gives the exit status."""
    print("Starting a Samba Active Directory domain controller (the first time builds its image).")
    with domain() as dc, tempfile.TemporaryDirectory(prefix="adwatch-demo-") as made:
        print(f"The domain example.test is up at {dc.ldaps_url}. Starting adwatch run.")
        demo = Demo(dc, Path(made))
        demo.configure()
        running = demo.start()
        try:
            demo.await_change(lambda: bool(demo.section("502")))
            play(demo)
            print("\nadwatch status says:\n")
            status = [ADWATCH, "status", "--config", "config.yaml"]
            said = subprocess.run(status, cwd=made, capture_output=True, text=True, check=True)
            print("    " + said.stdout.strip().replace("\n", "\n    "))
            reloads = (Path(made) / "reloads").read_text().count("\n")
            print(f"\nAsterisk would have been told to reload {reloads} times.")
        except (TimeoutError, OSError, subprocess.CalledProcessError) as error:
            print(f"\nThe demo failed: {error}\n\n{(Path(made) / 'log').read_text()}")
            return 1
        finally:
            running.terminate()
            running.wait()
    print("Stopped adwatch, and removed the domain controller with all its data.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
