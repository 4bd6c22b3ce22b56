"""Caller names: one number in whatever spelling, and never somebody else's name."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adwatch.core.callers import Callers, Listing, Spelling, known_region, listing, same, spelling
from adwatch.core.model import Peer

PLACES = ("DE", "US", "RU", "AU", "JP")
KINDS = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)


def named(*numbers: str) -> Callers:
    """People whose names are their numbers."""
    return Callers.of(Listing(number, (number,)) for number in numbers)


def spellings(number: phonenumbers.PhoneNumber) -> list[str]:
    """A number as a library of another kind writes it: at home, and as dialled elsewhere."""
    form = phonenumbers.PhoneNumberFormat
    at_home = [
        phonenumbers.format_number(number, f)
        for f in (form.E164, form.INTERNATIONAL, form.NATIONAL, form.RFC3966)
    ]
    elsewhere = [
        phonenumbers.format_out_of_country_calling_number(number, place)
        for place in PLACES
        if phonenumbers.region_code_for_number(number) != place
    ]
    return [text.partition(";ext")[0] for text in at_home + elsewhere]


SAME = (
    "+49 30 123456",
    "0049 30 123456",
    "030 123456",
    "(030) 123456",
    "030/12 34 56",
    "030-123.456",
    "+49 (0)30 123456",
    "+49 (0) 30 123456",
    "0049 (0)30 123456",
    "+49 030 123456",
    "49 30 123456",
    "(+49) 30 123456",
    "tel:+49-30-123456",
    "sip:+4930123456@trunk.example.test;user=phone",
    "+49\u00a030\u2013123\u2011456",
    "\u202a+49 30 123456\u202c",
    "\uff0b\uff14\uff19\uff13\uff10\uff11\uff12\uff13\uff14\uff15\uff16",
    "٠٣٠١٢٣٤٥٦",
)


@pytest.mark.parametrize("known", SAME)
def test_however_a_number_is_written_its_owner_is_found(known: str) -> None:
    callers = Callers.of([Listing("Ryabov", (known,))])
    for asked in SAME:
        assert callers.name(asked) == "Ryabov", asked
        assert callers.name(asked, "DE") == "Ryabov", asked
        assert callers.name(asked.replace("12", "13")) == "" or "12" not in asked, asked


def test_the_issue_s_own_example() -> None:
    for known in ("+49 30 123", "0049 30 123", "030 123", "(030) 123"):
        callers = named(known)
        for asked in ("+4930123", "0049 30 123", "030 123", "(030) 123"):
            assert callers.name(asked) == known


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_every_country_s_numbers_are_found_in_every_spelling(region: str) -> None:
    for kind in KINDS:
        number = phonenumbers.example_number_for_type(region, kind)
        if number is None:
            continue
        texts = spellings(number)
        national = phonenumbers.national_significant_number(number)
        if len(national) < 7:  # could be an extension
            texts = [text for text in texts if spelling(text)]
        for known in texts:
            callers = named(known)
            for asked in texts:
                assert callers.name(asked) == known, (known, asked)


RUSSIAN = ("8 (912) 345-67-89", "+7 912 345-67-89", "79123456789", "9123456789", "89123456789")


@pytest.mark.parametrize("known", RUSSIAN)
def test_a_trunk_prefix_of_8_is_one_where_the_number_is_russian(known: str) -> None:
    for asked in RUSSIAN:
        assert named(known).name(asked) == known


def test_the_first_zero_belongs_to_the_number_in_italy() -> None:
    assert named("+39 06 1234567").name("06 1234567")
    assert not named("+39 06 1234567").name("6 1234567")


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ("+49 30 1234567", "1234567"),  # somebody of another town
        ("030 1234567", "1234567"),
        ("+49 30 123456", "+31 30 123456"),
        ("+49 30 123456", "0031 30 123456"),
        ("+1 212 555 0123", "+49 212 5550123"),
        ("+49 171 1234567", "+49 171 1234568"),
        ("+49 171 1234567", "+49 171 11234567"),
        ("0761 2345678", "17612345678"),  # Freiburg, and a German mobile without its zero
        ("+49 30 123456", "8 30 123456"),  # no trunk prefix there
        ("+49 30 12345", "30123"),
        ("502", "0502"),
        ("1502", "502"),
        ("+49 30 123456 ext. 7", "+49 30 1234567"),
        ("+49 30 123456, +49 30 123457", "+49 30 123456"),
        ("0011 49 30 123456", "+1 149 301 2345"),
    ],
)
def test_another_number_is_not_taken_for_it(known: str, asked: str) -> None:
    assert named(known).name(asked) == ""
    assert named(asked).name(known) == ""


def test_two_who_could_be_meant_are_nobody() -> None:
    berlin, utrecht = "+49 30 123456", "+31 30 123456"
    both = named(berlin, utrecht)
    assert both.name("+49 30 123456") == berlin
    assert both.name("0031 30 123456") == utrecht
    assert both.name("030 123456") == ""
    assert (both.name("030 123456", "DE"), both.name("030 123456", "NL")) == (berlin, utrecht)
    assert both.name("030 123456", "FR") == ""


def test_one_line_of_two_people_has_no_name_unless_theirs_is_the_same() -> None:
    assert (
        Callers.of([Listing("A", ("030 123456",)), Listing("B", ("+4930123456",))]).name(
            "+49 30 123456"
        )
        == ""
    )
    assert (
        Callers.of([Listing("A", ("030 123456",)), Listing("A", ("+4930123456",))]).name(
            "030 123456"
        )
        == "A"
    )


def test_with_a_region_a_number_without_country_code_is_of_that_region_alone() -> None:
    callers = named("030 123456")
    assert callers.name("+31 30 123456")  # it might be
    assert callers.name("+49 30 123456", "DE")
    assert not callers.name("+31 30 123456", "DE")
    assert known_region("DE")
    assert not known_region("XX")


def peer(number: str, name: str, mobile: str = "") -> Peer:
    return Peer(f"guid-{number}", number, name, "", "", "", "", mobile, "", "")


def test_a_peer_is_found_by_its_extension_and_by_its_mobile() -> None:
    callers = Callers.of(
        map(listing, [peer("502", "Ryabov", "+49 171 1234567"), peer("Door*1", "Door")])
    )
    assert callers.name("502") == callers.name(" 502 ") == callers.name("01711234567") == "Ryabov"
    assert callers.name("dOOR*1") == "Door"


def test_an_extension_goes_before_a_mobile_that_looks_alike() -> None:
    callers = Callers.of(
        map(listing, [peer("4930123456", "Extension"), peer("7", "Mobile", "+49 30 123456")])
    )
    assert callers.name("4930123456") == "Extension"
    assert callers.name("030 123456") == ""


def test_an_extension_that_is_a_whole_number_is_found_in_other_spellings() -> None:
    callers = Callers.of([listing(peer("+4930123502", "Ryabov"))])
    assert callers.name("030 123502") == "Ryabov"


@pytest.mark.parametrize(
    "asked", ["", " ", "+", "unknown", "anonymous", "0", "00", "+0", "()", "1" * 99, "+" * 9, "\0"]
)
def test_what_is_no_number_is_nobody(asked: str) -> None:
    assert named("+49 30 123456", "030 123456").name(asked) == ""


def test_who_has_no_name_is_not_listed_and_hides_nobody() -> None:
    callers = Callers.of([Listing(" \x07", ("030 123456",)), Listing("A", ("030 123456",))])
    assert callers.name("030 123456") == "A"


def test_a_name_comes_without_what_turns_or_ends_a_line() -> None:
    said = 'A\x00\x1b[31mB\r\nC\u202eD\u2028E\ud800 \u200fЁ"\\'
    assert Callers.of([Listing(said, extension="1")]).name("1") == 'A[31mBCDE \u200fЁ"\\'


DIGITS = st.text("0123456789", min_size=5, max_size=15)
READ = st.builds(Spelling, DIGITS, st.booleans())


@given(READ, READ)
def test_being_the_same_number_is_mutual(one: Spelling, other: Spelling) -> None:
    assert same(one, one)
    assert same(one, other) == same(other, one)


@given(DIGITS, DIGITS)
def test_two_numbers_with_country_code_are_the_same_only_where_they_are_equal(
    one: str, other: str
) -> None:
    assert same(Spelling(one, world=True), Spelling(other, world=True)) == (one == other)


@given(st.text(max_size=40))
def test_any_text_can_be_asked_for_and_be_known(text: str) -> None:
    callers = Callers.of([Listing("Ryabov", (text,), text)])
    assert callers.name(text) in ("Ryabov", "")
    assert callers.name(text, "DE") in ("Ryabov", "")


@st.composite
def numbers(draw: st.DrawFn) -> phonenumbers.PhoneNumber:
    """Some valid number of a country, mostly one beside the example in the plan of numbers."""
    region = draw(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)))
    number = phonenumbers.example_number_for_type(region, draw(st.sampled_from(KINDS)))
    assume(number is not None)
    text = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    tail = draw(st.integers(0, 9999))
    changed = phonenumbers.parse(f"{text[:-4]}{tail:04}")
    assume(phonenumbers.is_valid_number(changed))
    return changed


@given(st.lists(numbers(), min_size=1, max_size=12), st.data())
def test_among_many_a_full_number_finds_its_owner_or_where_one_could_be_meant_too_nobody(
    people: list[phonenumbers.PhoneNumber], data: st.DataObject
) -> None:
    """Each is known in one spelling and asked for in another."""
    form = phonenumbers.PhoneNumberFormat.E164
    owners = {phonenumbers.format_number(one, form): one for one in people}
    known = {
        data.draw(st.sampled_from([s for s in spellings(one) if spelling(s)])): owner
        for owner, one in owners.items()
    }
    callers = Callers.of(Listing(owner, (text,)) for text, owner in known.items())
    for owner, one in owners.items():
        for asked in spellings(one):
            assert callers.name(asked) in (owner, "")
        if all(text.startswith("+") for text in known):
            assert callers.name(owner) == owner
