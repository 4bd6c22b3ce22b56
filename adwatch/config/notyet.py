"""What the configuration may say and this version cannot do yet: delete a line when it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from adwatch.config.schema import Config

# Refused: value → the way round.
REFUSED_FORMATS: Final = {"voicemail.conf": "a template", "hints.conf": "a template"}


def refuse(value: str, refused: dict[str, str]) -> str:
    """`value`, or a ValueError where this version does not have it."""
    if value in refused:
        raise ValueError(f"{value} is not in this version yet; use {refused[value]}")
    return value


def idle(config: Config) -> list[tuple[str, str]]:
    """Keys that are set, accepted and not acted on: key and sentence."""
    idle_keys = {
        "alerts.targets": (config.alerts.targets, "no alert is sent"),
    }
    return [
        (key, f"{key} is not in this version yet: {effect}")
        for key, (value, effect) in idle_keys.items()
        if value
    ]
