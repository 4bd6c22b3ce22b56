"""An entry's attributes, kept small: users have the same few sets of names, and single values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from adwatch.core.model import Batch, Entry

Value = str | tuple[str, ...]


class Attributes(Mapping[str, tuple[str, ...]]):
    """Values by name, like a dict of tuples that takes a quarter of the room.

    `values` are in the order of `names`; a single one stands there by itself.
    """

    __slots__ = ("_places", "_values")

    def __init__(self, names: tuple[str, ...], values: tuple[Value, ...]) -> None:
        self._places = _places_of(names)
        self._values = values

    def __getitem__(self, name: str) -> tuple[str, ...]:
        value = self._values[self._places[name]]
        return (value,) if isinstance(value, str) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return repr(dict(self))


@lru_cache(maxsize=1024)
def _places_of(names: tuple[str, ...]) -> dict[str, int]:
    """Where each name's value stands: one for all entries that have the same names."""
    return {name: at for at, name in enumerate(names)}


_TELLING = ("samaccountname", "usnchanged")


def given_up(batch: Batch) -> Batch:
    """A batch without what only the mapping reads: of a large domain, most of it."""
    entries = [
        Entry(e.guid, e.dn, Attributes(_TELLING, tuple([e.first(name) for name in _TELLING])))
        for e in batch.entries
    ]
    return replace(batch, entries=tuple(entries))
