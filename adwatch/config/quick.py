"""Where the state is, read off a plainly written configuration without YAML's parser.

`adwatch render` starts at every reload of Asterisk, and to import the parser takes longer than
all else that it does. Whatever is not understood here at once is left to `source`.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final  # takes 6 ms to import

DEFAULT_PATH: Final = "/etc/adwatch/config.yaml"
STATE: Final = "/var/lib/adwatch"
_MOST: Final = 1 << 16

# What is quoted without an escape, from where a token may begin, and comments.
_OPAQUE: Final = re.compile(
    r"""(?:^|(?<=[\s\[{,]))(?:"[^"\\]*"|'[^']*')(?=[\s\]},:]|$)|(?:^|\s)#.*"""
)
_HEAD: Final = re.compile(r"( *)(?:- +)*([^\s\[\]{}#&*!|>%@`?,][^\s\[\]{}#]*:(?: +|$))?(.*)")
_ROOT: Final = re.compile(r"[A-Za-z_]\w*:(?: |$)|- |#|$", re.ASCII)
_STATE: Final = re.compile(r"state: +([A-Za-z0-9_./][A-Za-z0-9_./+-]*) *(?: #.*)?", re.ASCII)
_IN_FLOW: Final = re.compile(r"[\s\[{,:][&*!|>%@`?]")
_NULLS: Final = ("null", "Null", "NULL")


def written_state(octets: bytes) -> str | None:
    """The state directory that a configuration names, None where a parser has to say.

    Every line must stand for itself: then a line that begins with `state:` is the root's key,
    since nothing that began above it, quoted text, brackets or a block of text, goes on there.
    """
    if len(octets) > _MOST:
        return None
    try:
        lines = octets.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    state, ended = None, False
    for line in lines:
        begins = _ROOT.match(line) is not None
        if not line.isprintable() or not (begins or line[0] == " "):
            return None
        if not _stands_for_itself(line) or not (begins or ended):
            return None  # what is indented goes on with a value that had begun, or is the root
        ended = ended or line[:1] not in ("", "#")
        if line.startswith("state:"):
            found = _STATE.fullmatch(line)
            if found is None or found[1] in _NULLS or state is not None:
                return None
            state, ended = found[1], False
    return state or STATE


def _stands_for_itself(line: str) -> bool:
    """Whether everything that a line begins is ended by it."""
    bare = _OPAQUE.sub(" q ", line)
    head = _HEAD.fullmatch(bare)
    if head is None or any(one in bare for one in "\"'\\"):
        return False
    value = head[3]
    if not value.startswith(("[", "{")):
        return not value.startswith(("&", "*", "!", "|", ">", "%", "@", "`", "?", ",", "]", "}"))
    depth = 0
    for at, one in enumerate(value, 1):
        depth += (one in "[{") - (one in "]}")
        if depth == 0:
            return not value[at:].strip(" q") and not _IN_FLOW.search(value)
    return False
