"""A configuration is written down and read as a person would."""

from collections.abc import Callable
from pathlib import Path

import pytest

from adwatch.config.load import load
from adwatch.config.schema import Config
from adwatch.errors import ConfigError

HEAD = """\
directory:
  servers: ldaps://dc1.example.test
  user: svc@example.test
  password_file: bind-password
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Puts a text into config.yaml, as it is."""

    def put(text: str | bytes) -> Path:
        path = tmp_path / "config.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return put


@pytest.fixture
def config(write: Callable[[str], Path]) -> Callable[[str], Config]:
    """Loads a text below a directory section that is right."""
    return lambda text="": load(write(HEAD + text))


@pytest.fixture
def lines(write: Callable[[str | bytes], Path]) -> Callable[[str | bytes], list[str]]:
    """The lines of the refusal that a text meets, the path shortened to config.yaml."""

    def refused(text: str | bytes) -> list[str]:
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.exit_code == 3
        return [line.replace(str(path), "config.yaml", 1) for line in caught.value.lines()]

    return refused
