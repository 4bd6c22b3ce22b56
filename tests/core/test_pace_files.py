"""When edited files are looked at, and how often an output is written against another hand."""

from __future__ import annotations

from adwatch.core.pace import NEVER, Pace, Tempo

TEMPO = Tempo(poll=1.0, reconcile=3600.0, settle=0.2, at_most=2.0)
PACE = Pace.begin(TEMPO, 0.0, 100.0).read(0.0)


def test_files_are_looked_at_once_they_have_settled() -> None:
    pace = PACE.touched(10.0).touched(10.3)
    assert not pace.looks_at_files(10.6)
    assert pace.looks_at_files(10.8)
    assert pace.wait(10.3) == 0.0, "the poll is due before"
    assert not pace.looked_at_files(10.8).looks_at_files(1000.0)


def test_files_that_never_settle_are_looked_at_all_the_same() -> None:
    pace = PACE
    for tenth in range(60):
        pace = pace.touched(10.0 + tenth / 10)
    assert pace.looks_at_files(15.0)


def test_what_may_only_be_late_is_looked_at_again_after_a_while() -> None:
    pace = PACE.looked_at_files(10.0, again=True)
    assert not pace.looks_at_files(39.0)
    assert pace.looks_at_files(40.0)


def test_two_that_write_one_file_do_so_ever_more_rarely() -> None:
    pace, now, gaps = PACE, 0.0, []
    for _ in range(12):
        pace = pace.touched(now)
        due = next(t for t in (now + step / 10 for step in range(400)) if pace.looks_at_files(t))
        gaps.append(due - now)
        now = due
        pace = pace.looked_at_files(now).restored(now, 1.0)
    assert gaps[0] < 1
    assert gaps[-1] >= 29
    assert gaps == sorted(gaps)
    pace = pace.touched(now + 3600).looked_at_files(now + 3601).restored(now + 3601, 1.0)
    assert pace.touched(now + 3602).looks_at_files(now + 3602.6), "an hour later all is forgotten"


def test_another_tempo_polls_at_once_and_keeps_what_is_owed() -> None:
    other = Tempo(poll=5.0, reconcile=10.0, settle=1.0, at_most=3.0)
    pace = PACE.owes_reload(1.0).at_tempo(other, 2.0, anew=False)
    assert pace.reads(2.0) == "poll"
    assert pace.reads(12.0) == "reconcile"
    assert not pace.reloads(1.5)
    assert pace.reloads(2.0)
    assert pace.reload_retry_at == NEVER


def test_an_account_that_was_refused_rests_on_whatever_is_edited_elsewhere() -> None:
    refused = PACE.failed(1.0, 0.5, refused=True)
    assert not refused.at_tempo(TEMPO, 5.0, anew=False).reads(5.0)
    assert refused.at_tempo(TEMPO, 5.0, anew=True).reads(5.0) == "poll"
