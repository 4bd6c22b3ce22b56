"""What is asked of the directory, as configured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from adwatch.edges.directory.security import Security


@dataclass(frozen=True, slots=True)
class Settings:
    """The `directory` section, and the attributes that the mapping needs.

    `password` is called at each bind. Contacts are followed where they have a filter.
    """

    servers: tuple[str, ...]
    domain: str | None
    security: Security
    password: Callable[[], str] = field(compare=False)
    bases: tuple[str, ...]
    filter: str
    feed: str
    attributes: tuple[str, ...]
    contact_bases: tuple[str, ...] = ()
    contact_filter: str = ""
