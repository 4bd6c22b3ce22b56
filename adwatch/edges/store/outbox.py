"""Incidents that are known, and messages that wait for their targets: one row for each of both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from adwatch.core.incidents import Incident
from adwatch.edges.store import rows
from adwatch.edges.store.connection import Connection
from adwatch.edges.store.rows import Letter


class Outbox(Connection):
    """What the store keeps for alerts; a letter leaves it once its target took it."""

    def incidents(self) -> dict[str, Incident]:
        """Every incident that is known, by key."""
        return {
            key: rows.incident(text) for key, text in self._rows("SELECT key, body FROM incidents")
        }

    def tell(self, incidents: Mapping[str, Incident], letters: Iterable[Letter]) -> None:
        """Keeps the incidents as they are now, and the letters, both or neither.

        A letter takes the place of an older one of the same incident that only reminds.
        """
        with self._transaction():
            self._run("DELETE FROM incidents")
            self._many(
                "INSERT INTO incidents VALUES (?, ?)",
                [(key, json.dumps(asdict(incident))) for key, incident in incidents.items()],
            )
            for letter in letters:
                said = letter.message
                self._run(
                    "DELETE FROM outbox WHERE target = ? AND incident = ?"
                    " AND occasion IN ('reminder', 'grew')",
                    (letter.target, said.key),
                )
                self._run(
                    "INSERT INTO outbox (target, incident, occasion, body, at, tries, due)"
                    " VALUES (?, ?, ?, ?, ?, 0, 0)",
                    (letter.target, said.key, said.occasion, json.dumps(asdict(said)), letter.at),
                )

    def letters(self) -> list[Letter]:
        """Every letter that is not delivered, the oldest first."""
        found = self._rows("SELECT * FROM outbox ORDER BY id")
        return [rows.letter(row) for row in found]

    def count_letters(self) -> int:
        """How many there are."""
        return int(self._same("SELECT COUNT(*) FROM outbox")[0][0])

    def delivered(self, letter: Letter) -> None:
        """A letter has arrived, or nobody wants it any more."""
        self._run("DELETE FROM outbox WHERE id = ?", (letter.id,))

    def failed(self, letter: Letter, due: float) -> None:
        """A letter did not arrive, and is due again."""
        self._run("UPDATE outbox SET tries = tries + 1, due = ? WHERE id = ?", (due, letter.id))
