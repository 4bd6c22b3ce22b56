"""What the configuration may say and this version cannot do yet: delete a line when it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adwatch.config.schema import Config


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
