"""What tells that something changed: the gate, DirSync, uSNChanged. A feed only names objects.

Sources: MS-ADTS 3.1.1.3.4.1.3 (DirSync), 3.1.1.3.2.9 (highestCommittedUSN), and the pages on
polling with DirSync and with uSNChanged in Microsoft's Win32 documentation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from adwatch.core.ldapfilter import escape, guid_clause
from adwatch.core.words import line
from adwatch.edges.directory.entries import read_sequence, sequence
from adwatch.edges.directory.requests import ANYTHING, Control
from adwatch.edges.directory.session import (
    BASE,
    SHOW_DELETED,
    SUBTREE,
    LdapError,
    Row,
    Session,
)
from adwatch.edges.directory.vector import read_vector
from adwatch.errors import DirectoryError

log = logging.getLogger(__name__)

DIRSYNC: Final = "1.2.840.113556.1.4.841"
OBJECT_SECURITY: Final = 1
_MAX_BYTES: Final = 1 << 20
_INSUFFICIENT_ACCESS: Final = 50
# adminLimitExceeded, busy, unavailable: of the server's state, and not of what was asked.
LATER: Final = frozenset({11, 51, 52})
_NO_OBJECT: Final = 32
# No object has the nil GUID, so DirSync answers with a cookie alone (5 ms at 20,000 users).
_NOTHING: Final = guid_clause(str(UUID(int=0)))


@dataclass(frozen=True, slots=True)
class Root:
    """What the rootDSE and the NTDS settings say about a domain controller."""

    host: str
    naming_context: str
    all_contexts: tuple[str, ...]
    invocation: str
    controls: frozenset[str]
    synchronized: bool


@dataclass(frozen=True, slots=True)
class Named:
    """An object that a feed names: `usn` is its uSNChanged where the feed tells it, else 0."""

    guid: str
    dn: str
    usn: int = 0


def read_root(session: Session) -> Root:
    """Who the server is, and which database it serves from (invocationId)."""
    wanted = [
        "defaultNamingContext",
        "dnsHostName",
        "dsServiceName",
        "isSynchronized",
        "namingContexts",
        "supportedControl",
    ]
    row = only(session, session.search("", BASE, ANYTHING, wanted))
    service = row.text("dsservicename")
    if not service or not row.text("defaultnamingcontext"):
        raise DirectoryError(
            f"{session.url} is no Active Directory domain controller", "name one in directory"
        )
    settings = only(session, session.search(service, BASE, ANYTHING, ["invocationId"]))
    invocation = settings.values.get("invocationid")
    if not invocation:
        raise DirectoryError(
            f"{session.url}: the account can't read the invocationId of {service}",
            "let Authenticated Users read the Configuration naming context, as is the default",
        )
    return Root(
        host=row.text("dnshostname"),
        naming_context=row.text("defaultnamingcontext"),
        all_contexts=tuple(v.decode() for v in row.values.get("namingcontexts", ())),
        invocation=guid_text(invocation[0]),
        controls=frozenset(v.decode() for v in row.values.get("supportedcontrol", ())),
        synchronized=row.text("issynchronized") != "FALSE",
    )


def only(session: Session, rows: Iterable[Row]) -> Row:
    """The one row that a base search must give."""
    found = list(rows)
    if len(found) != 1:
        raise DirectoryError(f"{session.url} gave {len(found)} entries where one was expected")
    return found[0]


def guid_text(octets: bytes) -> str:
    """An objectGUID's 16 octets as dashed lower-case text."""
    if len(octets) != 16:
        raise DirectoryError(f"an objectGUID has {len(octets)} octets where 16 are expected")
    # The first three fields are little-endian (MS-DTYP 2.3.4.2); UUID() takes four times as long.
    h = octets.hex()
    first = f"{h[6:8]}{h[4:6]}{h[2:4]}{h[:2]}-{h[10:12]}{h[8:10]}-{h[14:16]}{h[12:14]}"
    return f"{first}-{h[16:20]}-{h[20:]}"


def read_gate(session: Session) -> int:
    """highestCommittedUSN: unchanged means that nothing was written on this DC at all."""
    row = only(session, session.search_root("highestCommittedUSN"))
    return int(row.text("highestcommittedusn"))


def read_progress(session: Session, context: str) -> dict[str, int]:
    """Up to which USN of each other controller's database this one has everything.

    Empty where this one never replicated, or the account may not see it.
    """
    row = only(session, session.search(context, BASE, ANYTHING, ["replUpToDateVector"]))
    octets = row.values.get("repluptodatevector")
    try:
        return read_vector(octets[0]) if octets else {}
    except ValueError as error:
        log.warning(line("vector", server=session.url, cause=error))
        return {}


class DirSync:
    """The DirSync control on a naming context, with or without the replication right.

    `flags` is 0 with the right "Replicating Directory Changes", else OBJECT_SECURITY, which
    shows what the account may read. Only changes of one of `attributes` are named.
    """

    def __init__(self, flags: int, naming_context: str, attributes: Sequence[str]) -> None:
        self.flags = flags
        self._context = naming_context
        self._attributes = tuple(attributes)

    def start(self, session: Session) -> bytes:
        """A cookie for the state that the server has now."""
        return self._ask(session, b"", _NOTHING)[1]

    def changes(self, session: Session, cookie: bytes) -> tuple[list[Named], bytes]:
        """The objects named since `cookie`, and the next cookie.

        Raises LdapError where the server does not take the cookie.
        """
        return self._ask(session, cookie, ANYTHING)

    def names(self, session: Session, guid: str) -> bool:
        """Whether a DirSync from the beginning shows the object `guid` at all."""
        return any(n.guid == guid for n in self._ask(session, b"", guid_clause(guid))[0])

    def _ask(self, session: Session, cookie: bytes, text: str) -> tuple[list[Named], bytes]:
        named: dict[str, Named] = {}
        more = True
        while more:
            value = sequence(self.flags, _MAX_BYTES, cookie)
            controls: list[Control] = [(DIRSYNC, True, value)]
            for row in session.search(
                self._context, SUBTREE, text, self._attributes, controls=controls
            ):
                guid = row.values.get("objectguid")
                if guid:
                    named[guid_text(guid[0])] = Named(guid_text(guid[0]), row.dn)
            answer = session.answer_controls.get(DIRSYNC)
            if answer is None:
                raise DirectoryError(f"{session.url} ignored the DirSync control")
            flag, _, cookie = read_sequence(answer)
            more = int.from_bytes(flag, "big") != 0
        return list(named.values()), cookie


def usn_changes(session: Session, context: str, first: int, *, show_deleted: bool) -> list[Named]:
    """The visible objects of a naming context whose uSNChanged is `first` or more."""
    controls: list[Control] = [(SHOW_DELETED, True, None)] if show_deleted else []
    wanted = ["objectGUID", "uSNChanged"]
    rows = session.search(context, SUBTREE, f"(uSNChanged>={first})", wanted, controls=controls)
    return [
        Named(guid_text(row.values["objectguid"][0]), row.dn, int(row.text("usnchanged") or 0))
        for row in rows
        if "objectguid" in row.values
    ]


def unexplained(first: int, last: int, seen: Sequence[Named]) -> int:
    """How many of the USNs `first` to `last` no visible object carries.

    Each write takes one USN. One that nobody visible carries was a write to something that
    the account can't see, a deletion perhaps, or was overtaken by a later write.
    """
    carried = {n.usn for n in seen if first <= n.usn <= last}
    return last - first + 1 - len(carried)


def sees_deletions(session: Session, naming_context: str) -> bool:
    """Whether the account would see tombstones.

    Without list and read rights the container of deleted objects shows its name and not one
    attribute (measured on Samba 4.22); with them it shows its class.
    """
    base = f"CN=Deleted Objects,{naming_context}"
    controls: list[Control] = [(SHOW_DELETED, True, None)]
    try:
        rows = list(session.search(base, BASE, ANYTHING, ["objectClass"], controls=controls))
    except LdapError as error:
        if error.code not in (_NO_OBJECT, _INSUFFICIENT_ACCESS):
            raise
        return False
    return any(row.values.get("objectclass") for row in rows)


@dataclass(frozen=True, slots=True)
class Choice:
    """The feed in use: `dirsync` is None for uSNChanged; `why` says how it was chosen."""

    dirsync: DirSync | None
    why: str

    @property
    def name(self) -> str:
        """As `directory.feed` and `status` call it."""
        return "dirsync" if self.dirsync else "usn"


def choose(session: Session, root: Root, wanted: str, attributes: Sequence[str]) -> Choice:
    """Probes what the account may use.

    `wanted` is auto, dirsync or usn. Raises DirectoryError where `dirsync` is demanded and
    can't be had.
    """
    if wanted == "usn":
        return Choice(None, "configured")
    failures = []
    for flags, kind in ((0, "with the replication right"), (OBJECT_SECURITY, "object security")):
        feed = DirSync(flags, root.naming_context, attributes)
        failure = _try_dirsync(session, root, feed)
        if not failure:
            return Choice(feed, kind)
        failures.append(f"{kind}: {failure}")
    why = "; ".join(failures)
    if wanted == "dirsync":
        raise DirectoryError(f"{session.url} does not give DirSync: {why}", "use feed: auto or usn")
    return Choice(None, f"no DirSync ({why})")


def _try_dirsync(session: Session, root: Root, feed: DirSync) -> str:
    """Why a DirSync can't be trusted here, empty where it can.

    An account that may not read an object's replication metadata gets success and no rows, so
    an object that a plain search shows must be named by DirSync too.
    """
    if root.controls and DIRSYNC not in root.controls:
        return "the server does not offer the control"
    try:
        feed.start(session)
        sample = _any_user(session, root.naming_context)
        if sample and not feed.names(session, sample):
            return "it is silent about an object that a search shows"
    except LdapError as error:
        if error.code == _INSUFFICIENT_ACCESS:
            return "the account has no right"
        return f"refused with code {error.code}"
    return ""


def _any_user(session: Session, naming_context: str) -> str:
    """The GUID of some user that the account can see: itself; empty where it has no name."""
    login = session.user.partition("@")[0].rpartition("\\")[2]
    if not login:
        return ""
    text = f"(&(objectClass=user)(sAMAccountName={escape(login)}))"
    for row in session.search(naming_context, SUBTREE, text, ["objectGUID"]):
        if "objectguid" in row.values:
            return guid_text(row.values["objectguid"][0])
    return ""
