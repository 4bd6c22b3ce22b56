"""Phone books: each vendor's document against a schema written from the vendor's description."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit
from uuid import NAMESPACE_OID, uuid5

import pytest
import vobject
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from adwatch.core.model import Contact, Entry, Peer
from adwatch.core.page import Asked, Document
from adwatch.core.phonebook import (
    FORMS,
    Book,
    cisco,
    dialable,
    make_book,
    of_entry,
    old_grandstream,
    one_line,
)

SCHEMAS = Path(__file__).with_name("phonebooks")
SCHEMA_OF = {
    "/phonebook/grandstream.xml": "grandstream",
    "/phonebook/grandstream/phonebook.xml": "grandstream",
    "/phonebook/phonebook.xml": "grandstream",
    "/phonebook/grandstream/gs_phonebook.xml": "grandstream-old",
    "/phonebook/gs_phonebook.xml": "grandstream-old",
    "/phonebook/yealink.xml": "yealink",
    "/phonebook/cisco.xml": "cisco",
    "/phonebook/spa.xml": "cisco",
    "/phonebook/snom.xml": "snom",
    "/phonebook/snom-remote.xml": "snom-remote",
    "/phonebook/fanvil.xml": "fanvil",
}
HOSTILE = [
    "<script>alert(1)</script>",
    "]]><!--",
    "&amp;&lt;&#0;&bogus;",
    "a\x00b\x0bc\x1bd",
    "line\r\nBEGIN:VCARD\r\nN:evil",
    "\ud800lone\udfff",
    "\ufffe\uffff",
    "\u202eevil\u202c",
    "semi;colon,comma\\back\"quote'",
    "Юрий Ёлкин",
    "😀 " * 40,
    "x" * 9000,
    "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>",
    "${SHELL(id)}",
    "http://a?b=c&d=e",
]


def person(name: str, *numbers: str, **more: str) -> Contact:
    kinds = ("work", "mobile", "other")
    return Contact(
        more.pop("guid", str(uuid5(NAMESPACE_OID, ascii(name)))),
        name,
        numbers=tuple(zip(kinds, numbers, strict=False)),
        **more,
    )


def peer(number: str, name: str, **more: str) -> Peer:
    given = {"guid": number, "email": "", "context": "users", "mobile": "", "dn": "", "login": ""}
    groups = {"call_group": "", "pickup_group": ""}
    return Peer(number=number, name=name, **{**given, **groups, **more})


def check(path: str, document: Document) -> etree._Element:
    """Raises where a document is not what its vendor describes."""
    schema = etree.XMLSchema(etree.parse(SCHEMAS / f"{SCHEMA_OF[path]}.xsd"))
    tree = etree.fromstring(document.content, etree.XMLParser(resolve_entities=False))
    schema.assertValid(tree)
    return tree


def cards(document: Document) -> list[dict[str, list[str]]]:
    """The cards of a file, read by another hand."""
    text = document.content.decode()
    assert text.replace("\r\n", "").isprintable() or "\n" not in text.replace("\r\n", "")
    assert all(len(line) <= 75 for line in document.content.split(b"\r\n"))
    return [
        {key: [str(item.value) for item in items] for key, items in card.contents.items()}
        for card in vobject.readComponents(text)
    ]


def shown(path: str, document: Document) -> list[tuple[str, str]]:
    """Names and numbers as somebody else's parser reads them."""
    if path.endswith(".vcf"):
        return [(card["fn"][0], tel) for card in cards(document) for tel in card.get("tel", [])]
    tree = check(path, document)
    found = []
    for entry in tree.iter("Contact", "contact", "DirectoryEntry", "item"):
        name = next(entry.iter("LastName", "last_name", "Name", "name")).text or ""
        numbers = entry.iter("phonenumber", "Telephone", "Mobile", "Other", "number")
        found += [(name, number.get("no") or number.text or "") for number in numbers]
    return found


PEOPLE = make_book(
    [peer("502", "Ryabov", mobile="+49 170 (55) 5", email="ryabov@example.test"), peer("7", "Ann")],
    [person("Müller & Söhne", "+49 30 12", "0170 1", "030 99", company="Müller, KG", mail="m@a.b")],
)


@pytest.mark.parametrize("path", FORMS)
def test_every_form_shows_everybody_with_every_number(path: str) -> None:
    document = FORMS[path](PEOPLE, Asked())
    told = {
        (name.split(" (")[0].replace("+", "&"), number) for name, number in shown(path, document)
    }
    assert told == {
        ("Ann", "7"),
        ("Müller & Söhne", "+493012"),
        ("Müller & Söhne", "01701"),
        ("Müller & Söhne", "03099"),
        ("Ryabov", "502"),
        ("Ryabov", "+49170555"),
    }


@pytest.mark.parametrize("path", FORMS)
def test_an_empty_book_is_a_valid_document_too(path: str) -> None:
    assert shown(path, FORMS[path]((), Asked())) == []


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("text", HOSTILE, ids=map(str, range(len(HOSTILE))))
def test_hostile_text_stays_text(path: str, text: str) -> None:
    book = make_book([], [person(text, "1", "2", "3", company=text, mail=text)])
    document = FORMS[path](book, Asked())
    names = {name for name, _ in shown(path, document)}
    assert len(document.content.split(b"BEGIN:VCARD")) <= 2 or text == HOSTILE[4]
    if book and path != "/phonebook/fanvil.xml" and len(text) <= 64:
        assert any(one_line(text) in name for name in names)


TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=90)


@given(names=st.lists(TEXT, max_size=40), numbers=st.lists(TEXT, min_size=1, max_size=4))
def test_whatever_people_are_called_every_document_is_whole(
    names: list[str], numbers: list[str]
) -> None:
    contacts = [
        person(name, *numbers, company=name, mail=name, guid=str(i)) for i, name in enumerate(names)
    ]
    book = make_book([peer("100", "Always")], contacts)
    for path, form in FORMS.items():
        found = shown(
            path, form(book, Asked("http://pbx/x", {"start": "0"}, (("token", "&<\"'"),)))
        )
        if "cisco" not in path and "spa" not in path:
            assert len(found) == sum(len(one.numbers) for one in book)


@given(TEXT)
def test_cleaned_text_is_one_line_that_xml_can_hold(text: str) -> None:
    clean = one_line(text)
    assert etree.fromstring(f"<a>{clean.replace('&', '').replace('<', '')}</a>") is not None
    assert clean == clean.strip()
    assert len(clean.splitlines()) <= 1
    assert one_line(clean) == clean


def test_the_same_people_give_the_same_bytes_in_whatever_order_they_come() -> None:
    people = [person(name, "1") for name in ("b", "a", "C")]
    for form in FORMS.values():
        assert form(make_book([], people), Asked()) == form(make_book([], people[::-1]), Asked())


def test_people_are_in_the_order_in_which_a_reader_looks_for_them() -> None:
    names = ["Zoë", "ärger", "Adam", "Élan", "eve", "Straße", "Strasse b", "Ёлкин", "Дуб", "Жук"]
    names += ["Йод", "Ива", "Като", "10"]
    book = make_book([], [person(name, "1") for name in reversed(names)])
    assert [one.name for one in book] == [
        *("10", "Adam", "ärger", "Élan", "eve", "Straße", "Strasse b", "Zoë"),
        *("Дуб", "Ёлкин", "Жук", "Ива", "Йод", "Като"),
    ]


@pytest.mark.parametrize(
    ("written", "dialled"),
    [
        ("+49 (0)30 12-34", "+49301234"),
        ("030/12 34", "0301234"),
        ("(495) 123-45-67", "4951234567"),
        ("*98", "*98"),
        ("12 34 ext. 56", "1234"),
        ("none", ""),
        ("tel:+49 30 1", "+49301"),
        ("Tel. 030 12 (home)", "03012"),
        ("+", ""),
        ("", ""),
        ("++49", "+49"),
        ("１２", ""),
    ],
)
def test_numbers_are_what_a_phone_can_dial(written: str, dialled: str) -> None:
    assert dialable(written) == dialled


def test_a_peers_own_number_is_never_touched() -> None:
    (one,) = make_book([peer("sales-1", "Sales")], [])
    assert one.numbers == (("work", "sales-1"),)


def test_who_has_no_number_or_no_name_is_in_no_book() -> None:
    assert (
        make_book([], [person("a"), person("", "1"), person("b", "x"), person("\x00", "1")]) == ()
    )


def test_a_contact_that_is_a_peer_too_is_shown_once() -> None:
    book = make_book([peer("5", "Ann", guid="g")], [person("Ann Elsewhere", "6", guid="g")])
    assert [(one.name, one.numbers) for one in book] == [("Ann", (("work", "5"),))]


def test_a_contact_of_ad_has_all_its_numbers() -> None:
    values = {
        "name": ("cn",),
        "displayname": ("Shown",),
        "telephonenumber": ("1",),
        "othertelephone": ("3", "4"),
        "mobile": ("2",),
        "mail": ("a@b",),
        "company": ("Co",),
    }
    contact = of_entry(Entry("g", "CN=x", values))
    numbers = (("work", "1"), ("mobile", "2"), ("other", "3"), ("other", "4"))
    assert contact == Contact("g", "Shown", "Co", "a@b", numbers)
    assert of_entry(Entry("g", "CN=x", {"name": ("cn",)})).name == "cn"


MANY: Book = make_book([], [person(f"P{n:03}", str(n + 100), str(9000 + n)) for n in range(50)])


def cisco_page(book: Book, url: str) -> tuple[etree._Element, Mapping[str, str]]:
    """A page as the phone gets it, and its soft keys by name."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    keep = (("token", query["token"]),) if "token" in query else ()
    asked = Asked(f"http://{parts.netloc}{parts.path}", query, keep)
    page = check("/phonebook/cisco.xml", cisco(book, asked))
    return page, {k.findtext("Name"): k.findtext("URL") for k in page.iter("SoftKeyItem")}


def test_a_cisco_phone_gets_32_at_a_time_and_everybody_by_pressing_next() -> None:
    url, found, pages = "http://pbx:8389/phonebook/cisco.xml?token=s%26cret", [], 0
    while url:
        page, keys = cisco_page(MANY, url)
        entries = page.findall("DirectoryEntry")
        assert 0 < len(entries) <= 32
        found += [(e.findtext("Name"), e.findtext("Telephone")) for e in entries]
        url, pages = keys.get("Next", ""), pages + 1
    assert pages == 4
    assert found == [
        entry
        for n in range(50)
        for entry in ((f"P{n:03}", str(n + 100)), (f"P{n:03} (mobile)", str(9000 + n)))
    ]


def test_a_cisco_phone_searches_by_name_and_number() -> None:
    _, keys = cisco_page(MANY, "http://pbx/phonebook/cisco.xml?token=t")
    form, _ = cisco_page(MANY, keys["Search"])
    assert form.tag == "CiscoIPPhoneInput"
    words = [item.findtext("QueryStringParam") for item in form.iter("InputItem")]
    assert words == ["name", "number"]
    page, _ = cisco_page(MANY, form.findtext("URL") + "&name=p01&number=")
    assert page.findtext("Prompt") == "1-20 of 20"
    page, _ = cisco_page(MANY, form.findtext("URL") + "&name=&number=9049")
    assert [e.findtext("Name") for e in page.iter("DirectoryEntry")] == ["P049 (mobile)"]
    page, _ = cisco_page(MANY, form.findtext("URL") + "&name=nobody")
    assert page.findtext("Prompt") == "Nobody found"


@pytest.mark.parametrize("start", ["-1", "x", "9" * 30, "²", "99"])
def test_a_page_that_is_none_is_an_empty_or_the_first_one(start: str) -> None:
    page, _ = cisco_page(MANY[:3], f"http://pbx/phonebook/cisco.xml?start={start}")
    assert len(page.findall("DirectoryEntry")) in (0, 6)


def test_a_long_name_is_cut_for_cisco_and_its_kind_stays_readable() -> None:
    page, _ = cisco_page(make_book([], [person("n" * 200, "1", "2")]), "http://pbx/x")
    assert [len(e.findtext("Name")) for e in page.iter("DirectoryEntry")] == [64, 64]
    assert page.findall("DirectoryEntry")[1].findtext("Name").endswith("… (mobile)")


def test_old_grandstream_firmware_gets_one_number_a_contact() -> None:
    tree = check("/phonebook/gs_phonebook.xml", old_grandstream(PEOPLE, Asked()))
    assert {len(contact.findall("Phone")) for contact in tree} == {1}


def test_a_fanvil_entry_has_one_number_of_a_kind_and_no_ampersand() -> None:
    book = make_book([], [Contact("g", "A & B", numbers=tuple(("other", f"{n}") for n in "123"))])
    document = FORMS["/phonebook/fanvil.xml"](book, Asked())
    assert shown("/phonebook/fanvil.xml", document) == [("A + B", n) for n in "123"]


def test_a_card_tells_the_company_the_mail_and_the_kinds_of_numbers() -> None:
    card = cards(FORMS["/phonebook.vcf"](PEOPLE, Asked()))[1]
    assert card["fn"] == ["Müller & Söhne"]
    assert card["org"] == ["['Müller, KG']"]
    assert card["email"] == ["m@a.b"]
    text = FORMS["/phonebook.vcf"](PEOPLE, Asked()).content.decode()
    assert re.findall(r"TEL;TYPE=(\S+):0?\S+", text)[1:4] == ["WORK,VOICE", "CELL,VOICE", "VOICE"]
    assert json.dumps(card["version"]) == '["3.0"]'
