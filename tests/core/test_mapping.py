"""Entries become candidates: the original script's defaults, and whatever people type into AD."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.mapping import Expressions, Mapper, MappingError, expression_fault
from adwatch.core.model import Candidate, Entry

AT = 1_800_000_000.0  # when the mapping is asked: 2027-01-15

DEFAULTS = {
    "number": "telephoneNumber",
    "name": "sAMAccountName[:1] | upper ~ sAMAccountName[1:]",
    "email": "userPrincipalName",
    "context": 'facsimileTelephoneNumber or "users"',
    "call_group": "number[:1]",
    "pickup_group": "number[:1]",
    "mobile": "mobile",
}


def mapper(*, drop_disabled: bool = True, secret: str = "", **fields: str) -> Mapper:
    return Mapper(Expressions(tuple((DEFAULTS | fields).items()), secret, drop_disabled))


def entry(**attributes: str | tuple[str, ...]) -> Entry:
    values = {"telephonenumber": ("502",), "samaccountname": ("ryabov",)}
    for name, value in attributes.items():
        values[name.lower()] = value if isinstance(value, tuple) else (value,)
    return Entry("6f9619ff-8b86-d011-b42d-00c04fc964ff", "CN=x,DC=example,DC=test", values)


def fields(made: Mapper, given_entry: Entry) -> dict[str, str]:
    candidate = made.candidate(given_entry, AT)
    assert candidate.peer is not None, candidate.reason
    return dict(candidate.peer.values())


def test_the_defaults_are_the_original_scripts() -> None:
    made = fields(mapper(), entry(userPrincipalName="r@example.test"))
    assert made == {
        "number": "502",
        "name": "Ryabov",
        "email": "r@example.test",
        "context": "users",
        "call_group": "5",
        "pickup_group": "5",
        "mobile": "",
    }
    assert fields(mapper(), entry(facsimileTelephoneNumber="1234567"))["context"] == "1234567"


def test_attributes_are_asked_as_they_are_spelt_and_found_in_any_case() -> None:
    made = mapper(email="MAIL", mobile='entry["otherMobile"] | first', extra1="department")
    assert set(made.attributes) == {
        "telephoneNumber",
        "sAMAccountName",
        "MAIL",
        "facsimileTelephoneNumber",
        "otherMobile",
        "department",
    }
    found = fields(made, entry(mail="m@x", otherMobile=("1", "2"), department="IT"))
    assert (found["email"], found["mobile"], found["extra1"]) == ("m@x", "1", "IT")
    assert fields(made, entry())["mobile"] == ""


def test_entry_reaches_names_that_no_expression_could_spell() -> None:
    made = mapper(mobile="entry['ms-Exch-Mobile'] | first")
    assert "ms-Exch-Mobile" in made.attributes
    values = {"telephonenumber": ("502",), "ms-exch-mobile": ("+49", "+7")}
    assert made.fields(Entry("", "", values))["mobile"] == "+49"


def test_only_the_attributes_that_expressions_name_are_asked_for_and_each_once() -> None:
    made = mapper(secret="sipSecret", name="number ~ MOBILE ~ entry['mobile'][0]")
    asked = [name.lower() for name in made.attributes]
    assert sorted(asked) == [
        "facsimiletelephonenumber",
        "mobile",
        "sipsecret",
        "telephonenumber",
        "userprincipalname",
    ]
    assert mapper(number="a or entry['B'] | first").number_attributes == {"a", "b"}


def test_a_secret_kept_in_ad_is_the_peers_and_an_empty_one_is_a_fault() -> None:
    made = mapper(secret="sipSecret")
    candidate = made.candidate(entry(SIPsecret="pa;ss"), AT)
    assert candidate.peer is not None
    assert candidate.peer.secret == "pa;ss"
    assert "pa;ss" not in repr(candidate)
    without = made.candidate(entry(), AT)
    assert (without.peer, without.fault) == (None, True)
    assert "sipsecret" in without.reason
    unwritable = made.candidate(entry(sipSecret="hush\nhush"), AT)
    assert unwritable.fault
    assert "hush" not in unwritable.reason


def test_what_history_and_templates_need_comes_along() -> None:
    candidate = mapper(room="roomNumber").candidate(
        entry(roomNumber="7", whenCreated="20200102030405.0Z"), AT
    )
    assert (candidate.login, candidate.created) == ("ryabov", "20200102030405.0Z")
    assert candidate.peer is not None
    assert (candidate.peer.guid, candidate.peer.dn) == (candidate.guid, candidate.dn)
    assert candidate.peer.extra == (("room", "7"),)


def test_a_name_is_a_field_above_and_an_attribute_otherwise() -> None:
    made = mapper(name="email", email="mail", context="email ~ mobile", mobile="pager")
    found = fields(made, entry(email="attribute", mail="field", mobile="M", pager="P"))
    assert (found["name"], found["email"]) == ("attribute", "field")
    assert (found["context"], found["mobile"]) == ("fieldM", "P")


@pytest.mark.parametrize(
    ("expression", "value", "result"),
    [
        ("telephoneNumber | digits", "+49 (30) 5-02", "4930502"),
        ("telephoneNumber | last(3)", "+4930502", "502"),
        ("telephoneNumber | last(0)", "502", ""),
        ("telephoneNumber | regex_replace('^0', '+49')", "030502", "+4930502"),
        ("telephoneNumber | e164('DE')", "030 5020123", "+49305020123"),
        ("telephoneNumber | e164('DE')", "", ""),
        ("telephoneNumber | replace(' ', '')", "5 0 2", "502"),
        ("entry['otherTelephone'] | join('+')", "x", "1+2"),
        ("entry['otherTelephone'] | map('last', 1) | join", "x", "12"),
        ("telephoneNumber | digits | last(2)", "x1y2z3", "23"),
        ("telephoneNumber | e164('de')", "+7 495 1234567", "+74951234567"),
        ("telephoneNumber | digits", "५०२", ""),
        ("telephoneNumber | last(9)", "502", "502"),
        ("telephoneNumber | length", "502", "3"),
        ("none", "502", ""),
        ("telephoneNumber ~ '<' ~ telephoneNumber", "a&b", "a&b<a&b"),
    ],
)
def test_filters(expression: str, value: str, result: str) -> None:
    made = mapper(mobile=expression)
    attributes = entry(otherTelephone=("1", "2"))
    given_entry = Entry(
        attributes.guid, attributes.dn, {**attributes.attributes, "telephonenumber": (value,)}
    )
    assert made.fields(given_entry)["mobile"] == result


@pytest.mark.parametrize(
    ("field", "expression", "said"),
    [
        ("email", "entry['mail']", "email gives a list"),
        ("email", "entry['mail'] | unique", "email"),
        ("email", "entry['mail'] | map('upper')", "email"),
        ("email", "{'a': mail}.items()", "email"),
        ("email", "(1 + mail | length) ** 99999", "email"),
        ("mobile", "number | regex_replace('(', '')", "mobile: "),
        ("extra1", "entry['mail'] | list", "extra1 gives a list"),
        ("mobile", "telephoneNumber | e164('DE')", "mobile: telephoneNumber | e164('DE')"),
        ("context", "telephoneNumber / 2", "context: telephoneNumber / 2"),
    ],
)
def test_a_field_that_fails_rejects_the_user_and_is_named(
    field: str, expression: str, said: str
) -> None:
    candidate = mapper(**{field: expression}).candidate(entry(telephoneNumber="x", mail="m"), AT)
    assert candidate.peer is None
    assert candidate.fault
    assert said in candidate.reason


def test_no_number_is_no_fault_and_no_peer() -> None:
    candidate = mapper().candidate(entry(telephoneNumber=""), AT)
    assert (candidate.peer, candidate.fault) == (None, False)
    assert candidate.reason == "its number is empty"


def test_a_disabled_account_is_dropped_or_kept_as_configured() -> None:
    disabled = entry(userAccountControl="514")
    candidate = mapper().candidate(disabled, AT)
    assert (candidate.peer, candidate.fault) == (None, False)
    assert candidate.reason == "the account is disabled in AD"
    assert mapper(drop_disabled=False).candidate(disabled, AT).peer is not None
    assert mapper().candidate(entry(userAccountControl="512"), AT).peer is not None
    # A signed 32-bit number in AD: bit 31 makes it negative.
    assert mapper().candidate(entry(userAccountControl="-2147483134"), AT).peer is None


def filetime(seconds: float) -> str:
    return str(int((seconds + 11_644_473_600) * 10**7))


def test_an_account_that_has_expired_is_dropped_like_a_disabled_one() -> None:
    past, future = filetime(AT - 1), filetime(AT + 60)
    candidate = mapper().candidate(entry(accountExpires=past), AT)
    assert (candidate.peer, candidate.reason) == (None, "the account has expired in AD")
    assert (candidate.fault, candidate.expires) == (False, 0)
    assert mapper().candidate(entry(accountExpires=filetime(AT)), AT).peer is None
    soon = mapper().candidate(entry(accountExpires=future), AT)
    assert soon.peer is not None
    assert soon.expires == AT + 60
    faulty = mapper().candidate(entry(accountExpires=future, telephoneNumber="5 0"), AT)
    assert faulty.fault
    assert faulty.expires == AT + 60
    kept = mapper(drop_disabled=False).candidate(entry(accountExpires=past), AT)
    assert kept.peer is not None
    assert kept.expires == 0


@pytest.mark.parametrize("never", ["0", "9223372036854775807", "", "soon", "-1"])
def test_an_account_that_never_expires_has_no_date(never: str) -> None:
    candidate = mapper().candidate(entry(accountExpires=never), AT)
    assert candidate.peer is not None
    assert candidate.expires == 0


def test_a_candidate_remembers_which_of_the_mappings_attributes_had_a_value() -> None:
    shown = mapper(mobile='entry["memberOf"] | first or mobile').candidate(
        entry(mobile="1", memberOf="CN=g", department="x", uSNChanged="77"), AT
    )
    assert shown.shown == ("mobile", "samaccountname", "telephonenumber")
    assert shown.usn == 77


@pytest.mark.parametrize("control", ["", "-", "--2", "x", "\u00b2", "2" * 5000])
def test_an_account_state_that_is_no_number_is_no_crash(control: str) -> None:
    assert isinstance(mapper().candidate(entry(userAccountControl=control), AT), Candidate)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        " ",
        "a ++",
        "a | nosuch",
        "a %}{% set b = 1",
        "entry.mail",
        "entry[x]",
        "entry",
        "{{ a }}",
    ],
)
def test_what_is_no_expression_is_a_fault(expression: str) -> None:
    assert expression_fault("number", expression)


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__[1].__subclasses__()",
        "telephoneNumber.__init__.__globals__",
        "range(5)",
        "lipsum.__globals__['os'].popen('id').read()",
    ],
)
def test_expressions_reach_nothing_of_python(expression: str) -> None:
    made = mapper(mobile=expression)
    candidate = made.candidate(entry(), AT)
    assert candidate.peer is None or candidate.peer.mobile == ""


def test_a_number_that_asterisk_could_not_hold_suggests_a_filter() -> None:
    for number in ("+49 30", "_X.", "a" * 33, "5]0", "५०२"):
        candidate = mapper().candidate(entry(telephoneNumber=number), AT)
        assert candidate.fault, number
    assert "33 characters" in mapper().candidate(entry(telephoneNumber="a" * 33), AT).reason
    assert mapper().candidate(entry(telephoneNumber="a" * 32), AT).peer is not None
    assert "telephoneNumber | digits" in mapper().candidate(entry(telephoneNumber="5 0"), AT).reason


def test_an_expression_fault_names_what_jinja_says() -> None:
    with pytest.raises(MappingError, match="not a Jinja2 expression"):
        mapper(mobile="a b c")


texts = st.text(st.characters(exclude_categories=()), max_size=40)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *DEFAULTS.values(),
                "telephonenumber",
                "samaccountname",
                "userprincipalname",
                "facsimiletelephonenumber",
                "mobile",
                "useraccountcontrol",
                "whencreated",
            ]
        ),
        st.lists(texts, max_size=3).map(tuple),
    )
)
def test_whatever_the_values_a_user_is_a_candidate_with_a_peer_or_a_reason(
    attributes: dict[str, tuple[str, ...]],
) -> None:
    candidate = MAPPER.candidate(Entry("6f9619ff-8b86-d011-b42d-00c04fc964ff", "x", attributes), AT)
    assert isinstance(candidate, Candidate)
    assert (candidate.peer is None) == bool(candidate.reason)


MAPPER = mapper()
BUSY = mapper(
    number="telephoneNumber | regex_replace('[^0-9]', '') | last(4)",
    name="entry['sAMAccountName'] | join('/') | title",
    email="userPrincipalName | e164(mobile)",
    context="facsimileTelephoneNumber | regex_replace(mobile, number)",
    mobile="(entry['mobile'] | first) ~ entry['userPrincipalName'][0]",
    secret="whenCreated",
    drop_disabled=False,
)
ATTRIBUTES = [
    "telephonenumber",
    "samaccountname",
    "userprincipalname",
    "facsimiletelephonenumber",
    "mobile",
    "whencreated",
]


@given(st.dictionaries(st.sampled_from(ATTRIBUTES), st.lists(texts, max_size=2).map(tuple)))
def test_expressions_that_stumble_over_values_give_a_reason_too(
    attributes: dict[str, tuple[str, ...]],
) -> None:
    number = {"telephonenumber": ("502",)}
    candidate = BUSY.candidate(Entry("6f9619ff-8b86-d011-b42d-00c04fc964ff", "x", attributes), AT)
    assert (candidate.peer is None) == bool(candidate.reason)
    served = BUSY.candidate(Entry("", "x", attributes | number), AT)
    assert served.fault == (served.peer is None)
