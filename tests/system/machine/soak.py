"""`make soak`: the machine for as long as you like, on every combination of feed and account.

`SOAK_S` seconds each (900), `JOBS` of them at once (2), `COMBINATION` for a single one. A failure
is made shorter, as far as ten minutes allow, and left in soak-out/ as a script to run again.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from system.machine.rules import machine_of
from system.machine.world import COMBINATIONS, Combination, World
from system.samba import SambaDC, two_controllers

OUT = Path("soak-out")
SHRINK_S = 600.0
Operation = tuple[str, tuple[Any, ...]]


class FoundError(AssertionError):
    """A sequence of operations after which adwatch differs from AD; it names the script."""

    def __init__(self, message: str, operations: list[Operation]) -> None:
        super().__init__(message)
        self.operations = operations


def examples(
    dcs: Sequence[SambaDC],
    combination: Combination,
    folder: Path,
    counts: Counter[str],
    *,
    count: int,
    steps: int,
    go_on: Callable[[], bool] = lambda: True,
    seeded: int | None = None,
) -> None:
    """Runs some examples of the machine. Raises FoundError for the first that differs.

    With `seeded` None they are the same ones every time.
    """
    broken: list[tuple[list[Operation], BaseException]] = []
    machine = machine_of(
        lambda: World(dcs, combination, folder), lambda: go_on() and not broken, broken, counts
    )
    if seeded is not None:
        machine = seed(seeded)(machine)
    how = settings(
        max_examples=count,
        stateful_step_count=steps,
        phases=[Phase.generate],
        derandomize=seeded is None,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine, settings=how)
    except Exception as error:
        if not broken:
            raise
        operations, fault = broken[0]
        script = write_script(combination, operations, fault)
        raise FoundError(
            f"{fault}\nrun again: PYTHONPATH=tests .venv/bin/python {script}", operations
        ) from error


def fails(
    dcs: Sequence[SambaDC], combination: Combination, folder: Path, operations: list[Operation]
) -> str:
    """What differs after these operations, empty where nothing does."""
    world = World(dcs, combination, folder)
    try:
        for name, values in operations:
            world.do(name, *values)
        world.do("look", True)
    except Exception as error:  # noqa: BLE001 - a difference, whatever it is
        return f"{type(error).__name__}: {error}"
    finally:
        world.close()
    return ""


def shrunk(
    operations: list[Operation], still: Callable[[list[Operation]], str], seconds: float
) -> list[Operation]:
    """Fewer operations that still fail: ever smaller parts are left out, while there is time."""
    deadline = time.monotonic() + seconds
    size = len(operations) // 2
    while size:
        at = 0
        while at < len(operations) and time.monotonic() < deadline:
            fewer = operations[:at] + operations[at + size :]
            if still(fewer):
                operations = fewer
            else:
                at += size
        size //= 2
    return operations


def write_script(
    combination: Combination, operations: Sequence[Operation], fault: BaseException
) -> Path:
    """A program that does the same again."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{combination}-{time.strftime('%H%M%S')}.py"
    rows = "".join(f"    {operation!r},\n" for operation in operations)
    path.write_text(
        f"# {str(fault).partition(chr(10))[0]!a}\n"
        "from system.machine.soak import replay\n"
        "from system.machine.world import Combination\n\n"
        f"replay({combination!r}, [\n{rows}])\n"
    )
    return path


def replay(combination: Combination, operations: list[Operation]) -> None:
    """Does operations in a domain of their own, and says whether adwatch is as AD then."""
    with servers() as dcs, tempfile.TemporaryDirectory() as folder:
        fault = fails(dcs, combination, Path(folder), operations)
    print(fault or "no difference")
    sys.exit(bool(fault))


@contextmanager
def servers() -> Iterator[list[SambaDC]]:
    """The domain controllers of one combination."""
    with two_controllers() as both:
        yield list(both)


def soak(combination: Combination, seconds: float) -> Counter[str]:
    """Runs example after example until the time is up; gives what was done how often."""
    counts: Counter[str] = Counter()
    with servers() as dcs, tempfile.TemporaryDirectory() as name:
        folder, until = Path(name), time.monotonic() + seconds
        while time.monotonic() < until:
            number = random.randrange(2**32)
            print(f"{combination}: seed {number}, {counts['look']} looks", flush=True)
            try:
                examples(
                    dcs,
                    combination,
                    folder,
                    counts,
                    count=8,
                    steps=12,
                    go_on=lambda: time.monotonic() < until,
                    seeded=number,
                )
            except FoundError as found:
                print(f"{combination}: DIFFERENT: {found}", flush=True)
                counts["differences"] += 1
                _shorten(dcs, combination, folder, found.operations)
    return counts


def _shorten(
    dcs: Sequence[SambaDC], combination: Combination, folder: Path, operations: list[Operation]
) -> None:
    fewer = shrunk(operations, lambda o: fails(dcs, combination, folder, o), SHRINK_S)
    fault = AssertionError(fails(dcs, combination, folder, fewer) or "not every time")
    print(f"{combination}: shorter: {write_script(combination, fewer, fault)}", flush=True)


def table(results: dict[str, dict[str, int]]) -> str:
    """What was done, a row for each kind of operation and a column for each combination."""
    rows = sorted({name for counts in results.values() for name in counts})
    width = max(map(len, rows), default=0)
    lines = [" " * width + "".join(f"  {name}" for name in results)]
    for row in rows:
        cells = "".join(f"  {counts.get(row, 0):>{len(n)}}" for n, counts in results.items())
        lines.append(f"{row:<{width}}{cells}")
    return "\n".join(lines)


def _is(name: str) -> bool:
    return (OUT / f"{name}.json").exists()


def main() -> int:
    """Every combination in a process of its own; 1 where one found a difference."""
    seconds = float(os.environ.get("SOAK_S", "900"))
    chosen = os.environ.get("COMBINATION")
    if len(sys.argv) > 1:
        combination = next(c for c in COMBINATIONS if str(c) == sys.argv[1])
        (OUT / f"{combination}.json").write_text(json.dumps(soak(combination, seconds)))
        return 0
    OUT.mkdir(exist_ok=True)
    for old in OUT.glob("*.json"):
        old.unlink()
    names = [str(c) for c in COMBINATIONS if chosen in (None, "", str(c))]
    command = [sys.executable, "-m", "system.machine.soak"]
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        ended = list(pool.map(lambda n: subprocess.run([*command, n], check=False), names))
    results = {n: json.loads((OUT / f"{n}.json").read_text()) for n in names if _is(n)}
    print(table(results))
    differences = sum(counts.get("differences", 0) for counts in results.values())
    print(f"{differences} differences")
    for name in set(names) - set(results):
        print(f"{name}: ended without a result")
    return int(bool(differences) or any(done.returncode for done in ended))


if __name__ == "__main__":
    sys.exit(main())
