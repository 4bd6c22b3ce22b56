"""A peer's fragment without Jinja2, where its values need no escaping: for nearly every peer.

What a template writes then is decided by plain Python made from it (core/straight.py). Whoever
is given nothing here goes the long way round, which also says what is wrong with a peer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from jinja2 import nodes

from adwatch.core import straight
from adwatch.core.escape import dialplan, mailbox_pin, numeric_groups, quoted
from adwatch.core.model import MAPPED, Peer
from adwatch.core.safe import surely_safe

IDENTITY: Final = ("guid", "dn", "login")
# What an escaper, a filter or the look at a line's structure may have to do with, in any file.
_SPECIAL: Final = '[]#;"\\'
_FILTERS: Final = {"quoted": quoted, "dialplan": dialplan, "mailbox_pin": mailbox_pin}
_TESTS: Final = {"numeric_groups": numeric_groups}
_OF_PEER: Final = frozenset((*MAPPED, *IDENTITY))

Made = Mapping[str, Callable[[Peer, str], str]]


def _plain(forbidden: str) -> Callable[..., bool]:
    """Tells whether values can stand as they are where these characters are forbidden, too."""
    special = re.compile(f"[{re.escape(_SPECIAL + forbidden)}]").search
    return lambda *values: surely_safe(*values) and not special("".join(values))


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A template as plain Python. `fields` are of the peer, `extras` of its own extra fields,
    `made` are made of the peer and its secret; `write` takes the values of all of them, where
    they are `plain`.
    """

    fields: Callable[[Peer], tuple[str, ...]]
    extras: tuple[str, ...]
    made: tuple[Callable[[Peer, str], str], ...]
    write: Callable[..., str]
    plain: Callable[..., bool]

    def text(self, peer: Peer, secret: str) -> str:
        """What the template writes, empty where the long way round has to be gone."""
        try:
            values = [*self.fields(peer), *[make(peer, secret) for make in self.made]]
            if peer.extra:
                extra = dict(peer.extra)
                if not _NAMES.isdisjoint(extra):
                    return ""
                values += [extra[name] for name in self.extras]
            return self.write(*values) if self.plain(*values) else ""
        except Exception:  # noqa: BLE001 - the long way round says what it is
            return ""


_NAMES: Final = _OF_PEER | {"secret", "ha1", "pin"}


def shortcut(
    tree: nodes.Template,
    made: Made,
    fixed: Mapping[str, str],
    options: Mapping[str, object],
    forbidden: str,
) -> Shortcut | None:
    """The shortcut for a template, None where there is none; `forbidden` are its file's characters.

    `made` are the variables that are made of a peer and its secret, `fixed` those that are always
    the same, `options` what `options.NAME` is.
    """
    fields, extras, used = dict[str, str](), dict[str, str](), dict[str, str]()

    def source_of(name: str) -> str:
        if name in fixed:
            return repr(fixed[name])
        if name in ("peer", "options"):
            raise straight.Unfit(name)
        kind, names = "e", extras
        if name in _OF_PEER:
            kind, names = "f", fields
        elif name in made:
            kind, names = "m", used
        return names.setdefault(name, f"{kind}{len(names)}")

    plain = _plain(forbidden)
    scope = straight.Scope(
        source_of, _FILTERS, _TESTS, options, plain, slices=False, members=_OF_PEER
    )
    try:
        source = straight.text_of_all(tree.body, scope)
        parameters = [*fields.values(), *used.values(), *extras.values()]
        write = straight.function(parameters, [f"return {source}"], scope)
    except (straight.Unfit, RecursionError):
        return None
    makers = tuple(made[name] for name in used)
    return Shortcut(_getter(tuple(fields)), tuple(extras), makers, write, plain)


def _getter(names: tuple[str, ...]) -> Callable[[Peer], tuple[str, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda peer: tuple([getattr(peer, name) for name in names])
