"""Every fault, one by one: what is served, when it is noticed, who is told, and how it ends.

What was seen is a table; `FIGURES=docs/reliability.md` puts it there, between its marks.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from inboxes import Hook, Mailbox, inboxes
from program import Adwatch, configured, wait_for
from proxy import Proxy

from system.crash.soak import publish
from system.faults.world import FAULTS, Fault, Site
from system.samba import SambaDC, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and drop packets")

ACCOUNT, PASSWORD = "svc-faults", "Faults-1234"
NOTICED_WITHIN_S = RECOVERED_WITHIN_S = 30.0
ALERTS = """\
alerts:
  targets: ["{url}"]
  after: 1s
  remind: 1h
"""


@dataclass(frozen=True)
class Row:
    """What was seen of a fault; seconds."""

    fault: Fault
    noticed: float | None
    recovered: float
    messages: str
    lost: int

    def text(self) -> str:
        noticed = "-" if self.noticed is None else f"{self.noticed:.1f} s"
        served = "everybody, changes too" if self.fault.reaches else "everybody, as before"
        return (
            f"| {self.fault.name} | {self.fault.injected} | {served} | {noticed}"
            f" | {self.recovered:.1f} s | {self.messages} | {self.lost} |"
        )


HEAD = """\
| fault | injected by | served meanwhile | noticed | recovered | messages | peers lost |
| --- | --- | --- | ---: | ---: | --- | ---: |
"""


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Row]]:
    found: list[Row] = []
    yield found
    publish("faults", HEAD + "".join(f"{row.text()}\n" for row in found))


@pytest.fixture(scope="module")
def account(dc: SambaDC) -> Iterator[str]:
    """An account of the suite's own, for what would lock others out."""
    dn = dc.add_user(ACCOUNT, f"CN=Users,{dc.base_dn}")
    yield dn
    dc.delete(dn)


@pytest.fixture
def boxes() -> Iterator[tuple[Mailbox, Hook]]:
    with inboxes() as made:
        yield made


@pytest.fixture
def site(
    dc: SambaDC,
    account: str,
    between: Proxy,
    boxes: tuple[Mailbox, Hook],
    user: Callable[..., str],
    tmp_path: Path,
) -> Iterator[Site]:
    del account
    tool = ("docker", "exec", dc.container, "samba-tool", "user", "setpassword", ACCOUNT)
    run(*tool, f"--newpassword={PASSWORD}")
    hook = boxes[1]
    folder = tmp_path / "adwatch"
    config = configured(between.url, folder / "ca.pem", ACCOUNT, more=ALERTS.format(url=hook.url))
    config = config.replace("path: users.conf", "path: out/users.conf")
    config = config.replace("timeout: 4s", "timeout: 2s")
    config = config.replace(
        "'echo \"$0\" >> reloads'", "'test ! -e down && echo \"$0\" >> reloads'"
    )
    adwatch = Adwatch(folder, config, PASSWORD)
    adwatch.output = folder / "out" / "users.conf"
    (folder / "ca.pem").write_bytes(Path(dc.ca_file).read_bytes())
    mounts = [folder / "out", folder / "state"]
    for mount in mounts:
        mount.mkdir(mode=0o751)
        run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount))
    try:
        adwatch.start()
        wait_for("online", lambda: online(adwatch))
        yield Site(dc, between, adwatch, hook, user)
    finally:
        adwatch.kill()
        for mount in mounts:
            subprocess.run(["umount", "--lazy", mount], check=True)


def online(adwatch: Adwatch) -> bool:
    said = adwatch.status()
    return bool(said["state"] == "online" and not any(o["reload_owed"] for o in said["outputs"]))


def sections(adwatch: Adwatch) -> set[str]:
    return set(adwatch.text().split("\n\n")[1:])


def kinds(adwatch: Adwatch) -> list[str]:
    return [one["kind"] for one in adwatch.status()["alerts"]["open"]]


def numbers(adwatch: Adwatch) -> set[str]:
    return {section.partition("]")[0] for section in sections(adwatch)}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_takes_nobodys_phone_is_told_once_and_mends_itself(
    fault: Fault, site: Site, rows: list[Row]
) -> None:
    adwatch, hook = site.adwatch, site.hook
    before, noticed = numbers(adwatch), None
    with fault.inject(site):
        begun = time.monotonic()
        if fault.incident:
            wait_for("the notice", lambda: troubled(adwatch, fault), NOTICED_WITHIN_S)
            noticed = time.monotonic() - begun
            wait_for("the message", lambda: hook.said)
            assert kinds(adwatch) == [fault.incident]
        if fault.ad_up:
            site.user("meanwhile", telephoneNumber="7500")
        if fault.reaches:
            wait_for("a change", lambda: adwatch.section("7500"), RECOVERED_WITHIN_S)
        assert before <= numbers(adwatch)
    begun = time.monotonic()
    if not fault.ad_up:
        site.user("meanwhile", telephoneNumber="7500")
    wait_for("the change", lambda: adwatch.section("7500"), RECOVERED_WITHIN_S)
    wait_for("online", lambda: online(adwatch), RECOVERED_WITHIN_S)
    recovered = time.monotonic() - begun
    told = 2 if fault.incident else 0
    wait_for("the last message", lambda: len(hook.said) == told)
    wait_for("nothing open", lambda: adwatch.status()["alerts"] == {"open": [], "owed": 0})
    assert len(hook.said) == told, "\n\n".join(one["message"] for one in hook.said)
    assert [": over: " in title for title in hook.titles()] == [False, True][:told]
    lost = len(before - numbers(adwatch))
    rows.append(Row(fault, noticed, recovered, "1 opening, 1 end" if told else "none", lost))
    assert lost == 0


def troubled(adwatch: Adwatch, fault: Fault) -> bool:
    said = adwatch.status()
    if fault.incident in ("conflict", "rejected"):
        return bool(said["peers"]["rejected"])
    return bool(said["state"] in ("degraded", "held"))
