"""Whether texts can be written at all, told quickly or in words; what people call a character."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

# Every other control character reads back as it was written.
_UNWRITABLE = re.compile(r"[\r\n\0\ud800-\udfff]")
# What ast_strip() takes off both ends (include/asterisk/strings.h): octets below 33.
_BLANKS = "".join(map(chr, range(33)))


class UnsafeText(ValueError):  # noqa: N818 - names the text, and is no fault of the program
    """A value that no Asterisk file can hold faithfully; the message says why.

    `field` is the peer's field that holds it, empty where that can't be told.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field

    def told(self, origins: Mapping[str, str]) -> str:
        """Why, and what the field is made of: `origins` are expressions by field."""
        origin = origins.get(self.field, "")
        return f"{self} ({self.field} is made of {origin})" if origin else str(self)


def refuse_unsafe(field: str, text: str) -> None:
    """Raises UnsafeText where `text` would not read back from a file as it was written.

    Asterisk ends a line at LF, CR and NUL and trims blanks (measured on 16.28 and 22.10); a
    lone surrogate is not text at all.
    """
    what = field or "a value"
    bad = _UNWRITABLE.search(text)
    if bad is not None:
        where = f"the character {character(bad[0])} at {bad.start() + 1}"
        raise UnsafeText(f"{what} holds {where}, which no file of Asterisk can hold", field)
    if text != text.strip(_BLANKS):
        raise UnsafeText(
            f"{what} begins or ends with a blank, which Asterisk drops; try | trim", field
        )


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
