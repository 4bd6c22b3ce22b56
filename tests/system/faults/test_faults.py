"""Every fault, one by one: what is served, what `status` says, who is told, and how it ends.

What was seen is a table; `FIGURES=docs/reliability.md` puts it there, between its marks. One
service lives through all of them, and each leaves it as it was.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from certificates import Authority
from inboxes import inboxes
from program import Adwatch, configured, wait_for
from proxy import proxy

from system.crash.soak import publish
from system.faults.table import ELSEWHERE, FAULTS
from system.faults.world import ACCOUNT, PASSWORD, Fault, Site
from system.samba import SambaDC, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and drop packets")

ROOT = Path(__file__).parents[3]
TITLES = yaml.safe_load((ROOT / "adwatch/languages/en.yaml").read_text())["titles"]
NOTICED_WITHIN_S = 30.0
RECOVERED_WITHIN_S = 60.0  # what failed for long is tried again every half a minute
AFTER_S = 1.0
MORE = """\
alerts:
  targets: ["{mail}", "{hook}"]
  after: 1s
  remind: 1h
safety: {{window: 1s}}
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
            f"| {self.fault.name} | {self.fault.injected} | {served} | {self.fault.state}"
            f" | {noticed} | {self.recovered:.1f} s | {self.messages} | {self.lost} |"
        )


HEAD = """\
| fault | injected by | served meanwhile | status | noticed | recovered | messages | peers lost |
| --- | --- | --- | --- | ---: | ---: | --- | ---: |
"""
HEAD_ELSEWHERE = """
| also injected | by |
| --- | --- |
"""


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Row]]:
    found: list[Row] = []
    yield found
    others = "".join(f"| {what} | `{file}`, `{test}` |\n" for what, file, test in ELSEWHERE)
    publish("faults", HEAD + "".join(f"{row.text()}\n" for row in found) + HEAD_ELSEWHERE + others)


class Sites:
    """The site that the faults share; one that a failure has left broken is made anew."""

    def __init__(self, dc: SambaDC, folder: Path) -> None:
        self._dc = dc
        self._folder = folder
        self._count = 0
        self._open: Iterator[Site] | None = None
        self._site: Site | None = None

    def site(self) -> Site:
        if self._site is None:
            self._count += 1
            folder = self._folder / str(self._count)
            folder.mkdir()
            self._open = self._made(folder)
            self._site = next(self._open)
        return self._site

    def drop(self) -> None:
        if self._open is not None:
            with suppress(StopIteration):
                next(self._open)
        self._open = self._site = None

    def _made(self, folder: Path) -> Iterator[Site]:
        self._dc.set_password(ACCOUNT, PASSWORD)
        with proxy(self._dc, folder) as between, inboxes() as (mailbox, hook):
            authority = Authority("the suite's")
            home = folder / "adwatch"
            config = configured(
                between.url,
                home / "ca.pem",
                ACCOUNT,
                more=MORE.format(mail=mailbox.url, hook=hook.url),
            )
            for old, new in (
                ("path: users.conf", "path: out/users.conf"),
                ("timeout: 4s", "timeout: 2s"),
                ("'echo \"$0\" >> reloads'", "'test ! -e down && echo \"$0\" >> reloads'"),
            ):
                assert old in config
                config = config.replace(old, new)
            adwatch = Adwatch(home, config, PASSWORD)
            adwatch.output = home / "out" / "users.conf"
            trusted = Path(self._dc.ca_file).read_bytes() + authority.file(folder).read_bytes()
            (home / "ca.pem").write_bytes(trusted)
            site = Site(self._dc, between, adwatch, mailbox, hook, folder, authority)
            with mounted(site.out), mounted(site.state):
                try:
                    adwatch.start()
                    wait_for("online", site.well)
                    site.base = frozenset(site.numbers())
                    yield site
                finally:
                    adwatch.kill()


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A small file system of its own."""
    folder.mkdir(mode=0o751)
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def sites(dc: SambaDC, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """With an account of the suite's own, for what would lock others out."""
    dn = dc.add_user(ACCOUNT, f"CN=Users,{dc.base_dn}")
    made = Sites(dc, tmp_path_factory.mktemp("faults"))
    yield made
    made.drop()
    dc.delete(dn)


@pytest.fixture
def site(sites: Sites, user: Callable[..., str], temporary: Callable[..., str]) -> Site:
    """What the last test has changed is gone from it, and its inboxes are empty."""
    one = sites.site()
    try:
        wait_for("rest after the test before", lambda: at_rest(one))
    except AssertionError:  # that one has failed
        sites.drop()
        one = sites.site()
    one.user, one.temporary, one.also = user, temporary, set()
    one.mailbox.mails.clear()
    one.hook.said.clear()
    return one


def at_rest(site: Site) -> bool:
    """Whether what the last test had is gone; many that go at once need a word."""
    if site.status()["state"] == "held":
        site.adwatch("approve")
    quiet = site.status()["alerts"] == {"open": [], "owed": 0}
    return quiet and site.well() and site.numbers() == site.base


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_takes_nobodys_phone_is_told_once_and_mends_itself(
    fault: Fault, site: Site, rows: list[Row]
) -> None:
    noticed = None
    with fault.inject(site):
        begun = time.monotonic()
        if fault.incidents:
            wait_for("the notice", lambda: is_noticed(site, fault), NOTICED_WITHIN_S)
            noticed = time.monotonic() - begun
            wait_for("the messages", lambda: is_told(site, fault))
            assert site.open() == sorted(fault.incidents)
            assert site.status()["state"] == fault.state
            assert fault.says in mails(site)
        if fault.ad_up:
            site.user("meanwhile", telephoneNumber="7500")
        if fault.reaches:
            wait_for("a change", lambda: site.adwatch.section("7500"), RECOVERED_WITHIN_S)
        if not fault.incidents:  # for as long as something false would take to be told
            wait_for("nothing", lambda: time.monotonic() > begun + 3 * AFTER_S)
        assert site.base | site.also <= site.numbers()
    begun = time.monotonic()
    if not fault.ad_up:
        site.user("meanwhile", telephoneNumber="7500")
    wait_for("the change", lambda: site.adwatch.section("7500"), RECOVERED_WITHIN_S)
    wait_for("online", site.well, RECOVERED_WITHIN_S)
    recovered = time.monotonic() - begun
    told = expected(fault)
    wait_for(
        "the last messages",
        lambda: all(len(way) == len(told) for way in titles(site, fault)),
        RECOVERED_WITHIN_S,
    )
    wait_for("nothing open", lambda: site.status()["alerts"] == {"open": [], "owed": 0})
    for way in titles(site, fault):
        assert Counter(way) == Counter(told), mails(site)
    lost = len((site.base | site.also) - site.numbers())
    assert lost == 0
    said = f"{' and '.join(fault.incidents)}: 1 opening, 1 end" if fault.incidents else "none"
    rows.append(Row(fault, noticed, recovered, said, lost))


def is_noticed(site: Site, fault: Fault) -> bool:
    said = site.status()
    if fault.state != "online":
        return bool(said["state"] == fault.state)
    return bool(said["peers"]["rejected"]) or bool(said["alerts"]["open"])


def is_told(site: Site, fault: Fault) -> bool:
    mailed, posted = titles(site, fault)
    return all(len(way) == len(fault.incidents) for way in [mailed, *[posted] * (not fault.deaf)])


def titles(site: Site, fault: Fault) -> tuple[list[str], list[str]]:
    """The subjects of the mails and those at the webhook, without the host."""
    mailed, posted = (
        [title.partition(": ")[2] for title in way]
        for way in (site.mailbox.subjects(), site.hook.titles())
    )
    if fault.grows:
        mailed, posted = (
            [one for one in way if not one.startswith("more: ")] for way in (mailed, posted)
        )
    return mailed, posted


def expected(fault: Fault) -> list[str]:
    """Every subject, without the host."""
    titles = [TITLES[kind].format(subject="users") for kind in fault.incidents]
    return titles + [f"over: {title}" for title in titles]


def mails(site: Site) -> str:
    parts = [mail.get_body(("plain",)) for mail in site.mailbox.mails]
    return "\n\n".join(part.get_content() for part in parts if part is not None)


def test_what_the_table_says_of_other_tests_is_so() -> None:
    for _, file, name in ELSEWHERE:
        assert f"def {name}(" in (ROOT / file).read_text(), name
