"""What the PBX should show after a reload, against what it does show. Nothing here talks to it.

A reload that Asterisk acknowledged proves nothing: 16.28 and 22.10 acknowledge one whose
configuration they rejected, and keep the old peers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from adwatch.edges.asterisk.files import numbers_in

SIP: Final = "sip"
PJSIP: Final = "pjsip"
_KINDS: Final = {"users.conf": SIP, "sip.conf": SIP, "pjsip.conf": PJSIP}
_NOBODY: Final = frozenset[str]()
_OPTION: Final = re.compile(r"(?m)^(context|fullname|callerid) = (.*)$")
_CALLER: Final = re.compile(r'"(.*)" <.*>\Z')
# Both channel drivers keep caller names and contexts in 80 octets, and cut what is longer.
_COMPARED: Final = 30
_MOST_NAMES: Final = 50
# For so long may the list of peers stand still before it is taken for the last word: chan_sip
# reads in the background (20,000 peers: under 3 s), PJSIP before it answers.
PATIENCE_S: Final = {SIP: 5.0, PJSIP: 1.0}

Visible = tuple[str, str]  # context and caller name, as far as a file or the PBX says them


@dataclass(frozen=True, slots=True)
class Shown:
    """The peers that the PBX has; `names` None where its answer said nothing, `why` then why.

    Where `cut` is not 0 it shows but so many characters of a name.
    """

    names: frozenset[str] | None
    why: str = ""
    cut: int = 0

    def has(self, name: str) -> bool:
        """Whether a peer of that name (in lower case) is among them."""
        assert self.names is not None
        short = name[: self.cut] if self.cut else name
        return short in self.names


class Pbx(Protocol):
    """A way to talk to Asterisk. Every method but `abort` raises AsteriskError."""

    def open(self) -> None:
        """Makes whatever connection there is to make."""

    def version(self) -> str:
        """What Asterisk calls itself."""

    def reload(self, cli: str) -> None:
        """Has it carry out a reload, named as on its command line; returns once it said yes."""

    def peers(self, kind: str) -> Shown:
        """The peers that a channel driver has."""

    def peer(self, kind: str, name: str) -> Visible | None:
        """Context and caller name of one peer, None where it does not say."""

    def close(self) -> None:
        """Lets go, in good order."""

    def abort(self) -> None:
        """Breaks off what another thread is doing here; that raises AsteriskError there."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of an output's peers since Asterisk last took it, by name in lower case.

    `changed` are those whose context or caller name changed, which can be seen from outside;
    `touched` all that changed.
    """

    added: frozenset[str] = _NOBODY
    gone: frozenset[str] = _NOBODY
    changed: frozenset[str] = _NOBODY
    touched: frozenset[str] = _NOBODY

    def then(self, later: Changes) -> Changes:
        """These changes and later ones, as one."""
        added = (self.added | later.added) - later.gone
        return Changes(
            added,
            (self.gone | later.gone) - added,
            (self.changed | later.changed) - later.gone,
            (self.touched | later.touched) - later.gone,
        )


def changes(octets_before: bytes, octets_after: bytes) -> Changes:
    """What a new text of an output changes."""
    if not octets_before:
        return Changes(numbers_in(_text(octets_after)))
    old, new = _middles(octets_before, octets_after)
    before, after = numbers_in(old), numbers_in(new)
    pieces_before, pieces_after = set(_pieces(old)), set(_pieces(new))
    old_odd = _visible(pieces_before - pieces_after)
    new_odd = _visible(pieces_after - pieces_before)
    touched = new_odd.keys() & before
    changed = {name for name in touched if new_odd[name] != old_odd.get(name, new_odd[name])}
    return Changes(after - before, before - after, frozenset(changed), frozenset(touched))


def _middles(old: bytes, new: bytes) -> tuple[str, str]:
    """The texts of both without the sections that both begin and end with, both whole where unsure.

    A peer whose sections stand together, as adwatch writes them, is in what is left with all of
    them or with none, so whoever comes or goes does so there. To find it costs a look at the
    octets, where taking all sections apart costs many times that.
    """
    most = min(len(old), len(new))
    start = _common(most, lambda a, b: old[a:b] == new[a:b])
    start = max(0, old.rfind(b"\n\n", 0, start))
    o, n = len(old), len(new)
    end = _common(most - start, lambda a, b: old[o - b : o - a] == new[n - b : n - a])
    cut = old.find(b"\n\n", o - end) if end else -1
    end = o - cut if cut >= 0 else 0
    first, last = _text(old[start : o - end]), _text(new[start : n - end])
    names = numbers_in(first) ^ numbers_in(last)
    rest = (_text(old[:start]).lower(), _text(old[o - end :]).lower()) if names else ()
    if len(names) > _MOST_NAMES or any(f"[{name}]" in text for name in names for text in rest):
        return _text(old), _text(new)
    return first, last


def _text(octets: bytes) -> str:
    """Text that begins and ends at a line's end, or with the file, so that no character is cut."""
    return octets.decode("utf-8", "surrogateescape")


def _common(most: int, same: Callable[[int, int], bool]) -> int:
    """Up to where, of `most`, it is the same from the beginning."""
    at = 0
    step = 1 << 16
    while step:
        while at + step <= most and same(at, at + step):
            at += step
        step >>= 1
    return at


def _pieces(text: str) -> list[str]:
    """The sections of an output, which stand apart by an empty line."""
    return text.rstrip("\n").split("\n\n")


def _visible(pieces: Iterable[str]) -> dict[str, Visible]:
    found: dict[str, Visible] = {}
    for piece in pieces:
        options = {key: value.replace("\\;", ";") for key, value in _OPTION.findall(piece)}
        caller = _CALLER.match(options.get("callerid", ""))
        said = options.get("context", ""), options.get("fullname", caller[1] if caller else "")
        for name in numbers_in(piece):  # those of pjsip.conf have three sections each
            had = found.get(name, ("", ""))
            found[name] = said[0] or had[0], said[1] or had[1]
    return found


def look_kind(form: str, cli: str) -> str:
    """Which channel driver shows the peers of an output of that format, empty for none.

    A reload that is not the driver's says that the output is for something else.
    """
    kind = _KINDS.get(form, "")
    return kind if "sip" in cli or cli in ("core reload", "module reload") else ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a channel driver should show of one output after a reload.

    `known` are peers that it has not had for long, although they are in the file: nobody
    waits for them.
    """

    kind: str
    text: str
    since: Changes = Changes()
    known: frozenset[str] = _NOBODY
    others: frozenset[str] = _NOBODY
    """Peers of further outputs, which may go on to be there."""

    def check(self, shown: Shown, ask: Mapping[str, Visible | None] | None = None) -> Look:
        """What is odd of what it shows; `ask` holds what was said of the peer to look at."""
        if shown.names is None:
            return Look(why=shown.why)
        names = numbers_in(self.text)
        missing = frozenset(name for name in names if not shown.has(name))
        gone = self.since.gone - self.others - names
        lingering = frozenset(name for name in gone if shown.has(name))
        verdicts = {name: self._is(name, said) for name, said in (ask or {}).items()}
        stale = frozenset(name for name, agrees in verdicts.items() if agrees is False)
        proven = any(verdicts.values())
        return Look(
            known=True,
            missing=missing,
            lingering=lingering,
            stale=stale,
            settled=not (missing - self.known or lingering or stale),
            proof=bool((self.since.added & names) - missing or gone - lingering or proven),
            count=len(names) - len(missing),
        )

    @property
    def may_be_away(self) -> bool:
        """Whether one that should be gone may be missing from a list, and come back.

        chan_sip takes each peer that it reads again out of its table, and puts it back when it
        has been read (16.28), while it goes on to answer.
        """
        return self.kind == SIP and bool(self.since.gone)

    def sample(self) -> str:
        """A peer that just changed for everybody to see, empty where there is none."""
        return min(self.since.changed, default="")

    def _is(self, name: str, said: Visible | None) -> bool | None:
        """Whether what the PBX says of a peer agrees with the file, None where it can't be told."""
        if said is None:
            return None
        wanted = _visible(p for p in _pieces(self.text) if name in numbers_in(p)).get(name)
        pairs = [(w, s) for w, s in zip(wanted or (), said, strict=False) if w and _plain(w + s)]
        return all(w[:_COMPARED] == s[:_COMPARED] for w, s in pairs) if pairs else None


def _plain(text: str) -> bool:
    """Whether Asterisk shows it as it was written."""
    return re.search(r'[\\"<>]|[^\x20-\x7e]', text) is None


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of one output after a reload.

    `known` says whether the answer meant anything; `settled` that nothing is left to wait
    for; `proof` that something changed as the new file says, so that Asterisk has read it.
    """

    known: bool = False
    missing: frozenset[str] = _NOBODY
    lingering: frozenset[str] = _NOBODY
    stale: frozenset[str] = _NOBODY
    settled: bool = True
    proof: bool = False
    count: int = 0
    why: str = field(default="", compare=False)

    @property
    def good(self) -> bool:
        """Whether the PBX shows all that it should."""
        return self.known and not (self.missing or self.lingering or self.stale)
