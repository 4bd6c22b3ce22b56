"""One output of the configuration, as the service uses it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from adwatch import __version__
from adwatch.core.render import Renderer
from adwatch.edges import asterisk


@dataclass(frozen=True, slots=True)
class Output:
    """One output: where it goes, how it is written and what tells Asterisk."""

    name: str
    path: Path
    renderer: Renderer
    mode: int
    owner: str | None
    reload: str | None

    @property
    def kind(self) -> str:
        """What its text is counted in: only of the shipped formats is known what a peer is."""
        form = self.renderer.form
        own = form.source or form.name in ("voicemail.conf", "hints.conf")
        return "lines" if own else "peers"

    @property
    def shown_by(self) -> str:
        """Which channel driver shows its peers, empty where nobody can look."""
        form = self.renderer.form
        return "" if form.source else asterisk.look_kind(form.name, self.reload or "")

    def records(self, text: str) -> frozenset[str]:
        """The parts of a text that is this output's, to tell how much of it another lacks."""
        if self.kind == "peers":
            return asterisk.numbers_in(text)
        return frozenset(one for one in text.splitlines() if one and not one.startswith(";"))

    def made_with(self, secrets: str) -> str:
        """Tells what a text of this output was made with: another adwatch may write otherwise.

        `secrets` tells the secrets from others.
        """
        made_with = f"{self.digest()} {self.renderer.template()!r} {secrets}"
        return hashlib.blake2b(made_with.encode(), digest_size=16).hexdigest()

    def digest(self) -> str:
        """Tells one way of writing this output, and of judging its peers, from another."""
        return hashlib.sha256(f"{__version__} {self.renderer.form!r}".encode()).hexdigest()
