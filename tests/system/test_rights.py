"""The commands of docs/rights.md, run on a real controller as they stand, and what they buy."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from program import Adwatch, wait_for

from system.samba import SambaDC

PAGE = Path(__file__).parents[2] / "docs" / "rights.md"
LOGIN = "svc-rights"
Make = Callable[..., Adwatch]


class Shell:
    """A root shell on the controller, which is given one block of the page after the other."""

    def __init__(self, dc: SambaDC) -> None:
        self._dc = dc
        self._before = ""
        blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        self.blocks = [block.replace("svc-adwatch", LOGIN) for block in blocks]

    def run(self, script: str) -> str:
        done = subprocess.run(
            ["docker", "exec", "-i", self._dc.container, "bash", "-eu"],
            input=self._before + script, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def step(self, word: str) -> None:
        """The one block that has a word in it; what it gives a name to, the later ones know."""
        (block,) = [one for one in self.blocks if word in one]
        self.run(block)
        self.blocks.remove(block)
        self._before += "".join(re.findall(r"^sid=.*\n", block, re.MULTILINE))


@pytest.fixture
def shell(dc: SambaDC) -> Iterator[Shell]:
    one = Shell(dc)
    yield one
    sid = one.run(f"samba-tool user show {LOGIN} --attributes=objectSid").split()[3]
    for dn, ace in (
        (dc.base_dn, "(OA;;CR;1131f6aa-9c07-11d1-f79f-00c04fc2dcd2;;{})"),
        (dc.staff_dn, "(OA;CI;CR;612cb747-c0e8-4f92-9221-fdd5f15b550d;;{})"),
        (dc.staff_dn, "(A;CI;LCRP;;;{})"),
    ):
        one.run(f'samba-tool dsacl delete --objectdn="{dn}" --sddl="{ace.format(sid)}"')
    one.run(f"samba-tool user delete {LOGIN}; rm /root/bind-password")


def line(site: Adwatch, what: str) -> str:
    found = re.search(rf"^. {what}: .*", site("check").stdout, re.MULTILINE)
    assert found is not None
    return found[0]


def test_each_command_of_the_page_buys_what_it_says(
    shell: Shell, make: Make, user: Callable[..., str], dc: SambaDC
) -> None:
    shell.step("user create")
    password = shell.run("cat /root/bind-password").strip()
    site = make(LOGIN, password=password)
    assert line(site, "bind").startswith("✓")
    assert line(site, "feed") == "✓ feed: dirsync: object security"
    assert "are not visible to the account" in line(site, "deletions")
    shell.step("CN=Deleted Objects")
    assert line(site, "deletions") == "✓ deletions: are visible to the account"
    dn = user("rights", telephoneNumber="7801", unixUserPassword=b"An-Old-Secret-1")
    site.start()
    wait_for("the peer", lambda: site.section("7801"))
    doomed = user("doomed", telephoneNumber="7802")
    wait_for("another peer", lambda: site.section("7802"))
    dc.delete(doomed)
    wait_for("its end is told", lambda: "deleted in AD" in site("history", "doomed").stdout)
    site.stop()
    shell.step("get-changes")
    assert line(site, "feed") == "✓ feed: dirsync: with the replication right"
    own = make(LOGIN, password=password, more="secrets: {attribute: unixUserPassword}\n")
    assert "no user returned unixUserPassword" in line(own, "attributes")
    shell.step("612cb747")
    assert own("sync").returncode == 0
    assert "secret = An-Old-Secret-1\n" in own.section("7801")
    assert "An-Old-Secret-1" not in site.text()
    shell.step("(A;CI;LCRP;;;")
    assert line(site, "users").startswith("✓")
    assert shell.blocks == [], "every command of the page was run"
    dc.delete(dn)
