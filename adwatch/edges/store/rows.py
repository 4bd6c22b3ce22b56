"""Values become rows and rows values; the order of columns is that of `migrations`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

from adwatch.core.incidents import Condition, Incident
from adwatch.core.messages import Message
from adwatch.core.model import (
    PEER_FIELDS,
    Candidate,
    Change,
    Contact,
    Cursor,
    Peer,
    Plan,
    Rejection,
    Served,
)

_quoted = json.encoder.encode_basestring_ascii  # a string as json.dumps writes it, alone
_TEXTS = attrgetter(*PEER_FIELDS[:-2])
assert PEER_FIELDS[-2:] == ("extra", "secret")

ADD_CANDIDATE = "INSERT INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
PUT_CANDIDATE = (
    ADD_CANDIDATE
    + """ ON CONFLICT (guid) DO UPDATE
    SET dn = excluded.dn, login = excluded.login, created = excluded.created,
    claim = excluded.claim, peer = excluded.peer, reason = excluded.reason,
    fault = excluded.fault, usn = excluded.usn, expires = excluded.expires,
    shown = excluded.shown, hidden = excluded.hidden"""
)


@dataclass(frozen=True, slots=True)
class Letter:
    """A message for one target. `at` is when it was written, seconds since the epoch.

    `id` is 0 until it is stored; `tries` counts failures, `due` is when the next try is.
    """

    target: str
    message: Message
    at: float
    id: int = 0
    tries: int = 0
    due: float = 0.0


@lru_cache(maxsize=4)
def cursor(text: str) -> Cursor:
    """The cursor that `cursor_text` wrote; a damaged one is nobody's."""
    try:
        said = json.loads(text)
        return Cursor(**{**said, "cookie": bytes.fromhex(said["cookie"])})
    except (ValueError, TypeError, KeyError):
        return Cursor(server="", invocation="", usn=0, cookie=b"", question="")


def cursor_text(cursor: Cursor) -> str:
    """A cursor as JSON."""
    return json.dumps({**asdict(cursor), "cookie": cursor.cookie.hex()})


def contact(row: Any) -> Contact:
    """A contact from its row."""
    name, company, mail, numbers = json.loads(row[1])
    return Contact(row[0], name, company, mail, tuple((k, n) for k, n in numbers))


def contact_row(contact: Contact) -> tuple[str, str]:
    """The row of a contact, ASCII so that anything can be kept."""
    shown = contact.name, contact.company, contact.mail, contact.numbers
    return contact.guid, json.dumps(shown)


def peer_text(peer: Peer | None) -> str | None:
    """A peer as JSON: its fields' values in their order, ASCII so that anything can be kept."""
    if peer is None:
        return None
    extra = json.dumps(peer.extra) if peer.extra else "[]"
    texts = ", ".join(map(_quoted, _TEXTS(peer)))
    return f"[{texts}, {extra}, {_quoted(peer.secret)}]"


def peer(text: str) -> Peer:
    """The peer that `peer_text` wrote."""
    fields: Mapping[str, Any] = dict(zip(PEER_FIELDS, json.loads(text), strict=True))
    return Peer(**{**fields, "extra": tuple((n, v) for n, v in fields["extra"])})


def candidate(row: Any) -> Candidate:
    """A candidate from its row."""
    guid, dn, login, created, _, text, reason, fault, usn, expires, shown, hidden = row
    wanted = peer(text) if text else None
    names = tuple(shown.split()), tuple(hidden.split())
    return Candidate(guid, dn, login, created, wanted, reason, bool(fault), usn, expires, *names)


def candidate_row(c: Candidate) -> tuple[Any, ...]:
    """The row of a candidate; no attribute's name has a blank in it."""
    known = (c.usn, c.expires, " ".join(c.shown), " ".join(c.hidden))
    return (c.guid, c.dn, c.login, c.created, c.key, peer_text(c.peer), c.reason, c.fault, *known)


def served(row: Any) -> Served:
    """A served peer from its row."""
    return Served(peer(row[2]), json.loads(row[3]))


def served_row(served: Served) -> tuple[str, str, str | None, str]:
    """The row of a served peer."""
    peer = served.peer
    refused = json.dumps(dict(served.refused)) if served.refused else "{}"
    return peer.guid, peer.key, peer_text(peer), refused


def change(row: Any) -> Change:
    """A change from its row of history, without the fields where they are damaged."""
    at, what, guid, number, login, values, reason = row
    fields: tuple[tuple[str, str, str], ...] = ()
    with suppress(ValueError, TypeError):  # nothing but the digest, which leaves it out, would tell
        fields = tuple((str(f), str(o), str(n)) for f, o, n in json.loads(values))
    return Change(at, what, guid, number, login, fields, reason)


@lru_cache(maxsize=64)
def _from(field: str, old: str) -> str:
    """The beginning of a change of a field; of those who are new it is nearly always the same."""
    return f"[{_quoted(field)}, {_quoted(old)}, "


def change_row(c: Change) -> tuple[Any, ...]:
    """The row of a change."""
    triples = ", ".join([f"{_from(f, o)}{_quoted(n)}]" for f, o, n in c.values])
    return c.at, c.what, c.guid, c.number, c.login, f"[{triples}]", c.reason


def rejection(row: Any) -> Rejection:
    """A rejection from its row."""
    guid, output, dn, login, number, reason = row
    return Rejection(guid, dn, login, number, reason, output)


def rejection_rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    """The rows of a plan's rejections."""
    for r in plan.rejections:
        yield r.guid, r.output, r.dn, r.login, r.number, r.reason


def incident(text: str) -> Incident:
    """An incident as it is stored."""
    read: dict[str, Any] = json.loads(text)
    condition = read.pop("condition")
    members = tuple(condition.pop("members"))
    values = tuple((name, value) for name, value in condition.pop("values", ()))
    read["members"] = tuple(read["members"])
    return Incident(Condition(**condition, members=members, values=values), **read)


def letter(row: Sequence[Any]) -> Letter:
    """A row of the outbox."""
    number, target, _, _, body, at, tries, due = row
    message = Message(**json.loads(body))
    return Letter(target, message, float(at), int(number), int(tries), float(due))
