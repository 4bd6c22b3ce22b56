"""The configuration as text: YAML → plain dict, list, str and None, and where each part stands.

No scalar is interpreted (`0123` and `no` stay text; plain `null`, `~` and nothing are None),
and nothing that could surprise is let through. Needs no pydantic, so that `render` starts fast.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from adwatch.config import quick
from adwatch.config.quick import STATE
from adwatch.errors import ConfigError, Fault

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 20
OUTPUT: Final = "/etc/asterisk/adwatch/users.conf"
OUTPUT_NAME: Final = "users"

Position = tuple[int, int]
"""Line and column, both from 1."""
Way = tuple[str | int, ...]
"""Keys and list indexes from the top, such as ("outputs", 0, "path")."""
DEFAULT_PATH: Final = Path(quick.DEFAULT_PATH)

# PyYAML's own: what it would stop at, one by one. None of it is printable.
_UNPRINTABLE: Final = (
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_MOST_CHARACTERS: Final = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a key stands, and where its value begins; an item of a list has no key of its own."""

    key: Position
    value: Position


Marks = Mapping[Way, Mark]


@dataclass(slots=True)
class Source:
    """A configuration as text: the tree, where its parts stand, and what is wrong with the YAML.

    `spoilt` are the ways of the parts that `faults` are about: their values mean nothing.
    """

    tree: dict[str, Any] = field(default_factory=dict)
    marks: dict[Way, Mark] = field(default_factory=lambda: {(): Mark((1, 1), (1, 1))})
    faults: list[Fault] = field(default_factory=list)
    spoilt: set[Way] = field(default_factory=set)


class _Unusable(Exception):  # noqa: N818 - a fault of the text
    """The rest of the text cannot be read; `more` are further faults of the same kind."""

    def __init__(
        self, at: Position, message: str, key: str = "", more: Iterable[Fault] = ()
    ) -> None:
        super().__init__(message)
        self.faults = [Fault(*at, key, message), *more]


def default_path() -> Path:
    """$ADWATCH_CONFIG, else /etc/adwatch/config.yaml."""
    return Path(os.environ.get("ADWATCH_CONFIG") or DEFAULT_PATH)


def position(marks: Marks, way: Way, *, on_key: bool = False) -> Position:
    """Where the value at `way` begins, or its key; of what is absent, the key of its parent."""
    while way not in marks:
        if not way:
            return 1, 1
        way, on_key = way[:-1], True
    return marks[way].key if on_key else marks[way].value


def dotted(way: Way) -> str:
    """A way as it is written in messages: `outputs[0].path`."""
    return "".join(f"[{w}]" if isinstance(w, int) else f".{w}" for w in way).lstrip(".")


def beside(config: Path, written: str) -> Path:
    """A path of the configuration: a relative one stands beside the file, whatever the cwd."""
    return Path(config).absolute().parent / written


def read(path: Path) -> Source:
    """The configuration file at `path`. Raises ConfigError where any of it is no plain YAML."""
    source = scan(path)
    if source.faults:
        raise ConfigError(str(path), source.faults)
    return source


def scan(path: Path) -> Source:
    """Like `read`, but leaves to the caller the faults that do not keep the rest from being read.

    Raises ConfigError where the file or the rest of it cannot be read.
    """
    source = Source()
    try:
        text = _text(_octets(path))
        _Builder(source).build(text)
    except _Unusable as error:
        raise ConfigError(str(path), [*source.faults, *error.faults]) from None
    return source


def _octets(path: Path) -> bytes:
    hint = "name the file with -c PATH or $ADWATCH_CONFIG"
    try:
        if path.is_fifo() or path.is_dir():
            kind = "a directory" if path.is_dir() else "a pipe"
            raise ConfigError(str(path), [Fault(1, 1, "", f"this is {kind}, not a file")], hint)
        with path.open("rb") as file:
            octets = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        cause = "there is no such file"
        if path.is_symlink():
            cause = f"this is a link to {path.readlink()}, where there is nothing"
        raise ConfigError(str(path), [Fault(1, 1, "", cause)], hint) from error
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        fault = Fault(1, 1, "", f"cannot be read: {cause}")
        if isinstance(error, PermissionError):
            hint = f"let adwatch's user read it: chgrp adwatch {path} && chmod 640 {path}"
        raise ConfigError(str(path), [fault], hint) from error
    if len(octets) > MAX_BYTES:
        raise _Unusable((1, 1), f"is larger than {MAX_BYTES // 1024} KiB: is it the right file?")
    return octets


def _text(octets: bytes) -> str:
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = octets[: error.start].decode("utf-8-sig", "replace")
        octet = octets[error.start]
        raise _Unusable(
            _end(before), f"the octet 0x{octet:02x} is not UTF-8: save the file as UTF-8"
        ) from None
    if text.replace("\n", "").isprintable():
        return text  # nearly always; to compile the pattern takes longer than all of `scan`
    faults = []
    for bad in re.finditer(_UNPRINTABLE, text):
        message = f"the character U+{ord(bad[0]):04X} must not stand here: delete it"
        faults.append(Fault(*_end(text[: bad.start()]), "", message))
        if len(faults) == _MOST_CHARACTERS:
            break
    if faults:
        first, *more = faults
        raise _Unusable((first.line, first.column), first.message, more=more)
    return text


def _end(text: str) -> Position:
    """Where the character after `text` stands."""
    return text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1


def _at(event: Any) -> Position:
    return event.line + 1, event.column + 1


@dataclass(slots=True)
class _Open:
    """A section or list that is being read; `key` is the one whose value comes next."""

    way: Way
    content: dict[str, Any] | list[Any]
    key: str | None = None
    key_at: Position = (1, 1)
    again: bool = False

    @property
    def wants_key(self) -> bool:
        return isinstance(self.content, dict) and self.key is None

    def next_way(self) -> Way:
        """The way of the value that comes next."""
        if isinstance(self.content, list):
            return (*self.way, len(self.content))
        return (*self.way, str(self.key))

    def put(self, value: Any) -> None:
        """Takes the value of `key`, the first one where a key is written twice."""
        if isinstance(self.content, list):
            self.content.append(value)
        else:
            if not self.again:
                self.content[str(self.key)] = value
            self.key = None


class _Builder:
    """Events of PyYAML → tree; holds its own stack, so that depth is a fault and no crash."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._root: Any = None
        self._stack: list[_Open] = []
        self._documents = 0

    def build(self, text: str) -> None:
        """Fills the source. Raises _Unusable where the text cannot be read on."""
        loader = yaml.SafeLoader(text)  # the one in C crashes on deep nesting
        try:
            while loader.check_event():
                self._take(loader.get_event())  # type: ignore[no-untyped-call]
        except yaml.MarkedYAMLError as error:
            raise self._unclosed(error) or _syntax(error) from None
        except (yaml.YAMLError, ValueError, OverflowError):  # PyYAML's chr() of "\UFFFFFFFF"
            raise _Unusable(_at(loader.get_mark()), "is not YAML") from None
        finally:
            loader.dispose()
        root = {} if self._root is None else self._root
        if not isinstance(root, dict):
            at = self._source.marks[()].value
            raise _Unusable(at, "must be sections, such as directory: and outputs:")
        self._source.tree = root

    def _unclosed(self, error: yaml.MarkedYAMLError) -> _Unusable | None:
        """The complaint about a bracket that was open when the text ended."""
        if "flow" not in (error.context or "") or "stream end" not in (error.problem or ""):
            return None
        inside = self._stack[-1]
        bracket = "[" if isinstance(inside.content, list) else "{"
        return _Unusable(self._source.marks[inside.way].value, f"'{bracket}' is never closed")

    def _take(self, event: Any) -> None:
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                at = _at(event.start_mark)
                raise _Unusable(at, "a second document begins here (---): keep one")
        elif isinstance(event, CollectionEndEvent):
            self._stack.pop()
        elif isinstance(event, NodeEvent):
            inside = self._stack[-1] if self._stack else None
            if inside is not None and inside.wants_key:
                self._take_key(inside, event)
            else:
                self._take_value(inside, event)

    def _take_key(self, inside: _Open, event: Any) -> None:
        at = _at(event.start_mark)
        if not isinstance(event, ScalarEvent):
            message = "a key must be a word: put a value that begins with { or [ or * in quotes"
            raise _Unusable(at, message, dotted(inside.way))
        way = (*inside.way, event.value)
        self._plain(event, way, at)
        inside.key, inside.key_at = event.value, at
        assert isinstance(inside.content, dict)
        inside.again = event.value in inside.content
        if inside.again:
            line = self._source.marks[way].key[0]
            self._fault(at, way, f"duplicate key; it stands in line {line} already")

    def _take_value(self, inside: _Open | None, event: Any) -> None:
        at = _at(event.start_mark)
        way = () if inside is None else inside.next_way()
        keyed = inside is not None and isinstance(inside.content, dict)
        if not way:
            self._source.marks[way] = Mark((1, 1), at)
        else:
            mark = Mark(inside.key_at if inside is not None and keyed else at, at)
            self._source.marks.setdefault(way, mark)
        self._plain(event, way, at)
        value = self._value(event, way, at)
        if inside is None:
            self._root = value
        else:
            inside.put(value)
        if isinstance(value, (dict, list)):
            self._stack.append(_Open(way, value))

    def _value(self, event: Any, way: Way, at: Position) -> Any:
        if isinstance(event, CollectionStartEvent):
            if len(self._stack) >= MAX_DEPTH:
                raise _Unusable(at, "is nested too deeply", dotted(way[:3]))
            return {} if isinstance(event, MappingStartEvent) else []
        if isinstance(event, AliasEvent):
            self._source.spoilt.add(way)
            return None
        if event.style is None and event.value in _NULLS:
            return None
        if bad := re.search("[\0\ud800-\udfff]", event.value):
            self._fault(at, way, f"holds the character U+{ord(bad[0]):04X}: delete it")
            self._source.spoilt.add(way)
        return event.value

    def _plain(self, event: Any, way: Way, at: Position) -> None:
        """Notes what goes beyond plain YAML; a name may be part of a secret, so none is told."""
        if isinstance(event, AliasEvent):
            self._fault(at, way, "an alias (*) is not taken: put a value that begins so in quotes")
            return
        if event.anchor is not None:
            self._fault(at, way, "an anchor (&) is not taken: put a value that begins so in quotes")
            self._source.spoilt.add(way)
        if event.tag is not None:
            self._fault(at, way, "a tag (!) is not taken: put a value that begins so in quotes")
            self._source.spoilt.add(way)

    def _fault(self, at: Position, way: Way, message: str) -> None:
        self._source.faults.append(Fault(*at, dotted(way), message))


def _syntax(error: yaml.MarkedYAMLError) -> _Unusable:
    """PyYAML's complaint in the words of who wrote the file."""
    problem, context = error.problem or "", error.context or ""
    here = _at(error.problem_mark or error.context_mark)
    there = _at(error.context_mark or error.problem_mark)
    token = re.search(r"found character ('.*'|\".*\") that cannot start any token", problem)
    sayings = (
        (token and "\\t" in token[1], here, "a tab stands here: indent with spaces"),
        (token, here, f"put a value that begins with {token and token[1]} in quotes"),
        (
            re.search("alias|anchor|tag|a node", context) or "'<alias>'" in problem,
            here if "<alias>" in problem else there,
            "put a value that begins with *, & or ! in quotes",
        ),
        (
            "end of stream" in problem and "quoted" in context,
            there,
            "a quote that opens here is never closed",
        ),
        (
            "mapping values are not allowed" in problem,
            here,
            "a ':' is not allowed here: put the value in quotes, or mend the indentation",
        ),
        ("could not find expected ':'" in problem, there, "a key without ':' stands here"),
        (
            "expected <block end>" in problem,
            here,
            "does not fit here: look at the indentation, quotes and commas",
        ),
    )
    for fits, at, message in sayings:
        if fits:
            return _Unusable(at, message)
    return _Unusable(here, f"is not YAML: {problem}")


def state_of(tree: Mapping[str, Any]) -> str:
    """The state directory as it is written; a relative one stands `beside` the configuration."""
    state = tree.get("state")
    return state if isinstance(state, str) else STATE


def written_state(path: Path) -> Path:
    """The state directory by the file at `path`, as far as any of that can be read."""
    state = STATE
    with suppress(ConfigError, _Unusable):
        state = quick.written_state(_octets(path)) or state_of(scan(path).tree)
    return beside(path, state)


def outputs_of(tree: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and path of each output as they are written; what is no output is passed over."""
    outputs = tree.get("outputs", [{"name": OUTPUT_NAME, "path": OUTPUT}])
    found = []
    for output in outputs if isinstance(outputs, list) else []:
        path = output.get("path") if isinstance(output, dict) else None
        if isinstance(path, str):
            name = output.get("name")
            found.append((name if isinstance(name, str) else PurePath(path).name, path))
    return found
