"""What every section of the schema shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, SecretStr, model_validator

from adwatch.config.source import Way
from adwatch.config.values import Wrong, Wrongness


class Part(BaseModel):
    """What all sections share: frozen, and a key that is not known is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if faults := tuple(self.clashes()):
            raise Wrong(*faults)
        return self

    def clashes(self) -> Iterator[Wrongness]:
        """What is wrong with the keys together, each being right by itself."""
        yield from ()


def one_secret(
    secret: SecretStr | None,
    file: Path | None,
    name: str,
    rests_on: tuple[Way, ...] = (),
) -> Iterator[Wrongness]:
    """Exactly one of a secret and of the file that holds it."""
    in_file = f"{name}_file"
    rests_on = (*rests_on, (name,), (in_file,))
    if secret is None and file is None:
        yield Wrongness((in_file,), f"is required, unless {name} is given", rests_on)
    if secret is not None and file is not None:
        yield Wrongness((name,), f"and {in_file} are both given; keep one", rests_on)
