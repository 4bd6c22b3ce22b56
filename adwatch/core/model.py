"""The values that adwatch thinks in: frozen, slotted, and safe to hand to any thread."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import NamedTuple

from adwatch.core.attributes import Attributes
from adwatch.core.safe import UnsafeText, refuse_unsafe, surely_safe

NUMBER = re.compile(r"[A-Za-z0-9*#+.-][A-Za-z0-9*#+_.-]{0,31}\Z", re.ASCII)

HIDDEN = "deleted, or hidden from the account"
"""Why an object is gone that was looked for, and of which nothing at all is to be seen."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as the directory gave it.

    `guid` is the objectGUID as dashed lower-case text; `attributes` maps LDAP names in lower
    case to their values as text, octets that are no UTF-8 as lone surrogates.
    """

    guid: str
    dn: str
    attributes: Mapping[str, tuple[str, ...]]

    def first(self, name: str) -> str:
        """The first value of attribute `name` (in lower case), empty where there is none."""
        values = self.attributes.get(name)
        return values[0] if values else ""

    def firsts(self, names: Iterable[str]) -> list[str]:
        """The first value of each of these attributes."""
        if self.attributes.__class__ is Attributes:
            return self.attributes.firsts(names)
        get = self.attributes.get
        return [found[0] if (found := get(name)) else "" for name in names]

    @property
    def login(self) -> str:
        """The sAMAccountName."""
        return self.first("samaccountname")

    @property
    def created(self) -> str:
        """whenCreated as generalized time, which sorts as text."""
        return self.first("whencreated")

    @property
    def disabled(self) -> bool:
        """Whether it is a disabled account."""
        return disabled(self.first("useraccountcontrol"))

    @property
    def usn(self) -> int:
        """uSNChanged: the last write to the object, counted by the server that was asked."""
        return count(self.first("usnchanged"))


def disabled(control: str) -> bool:
    """Whether userAccountControl has ACCOUNTDISABLE set (MS-ADTS 2.2.16)."""
    try:
        return bool(int(control) & 2)
    except ValueError:
        return False


def count(text: str) -> int:
    """A number such as uSNChanged, 0 where there is none."""
    return int(text) if text.isdecimal() else 0


def expiry(text: str) -> float:
    """When accountExpires ends it, in seconds since the epoch; 0 for never (MS-ADA1 2.1)."""
    ticks = count(text)
    return 0.0 if ticks in _NEVER_EXPIRES else ticks / 10**7 - _FILETIME_EPOCH_S


# accountExpires counts 100 ns since 1601 (MS-ADA1 2.1, MS-DTYP 2.3.3).
_NEVER_EXPIRES = (0, 2**63 - 1)
_FILETIME_EPOCH_S = 11_644_473_600


class Seen(NamedTuple):
    """A user as it was last read: where it was, and its uSNChanged then."""

    dn: str
    usn: int


@dataclass(frozen=True, slots=True)
class Peer:
    """One user of the PBX. Construction raises UnsafeText for values that cannot be written."""

    guid: str
    number: str
    name: str
    email: str
    context: str
    call_group: str
    pickup_group: str
    mobile: str
    dn: str
    login: str
    extra: tuple[tuple[str, str], ...] = ()
    # Only where the secret comes from an AD attribute; else it is derived and never kept.
    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not NUMBER.match(self.number):
            raise UnsafeText(number_fault(self.number), "number")
        rest = self.name, self.email, self.context, self.call_group, self.pickup_group
        if surely_safe(*rest, self.mobile, self.secret, *(value for _, value in self.extra)):
            return
        for what, text in (*self.values(), ("secret", self.secret)):
            refuse_unsafe(what, text)

    @property
    def key(self) -> str:
        """The number as Asterisk compares section names: without regard to case."""
        return self.number.lower()

    def values(self) -> tuple[tuple[str, str], ...]:
        """The mapped fields with their names: what history and differences speak about."""
        return (*zip(MAPPED, _VALUES(self), strict=True), *self.extra)


MAPPED = ("number", "name", "email", "context", "call_group", "pickup_group", "mobile")
_VALUES = attrgetter(*MAPPED)
PEER_FIELDS = tuple(f.name for f in fields(Peer))


def number_fault(number: str) -> str:
    """Why `number` cannot be a peer's number, in one sentence."""
    if not number:
        return "number is empty"
    if len(number) > 32:
        return f"number has {len(number)} characters, 32 is the most"
    return (
        f"number {number!a} is not made of ASCII digits, letters and * # + _ . - alone;"
        " try telephoneNumber | digits"
    )


def sort_key(peer: Peer) -> tuple[str, str]:
    """By number, as text: 10 before 9, the same everywhere."""
    return peer.number, peer.guid


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody who can be called and is no peer: `numbers` are (kind, number), kind work, mobile
    or other, as they are written in AD.
    """

    guid: str
    name: str
    company: str = ""
    mail: str = ""
    numbers: tuple[tuple[str, str], ...] = ()


# In place of GUIDs: any contact may have changed.
ALL_CONTACTS = frozenset({"*"})


@dataclass(frozen=True, slots=True)
class Rejection:
    """A user that gets no peer, or none in one output, and why; `output` empty: in none."""

    guid: str
    dn: str
    login: str
    number: str
    reason: str
    output: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where a domain controller's changes are known.

    `server` and `invocation` (invocationId) say whose counter `usn` is; `cookie` is DirSync's;
    `question` is a digest of what was asked (filter, base, attributes): another question makes
    the answers known so far worthless.
    """

    server: str
    invocation: str
    usn: int
    cookie: bytes
    question: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one reading of the directory said.

    A full batch is everything in scope. Else `asked` holds the GUIDs that were read: those of
    them that are not in `entries` are out of scope, and `gone` says why where that is known.
    `compare` is why a comparison is owed, empty where nothing hints at one; `values` says that
    values may differ where nobody wrote to the user, so that listing everybody does not do.
    `contacts` are the GUIDs of what may be a contact and may have changed, or ALL_CONTACTS.
    `took` are the seconds that the gate, the feed and the reading took.
    """

    entries: tuple[Entry, ...]
    asked: frozenset[str]
    full: bool
    cursor: Cursor
    at: float
    gone: Mapping[str, str] = field(default_factory=dict)
    compare: str = ""
    values: bool = False
    contacts: frozenset[str] = frozenset()
    took: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """A user that somebody asked about: `outside` says why it is not in scope."""

    entry: Entry
    in_scope: bool
    outside: str


@dataclass(frozen=True, slots=True)
class Reach:
    """Which domain controller is in use and how; everything empty where there is none.

    `connected_since` is seconds since the epoch, `searches` counts those of the connection;
    `rank` is 0 where no server is better; `tried` is what the last try at each server failed of.
    """

    server: str = ""
    feed: str = ""
    why: str = ""
    push: bool = False
    connected_since: float = 0.0
    sees_deletions: bool | None = None
    searches: int = field(default=0, compare=False)
    rank: int = 0
    certificate_ends: str = ""
    tried: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One row of history.

    `what` is added, changed, removed, held, released, rejected, approved or dismissed;
    `values` are the fields that differ as (field, old, new).
    """

    at: float
    what: str
    guid: str
    number: str
    login: str
    values: Sequence[tuple[str, str, str]] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """A peer as it is served: `refused` maps the outputs that cannot hold it to the reason."""

    peer: Peer
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hold:
    """A loss that waits for a person.

    `print` tells one loss from another of the same user; `verdict` is empty, `approved` or
    `dismissed`.
    """

    guid: str
    number: str
    login: str
    reason: str
    print: str
    since: float
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows about the users that a batch touches, and their rivals for numbers.

    `candidates` are entries' peers as mapped, served or not; `losses` are the users that lost
    their peer, or would have, within the window (those that a person approved left out);
    `total` counts the peers served now, `base` those at the window's begin; `outputs` are those
    that the served peers were judged for (None: all), and only from those can a peer be lost.
    `comparable` says that the batch was read from the same database as what is known, for the
    same mapping. `holders` are the GUIDs of who is known to have had a number (as `Peer.key`)
    although no peer is, because the store was lost.
    """

    candidates: Mapping[str, Candidate]
    served: Mapping[str, Served]
    holds: Mapping[str, Hold]
    rejections: Mapping[str, tuple[Rejection, ...]]
    losses: frozenset[str]
    total: int
    base: int
    outputs: frozenset[str] | None = None
    comparable: bool = False
    holders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A user that the filter matched: its mapped peer, or why it has none.

    `fault` tells a value that somebody should mend from a user that just has no telephone;
    `usn` is its uSNChanged, `expires` when the account ends with no write to it (seconds since
    the epoch, 0: never), `shown` the mapping's attributes that had a value, `hidden` those of
    them that vanished without a write.
    """

    guid: str
    dn: str
    login: str
    created: str
    peer: Peer | None
    reason: str = ""
    fault: bool = False
    usn: int = 0
    expires: float = 0.0
    shown: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The number it asks for as `Peer.key`, empty where it asks for none."""
        return self.peer.key if self.peer else ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a turn will do, decided whole before anything is done.

    `put` and `drop` are candidates to remember and to forget, `serve` and `end` peers to write
    and to remove, `hold` and `release` losses held and no longer held, `losses` the users whose
    loss counts from now, `rejections` the reasons of every user in `touched`.
    """

    put: tuple[Candidate, ...] = ()
    drop: frozenset[str] = frozenset()
    serve: tuple[Served, ...] = ()
    end: frozenset[str] = frozenset()
    hold: tuple[Hold, ...] = ()
    release: frozenset[str] = frozenset()
    losses: frozenset[str] = frozenset()
    touched: frozenset[str] = frozenset()
    rejections: tuple[Rejection, ...] = ()
    history: tuple[Change, ...] = ()

    @property
    def changes_peers(self) -> bool:
        """Whether any output may look different afterwards."""
        return bool(self.serve or self.end)


@dataclass(frozen=True, slots=True)
class Debt:
    """Something that must still happen: `kind` is publish, reload, compare or contacts."""

    kind: str
    subject: str
    since: float
    reason: str = ""
