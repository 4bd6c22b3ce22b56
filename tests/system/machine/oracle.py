"""What the peers must be: AD read with OpenLDAP's ldapsearch, the mapping applied by hand.

Nothing of adwatch is used here; the rules are the contract's, the file's grammar is what was
measured of Asterisk's parser.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from system.samba import Entry, SambaDC

MAPPED = ("number", "name", "email", "context", "call_group", "pickup_group", "mobile")
WRITTEN = {
    "fullname": "name",
    "email": "email",
    "callgroup": "call_group",
    "pickupgroup": "pickup_group",
    "context": "context",
}
_NUMBER = re.compile(r"[A-Za-z0-9*#+.-][A-Za-z0-9*#+_.-]{0,31}", re.ASCII)
_TAKEN = {"general", "lan"}  # section names that users.conf and its template use themselves
_BLANKS = "".join(map(chr, range(33)))
_EPOCH_S = 11_644_473_600  # from 1601 to 1970
_NEVER = (0, 2**63 - 1)


@dataclass(frozen=True)
class Variant:
    """One configuration: how the filter and the mapping are written, and what they mean.

    In `filter` and `peers` stands {all} for the DN of the group of all members.
    """

    filter: str
    peers: str
    number: Callable[[Mapping[str, list[str]]], str]
    context: Callable[[Mapping[str, list[str]]], str]
    drop_disabled: bool = True


def first(values: Mapping[str, list[str]], name: str) -> str:
    """The first value of an attribute, empty where there is none."""
    return (values.get(name) or [""])[0]


def _telephone(values: Mapping[str, list[str]]) -> str:
    return first(values, "telephonenumber")


def _fax(values: Mapping[str, list[str]]) -> str:
    return first(values, "facsimiletelephonenumber") or "users"


def _other_or_telephone(values: Mapping[str, list[str]]) -> str:
    return [*values.get("othertelephone", []), _telephone(values)][0]


def _common_groups(values: Mapping[str, list[str]]) -> str:
    return "|".join(values.get("memberof", []))


_PEOPLE = "(objectCategory=person)(objectClass=user)"
_IN_CHAIN = "1.2.840.113556.1.4.1941"
VARIANTS = {
    "original": Variant(f"(&(telephoneNumber=*){_PEOPLE}(sAMAccountName=*))", "", _telephone, _fax),
    "members": Variant(
        f"(&(telephoneNumber=*){_PEOPLE}(memberOf:{_IN_CHAIN}:={{all}}))", "", _telephone, _fax
    ),
    "groups": Variant(
        f"(&(|(telephoneNumber=*)(otherTelephone=*)){_PEOPLE})",
        """  number: (entry["otherTelephone"] + [telephoneNumber]) | first\n"""
        """  context: entry["memberOf"] | join("|")\n""",
        _other_or_telephone,
        _common_groups,
        drop_disabled=False,
    ),
}


@dataclass
class Expected:
    """Who asks for a peer now, by GUID as `peers --json` says it, and who can't get one."""

    claims: dict[str, dict[str, str]] = field(default_factory=dict)
    created: dict[str, tuple[str, str]] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)

    def rivals(self) -> dict[str, list[str]]:
        """The GUIDs that ask for each number, the older account first."""
        found: dict[str, list[str]] = {}
        for guid in sorted(self.claims, key=lambda g: self.created[g]):
            found.setdefault(self.claims[guid]["number"].lower(), []).append(guid)
        return found


def expected(dc: SambaDC, account: str, base: str, variant: Variant, everybody: str) -> Expected:
    """What the service account sees below `base` now, and what must come of it."""
    entries = dc.ldapsearch(
        variant.filter.format(all=everybody),
        *("objectGUID", "whenCreated", "sAMAccountName", "userPrincipalName", "telephoneNumber"),
        *("otherTelephone", "facsimileTelephoneNumber", "mobile", "memberOf"),
        *("userAccountControl", "accountExpires"),
        base=base,
        user=f"{account}@{dc.realm}",
    )
    said = Expected()
    for dn, entry in entries.items():
        _add(said, dn, entry, variant)
    return said


def _add(said: Expected, dn: str, entry: Entry, variant: Variant) -> None:
    values = {
        name.lower(): sorted(v.decode("utf-8", "surrogateescape") for v in octets)
        for name, octets in entry.items()
        if name != "objectGUID"
    }
    if variant.drop_disabled and _out_of_service(values):
        return
    number = variant.number(values)
    if not number:
        return
    guid, login = str(UUID(bytes_le=entry["objectGUID"][0])), first(values, "samaccountname")
    peer = {
        "number": number,
        "name": login[:1].upper() + login[1:],
        "email": first(values, "userprincipalname"),
        "context": variant.context(values),
        "call_group": number[:1],
        "pickup_group": number[:1],
        "mobile": first(values, "mobile"),
    }
    if _writable(peer):
        said.claims[guid] = {**peer, "dn": dn, "login": login}
        said.created[guid] = (first(values, "whencreated"), guid)
    else:
        said.faulty.add(guid)


def _out_of_service(values: Mapping[str, list[str]]) -> bool:
    ends = int(first(values, "accountexpires") or 0)
    expired = ends not in _NEVER and ends / 10**7 - _EPOCH_S <= time.time()
    return expired or bool(int(first(values, "useraccountcontrol") or 0) & 2)


def _writable(peer: Mapping[str, str]) -> bool:
    number = peer["number"]
    if not _NUMBER.fullmatch(number) or number.lower() in _TAKEN:
        return False
    for value in peer.values():
        if re.search(r"[\r\n\0\ud800-\udfff]", value) or value != value.strip(_BLANKS):
            return False
    return True


def as_asterisk_reads(text: str) -> dict[str, dict[str, str]]:
    """Sections and their options as Asterisk's parser gives them (measured on 16 and 22)."""
    sections: dict[str, dict[str, str]] = {}
    options: dict[str, str] = {}
    for line in text.split("\n"):
        bare = _without_comment(line).strip(_BLANKS)
        if not bare:
            continue
        if bare.startswith("["):
            head = re.fullmatch(r"\[([^\]]*)\]\(lan\)", bare)
            assert head is not None, f"not a section of a peer: {line!r}"
            assert head[1] not in sections, f"twice: {line!r}"
            options = sections[head[1]] = {}
        else:
            name, equals, value = bare.partition("=")
            assert equals, f"no option: {line!r}"
            assert sections, f"an option before any section: {line!r}"
            options[name.strip(_BLANKS)] = value.strip(_BLANKS)
    return sections


def _without_comment(line: str) -> str:
    kept, at = "", 0
    while at < len(line):
        if line[at] == ";":
            if kept.endswith("\\"):
                kept = kept[:-1] + ";"
                at += 1
                continue
            assert not line.startswith(";--", at), f"a comment that swallows the file: {line!r}"
            break
        kept += line[at]
        at += 1
    return kept


def section_of(peer: Mapping[str, str]) -> dict[str, str]:
    """The options that a peer's section must have, but for its secret."""
    return {option: peer[name] for option, name in WRITTEN.items() if peer[name]}


def replayed(history: Iterable[Mapping[str, object]]) -> dict[str, dict[str, str]]:
    """The peers that the rows of `history --json` lead to, by GUID."""
    peers: dict[str, dict[str, str]] = {}
    for row in history:
        guid = str(row["guid"])
        if row["what"] == "removed":
            del peers[guid]
        elif row["what"] in ("added", "changed"):
            assert (row["what"] == "changed") == (guid in peers), f"out of order: {row}"
            peer = peers.setdefault(guid, dict.fromkeys((*MAPPED, "dn", "login"), ""))
            for change in row["changes"]:  # type: ignore[attr-defined]
                if change["field"] in peer:
                    assert peer[change["field"]] == change["old"], f"not what it was: {row}"
                    peer[change["field"]] = change["new"]
    return peers
