"""The documentation says what the program says, and all of it; every link leads somewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["configuration.md", "commands.md"])
def test_the_reference_is_what_the_program_says(page: str) -> None:
    assert (DOCS / page).read_text() == reference().PAGES[page](), "run make docs"


def test_no_key_is_left_without_a_meaning() -> None:
    rows = re.findall(
        r"^\| `(\S+)` \| .* \| (.*) \|$", (DOCS / "configuration.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 60
    assert [key for key, what in rows if not what.strip()] == []


def test_every_kind_of_alert_has_its_line_in_the_runbook() -> None:
    from adwatch.core.incidents import KINDS

    told = (DOCS / "alerts.md").read_text()
    assert [kind for kind in KINDS if f"| `{kind}` |" not in told] == []


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
    assert (tmp_path / "site" / "configuration" / "index.html").exists()
    pages = list((tmp_path / "site").rglob("*.html"))
    assert all("fonts.googleapis" not in page.read_text() for page in pages), "nothing from afar"
