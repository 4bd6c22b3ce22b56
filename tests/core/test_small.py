"""Pace, filters, secrets and words: the small pure parts."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.ldapfilter import escape, filter_attributes, filter_fault, guid_clause
from adwatch.core.pace import NEVER, Pace, Tempo, delay
from adwatch.core.secrets import derive, ha1
from adwatch.core.words import line, span

TEMPO = Tempo(poll=1, reconcile=3600, settle=0.2, at_most=2)


def begun(now: float = 0.0) -> Pace:
    return Pace.begin(TEMPO, now, reconcile_in=3600, rest=0)


def test_polling_goes_on_at_its_interval() -> None:
    pace = begun()
    assert pace.reads(0) == "poll"
    pace = pace.read(0.1)
    assert (pace.reads(1.0), pace.reads(1.1)) == ("", "poll")
    assert pace.wait(0.5) == pytest.approx(0.6)


def test_a_sign_of_a_change_polls_at_once_but_not_a_directory_that_is_away() -> None:
    assert begun().read(0).woken(0.3).reads(0.3) == "poll"
    failed = begun().failed(0, 0.5, refused=False)
    assert failed.woken(0.3).reads(0.3) == ""
    assert failed.retried(0.3).reads(0.3) == "poll"


def test_everything_is_compared_when_it_is_due_and_then_not_for_that_long() -> None:
    pace = begun().read(3599.5)
    assert pace.reads(3600.5) == "reconcile"
    assert pace.read(3601, reconciled=True).reads(3602) == "poll"


def test_comparing_takes_two_percent_of_the_time_at_most() -> None:
    pace = begun().read(0).owes_comparison(owed=True)
    assert pace.reads(0.5) == "compare"
    pace = pace.compared(2.5, took=2.0).read(2.5)
    assert pace.reads(3.6) == "poll"
    assert pace.read(2.5 + 97.9).reads(2.5 + 98.1) == "compare"
    assert pace.owes_comparison(owed=False).read(200).reads(200.5) == ""


def test_failures_wait_longer_and_longer_but_never_too_long() -> None:
    waits = [delay(n, 0) for n in range(12)]
    assert waits == sorted(waits)
    assert all(0 < delay(n, j) <= 30 for n in range(2000) for j in (0, 1))


def test_a_refused_account_is_left_alone_for_a_minute_and_then_longer() -> None:
    pace, waits = begun(), []
    for _ in range(5):
        pace = pace.failed(0, 0.5, refused=True)
        waits.append(pace.wait(0))
    assert waits == [60, 300, 900, 1800, 1800]


def test_a_reload_waits_for_quiet_but_not_for_ever() -> None:
    pace = begun().read(0).owes_reload(0)
    assert not pace.reloads(0.1)
    assert pace.reloads(0.2)
    for step in range(1, 25):
        pace = pace.owes_reload(step * 0.1)
    assert pace.reloads(2.0)
    assert not pace.reloading().reloads(100)
    assert pace.reloading().reload_first == NEVER


def test_a_reload_that_failed_is_tried_again_later() -> None:
    pace = begun().read(0).owes_reload(0).reloading().reload_failed(0, 1.0)
    assert not pace.reloads(0.9)
    assert pace.reloads(1.1)
    assert pace.reload_failed(1, 1.0).reload_retry_at > 2
    assert pace.reload_done().reload_failures == 0


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("(cn=x)", ("cn",)),
        ("(&(telephoneNumber=*)(!(mail=a))(|(CN>=b)(cn~=c)))", ("telephoneNumber", "mail", "CN")),
        ("(userAccountControl:1.2.840.113556.1.4.803:=2)", ("userAccountControl",)),
        ("(memberOf=CN=Sales \\28EU\\29,DC=x)", ("memberOf",)),
        ("(description;lang-de=x)", ("description",)),
    ],
)
def test_the_attributes_of_a_filter(text: str, names: tuple[str, ...]) -> None:
    assert {n.lower() for n in filter_attributes(text)} == {n.lower() for n in names}
    assert filter_fault(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'(' expected at character 1"),
        ("cn=x", "'(' expected at character 1"),
        ("(cn=x", "')' expected at character 6"),
        ("(cn=x))", "unexpected text after the filter, at character 7"),
        ("(&)", "'(' expected at character 3"),
        ("(!(a=b)(c=d))", "')' expected at character 8"),
        ("(cn=a(b)", "')' expected at character 6"),
        ("(cn=a\\zz)", "')' expected"),
        ("(=x)", "'attribute=value' expected at character 2"),
        ("(" * 5000, "expected"),
        ("(&" * 200 + "(a=b)" + ")" * 200, "nested more than 100 deep"),
    ],
)
def test_what_is_no_filter_says_where(text: str, said: str) -> None:
    assert said in str(filter_fault(text))


@given(st.text())
def test_any_value_can_be_escaped_into_a_filter(value: str) -> None:
    assert filter_fault(f"(cn={escape(value)})") is None


@given(st.uuids())
def test_a_guid_in_a_filter_is_in_ads_order_of_octets(one: uuid.UUID) -> None:
    octets = "".join(f"\\{octet:02x}" for octet in one.bytes_le)
    assert guid_clause(str(one)) == f"(objectGUID={octets})"


def test_secrets_are_the_same_for_ever_and_another_for_everybody() -> None:
    one, two = (str(uuid.UUID(int=n)) for n in (1, 2))
    key = bytes(range(32))
    assert derive(key, one) == "SN2Przy75BZbpdcmuh4UXgJM"
    secrets = {derive(key, one), derive(key, two), derive(key, one, 1), derive(bytes(32), one)}
    assert len(secrets) == 4
    assert all(len(secret) == 24 and secret.isascii() and secret.isalnum() for secret in secrets)
    assert ha1("502", "asterisk", "x") == "29cb44dc17a85c4ef25ce373db224c18"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ('quo"te', '"quo\\"te"'),
        ("line\nend", '"line\\u000aend"'),
        ("", '""'),
        (True, "yes"),
        (1.5, "1.5"),
        ("Рябов", "Рябов"),
    ],
)
def test_log_values_are_quoted_where_they_must_be(value: object, said: str) -> None:
    assert line("x", key=value, nothing=None) == f"event=x key={said}"


@given(st.text(st.characters(exclude_categories=())))
def test_a_log_line_is_one_line_whatever_it_says(value: str) -> None:
    assert len(line("x", key=value).encode().split(b"\n")) == 1


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.25, "250 ms"), (12, "12 s"), (300, "5 min"), (7200, "2 h")]
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said
