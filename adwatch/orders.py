"""What the running service is asked to do by commands and by the status page, on its loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adwatch.core.board import held_digest
from adwatch.core.words import line
from adwatch.report import hold_json, judged, told
from adwatch.service import Service
from adwatch.turn import Turn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Orders:
    """`read` makes a turn of a kind and notes it; `note` notes one that asked AD nothing."""

    service: Service
    read: Callable[[str], Turn]
    note: Callable[[Turn], None]

    def do(self, said: dict[str, Any]) -> dict[str, Any]:
        """Does one thing and tells what came of it."""
        command = said.get("command")
        if command == "sync":
            turn = self.read("poll")
            if "directory" not in turn.faults and self.service.store.owed("compare"):
                turn = turn.then(self.read("compare"))
            return told(self.service, turn)
        if command in ("approved", "dismissed"):
            return self._judge(command)
        if command == "judge":
            return self._judge_shown(said)
        if command == "rotate":
            peer = self.service.peer(str(said.get("guid")))
            turn = self.service.rotate(peer)
            self.note(turn)
            return {**told(self.service, turn), "secret": self.service.secret(peer)}
        return {"exit": 2, "error": f"the running adwatch does not know {command!r}"}

    def _judge(self, verdict: str) -> dict[str, Any]:
        held, turn = self.service.judge(verdict)
        self.note(turn)
        return judged(held, turn)

    def _judge_shown(self, said: dict[str, Any]) -> dict[str, Any]:
        """A verdict on what somebody was shown, and on nothing else."""
        held = [hold_json(hold) for hold in self.service.store.pending()]
        if not held or held_digest(held) != said.get("held"):
            return {"exit": 1, "differs": True}
        verdict = "approved" if said.get("verdict") == "approved" else "dismissed"
        log.info(line("judged", verdict=verdict, by=said.get("by"), held=len(held)))
        return self._judge(verdict)
