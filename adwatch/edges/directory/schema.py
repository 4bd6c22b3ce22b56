"""What AD's schema calls attributes, and whether an account is shown any value of one.

An attribute that may not be read does not exist for whoever asks, in answers and in filters alike
(MS-ADTS 3.1.1.4.4), so that only the schema tells a missing right from a misspelt name.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from adwatch.core.ldapfilter import escape
from adwatch.edges.directory.requests import ANYTHING
from adwatch.edges.directory.session import BASE, SIZE_LIMIT_EXCEEDED, SUBTREE, LdapError, Session

_USERS = "(objectCategory=person)(objectClass=user)"


def unknown(session: Session, names: Iterable[str]) -> dict[str, str]:
    """The names that no attribute has, each with one that is like it, empty where none is.

    An option behind a name (`userCertificate;binary`) is no part of it.
    """
    (root,) = session.search("", BASE, ANYTHING, ["schemaNamingContext"])
    base = root.text("schemanamingcontext")
    wanted = {name.lower(): name for name in (full.partition(";")[0] for full in names)}
    either = "".join(f"(lDAPDisplayName={escape(name)})" for name in wanted)
    for name in _names(session, base, f"(|{either})") if wanted else ():
        wanted.pop(name.lower(), None)
    if not wanted:
        return {}
    known = {name.lower(): name for name in _names(session, base, "(objectClass=attributeSchema)")}
    near = {one: get_close_matches(one, known, 1) for one in wanted}
    return {wanted[one]: known[found[0]] if found else "" for one, found in near.items()}


def _names(session: Session, base: str, text: str) -> list[str]:
    return [
        row.text("ldapdisplayname") for row in session.search_all(base, text, ["lDAPDisplayName"])
    ]


def unseen(session: Session, bases: Iterable[str], names: Iterable[str]) -> list[str]:
    """The attributes that no user below the bases has, as far as the account is shown."""
    places = tuple(bases)
    return [name for name in names if not any(_shown(session, base, name) for base in places)]


def _shown(session: Session, base: str, name: str) -> bool:
    text, found = f"(&{_USERS}({escape(name)}=*))", False
    try:
        for _ in session.search(base, SUBTREE, text, ["1.1"], size_limit=1):
            found = True
    except LdapError as error:
        if error.code != SIZE_LIMIT_EXCEEDED:
            raise
    return found
