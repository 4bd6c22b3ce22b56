"""Domain controllers with many users: loaded once, kept as a volume, copied for each run."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from system.samba import SambaDC, controller, ensure, project_name, run

LOAD: Final = Path(__file__).with_name("load.py")
BASE: Final = "OU=Bench,DC=example,DC=test"
_WHOLE: Final = ".loaded"  # in a volume that was filled to its end


def say(text: str) -> None:
    """Word of what takes long, on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def domain(users: int) -> Iterator[SambaDC]:
    """A controller of its own with so many users below BASE, ready."""
    compose = ensure()
    kept = _kept(users, compose)
    project = project_name()
    # Compose takes a volume of that name as it finds it, and removes it with the rest.
    volume = f"{project}_dc1"
    run("docker", "volume", "create", volume)
    try:
        _copy(kept, volume, _image(compose))
        with controller(compose, project) as dc:
            yield dc
    finally:
        run("docker", "volume", "rm", "-f", volume)


def _image(compose: str) -> str:
    """The controller's image, which the Compose command names."""
    (tag,) = (w.partition("=")[2] for w in compose.split() if w.startswith("SAMBA_IMAGE_TAG="))
    return f"adwatch-samba-ad-dc:{tag}"


def _kept(users: int, compose: str) -> str:
    """The volume that holds a domain of so many users, made where it is missing."""
    image = _image(compose)
    content = hashlib.sha256(LOAD.read_bytes() + image.encode()).hexdigest()[:12]
    kept = f"adwatch-bench-{users}-{content}"
    if _is_whole(kept, image):
        return kept
    say(f"loading {users} users into a new domain")
    begun = time.monotonic()
    project = project_name()
    with controller(compose, project) as dc:
        run("docker", "cp", str(LOAD), f"{dc.container}:/load.py")
        _load(dc, users)
        dc.stop()
        run("docker", "volume", "rm", "-f", kept)
        _copy(f"{project}_dc1", kept, image)
        _in_volume(kept, image, f"touch /to/{_WHOLE}")
    say(f"loaded in {time.monotonic() - begun:.0f} s; kept as the volume {kept}")
    return kept


def _load(dc: SambaDC, users: int) -> None:
    command = ["docker", "exec", dc.container, "python3", "/load.py", str(users)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as loading:
        assert loading.stdout is not None
        for line in loading.stdout:
            if int(line) % 10_000 == 0:
                say(f"  {line.strip()} users")
    if loading.returncode:
        raise RuntimeError(f"the users could not be loaded: see {' '.join(command)}")


def _is_whole(volume: str, image: str) -> bool:
    """Whether a volume is there, and was not cut short while it was filled."""
    if volume not in run("docker", "volume", "ls", "-q").split():
        return False
    return _in_volume(volume, image, "ls -A /to").split().count(_WHOLE) == 1


def _copy(source: str, target: str, image: str) -> None:
    """Copies a volume whole; LMDB's files are sparse."""
    copy = "cp -a --sparse=always /from/. /to/ && sync /to"
    _in_volume(target, image, copy, "-v", f"{source}:/from:ro")


def _in_volume(volume: str, image: str, script: str, *options: str) -> str:
    """What a shell prints that has a volume at /to."""
    command = ["docker", "run", "--rm", "--network", "none", "-v", f"{volume}:/to", *options]
    return run(*command, "--entrypoint", "sh", image, "-c", script)
