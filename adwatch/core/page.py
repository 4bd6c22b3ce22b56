"""What is asked of an HTTP path, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlencode

Origin = Literal["", "own", "other"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a document: the address that it came to, and the words behind it.

    `keep` are those of the words that every link must carry on. `address` is the visitor's.
    `origin` is whose page led here, as the browser says: one of this server's own, another's,
    or nobody's. `form` is what was posted, None where it was no POST, and `last_event` the
    last one that a browser had before it lost the connection.
    """

    url: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[tuple[str, str], ...] = ()
    address: str = ""
    origin: Origin = ""
    form: Mapping[str, str] | None = None
    last_event: str = ""

    def link(self, **words: str) -> str:
        """The address of another part of the same document."""
        query = urlencode([*self.keep, *words.items()])
        return f"{self.url}?{query}" if query else self.url

    def number(self, word: str) -> int:
        """A word of the query as a number from 0 to 999,999, 0 where it is none."""
        text = self.query.get(word, "")
        return int(text) if re.fullmatch("[0-9]{1,6}", text, re.ASCII) else 0


PLAIN: Final = Asked()


@dataclass(frozen=True, slots=True)
class Document:
    """What is answered: a media type, octets, a status of HTTP, and headers of its own."""

    kind: str
    content: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
