"""What a process costs: wall, CPU and memory; medians and shares of many such figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_START: Final = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
running = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(running.pid, 0)
wall, code = time.perf_counter() - begun, os.waitstatus_to_exitcode(status)
took = [wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, code]
print("\\n" + json.dumps(took), file=sys.stderr)
"""


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
    """Runs a command that must succeed; what it prints goes to `output`, or nowhere.

    It is started by a small process: what Linux tells of a process's memory at the most
    (getrusage(2)) is never less than what the one had that started it.
    """
    with (output or Path(os.devnull)).open("wb") as out:
        small = [sys.executable, "-S", "-c", _START, *map(str, command)]
        done = subprocess.run(
            small, cwd=cwd, stdout=out, stderr=subprocess.PIPE, env={**os.environ, **(env or {})},
            check=True,
        )  # fmt: skip
    said, _, took = done.stderr.decode().rstrip("\n").rpartition("\n")
    wall, cpu, rss_kib, code = json.loads(took)
    if code:
        raise RuntimeError(f"{command[0]} exits {code}: {said[-2000:]}")
    return Took(wall, cpu, rss_kib)


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
