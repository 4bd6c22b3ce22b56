"""Files watched by their directories: a watch on a file itself goes blind at the first atomic save.

Measured with watchfiles 1.3.0; what inotify can't tell (another machine writes on a network
file system, a link in between is moved) is found by looking once a second.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

from adwatch.core.words import line

log = logging.getLogger(__name__)

# watchfiles wakes at every step, and tells within two of them what happened.
_STEP_MS: Final = 450
_LOOK_MS: Final = 2 * _STEP_MS

Stamp = tuple[int, ...] | None


def stamp(path: Path) -> Stamp:
    """What tells one writing of a file from another without reading it; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def digest(path: Path) -> str:
    """Tells one content of a file from another; one that can't be read has a content, too."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return str(error.strerror)


class Watch:
    """Calls `changed`, on a thread of its own, whenever one of the files may be another."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._known: dict[Path, Stamp] = {}
        self._lock = Lock()
        self._end = Event()
        self._thread: Thread | None = None
        self._blind = ""
        self._resolved = frozenset[Path]()
        """The files whose links were followed to `_parents`; the thread's own."""
        self._parents = set[Path]()

    def follow(self, files: Iterable[Path]) -> None:
        """Which files are meant from now on; they need not be there yet."""
        with self._lock:
            before = self._known
            self._known = {path: before[path] if path in before else stamp(path) for path in files}

    def open(self) -> None:
        """Begins to watch."""
        self._thread = Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._end.is_set():
            directories = self._directories()
            for told in self._signs(frozenset(path for path, _ in directories)):
                differs = self._differs()
                if differs:
                    self._changed()
                if told or differs:
                    self._resolved = frozenset()
                    if self._directories() != directories:
                        break  # one is another now, and the watch on the old one blind

    def _signs(self, directories: frozenset[Path]) -> Iterator[bool]:
        """Something may have happened: true where the system tells so, else once a second."""
        from watchfiles import watch  # which only a service needs

        try:
            signs = watch(
                *directories,
                watch_filter=None,
                debounce=_STEP_MS,
                step=_STEP_MS,
                stop_event=self._end,
                rust_timeout=_LOOK_MS,
                yield_on_timeout=True,
                raise_interrupt=False,
                recursive=False,
            )
            for events in signs:
                self._blind = ""
                yield bool(events)
        except OSError as error:  # gone meanwhile; or more watches than the system allows
            if str(error) != self._blind:
                self._blind = str(error)
                log.warning(line("watch", cause=error, meanwhile="looking once a second"))
            self._end.wait(1.0)
            yield True

    def _differs(self) -> bool:
        with self._lock:
            before, self._known = self._known, {path: stamp(path) for path in self._known}
            return self._known != before

    def _directories(self) -> frozenset[tuple[Path, Stamp]]:
        """Where the files are, and where those are that they link to; only what can be watched."""
        with self._lock:
            files = frozenset(self._known)
        if files != self._resolved:  # to follow links costs more than all else of a look
            self._resolved, self._parents = files, {path.parent for path in files}
            self._parents |= {Path(os.path.realpath(path)).parent for path in files}
        found = ((path, stamp(path)) for path in self._parents if os.access(path, os.R_OK))
        return frozenset((path, known[:2]) for path, known in found if known)
