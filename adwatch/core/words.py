"""Facts become text: log lines of key=value pairs, and spans of time for people."""

from __future__ import annotations

import re

from adwatch.core.model import Change

_PLAIN = re.compile(r"[^\s\"=\x00-\x1f\x7f-\x9f\ud800-\udfff]+\Z")


def line(event: str, **facts: object) -> str:
    """A log line: `event=… key=value …`; a value is quoted where it needs to be, None left out."""
    pairs = [("event", event), *facts.items()]
    return " ".join(f"{key}={_value(value)}" for key, value in pairs if value is not None)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    if _PLAIN.match(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", _escaped, escaped) + '"'


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def span(seconds: float) -> str:
    """A length of time for people: `850 ms`, `12 s`, `5 min`, `3 h`, `2 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def change_line(change: Change) -> str:
    """A change as a log line; values are those that history keeps, secrets masked."""
    fields = None
    if change.what == "changed":
        fields = "; ".join(f"{name} {old!r} -> {new!r}" for name, old, new in change.values)
    return line(
        change.what,
        number=change.number,
        login=change.login,
        guid=change.guid,
        reason=change.reason or None,
        fields=fields,
    )


def octets(text: str, most: int) -> str:
    """As much of a text as `most` octets of UTF-8 hold: whole characters, no blank at the end."""
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= most:
        return text
    return encoded[:most].decode("utf-8", "ignore").rstrip()
