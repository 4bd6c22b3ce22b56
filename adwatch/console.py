"""How commands speak, and how they reach the configuration, the service or the one that runs."""

from __future__ import annotations

import gc
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwatch.errors import DamagedError

if TYPE_CHECKING:
    from adwatch.config.schema import Config
    from adwatch.service import Service


def complain(*lines: str) -> None:
    """Tells a fault, where faults are told."""
    for text in lines:
        print(text, file=sys.stderr)  # noqa: T201 - this is where people are told


def say(text: str) -> None:
    """A text on stdout; nothing where it is empty."""
    if text:
        sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def dump(value: Any) -> None:
    """A value as JSON on stdout, for programs."""
    say(json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "replace").decode())


def dump_line(value: Any) -> None:
    """The same in one line."""
    say(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode())


def path_of(given: Any) -> Path:
    """Where the configuration is."""
    from adwatch.config.source import default_path

    return Path(given.config) if given.config else default_path()


def load(given: Any, level: int = logging.WARNING) -> Config:
    """The configuration, with the log begun. Raises ConfigError."""
    from adwatch import journal
    from adwatch.config import load as configuration

    journal.begin(logging.DEBUG if given.verbose else level)
    return configuration.load(path_of(given))


def collect_seldom() -> None:
    """Looks for cycles less often: what is imported and read is many objects, hardly a cycle.

    What is there by now is for good, and is not looked at again.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@contextmanager
def opened(
    config: Config, *, dry: bool = False, secrets: bool = True, damaged: bool = False
) -> Iterator[Service]:
    """A service with its store open: the writer's, or one on a copy that writes nothing.

    Without `secrets` a lost key is no fault; with `damaged` a damaged store is one to tell of.
    """
    from adwatch.edges.control import Lock
    from adwatch.wiring import build

    service = build(config, dry=dry)
    collect_seldom()
    lock = Lock(config.state)
    try:
        if not dry:
            service.prepare()
            lock.take()
        try:
            service.open(secrets=secrets)
        except DamagedError as error:
            if not damaged:
                raise
            service.open_without_store(error)
        yield service
    finally:
        service.close()
        lock.release()


def handed_over(given: Any, request: dict[str, Any]) -> Any:
    """What the running service answers to a request, None where none runs.

    An edit that it could not take keeps nobody from asking it: all that counts is where its
    state is, and that is known long before all of the configuration is.
    """
    from adwatch.config.source import written_state
    from adwatch.edges.control import ask

    answer = ask(written_state(path_of(given)), request)
    if answer is not None and "error" in answer:
        complain(f"adwatch: {answer['error']}")
    return answer
