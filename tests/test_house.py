"""What the house rules of docs/architecture.md say and no linter checks."""

from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
MODULES = sorted((HOUSE / "adwatch").rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_module_has_400_lines_at_most_and_opens_with_its_law(module: Path) -> None:
    text = module.read_text()
    assert text.count("\n") <= 400
    assert text.startswith('"""')
