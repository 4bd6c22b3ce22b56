"""What `adwatch run` costs while it runs: idle, at one change, at many, and for a long time."""

from __future__ import annotations

import math
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from system.samba import SambaDC

from bench.domain import BASE, say
from bench.figures import Figures
from bench.measure import memory_of, wait_for
from bench.site import Site

IDLE_S = 20.0
POLLS_S = {"1s": 1.0, "200ms": 0.2}
_REST_S = 0.3
_BATCH = """
import sys, time
import ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
parameters = LoadParm()
parameters.load_default()
samdb = SamDB(session_info=system_session(), lp=parameters)
samdb.transaction_start()
for number in range(int(sys.argv[2])):
    message = ldb.Message(ldb.Dn(samdb, f"CN=Bench User {number:06d},{sys.argv[1]}"))
    message["x"] = ldb.MessageElement(sys.argv[3], ldb.FLAG_MOD_REPLACE, "facsimileTelephoneNumber")
    samdb.modify(message)
samdb.transaction_commit()
print(time.time())
"""


@contextmanager
def running(dc: SambaDC, folder: Path, poll: str) -> Iterator[Site]:
    """`run` under way, gone quiet."""
    site = Site(dc, folder, poll)
    site.start()
    try:
        yield site
    finally:
        site.stop()
        dc.close()


def idle(dc: SambaDC, site: Site, users: int, figures: Figures, name: str) -> None:
    """What a tick costs that finds nothing.

    `run` itself answers how many there were, so it is asked before and after what is measured,
    and the ticks are those of the whole time in between, in proportion.
    """
    parts = max(1, round(IDLE_S / 4))
    for _ in range(parts):
        before, asked = _turns(site), time.monotonic()
        used, at, theirs = site.cpu(), time.monotonic(), _cpu_of_dc(dc)
        time.sleep(4)
        spent, took = site.cpu() - used, time.monotonic() - at
        figures.add(f"dc share {name} {users}", (_cpu_of_dc(dc) - theirs) / took)
        ticks = (_turns(site) - before) * took / (time.monotonic() - asked)
        figures.add(f"idle cpu {name} {users}", spent / ticks)
        figures.add(f"idle share {name} {users}", spent / took)
    gate = site.trace()["turn"]["p50"]
    figures.add(f"idle wall {name} {users}", gate)
    say(f"  idle tick at poll {name}, {users} users: {gate * 1000:.1f} ms")


def _turns(site: Site) -> int:
    return int(site.trace()["turn"]["count"])


def _cpu_of_dc(dc: SambaDC) -> float:
    """Seconds of CPU that the controller's processes have used, as far as they still live."""
    said = subprocess.run(
        ["docker", "top", dc.container, "-o", "pid"], check=True, capture_output=True, text=True
    )
    total = 0.0
    for pid in said.stdout.split()[1:]:
        try:
            total += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        except FileNotFoundError:
            continue
    return total


def one_change(dc: SambaDC, site: Site, users: int, runs: int, figures: Figures) -> None:
    """What a single change costs beside what an idle loop uses: own CPU, and octets."""
    usual, received = _idle_rates(site)
    for at in range(runs):
        dn = _someone(users)
        before, stamp = time.monotonic(), site.stamp()
        used, had = site.cpu(), site.received()
        dc.modify(dn, facsimileTelephoneNumber=f"one{at}x{random.randrange(10**6)}")
        site.replaced(stamp)
        time.sleep(1.0)  # what follows it, the reload, is a part of it
        took = time.monotonic() - before
        figures.add(f"change cpu {users}", site.cpu() - used - usual * took)
        figures.add(f"change octets {users}", max(0.0, site.received() - had - received * took))
    say(f"  one change: {median(figures.all(f'change cpu {users}')) * 1000:.1f} ms CPU")


def _idle_rates(site: Site) -> tuple[float, float]:
    """CPU and octets a second of a loop that finds nothing."""
    at, used, had = time.monotonic(), site.cpu(), site.received()
    time.sleep(5)
    took = time.monotonic() - at
    return (site.cpu() - used) / took, (site.received() - had) / took


def _someone(users: int) -> str:
    return f"CN=Bench User {random.randrange(users):06d},{BASE}"


def latency(dc: SambaDC, site: Site, users: int, changes: int, figures: Figures, name: str) -> None:
    """From a change in AD to the file that has it.

    Changes come at moments that are spread evenly over the time between two ticks, in no order:
    a few at random would often fall more into one half of it, and half of them is a figure here.
    """
    poll_s = POLLS_S[name]
    parts = [(at + random.random()) / changes for at in range(changes)]
    random.shuffle(parts)
    for at, part in enumerate(parts):
        time.sleep((math.ceil(_REST_S / poll_s) + part) * poll_s)  # since a tick wrote the file
        stamp = site.stamp()
        dc.modify(_someone(users), facsimileTelephoneNumber=f"late{at}x{random.randrange(10**6)}")
        begun = time.monotonic()
        figures.add(f"latency {name} {users}", site.replaced(stamp) - begun)
    half, most = (figures.share(f"latency {name} {users}", part) for part in (0.5, 0.95))
    say(f"  latency at poll {name}: {half:.2f} s, 95 % within {most:.2f} s")


def batch(dc: SambaDC, site: Site, users: int, runs: int, figures: Figures) -> None:
    """A thousand changes in one commit."""
    count = min(1000, users)
    for at in range(runs):
        before, value = len(site.adwatch.reloads()), f"batch{at}x{random.randrange(10**6)}"
        command = ["docker", "exec", "-i", dc.container, "python3", "-", BASE, str(count), value]
        done = subprocess.run(command, input=_BATCH, check=True, capture_output=True, text=True)
        committed = float(done.stdout)
        wait_for("the batch", _has(site, value, count))
        figures.add(f"batch {users}", site.adwatch.output.stat().st_mtime - committed)
        site.settle()
        figures.add(f"batch reloads {users}", len(site.adwatch.reloads()) - before)
    say(f"  {count} changes in one commit: {median(figures.all(f'batch {users}')):.2f} s")


def _has(site: Site, value: str, count: int) -> Callable[[], bool]:
    return lambda: site.adwatch.text().count(f"context = {value}\n") == count


def long_run(dc: SambaDC, site: Site, users: int, seconds: float, figures: Figures) -> None:
    """Resident memory while changes come in: at the begin, and as it goes on."""
    ends, at = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        dc.modify(_someone(users), facsimileTelephoneNumber=f"long{at}x{random.randrange(10**6)}")
        at += 1
        if at % 5 == 0:
            figures.add(f"memory {users}", memory_of(site.pid))
        time.sleep(0.2)
    figures.add(f"memory {users}", memory_of(site.pid))
    figures.add(f"memory peak {users}", _peak(site.pid))
    said = figures.all(f"memory {users}")
    say(f"  {at} changes in {seconds:.0f} s: {said[0] / 1024:.0f} to {said[-1] / 1024:.0f} MiB")


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith("VmHWM:"))


def hour() -> float:
    """For how many seconds changes come in: HOUR_S, a minute by default."""
    return float(os.environ.get("HOUR_S", "60"))
