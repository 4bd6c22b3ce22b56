"""What a process costs: wall, CPU and memory; medians and shares of many such figures."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Took:
    """One process from its start to its end: seconds of wall and of CPU, KiB at the most."""

    wall: float
    cpu: float
    rss_kib: int


def timed(
    command: Sequence[str | Path],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    output: Path | None = None,
) -> Took:
    """Runs a command that must succeed; what it prints goes to `output`, or nowhere."""
    with (output or Path(os.devnull)).open("wb") as out:
        begun = time.perf_counter()
        running = subprocess.Popen(
            command, cwd=cwd, stdout=out, stderr=subprocess.PIPE, env={**os.environ, **(env or {})}
        )
        assert running.stderr is not None
        said = running.stderr.read()
        _, status, usage = os.wait4(running.pid, 0)
        wall = time.perf_counter() - begun
    running.returncode = os.waitstatus_to_exitcode(status)
    running.stderr.close()
    if running.returncode:
        raise RuntimeError(f"{command[0]} exits {running.returncode}: {said.decode()[-2000:]}")
    return Took(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that all threads of a process have used; /proc counts them in ns."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_of(pid: int) -> int:
    """KiB that a process has resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith("VmRSS:"))


def received_by(pid: int, port: int) -> int:
    """Octets that a process has received over its connections to a port, TLS and all."""
    command = ["ss", "-tinpH", "dst", f":{port}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    total = 0
    lines = said.splitlines()
    for head, facts in zip(lines[::2], lines[1::2], strict=True):
        if f"pid={pid}," in head:
            words = (word.partition(":") for word in facts.split())
            total += sum(int(value) for name, _, value in words if name == "bytes_received")
    return total


def wait_for(what: str, seen: Callable[[], bool], timeout_s: float = 120.0) -> float:
    """Looks every 2 ms until `seen()`; gives the time of the monotonic clock then."""
    deadline = time.monotonic() + timeout_s
    while not seen():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.002)
    return time.monotonic()


def share(figures: Iterable[float], part: float) -> float:
    """The figure that a part of them (0.5, 0.95) does not exceed."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
