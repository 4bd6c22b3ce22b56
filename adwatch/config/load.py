"""A configuration file → a Config, or every fault in it at its line and column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from adwatch.config.schema import Config
from adwatch.config.source import Source, Way, beside, dotted, position, scan
from adwatch.config.values import Wrong, kind
from adwatch.errors import ConfigError, Fault

_MOST_ROUNDS: Final = 10


def load(path: Path) -> Config:
    """The configuration in the file at `path`. Raises ConfigError with every fault of it."""
    path = Path(path)
    source = scan(path)
    context = {"origin": path, "beside": beside(path, ""), "marks": source.marks}
    faults = {(fault.line, fault.column, fault.key): fault for fault in source.faults}
    spoilt = {_keyed(way) for way in source.spoilt}
    tree: Any = _without(source.tree, spoilt)
    for _ in range(_MOST_ROUNDS):  # what rests on a fault can be judged once that is left out
        try:
            config = Config.model_validate(tree, context=context)
        except ValidationError as error:
            found = [one for one in _faults(error, source.tree) if not one.moot(spoilt)]
            if not found:
                break
            for one in found:
                fault = one.fault(source)
                faults.setdefault((fault.line, fault.column, fault.key), fault)
            spoilt |= {one.spoils() for one in found}
            tree = _without(source.tree, spoilt)
        else:
            if not faults:
                return config
            break
    raise ConfigError(str(path), list(faults.values()))


@dataclass(frozen=True, slots=True)
class _Found:
    """A fault of the schema, before it has a line."""

    way: Way
    message: str
    rests_on: tuple[Way, ...]
    on_key: bool = False

    def moot(self, spoilt: set[Way]) -> bool:
        """Whether it only follows from parts that are at fault themselves."""
        return any(
            way[: len(bad)] == bad or bad[: len(way)] == way
            for bad in spoilt
            for way in self.rests_on
        )

    def spoils(self) -> Way:
        """What to leave out to see further: never an item alone, for that would shift the rest."""
        return _keyed(self.way)

    def fault(self, source: Source) -> Fault:
        """The fault where it stands in the file."""
        at = position(source.marks, self.way, on_key=self.on_key)
        return Fault(*at, dotted(self.way), self.message)


def _keyed(way: Way) -> Way:
    while way and isinstance(way[-1], int):
        way = way[:-1]
    return way


def _without(tree: Any, ways: set[Way], at: Way = ()) -> Any:
    """A copy of `tree` without the keys at `ways`."""
    if isinstance(tree, dict):
        return {
            key: _without(value, ways, (*at, key))
            for key, value in tree.items()
            if (*at, key) not in ways
        }
    if isinstance(tree, list):
        return [_without(item, ways, (*at, index)) for index, item in enumerate(tree)]
    return tree


def _faults(error: ValidationError, tree: Any) -> Iterator[_Found]:
    for one in error.errors(include_url=False, include_input=False):
        way = _in_tree(one["loc"], tree)
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, Wrong):
            for wrong in cause.faults:
                below = _in_tree((*way, *wrong.path), tree)
                rests_on = tuple((*way, *rest) for rest in wrong.rests_on)
                yield _Found(below, wrong.message, rests_on or (below,), wrong.on_key)
        elif one["type"] == "extra_forbidden":
            yield _Found(way, _unknown(way), (way,), on_key=True)
        elif one["type"] == "missing":
            yield _Found(way, "is required", (way,))
        elif isinstance(cause, ValueError):
            yield _Found(way, str(cause), (way,))
        else:
            yield _Found(way, _bad_shape(one["type"], _value(tree, way)), (way,))


def _in_tree(way: Way, tree: Any) -> Way:
    """A way of pydantic's as it stands in the file: what was made a list there is none here."""
    for length, step in enumerate(way):
        if isinstance(step, int) and not isinstance(tree, list):
            return way[:length]
        tree = _value(tree, (step,))
    return way


def _value(tree: Any, way: Way) -> Any:
    for step in way:
        if isinstance(tree, Mapping):
            tree = tree.get(str(step))
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree = tree[step]
        else:
            return None
    return tree


def _bad_shape(error: str, value: Any) -> str:
    if value is None:
        return kind(None)
    wanted = "a list" if "tuple" in error or "list" in error else "a section of keys"
    return f"must be {wanted}, but is {kind(value)}"


def _unknown(way: Way) -> str:
    import difflib  # for who has a fault

    known = list(_keys(Config, way[:-1]))
    near = difflib.get_close_matches(str(way[-1]).lower(), known, 1, 0.7)
    return f"unknown key; did you mean {near[0]!r}?" if near else "unknown key"


def _keys(model: type[BaseModel], way: Way) -> Iterator[str]:
    """The keys that the schema knows at `way`."""
    names = [step for step in way if isinstance(step, str)]
    for name in names:
        inner = _model_in(model.model_fields[name].annotation)
        if inner is None:
            return
        model = inner
    yield from model.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section that an annotation such as `tuple[Output, ...]` or `Http | None` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (found := _model_in(inner)) is not None:
            return found
    return None
