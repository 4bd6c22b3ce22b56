"""An entry's attributes, kept small: users have the same few sets of names, and single values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TypeVar, overload

T = TypeVar("T")
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

    @overload
    def get(self, name: str, /) -> tuple[str, ...] | None: ...
    @overload
    def get(self, name: str, /, default: tuple[str, ...] | T) -> tuple[str, ...] | T: ...

    def get(self, name: str, /, default: object = None) -> object:
        """As of any Mapping, without an exception for what is missing."""
        place = self._places.get(name)
        if place is None:
            return default
        value = self._values[place]
        return (value,) if isinstance(value, str) else value

    def firsts(self, names: Iterable[str]) -> list[str]:
        """The first value of each of these, empty where there is none."""
        places, values = self._places, self._values
        found = [values[places[name]] if name in places else "" for name in names]
        return [value if value.__class__ is str else value[0] for value in found]

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
