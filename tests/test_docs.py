"""The documentation says what the program says, and all of it; every link leads somewhere."""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from adwatch import cli, errors
from adwatch.core.incidents import KINDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """What writes the reference and the man pages."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("reference"), importlib.import_module("manual")


Writers = tuple[ModuleType, ModuleType]


@pytest.mark.parametrize("page", ["configuration.md", "commands.md"])
def test_the_reference_is_what_the_program_says(page: str, writers: Writers) -> None:
    assert (DOCS / page).read_text() == writers[0].PAGES[page](), "run make docs"


@pytest.mark.parametrize("page", ["adwatch.1", "adwatch-config.5"])
def test_the_man_pages_are_what_the_program_says(page: str, writers: Writers) -> None:
    assert (ROOT / "man" / page).read_text() == writers[1].PAGES[page](), "run make docs"


def test_no_command_key_or_exit_code_is_left_out(writers: Writers) -> None:
    """Looked for in what is written, as the program has them: by argparse, pydantic and errors."""
    program, configuration = (
        (ROOT / "man" / name).read_text() for name in sorted(writers[1].PAGES)[::-1]
    )
    parser = cli.parser()
    (words,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    commands = (DOCS / "commands.md").read_text()
    readme = (ROOT / "README.md").read_text()
    listed = "\n".join(re.findall(r"^\| (`adwatch .*?) \|", readme, re.MULTILINE))
    for name, command in words.choices.items():
        assert f"\n## {name}\n" in commands
        assert f"\n.SS adwatch {name}\n" in program
        assert f"`adwatch {name}" in listed, f"README.md lacks {name}"
        for option in (one for action in command._actions for one in action.option_strings):
            assert f"`{option}`" in commands
            assert rf"\fB{option.replace('-', chr(92) + '-')}\fR" in program
    assert set(re.findall(r"^## (\w+)$", commands, re.MULTILINE)) == set(words.choices)
    assert set(re.findall(r"`adwatch (\w+)", listed)) == set(words.choices)
    for key in re.findall(r"^\| `(\S+)` \|", (DOCS / "configuration.md").read_text(), re.MULTILINE):
        assert rf"\fB{key}\fR" in configuration


def exit_codes() -> set[int]:
    """Those of the faults, and 0 and 2: done, and usage or changes."""
    own = [one for one in vars(errors).values() if isinstance(one, type)]
    return {0, 2, *(one.exit_code for one in own if issubclass(one, errors.AdwatchError))}


def test_every_exit_code_is_told_and_no_other() -> None:
    told = re.findall(r"^\| (\d+) \|", (DOCS / "commands.md").read_text(), re.MULTILINE)
    assert set(map(int, told)) == exit_codes()
    page = (ROOT / "man" / "adwatch.1").read_text().partition(".SH EXIT STATUS")[2]
    assert set(map(int, re.findall(r"^\\fB(\d+)\\fR$", page, re.MULTILINE))) == exit_codes()
    sentence = re.search(r"Exit codes: (.*?)\n\n", (ROOT / "README.md").read_text(), re.DOTALL)
    assert sentence is not None
    assert set(map(int, re.findall(r"\b(\d) \w", sentence[1]))) == exit_codes()


# They show nothing that a program could want, or only what is none of JSON's.
_WITHOUT_JSON = {"init", "run", "render", "completion"}


def test_every_command_that_tells_something_also_tells_programs() -> None:
    (words,) = (one for one in cli.parser()._actions if isinstance(one, argparse._SubParsersAction))
    with_it = {name for name, one in words.choices.items() if "--json" in one.format_help()}
    assert with_it == set(words.choices) - _WITHOUT_JSON


def test_no_key_is_left_without_a_meaning() -> None:
    rows = re.findall(
        r"^\| `(\S+)` \| .* \| (.*) \|$", (DOCS / "configuration.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 60
    assert [key for key, what in rows if not what.strip()] == []


def test_every_kind_of_alert_has_its_line_in_the_table() -> None:
    told = (DOCS / "alerts.md").read_text()
    assert [kind for kind in KINDS if f"| `{kind}` |" not in told] == []


def test_every_kind_of_alert_has_its_section_in_the_runbook_and_its_commands_there() -> None:
    text = (DOCS / "runbook.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", text, re.DOTALL | re.MULTILINE))
    assert tuple(sections) == KINDS
    general = text.partition("\n## ")[0]
    for kind, todo in yaml.safe_load((ROOT / "adwatch/languages/en.yaml").read_text())[
        "todo"
    ].items():
        for command in re.findall(r"adwatch \w+", todo):
            assert command in sections[kind] + general, f"{kind}: {command}"


def test_every_alert_of_prometheus_is_in_the_runbook_and_no_other() -> None:
    rules = (ROOT / "contrib" / "prometheus" / "adwatch.rules.yaml").read_text()
    told = re.findall(r"^\| `(Adwatch\w+)` \|", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    assert told == re.findall(r"- alert: (\w+)", rules)


def test_the_bench_measures_what_the_page_of_figures_shows() -> None:
    done = subprocess.run(
        [sys.executable, "bench/core.py"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={"PEERS": "20", "ROUNDS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = (DOCS / "performance.md").read_text()
    measured = re.findall(r"^\| (\w[^|]*) \| \d", done.stdout, re.MULTILINE)
    assert len(measured) == 3
    assert all(f"| {what} |" in shown for what in measured)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "-d",
        tmp_path / "site",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING  -" not in done.stderr
    named = re.findall(r"- (\S+)\.md$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert set(named) == {page.stem for page in DOCS.glob("*.md")}, "every page has its place"
    assert (tmp_path / "site" / "configuration" / "index.html").exists()
    pages = list((tmp_path / "site").rglob("*.html"))
    assert all("fonts.googleapis" not in page.read_text() for page in pages), "nothing from afar"
