"""Whether texts can be written at all, told quickly, and what people call a character."""

from __future__ import annotations

import unicodedata


def surely_safe(*texts: str) -> bool:
    """Whether `refuse_unsafe` would take every text; False where it has to be asked.

    What is printable has no control characters, surrogates or blanks but U+0020.
    """
    joined = "|".join(texts)
    if not joined.isprintable():
        return False
    ends = " |" in joined or "| " in joined or joined[:1] == " " or joined[-1:] == " "
    return not ends


def character(one: str) -> str:
    """What people call a character: U+000A (line feed)."""
    known = {"\n": "line feed", "\r": "carriage return", "\0": "null"}
    name = known.get(one) or unicodedata.name(one, "").lower() or "no character of its own"
    return f"U+{ord(one):04X} ({name})"
