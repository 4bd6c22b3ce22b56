"""Phone books: the people who can be called become each vendor's document.

The same people give the same bytes, and whatever their names hold, the document stays whole:
`make_book` leaves only text that XML 1.0 can hold, and a library escapes it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from adwatch.core.model import Contact, Entry, Peer
from adwatch.core.page import PLAIN, Asked, Document

WORK, MOBILE, OTHER = "work", "mobile", "other"
CONTACT_ATTRIBUTES: Final = (
    "displayName",
    "name",
    "company",
    "mail",
    "telephoneNumber",
    "otherTelephone",
    "mobile",
)
TITLE: Final = "Phone book"
XML: Final = "text/xml; charset=utf-8"  # what Cisco's phones demand of a directory
VCARD: Final = "text/vcard; charset=utf-8"

# An answer of Cisco's holds no more, and a name no more characters (OL-20949).
CISCO_ENTRIES: Final = 32
CISCO_NAME: Final = 64

# U+FFFE and U+FFFF are in no XML 1.0 document; the others turn a line of text about.
_DROPPED = re.compile("[\ufffe\uffff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK = re.compile("[\x00-\x20\x7f-\xa0\u2028\u2029]+")


Book = tuple[Contact, ...]
Form = Callable[[Book, Asked], Document]


def of_entry(entry: Entry) -> Contact:
    """A contact of AD, its values as they are there."""
    kinds = (WORK, "telephonenumber"), (MOBILE, "mobile"), (OTHER, "othertelephone")
    return Contact(
        guid=entry.guid,
        name=entry.first("displayname") or entry.first("name"),
        company=entry.first("company"),
        mail=entry.first("mail"),
        numbers=tuple((k, v) for k, a in kinds for v in entry.attributes.get(a, ())),
    )


def of_peer(peer: Peer) -> Contact:
    """A peer as others call it."""
    numbers = (WORK, peer.number), (MOBILE, peer.mobile)
    return Contact(peer.guid, peer.name, "", peer.email, tuple(n for n in numbers if n[1]))


def make_book(peers: Iterable[Peer], contacts: Iterable[Contact]) -> Book:
    """Everybody with a name and a number, by name; a contact that is a peer too only as peer.

    A peer's number stays as it is dialled; of all others the digits are left, and a leading +.
    """
    people = {contact.guid: _clean(contact) for contact in contacts}
    people |= {peer.guid: _clean(of_peer(peer), inside=peer.number) for peer in peers}
    shown = (person for person in people.values() if person.name and person.numbers)
    return tuple(sorted(shown, key=_order))


def _clean(contact: Contact, inside: str = "") -> Contact:
    numbers = ((k, n if n == inside else dialable(n)) for k, n in contact.numbers)
    return replace(
        contact,
        name=one_line(contact.name),
        company=one_line(contact.company),
        mail=one_line(contact.mail),
        numbers=tuple(dict.fromkeys((k, n) for k, n in numbers if n)),
    )


def one_line(text: str) -> str:
    """A text on one line, without what XML 1.0 can't hold or what turns its direction."""
    shown = _DROPPED.sub("", _SURROGATE.sub("\ufffd", text))
    return _BLANK.sub(" ", shown).strip(" ")


def dialable(text: str) -> str:
    """What a phone dials for a number as people write it: `Tel. +49 (0)30 12-34` is +49301234.

    What follows a letter behind it (an extension, a remark) is no part of it.
    """
    found = re.search(r"[+*#0-9][\W\d_]*", text)
    written = found[0] if found else ""
    plus = "+" if written.startswith("+") else ""
    if plus:
        written = written.replace("(0)", "")
    return plus + re.sub("[^0-9*#]", "", written) if re.search("[0-9]", written) else ""


def _order(contact: Contact) -> tuple[str, str, tuple[tuple[str, str], ...], str]:
    return _collated(contact.name), contact.name, contact.numbers, contact.guid


def _collated(name: str) -> str:
    """A name for sorting: without case and accents, but й is a letter of its own."""
    return "".join(
        letter
        for shown in unicodedata.normalize("NFKC", name).casefold()
        for letter in (shown if shown == "й" else unicodedata.normalize("NFKD", shown))
        if not unicodedata.combining(letter)
    )


def _one_by_one(book: Book, longest: int = 0) -> Iterator[tuple[str, str]]:
    """Names and numbers for forms where an entry has one; further ones tell their kind.

    Names have at most `longest` characters, where that is given.
    """
    for person in book:
        for index, (kind, number) in enumerate(person.numbers):
            name, behind = person.name, f" ({kind})" if index else ""
            if longest and len(name + behind) > longest:
                name = name[: longest - len(behind) - 1] + "…"
            yield name + behind, number


def _element(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    made = SubElement(parent, tag, attributes)
    made.text = text or None
    return made


def _xml(root: Element) -> Document:
    root.text = "\n"
    for child in root:
        child.tail = "\n"
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, "unicode") + "\n"
    return Document(XML, text.encode())


_GRANDSTREAM: Final = {WORK: "Work", MOBILE: "Mobile", OTHER: "Other"}


def grandstream(book: Book, asked: Asked = PLAIN) -> Document:
    """Grandstream's phonebook.xml (XML Phonebook Guide): a contact has several numbers."""
    del asked
    root = Element("AddressBook")
    _element(root, "version", "1")
    for person in book:
        contact = _element(root, "Contact")
        _element(contact, "LastName", person.name)
        for kind, number in person.numbers:
            phone = _element(contact, "Phone", type=_GRANDSTREAM[kind])
            _element(phone, "phonenumber", number)
            _element(phone, "accountindex", "0")
        if person.mail:
            _element(contact, "Mail", person.mail, type="Work")
    return _xml(root)


def old_grandstream(book: Book, asked: Asked = PLAIN) -> Document:
    """Grandstream's gs_phonebook.xml, of firmware that knows no kinds of numbers."""
    del asked
    root = Element("AddressBook")
    for name, number in _one_by_one(book):
        contact = _element(root, "Contact")
        _element(contact, "LastName", name)
        _element(contact, "FirstName")
        phone = _element(contact, "Phone")
        _element(phone, "phonenumber", number)
        _element(phone, "accountindex", "0")
        _element(_element(contact, "Groups"), "groupid", "0")
    return _xml(root)


_YEALINK: Final = {WORK: "Office", MOBILE: "Mobile", OTHER: "Other"}


def yealink(book: Book, asked: Asked = PLAIN) -> Document:
    """Yealink's remote phone book: an entry has several numbers, each with a label."""
    del asked
    root = Element("YealinkIPPhoneDirectory")
    for person in book:
        entry = _element(root, "DirectoryEntry")
        _element(entry, "Name", person.name)
        for kind, number in person.numbers:
            _element(entry, "Telephone", number, label=_YEALINK[kind])
    return _xml(root)


_SNOM: Final = {WORK: "business", MOBILE: "mobile", OTHER: "fixed"}


def snom(book: Book, asked: Asked = PLAIN) -> Document:
    """Snom's tbook for setting_files: complete, so that who is gone is gone on the phone too."""
    del asked
    root = Element("tbook", e="2", complete="true")
    index = 0
    for person in book:
        for kind, number in person.numbers:
            item = _element(root, "item", context="active", type="none", index=str(index))
            _element(item, "name", person.name)
            _element(item, "number", number)
            _element(item, "number_type", _SNOM[kind])
            index += 1
    return _xml(root)


def snom_remote(book: Book, asked: Asked = PLAIN) -> Document:
    """Snom's tbook 2.0, the remote XML directory of firmware 10.1.178 and later."""
    del asked
    root = Element("tbook", e="2", version="2.0", complete="true")
    for person in book:
        contact = _element(root, "contact", fav="false", vip="false", blocked="false")
        _element(contact, "last_name", person.name)
        if person.company:
            _element(contact, "organization", person.company)
        if person.mail:
            _element(contact, "email", person.mail)
        numbers = _element(contact, "numbers")
        for kind, number in person.numbers:
            _element(numbers, "number", no=number, type=_SNOM[kind], outgoing_id="0")
    return _xml(root)


_FANVIL: Final = {WORK: "Telephone", MOBILE: "Mobile", OTHER: "Other"}


def fanvil(book: Book, asked: Asked = PLAIN) -> Document:
    """Fanvil's: an entry has a number of each kind; whoever has more of one has more entries.

    Its phones are said not to show an ampersand, however it is written.
    """
    del asked
    root = Element("FanvilIPPhoneDirectory")
    for person in book:
        left = list(person.numbers)
        while left:
            entry = _element(root, "DirectoryEntry")
            _element(entry, "Name", person.name.replace("&", "+"))
            for kind, tag in _FANVIL.items():
                first = next((n for n in left if n[0] == kind), None)
                if first is not None:
                    _element(entry, tag, first[1])
                    left.remove(first)
    return _xml(root)


def cisco(book: Book, asked: Asked = PLAIN) -> Document:
    """Cisco's directory, 32 entries at a time, and a search; Linksys and Cisco SPA take it too."""
    if "search" in asked.query:
        return _cisco_search(asked)
    words = {k: asked.query[k] for k in ("name", "number") if asked.query.get(k)}
    entries = list(_found(book, words))
    start = asked.number("start")
    part = entries[start : start + CISCO_ENTRIES]
    end = start + len(part)
    root = Element("CiscoIPPhoneDirectory")
    _element(root, "Title", TITLE)
    said = f"{start + 1}-{end} of {len(entries)}" if part else "Nobody found"
    _element(root, "Prompt", said)
    for name, number in part:
        entry = _element(root, "DirectoryEntry")
        _element(entry, "Name", name)
        _element(entry, "Telephone", number)
    keys = [("Dial", "SoftKey:Dial"), ("Search", asked.link(search="1")), ("Exit", "SoftKey:Exit")]
    keys.append(("EditDial", "SoftKey:EditDial"))
    if end < len(entries):
        keys.insert(1, ("Next", asked.link(**words, start=str(end))))
    for position, (name, url) in enumerate(keys, 1):
        key = _element(root, "SoftKeyItem")
        _element(key, "Name", name)
        _element(key, "URL", url)
        _element(key, "Position", str(position))
    return _xml(root)


def _found(book: Book, words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The entries whose name and number hold what was typed, whatever its case and accents."""
    part, digits = _collated(words.get("name", "")), words.get("number", "")
    for name, number in _one_by_one(book, CISCO_NAME):
        if digits in number and (not part or part in _collated(name)):
            yield name, number


def _cisco_search(asked: Asked) -> Document:
    root = Element("CiscoIPPhoneInput")
    _element(root, "Title", TITLE)
    _element(root, "Prompt", "Part of a name or number")
    _element(root, "URL", asked.link())
    for shown, word, flags in (("Name", "name", "A"), ("Number", "number", "T")):
        item = _element(root, "InputItem")
        _element(item, "DisplayName", shown)
        _element(item, "QueryStringParam", word)
        _element(item, "DefaultValue")
        _element(item, "InputFlags", flags)
    return _xml(root)


_TEL: Final = {WORK: "WORK,VOICE", MOBILE: "CELL,VOICE", OTHER: "VOICE"}


def vcard(book: Book, asked: Asked = PLAIN) -> Document:
    """vCard 3.0 (RFC 2426), which older phones and programs read, too; all in one file."""
    del asked
    lines = []
    for person in book:
        name = _escaped(person.name)
        lines += ["BEGIN:VCARD", "VERSION:3.0", f"UID:{person.guid}", f"FN:{name}", f"N:{name};;;;"]
        lines += [f"ORG:{_escaped(person.company)}"] if person.company else []
        lines += [f"TEL;TYPE={_TEL[kind]}:{_escaped(n)}" for kind, n in person.numbers]
        lines += [f"EMAIL;TYPE=INTERNET:{_escaped(person.mail)}"] if person.mail else []
        lines.append("END:VCARD")
    return Document(VCARD, b"".join(map(_folded, lines)))


def _escaped(text: str) -> str:
    return re.sub(r"([\\;,])", r"\\\1", text)


def _folded(line: str) -> bytes:
    """A line of at most 75 octets, continued behind a blank, no character torn apart."""
    if len(line) <= 75 and line.isascii():
        return line.encode() + b"\r\n"
    lines = [b""]
    for octets in map(str.encode, line):
        if len(lines[-1]) + len(octets) > 75:
            lines.append(b" ")
        lines[-1] += octets
    return b"\r\n".join(lines) + b"\r\n"


# Grandstream's phones put the file's name behind the path that they are given.
FORMS: Final[Mapping[str, Form]] = {
    "/phonebook/grandstream.xml": grandstream,
    "/phonebook/grandstream/phonebook.xml": grandstream,
    "/phonebook/grandstream/gs_phonebook.xml": old_grandstream,
    "/phonebook/phonebook.xml": grandstream,
    "/phonebook/gs_phonebook.xml": old_grandstream,
    "/phonebook/yealink.xml": yealink,
    "/phonebook/cisco.xml": cisco,
    "/phonebook/spa.xml": cisco,
    "/phonebook/snom.xml": snom,
    "/phonebook/snom-remote.xml": snom_remote,
    "/phonebook/fanvil.xml": fanvil,
    "/phonebook.vcf": vcard,
    "/phonebook/phonebook.vcf": vcard,
    "/phonebook/vcard.vcf": vcard,
}
# What these give depends on what was asked; all other forms give the whole book.
PAGED: Final = frozenset({cisco})
# Snom's phones ask for their remote directory by POST (their documentation of 10.1.178).
POSTED: Final = frozenset({"/phonebook/snom.xml", "/phonebook/snom-remote.xml"})
