"""The wheel and the source archive: all that a user needs is in them, and it works from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from system.programs import program

ROOT = Path(__file__).parents[1]
PAGES = ("man1/adwatch.1", "man5/adwatch-config.5")


def built(source: Path, into: Path, kind: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (made,) = into.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made of the source archive alone."""
    folder = tmp_path_factory.mktemp("dist")
    with tarfile.open(built(ROOT, folder, "sdist")) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.glob("adwatch-*/")
    shutil.rmtree(source / "tests")  # which nobody needs for it
    return built(source, folder, "wheel")


@pytest.fixture(scope="module")
def prefix(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as pip does it: what it shares is beside the modules."""
    folder = tmp_path_factory.mktemp("prefix")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*command, "--prefix", folder, "--ignore-installed", wheel], check=True)
    return folder


def installed(prefix: Path, *words: str) -> str:
    (modules,) = prefix.glob("lib*/python*/site-packages")
    done = subprocess.run(
        [sys.executable, "-m", "adwatch", *words], cwd=prefix, check=True,
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(modules)},
    )  # fmt: skip
    return done.stdout


def test_the_source_archive_has_what_the_tests_and_the_documentation_need(wheel: Path) -> None:
    (source,) = wheel.parent.glob("adwatch-*.tar.gz")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = (
        "Makefile",
        "mkdocs.yml",
        "docs/index.md",
        "man/adwatch.1",
        "contrib/grafana/adwatch.json",
    )
    assert set(wanted) <= inside
    assert "docker/deb/nfpm.yaml" in inside


def test_a_wheel_has_no_more_and_no_less_than_the_program_and_what_it_shares(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    modules = {f"adwatch/{path.relative_to(ROOT / 'adwatch')}" for path in package()}
    assert modules == {name for name in inside if name.startswith("adwatch/")}
    shared = {name.partition(".data/data/")[2] for name in inside if ".data/data/" in name}
    assert shared == {
        *(f"share/man/{page}" for page in PAGES),
        *(f"share/adwatch/systemd/{path.name}" for path in (ROOT / "systemd").iterdir()),
        "share/adwatch/config.yaml.example",
    }


def package() -> Iterator[Path]:
    for path in (ROOT / "adwatch").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def test_it_works_from_where_pip_puts_it(prefix: Path) -> None:
    assert installed(prefix, "--version").startswith("adwatch ")
    where = installed(prefix, "config", "schema")
    assert '"title"' in where
    example = prefix / "share" / "adwatch" / "config.yaml.example"
    assert "pjsip.conf" in installed(prefix, "config", "show", "--config", str(example))
    assert "complete" in installed(prefix, "completion", "bash")


@pytest.mark.parametrize("page", PAGES)
def test_man_finds_nothing_to_mend_in_a_page(prefix: Path, page: str) -> None:
    man, path = program("man-db", "man"), prefix / "share" / "man" / page
    environment = {**os.environ, "MANWIDTH": "78", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [man, "--warnings", "-l", str(path)], check=True, capture_output=True, text=True,
        env=environment,
    )  # fmt: skip
    assert done.stderr == ""
    assert "SEE ALSO" in done.stdout
