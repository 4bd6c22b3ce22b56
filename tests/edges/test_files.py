"""The files that Asterisk includes, on a real file system."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.edges import asterisk


def test_who_writes_to_a_new_file_makes_another_of_it_or_nobody_vouches_for_it(
    tmp_path: Path,
) -> None:
    path, vouched = tmp_path / "users.conf", 0
    for turn in range(300):  # the larger it is, the longer it takes to write
        text = f"[{1000 + turn}]\n".encode() * (1 + turn * 5000)
        written = asterisk.replace(path, [text], 0o640, None)
        assert written.stands(path)
        with path.open("r+b") as file:
            file.write(b"#")
        if written.sure:
            vouched += 1
            assert not written.stands(path)
        if vouched > 9:
            break
    assert vouched


def test_another_mode_or_file_shows(tmp_path: Path) -> None:
    path = tmp_path / "users.conf"
    written = asterisk.replace(path, [b"[100]\n"], 0o640, None)
    path.chmod(0o666)
    assert not written.stands(path)
    path.chmod(0o640)
    assert written.stands(path)
    path.unlink()
    assert not written.stands(path)


@pytest.mark.parametrize(
    ("at_work", "left"),
    [
        (
            lambda path: asterisk.replace(path, [b"[100]\n"], 0o640, None),
            {"users.conf": b"[100]\n"},
        ),
        (asterisk.writable, {}),
    ],
    ids=["the service", "another check"],
)
def test_a_check_does_no_harm_to_who_is_at_work_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_work: Callable[[Path], object],
    left: dict[str, bytes],
) -> None:
    path, sync = tmp_path / "users.conf", os.fsync

    def check_meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        asterisk.writable(path)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", check_meanwhile)
    at_work(path)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == left


@given(st.lists(st.binary(max_size=5), max_size=300), st.binary(max_size=3))
def test_a_text_in_parts_is_one_file(parts: list[bytes], more: bytes) -> None:
    with TemporaryDirectory() as folder:
        is_one_file(Path(folder) / "parts", parts, more)


def is_one_file(path: Path, parts: list[bytes], more: bytes) -> None:
    asterisk.replace(path, parts, 0o640, None)
    assert path.read_bytes() == b"".join(parts)
    assert not asterisk.differs(path, parts)
    assert not asterisk.differs(path, [path.read_bytes()])
    assert asterisk.differs(path, [*parts, more]) == bool(more)
    with path.open("ab") as file:
        file.write(more)
    assert asterisk.differs(path, parts) == bool(more)
