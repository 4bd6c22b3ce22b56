"""Writes docs/configuration.md and docs/commands.md from the program itself: `make docs`."""

from __future__ import annotations

import argparse
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from adwatch import cli, errors
from adwatch.config.schema import Config
from adwatch.config.show import descriptions

HERE = Path(__file__).parent
_NOTE = "<!-- Written by docs/reference.py; an edit here does not last. -->\n"


def configuration() -> str:
    """Every key with its default and what it means."""
    lines = [
        "# Every key of the configuration",
        "",
        _NOTE,
        "`/etc/adwatch/config.yaml`, or what `--config` or `$ADWATCH_CONFIG` says. Durations:",
        "`500ms`, `1s`, `10m`, `1h`, `1d`. Relative paths begin where the file is.",
        "`config.yaml.example` has every key with a comment, `adwatch config show` what is in",
        "force, `adwatch config schema` a JSON schema for editors.",
        "",
        "| key | default | is |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{key}` | {default} | {what} |" for key, default, what in keys(Config)]
    return "\n".join([*lines, ""])


def keys(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning of everything in a section and below it."""
    said = descriptions(model)
    for name, field in model.model_fields.items():
        key, inner = above + name, _section(field.annotation)
        if inner is None:
            yield key, _default(field), _cell(said.get(name, ""))
            continue
        below, many = inner
        if name in said or field.default is None:
            default = "`null`" if field.default is None else "see below"
            yield key, default, _cell(said.get(name) or below.__doc__ or "")
        yield from keys(below, f"{key}[]." if many else f"{key}.")


def _section(annotation: Any) -> tuple[type[BaseModel], bool] | None:
    """The section that a key holds, and whether it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    origin = typing.get_origin(annotation)
    for inner in typing.get_args(annotation):
        if (found := _section(inner)) is not None:
            return found[0], origin is tuple
    return None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, dict):
        return "`{}`"
    assert not isinstance(value, SecretStr)
    return _code(str(value))


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`" if text else '`""`'


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


@dataclass(frozen=True, slots=True)
class Command:
    """A word of the command line, and what may stand behind it."""

    name: str
    what: str
    usage: str
    actions: list[argparse.Action]


def words() -> tuple[list[argparse.Action], list[Command]]:
    """What every command takes, and each command with what it alone takes."""
    (shown,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    helps = {choice.dest: str(choice.help) for choice in shown._choices_actions}
    common = ("help", "config", "verbose")
    found = [
        Command(
            name,
            f"{helps[name][:1].upper()}{helps[name][1:]}.",
            " ".join(one.format_usage().split()).removeprefix("usage: "),
            [action for action in one._actions if action.dest not in common],
        )
        for name, one in shown.choices.items()
    ]
    first = next(iter(shown.choices.values()))
    return [action for action in first._actions if action.dest in common], found


def commands() -> str:
    """Every command with its options, and the exit codes."""
    shared, found = words()
    lines = ["# Every command", "", _NOTE]
    lines += ["`adwatch --version` prints the version. Every command takes these:", ""]
    lines += [*_table(shared), ""]
    for one in found:
        lines += [f"## {one.name}", "", one.what, "", f"`{one.usage}`", ""]
        lines += [*_table(one.actions), ""] if one.actions else []
    lines += ["## Exit codes", "", "| code | means |", "| --- | --- |"]
    lines += [f"| {code} | {what} |" for code, what in codes()]
    return "\n".join([*lines, ""])


def shown(action: argparse.Action) -> tuple[list[str], str]:
    """The names of an option, none for a word, and what stands for its value."""
    value = action.metavar if isinstance(action.metavar, str) else ""
    choices = " | ".join(map(str, action.choices)) if action.choices else ""
    takes = not action.option_strings or action.nargs != 0
    return list(action.option_strings), (value or choices or action.dest) if takes else ""


def _table(actions: list[argparse.Action]) -> Iterator[str]:
    yield "| option or word | is |"
    yield "| --- | --- |"
    for action in actions:
        names, value = shown(action)
        quoted = ", ".join(f"`{name}`" for name in names) or f"`{_cell(value)}`"
        yield f"| {quoted}{f' {_cell(value)}' if names and value else ''} | {_what(action)} |"


def _what(action: argparse.Action) -> str:
    return _cell(action.help or " | ".join(map(str, action.choices or ())))


def codes() -> Iterator[tuple[int, str]]:
    """Every exit code, and what it means."""
    yield 0, "all is well; `diff`: nothing would change"
    yield 1, "a fault of another kind; `check`: something is missing; `status`: degraded"
    yield 2, "an unknown word; `diff`: something would change; `status`: held"
    known = {0, 1, 2}
    for one in vars(errors).values():
        if not isinstance(one, type) or not issubclass(one, errors.AdwatchError):
            continue
        if one.exit_code not in known:
            known.add(one.exit_code)
            also = "; `status`: not running" if one.exit_code == 3 else ""
            first = " ".join((one.__doc__ or "").split("\n\n")[0].split()).rstrip(".")
            yield one.exit_code, f"{first[0].lower()}{first[1:]}{also}"


PAGES = {"configuration.md": configuration, "commands.md": commands}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (HERE / page).write_text(make(), encoding="utf-8")
        sys.stdout.write(f"docs/{page}\n")
