"""Who is in scope: reads below the bases with the user's own filter, and reasons why not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

from adwatch.core.attributes import Attributes, Value
from adwatch.core.ldapfilter import any_of, escape, filter_attributes, guid_clause
from adwatch.core.model import HIDDEN, Entry, Finding, Seen
from adwatch.edges.directory.feeds import guid_text
from adwatch.edges.directory.session import SHOW_DELETED, SUBTREE, LdapError, Row, Session
from adwatch.errors import DirectoryError

BY_GUID: Final = 100
_NO_OBJECT: Final = 32
# Of each domain controller its own: not replicated, or set anew where a change arrives.
_NOT_SHARED: Final = frozenset(
    {
        "badpasswordtime",
        "badpwdcount",
        "lastlogoff",
        "lastlogon",
        "logoncount",
        "usnchanged",
        "usncreated",
        "whenchanged",
    }
)
# Nothing that adwatch looks at lies below one of these. Renaming or moving any other object
# changes the DN of all below it, its ACL what may be seen there, and no feed names them.
_LEAVES: Final = frozenset({b"user", b"contact", b"group"})


class Scope:
    """The users that the configuration speaks of, on one session.

    `attributes` are read of each; `groups` says that membership matters.
    """

    def __init__(
        self,
        session: Session,
        context: str,
        bases: tuple[str, ...],
        text: str,
        attributes: tuple[str, ...],
        *,
        groups: bool,
        section: str = "directory",
    ) -> None:
        self._session = session
        self._context = context
        self._bases = bases
        self._filter = text
        self._attributes = attributes
        self._tested = filter_attributes(text)
        self._groups = groups
        self._section = section

    def everybody(self) -> Iterator[Entry]:
        """Every user in scope; one may come twice."""
        return map(to_entry, self.rows(self._filter, self._attributes))

    def listed(self) -> dict[str, Seen]:
        """Where every user in scope is, and when it was written, by GUID."""
        rows = self.rows(self._filter, ["objectGUID", "uSNChanged"])
        return {guid_of(row): Seen(row.dn, int(row.text("usnchanged") or 0)) for row in rows}

    def rows(self, text: str, attributes: Iterable[str]) -> Iterator[Row]:
        """The rows below every base; a base that is not there is a fault, never an empty one."""
        for base in self._bases:
            try:
                yield from self._session.search_all(base, text, tuple(attributes))
            except LdapError as error:
                if error.code != _NO_OBJECT:
                    raise
                raise DirectoryError(
                    f"{self._session.url}: the base {base} is not there, or not to be seen",
                    f"correct {self._section}.base, or let the account list what is in it",
                ) from error

    def look(self, guids: Iterable[str]) -> tuple[dict[str, Entry], dict[str, str], str]:
        """Reads objects by GUID: those in scope, why the others are not, and why to compare."""
        found: dict[str, Entry] = {}
        gone: dict[str, str] = {}
        container = ""
        ordered = sorted(guids)
        for at in range(0, len(ordered), BY_GUID):
            part = ordered[at : at + BY_GUID]
            found |= {entry.guid: entry for entry in self.among(part)}
            missing = [guid for guid in part if guid not in found]
            if missing:
                outside = self._outside(missing)
                gone |= {guid: self._why(outside.get(guid)) for guid in missing}
                container = container or self._hint(outside.values())
        return found, gone, container

    def found(self, guids: Iterable[str]) -> dict[str, Entry]:
        """Those of the objects that are in scope, by GUID."""
        ordered = sorted(guids)
        parts = (ordered[at : at + BY_GUID] for at in range(0, len(ordered), BY_GUID))
        return {entry.guid: entry for part in parts for entry in self.among(part)}

    def among(self, guids: Sequence[str]) -> Iterator[Entry]:
        """Those of at most BY_GUID objects that are in scope; one may come twice."""
        these = any_of(guid_clause(guid) for guid in guids)
        return map(to_entry, self.rows(f"(&{these}{self._filter})", self._attributes))

    def find(self, who: str, number_attributes: Iterable[str]) -> list[Finding]:
        """The users that `who` (number, login, mail, DN or GUID) names, in scope or not."""
        names = {"sAMAccountName", "mail", "userPrincipalName", *number_attributes}
        clauses = [f"({name}={escape(who)})" for name in sorted(names)]
        if "=" in who:
            clauses.append(f"(distinguishedName={escape(who)})")
        with contextlib.suppress(ValueError):  # not every name is a GUID
            clauses.append(guid_clause(str(UUID(who))))
        wanted = tuple(dict.fromkeys((*self._attributes, "objectClass")))
        rows = list(self._session.search(self._context, SUBTREE, any_of(iter(clauses)), wanted))
        inside, gone, _ = self.look({guid_of(row) for row in rows})
        return [
            Finding(to_entry(row), guid_of(row) in inside, gone.get(guid_of(row), ""))
            for row in rows
        ]

    def _outside(self, guids: list[str]) -> dict[str, Row]:
        wanted = ("objectGUID", "objectClass", "isDeleted", "userAccountControl", *self._tested)
        these = any_of(guid_clause(guid) for guid in guids)
        rows = self._session.search(
            self._context, SUBTREE, these, wanted, controls=[(SHOW_DELETED, True, None)]
        )
        return {guid_of(row): row for row in rows}

    def _why(self, row: Row | None) -> str:
        """Why an object is out of scope, in words."""
        if row is None:
            return HIDDEN
        if row.text("isdeleted") == "TRUE":
            return "deleted in AD"
        if not any(_below(row.dn, base) for base in self._bases):
            return f"outside of the base, at {row.dn}"
        empty = [name for name in self._tested if not row.values.get(name.lower())]
        if empty:
            return f"no longer matches the filter: {', '.join(empty)} empty"
        return "no longer matches the filter"

    def _hint(self, rows: Iterable[Row]) -> str:
        """Why objects that are no users make a comparison necessary, empty where they don't."""
        for row in rows:
            classes = set(row.values.get("objectclass", ()))
            if not classes & _LEAVES and row.text("isdeleted") != "TRUE":
                return f"{row.dn} changed, and with it perhaps all below it"
            if self._groups and b"group" in classes:
                return f"the group {row.dn} changed"
        return ""


def guid_of(row: Row) -> str:
    """A row's objectGUID as dashed text."""
    octets = row.values.get("objectguid")
    if not octets:
        raise DirectoryError(
            f"{row.dn} came without its objectGUID", "let the account read objectGUID"
        )
    return guid_text(octets[0])


def to_entry(row: Row) -> Entry:
    """A row as text; several values are a set in AD, so they are put in order."""
    texts: dict[str, Value] = {}
    for name, values in row.values.items():
        if len(values) == 1:
            if name != "objectguid":
                texts[name] = str(values[0], "utf-8", "surrogateescape")
        elif values:
            some = sorted(value.decode("utf-8", "surrogateescape") for value in values)
            texts[name] = tuple(some)
    names = tuple(texts)
    if ";" in "".join(names):  # options, such as `;range=0-1499`
        texts = {name.partition(";")[0]: value for name, value in texts.items()}
        names = tuple(texts)
    return Entry(guid_of(row), row.dn, Attributes(names, tuple(texts.values())))


def _below(dn: str, base: str) -> bool:
    """Whether a DN lies below a base, as far as its text tells."""
    return dn.lower() == base.lower() or dn.lower().endswith("," + base.lower())


def alike(one: Scope, other: Scope, guids: frozenset[str]) -> bool:
    """Whether two servers give the same of these users, but for what each has of its own."""
    first, second = (
        {
            guid: (entry.dn, {n: v for n, v in entry.attributes.items() if n not in _NOT_SHARED})
            for guid, entry in scope.look(guids)[0].items()
        }
        for scope in (one, other)
    )
    return first == second
