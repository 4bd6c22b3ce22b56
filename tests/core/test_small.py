"""Pace, filters, secrets and words: the small pure parts."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.ldapfilter import any_of, escape, filter_attributes, filter_fault, guid_clause
from adwatch.core.model import Change
from adwatch.core.pace import NEVER, REFUSED_S, SAVED_S, Pace, Tempo, delay
from adwatch.core.secrets import derive, ha1
from adwatch.core.words import change_line, line, span

TEMPO = Tempo(poll=1, reconcile=3600, settle=0.2, at_most=2)
STEPS = ["owes", "reloading", "needless", "done", "failed", "untaken", "read", "away"]


def begun(now: float = 0.0) -> Pace:
    return Pace.begin(TEMPO, now, reconcile_in=3600)


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


def owing(now: float, funds: float) -> Pace:
    pace = Pace.begin(TEMPO, now, reconcile_in=1e9, funds=funds)
    return pace.read(now).owes_comparison(owed=True)


def test_in_a_quiet_domain_each_comparison_is_made_at_once() -> None:
    pace = owing(0, SAVED_S)
    for now in (0.5, 5.5, 10.5, 15.5):
        assert pace.reads(now) == "compare"
        pace = pace.compared(now + 1.5, took=1.5).read(now + 1.5)
    assert pace.owes_comparison(owed=False).reads(18) == "poll"
    assert pace.owes_comparison(owed=False).reads(17.5) == ""


@given(st.floats(0.01, 60), st.floats(1, 30))
def test_in_a_busy_domain_comparing_takes_two_percent_of_the_time(took: float, poll: float) -> None:
    pace, now, spent = owing(0, SAVED_S), 0.0, 0.0
    for _ in range(500):
        if pace.reads(now) == "compare":
            now, spent = now + took, spent + took
            pace = pace.compared(now, took)
        now += poll
    assert spent <= 0.02 * now + SAVED_S + took


def test_what_was_overspent_is_earned_before_the_next_comparison_also_over_a_restart() -> None:
    pace = owing(100, SAVED_S).compared(120, took=SAVED_S + 0.4).read(120)
    assert pace.funds_at(120) == pytest.approx(-0.4)
    for again in (pace, owing(120, pace.funds_at(120))):
        assert again.read(139.5).wait(139.5) == pytest.approx(0.5)
        assert again.read(139.5).reads(139.9) == ""
        assert again.read(139.5).reads(140.1) == "compare"


def test_a_comparison_that_was_missed_while_down_is_made_at_the_first_poll() -> None:
    assert Pace.begin(TEMPO, 100, reconcile_in=0).reads(100) == "reconcile"


def test_nothing_but_a_poll_is_tried_while_the_directory_is_away() -> None:
    pace = Pace.begin(TEMPO, 0, reconcile_in=0).owes_comparison(owed=True)
    pace = pace.failed(0, 1.0, refused=False)
    assert pace.reads(0.9) == ""
    assert pace.wait(0) == pytest.approx(1.0)
    assert pace.reads(1.0) == "poll"
    back = pace.read(1.0)
    assert back.reads(1.0) == "compare"
    assert back.reads(2.0) == "reconcile"


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=60),
    st.floats(0.1, 120),
)
def test_a_directory_that_is_away_is_tried_again_within_half_an_hour(
    failures: list[tuple[bool, float]], poll: float
) -> None:
    pace = Pace.begin(Tempo(poll, 3600, 0.2, 2), 0, 3600, 0)
    for refused, jitter in failures:
        pace = pace.failed(0, jitter, refused=refused)
        most = REFUSED_S if refused else max(30.0, poll)
        assert (REFUSED_S if refused else poll) <= pace.wait(0) <= most
        assert pace.reads(pace.wait(0)) == "poll"


@given(
    st.lists(st.sampled_from(STEPS), max_size=30),
    st.floats(0, 1),
)
def test_whatever_is_waited_for_is_due_after_the_wait(script: list[str], jitter: float) -> None:
    pace, now = begun(), 0.0
    steps = {
        "owes": lambda: pace.owes_reload(now),
        "reloading": lambda: pace.reloading(now),
        "needless": lambda: pace.reloading(now, begun=False),
        "untaken": lambda: pace.reload_failed(now, jitter, taken=False),
        "done": lambda: pace.reload_done(),  # noqa: PLW0108 - of the pace as it is then
        "failed": lambda: pace.reload_failed(now, jitter),
        "read": lambda: pace.read(now),
        "away": lambda: pace.failed(now, jitter, refused=False),
    }
    for step in script:
        pace = steps[step]()
        now += pace.wait(now) + 1e-6
        assert pace.reads(now) or pace.reloads(now)


def test_failures_wait_longer_and_longer_but_never_too_long() -> None:
    waits = [delay(n, 0) for n in range(12)]
    assert waits == sorted(waits)
    assert all(0 < delay(n, j) <= 30 for n in range(2000) for j in (0, 1))


def test_a_refused_account_is_left_alone_for_more_than_the_half_hour_that_ad_counts() -> None:
    pace = begun().failed(0, 0.5, refused=True)
    assert pace.wait(0) == REFUSED_S > 1800
    again = begun().resumed(2, 400.0, now=0.0)
    assert (again.wait(0), again.failures, again.reads(399)) == (400, 2, "")


def test_a_reload_waits_for_quiet_but_not_for_ever() -> None:
    pace = begun().read(0).owes_reload(0)
    assert not pace.reloads(0.1)
    assert pace.reloads(0.2)
    for step in range(1, 25):
        pace = pace.owes_reload(step * 0.1)
    assert pace.reloads(2.0)
    assert not pace.reloading(2.0).reloads(100)
    assert pace.reloading(2.0).reload_first == NEVER


def test_two_reloads_are_at_most_apart_however_the_changes_come_in() -> None:
    pace, now, begun_at = begun().read(0), 0.0, list[float]()
    while now < 60:  # a change a second, as polling gives them
        now = round(now + 0.05, 2)
        if now % 1 == 0:
            pace = pace.owes_reload(now)
        if pace.reloads(now):
            begun_at.append(now)
            pace = pace.reloading(now).reload_done()
    assert len(begun_at) <= 1 + 60 / TEMPO.at_most
    assert begun_at[0] == pytest.approx(1.2)
    assert begun_at[-1] > 57


def test_what_is_odd_of_the_pbx_is_looked_at_again_after_a_minute() -> None:
    pace = begun().read(0).saw(0, odd=True)
    assert not pace.looks(59)
    assert pace.looks(60)
    assert not pace.saw(60, odd=False).looks(1e6)


def test_a_change_back_to_what_was_leaves_nothing_due() -> None:
    pace = begun().read(0).owes_reload(0).reloading(0, begun=False)
    assert not pace.reloads(100)
    assert pace.owes_reload(1).reloads(1.2)


def test_what_asterisk_does_not_take_is_told_again_ever_more_rarely_but_a_change_at_once() -> None:
    pace, now = begun().read(0).owes_reload(0).reloading(0), 0.0
    for _ in range(14):
        pace = pace.reload_failed(now, 0.5, taken=False)
        now = max(pace.reload_retry_at, now + TEMPO.at_most)
        assert pace.reloads(now)
        pace = pace.reloading(now)
    assert pace.reload_failed(now, 1.0, taken=False).reload_retry_at == now + 900
    changed = pace.reload_failed(now, 1.0, taken=False).owes_reload(now + 2)
    assert changed.reloads(now + 2.2)


def test_a_reload_that_failed_is_tried_again_later() -> None:
    pace = begun().read(0).owes_reload(0).reloading(-5).reload_failed(0, 1.0)
    assert not pace.reloads(0.9)
    assert not pace.owes_reload(0.1).reloads(0.9)
    assert pace.reloads(1.1)
    assert pace.reload_failed(1, 1.0).reload_retry_at > 2
    worked = pace.reload_done().reloading(-5).owes_reload(0.1)
    assert not worked.reloads(0.25)
    assert worked.reloads(0.31)
    assert worked.reload_failures == 0


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("(cn=x)", ("cn",)),
        ("(&(telephoneNumber=*)(!(mail=a))(|(CN>=b)(cn~=c)))", ("telephoneNumber", "mail", "CN")),
        ("(&(a=1)(b=2)(A=3))", ("a", "b")),
        ("(department:dn:=x)", ("department",)),
        ("  (cn=a*b*\\2a)\n", ("cn",)),
        ("(userAccountControl:1.2.840.113556.1.4.803:=2)", ("userAccountControl",)),
        ("(memberOf=CN=Sales \\28EU\\29,DC=x)", ("memberOf",)),
        ("(description;lang-de=x)", ("description",)),
    ],
)
def test_the_attributes_of_a_filter(text: str, names: tuple[str, ...]) -> None:
    assert filter_attributes(text) == names
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
        ("(cn=a)(cn=b)", "unexpected text after the filter, at character 7"),
        ("(cn=\0)", "')' expected at character 5"),
        ("(&(a=b)", "')' expected at character 8"),
        ("(cn)", "'attribute=value' expected at character 2"),
        ("(&" * 200 + "(a=b)" + ")" * 200, "nested more than 100 deep"),
    ],
)
def test_what_is_no_filter_says_where(text: str, said: str) -> None:
    assert said in str(filter_fault(text))


def test_any_of_is_one_filter() -> None:
    assert any_of(iter(["(a=1)", "(b=2)"])) == "(|(a=1)(b=2))"


def test_a_filter_may_be_nested_a_hundred_deep() -> None:
    assert filter_fault("(!" * 100 + "(a=b)" + ")" * 100) is None


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
    assert not set("0O1lI") & set("".join(derive(key, one, n) for n in range(300)))
    assert derive(key, one.upper(), 7) == derive(key, one, 7) != derive(key, one, 8)
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
        ("a=b", '"a=b"'),
        ("back\\slash", "back\\slash"),
        ("back\\ slash", '"back\\\\ slash"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\udce9", '"\\udce9"'),
        (False, "no"),
        (0, "0"),
        (2.0, "2"),
        (0.12345, "0.123"),
    ],
)
def test_log_values_are_quoted_where_they_must_be(value: object, said: str) -> None:
    assert line("x", key=value, nothing=None) == f"event=x key={said}"


@given(st.text(st.characters(exclude_categories=())))
def test_a_log_line_is_one_line_whatever_it_says(value: str) -> None:
    assert len(line("x", key=value).encode().split(b"\n")) == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.25, "250 ms"),
        (0.999, "999 ms"),
        (1, "1 s"),
        (12, "12 s"),
        (60, "1 min"),
        (300, "5 min"),
        (3600, "1 h"),
        (7200, "2 h"),
        (86400, "1 d"),
        (172800, "2 d"),
    ],
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_a_change_is_one_log_line_whatever_your_extra_fields_are_called() -> None:
    values = (("number", "1", "2"), ("reason", "", "x"), ("event", "a", "b"))
    change = Change(0.0, "changed", "g", "2", "ryabov", values)
    assert change_line(change) == (
        "event=changed number=2 login=ryabov guid=g"
        " fields=\"number '1' -> '2'; reason '' -> 'x'; event 'a' -> 'b'\""
    )


def test_a_better_server_is_looked_for_ever_more_rarely_while_there_is_none() -> None:
    pace = begun().read(0.0).uses(0.0, rank=1, jitter=1.0)
    assert not pace.prefers(14.9)
    rests, now = [], 0.0
    for _ in range(9):
        rests.append(pace.prefer_at - now)
        now = pace.prefer_at
        assert pace.prefers(now)
        pace = pace.uses(now, rank=1, jitter=1.0)  # a reading in between changes nothing
        pace = pace.looked_for_better(now, jitter=1.0)
    assert rests == [15, 30, 60, 120, 240, 480, 900, 900, 900]
    assert pace.uses(now, rank=0, jitter=1.0).prefer_at == NEVER
    again = pace.uses(now, rank=0, jitter=1.0).uses(now, rank=2, jitter=0.0)
    assert again.prefer_at - now == 7.5


def test_waiting_ends_when_a_better_server_is_to_be_looked_for() -> None:
    pace = Pace.begin(Tempo(poll=3600, reconcile=3600, settle=0, at_most=0), 0.0, 3600)
    pace = pace.read(0.0).uses(0.0, rank=1, jitter=1.0)
    assert pace.wait(5.0) == 10.0


def test_a_comparison_is_due_from_the_moment_that_it_can_be_paid_for() -> None:
    assert owing(0, 0).reads(0) == "compare"


def test_an_account_that_expires_before_the_next_poll_is_looked_at_then() -> None:
    assert begun().read(0, expiry_in=0.25).wait(0) == 0.25
    assert begun().read(0, expiry_in=-5).wait(0) == 0
    assert begun().read(0, expiry_in=99).wait(0) == 1
