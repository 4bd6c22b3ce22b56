"""Files are followed by their directories, whatever happens to these."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from adwatch.edges.watch import Watch, digest


class Followed:
    def __init__(self, *files: Path) -> None:
        self.seen = Event()
        self.watch = Watch(self.seen.set)
        self.watch.follow(files)
        self.watch.open()

    def notices(self) -> bool:
        found = self.seen.wait(20)
        self.seen.clear()
        return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "config.yaml"
    path.parent.mkdir()
    path.write_text("0")
    return path


@pytest.fixture
def followed(file: Path) -> Iterator[Followed]:
    one = Followed(file)
    yield one
    one.watch.close()


def save(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


def test_a_file_that_is_replaced_again_and_again(file: Path, followed: Followed) -> None:
    for text in "123":
        save(file, text)
        assert followed.notices()


def test_a_directory_that_is_made_anew(file: Path, followed: Followed) -> None:
    shutil.rmtree(file.parent)
    assert followed.notices()
    file.parent.mkdir()
    file.write_text("1")
    assert followed.notices()
    save(file, "2")
    assert followed.notices()


def test_a_file_that_comes_later_into_a_directory_that_comes_later(
    file: Path, followed: Followed, tmp_path: Path
) -> None:
    late = tmp_path / "late" / "template.j2"
    followed.watch.follow([file, late])
    late.parent.mkdir()
    late.write_text("1")
    assert followed.notices()


def test_what_comes_between_following_and_looking_is_seen(
    file: Path, followed: Followed, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    followed.watch.follow([file, other])
    other.write_text("1")
    assert followed.notices()


def test_the_far_end_of_a_link(file: Path, followed: Followed, tmp_path: Path) -> None:
    far = tmp_path / "far" / "config.yaml"
    far.parent.mkdir()
    far.write_text("1")
    file.unlink()
    file.symlink_to(far)
    assert followed.notices()
    save(far, "2")
    assert followed.notices()


def test_a_link_in_between_that_is_moved(file: Path, followed: Followed, tmp_path: Path) -> None:
    here, there, way = tmp_path / "here", tmp_path / "there", tmp_path / "way"
    for folder in (here, there):
        folder.mkdir()
        (folder / "template.j2").write_text(folder.name)
    way.symlink_to(here)
    followed.watch.follow([file, way / "template.j2"])
    way.unlink()
    way.symlink_to(there)
    assert followed.notices()
    save(there / "template.j2", "1")
    assert followed.notices()


def test_a_digest_tells_contents_apart_and_a_missing_file_too(tmp_path: Path) -> None:
    one = tmp_path / "one"
    seen = {digest(one)}
    for text in ("", "1", "2"):
        one.write_text(text)
        seen.add(digest(one))
    assert len(seen) == 4
