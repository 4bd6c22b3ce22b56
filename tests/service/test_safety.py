"""The safety stop as a whole: who waits, who is named, and what a person's word covers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from service.test_turn import Site, crash

from adwatch.difference import difference
from adwatch.edges.keyfile import KeyFile
from adwatch.errors import AdwatchError, DirectoryError
from adwatch.report import Health, status, status_text


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()


def held(site: Site) -> list[str]:
    assert site.service is not None
    return [hold.number for hold in site.service.store.pending()]


def lose(site: Site, dns: list[str]) -> None:
    for dn in dns:
        site.domain.modify(dn, telephoneNumber=None)
    site.turn()


def test_each_user_that_is_held_is_named_by_status_and_by_diff(site: Site) -> None:
    dns = site.users(9)
    site.turn()
    lose(site, dns[:4])
    service = site.service
    assert service is not None
    said = status(service, Health(pid=1), site.clock())
    assert [hold["number"] for hold in said["held"]] == ["100", "101", "102", "103"]
    text = status_text(said)
    for number in range(100, 104):
        assert f"{number} u{number}: no longer matches the filter (held since" in text
    dry = site.start(dry=True)
    found = difference(dry, lambda: dry.turn().changes)
    assert found.empty
    assert "! held 103 u103: no longer matches the filter" in found.text()


def test_diff_names_those_that_a_sync_would_hold(site: Site) -> None:
    dns = site.users(9)
    site.turn()
    for dn in dns[:4]:
        site.domain.delete(dn)
    dry = site.start(dry=True)
    found = difference(dry, lambda: dry.turn().changes)
    assert "! held 100 u100: deleted in AD" in found.text()
    assert "- 100" not in found.text()
    assert site.start().store.pending() == []


def test_approve_with_nothing_held_does_nothing(site: Site) -> None:
    site.users(2)
    site.turn()
    service = site.start()
    assert service.judge("approved")[0] == []
    assert service.judge("dismissed")[0] == []
    assert site.numbers() == ["100", "101"]


def test_approve_works_while_the_directory_is_away(site: Site) -> None:
    dns = site.users(9)
    site.turn()
    lose(site, dns[:4])
    site.domain.fault = DirectoryError("away")
    service = site.start()
    held_now, turn = service.judge("approved")
    assert len(held_now) == 4
    assert not turn.faults
    assert site.numbers() == ["104", "105", "106", "107", "108"]
    site.domain.fault = None
    site.turn()
    assert site.numbers() == ["104", "105", "106", "107", "108"]


def test_a_second_approve_finds_nothing_more(site: Site) -> None:
    dns = site.users(9)
    site.turn()
    lose(site, dns[:4])
    assert site.service is not None
    assert len(site.service.judge("approved")[0]) == 4
    assert site.service.judge("approved")[0] == []


def test_who_came_back_before_the_word_was_given_is_not_removed(site: Site) -> None:
    dns = site.users(9)
    site.turn()
    lose(site, dns[:4])
    site.domain.modify(dns[0], telephoneNumber="100")
    site.turn()
    assert held(site) == ["101", "102", "103"]
    assert site.service is not None
    site.service.judge("approved")
    assert site.numbers() == ["100", "104", "105", "106", "107", "108"]


def test_an_approved_user_that_comes_back_and_goes_again_is_asked_for_again(site: Site) -> None:
    dns = site.users(9)
    site.turn()
    lose(site, dns[:4])
    assert site.service is not None
    site.service.judge("approved")
    for number, dn in enumerate(dns[:4], 100):
        site.domain.modify(dn, telephoneNumber=str(number))
    site.turn()
    assert len(site.numbers()) == 9
    lose(site, dns[:4])
    assert held(site) == ["100", "101", "102", "103"]


def test_the_very_last_user_goes_with_a_persons_word_and_leaves_a_file_without_peers(
    site: Site,
) -> None:
    (dn,) = site.users(1)
    site.turn()
    key = (site.folder / "state" / "secret.key").read_bytes()
    lose(site, [dn])
    assert held(site) == ["100"]
    assert site.numbers() == ["100"]
    assert site.service is not None
    site.service.judge("approved")
    assert site.numbers() == []
    assert site.path.read_text().startswith("; Written by adwatch")
    site.start()
    assert site.turn().exit_code == 0
    site.domain.modify(dn, telephoneNumber="100")
    site.turn()
    assert site.numbers() == ["100"]
    assert (site.folder / "state" / "secret.key").read_bytes() == key


def test_rejected_ones_stay_through_restarts_and_are_asked_for_again_only_after_a_change(
    site: Site,
) -> None:
    dns = site.users(9)
    site.turn()
    lose(site, dns[:4])
    assert site.service is not None
    site.service.judge("dismissed")
    site.start()
    site.turn("reconcile")
    assert held(site) == []
    assert len(site.numbers()) == 9
    site.domain.delete(dns[0])
    site.turn()
    assert len(site.numbers()) == 8  # one loss, and within the limits
    reasons = {c.what for c in site.service_history() if c.number == "100"}
    assert {"held", "dismissed"} <= reasons


def test_a_number_whose_holder_is_held_stays_the_holders(site: Site) -> None:
    dns = site.users(9)
    site.turn()
    lose(site, dns[:4])
    site.domain.add_user("heir", telephoneNumber="100")
    site.turn()
    assert "fullname = U100\n" in site.path.read_text()
    assert site.service is not None
    (refused,) = site.service.store.rejections()
    assert (refused.login, refused.reason) == ("heir", "number 100 is held by u100")
    site.service.judge("approved")
    site.turn()
    assert "fullname = Heir\n" in site.path.read_text()


def test_a_filter_that_suddenly_matches_nobody_holds_everybody(site: Site) -> None:
    site.users(9)
    site.turn()
    site.domain.matches = lambda _: False
    site.domain.invocation = "00000000-0000-0000-0000-000000000009"
    site.start()
    assert site.turn().held == 9
    assert len(site.numbers()) == 9
    site.start()
    assert len(held(site)) == 9


def test_a_crash_between_the_word_and_the_plan_forgets_neither(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns = site.users(9)
    site.turn()
    lose(site, dns[:4])
    service = site.service
    assert service is not None
    monkeypatch.setattr(service.store, "apply", crash)
    with pytest.raises(KeyboardInterrupt):
        service.judge("approved")
    site.start()
    site.turn()
    assert site.numbers() == ["104", "105", "106", "107", "108"]


def test_users_lost_slowly_count_together_and_one_who_comes_and_goes_counts_once(
    site: Site,
) -> None:
    dns = site.users(9)
    site.turn()
    for _ in range(4):
        lose(site, dns[:1])
        site.domain.modify(dns[0], telephoneNumber="100")
        site.turn()
    assert held(site) == []
    lose(site, dns[1:2])
    site.clock.now += 60
    lose(site, dns[2:3])
    assert held(site) == []
    lose(site, dns[3:4])
    assert held(site) == ["103"]


def test_who_was_rejected_and_is_then_deleted_is_not_served_for_ever(site: Site) -> None:
    dns = site.users(9)
    site.turn()
    lose(site, dns[:4])
    assert site.service is not None
    site.service.judge("dismissed")
    site.domain.delete(dns[0])
    site.turn()
    assert held(site) == ["100"] or "100" not in site.numbers()


def test_users_that_one_output_loses_slowly_count_together(site: Site) -> None:
    site.outputs = "  - {name: boxes, path: boxes.conf, format: voicemail.conf, reload: null}"
    dns = site.users(9)
    site.turn()
    for index, dn in enumerate(dns[:4]):
        site.domain.modify(dn, sAMAccountName=f"q,{index}")
        site.turn()
    assert held(site)


def test_a_held_peer_that_a_new_output_cannot_hold_keeps_nobody_else_out_of_it(
    site: Site,
) -> None:
    dns = [site.domain.add_user(f"q,{n}", telephoneNumber=str(n)) for n in range(100, 104)]
    site.users(5, first=200)
    site.turn()
    lose(site, dns)
    assert held(site) == ["100", "101", "102", "103"]
    site.outputs = "  - {name: boxes, path: boxes.conf, format: voicemail.conf, reload: null}"
    site.start()
    turn = site.turn()
    assert not turn.faults
    assert "200 =>" in (site.folder / "boxes.conf").read_text()


def test_a_held_peer_stays_out_of_the_output_that_refused_it_when_a_new_one_refuses_it_too(
    site: Site,
) -> None:
    (site.folder / "own.j2").write_text("[{{ number }}]\n{{ name }} = 1\n")
    site.outputs = "  - {name: own, path: own.conf, template: own.j2, reload: null}"
    dns = [site.domain.add_user(f"#{n}", telephoneNumber=str(n)) for n in range(100, 104)]
    site.users(5, first=200)
    site.turn()
    lose(site, dns)
    site.outputs += "\n  - {name: too, path: too.conf, template: own.j2, reload: null}"
    site.start()
    assert not site.turn().faults
    for name in ("own.conf", "too.conf"):
        text = (site.folder / name).read_text()
        assert "[200]" in text
        assert "[100]" not in text


def test_a_lost_store_is_made_good_where_sections_are_not_called_by_their_number(
    site: Site,
) -> None:
    (site.folder / "own.j2").write_text("[phone-{{ number }}]\nname = {{ name }}\n")
    site.outputs = "  - {name: own, path: own.conf, template: own.j2, reload: null}"
    site.users(9)
    site.turn()
    text = (site.folder / "own.conf").read_text()
    site.stop()
    (site.folder / "state" / "adwatch.db").unlink()
    turn = site.turn()
    assert not turn.faults
    assert (site.folder / "own.conf").read_text() == text


def test_a_lost_store_with_an_empty_directory_keeps_an_output_that_has_no_sections(
    site: Site,
) -> None:
    (site.folder / "own.j2").write_text("exten => {{ number }},1,NoOp({{ name }})\n")
    site.outputs = "  - {name: own, path: own.conf, template: own.j2, reload: null}"
    dns = site.users(9)
    site.turn()
    text = (site.folder / "own.conf").read_text()
    site.stop()
    (site.folder / "state" / "adwatch.db").unlink()
    site.path.unlink()
    for dn in dns:
        site.domain.delete(dn)
    for _ in range(2):
        site.start()
        site.turn()
        assert (site.folder / "own.conf").read_text() == text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not")
def test_a_key_that_may_not_be_looked_for_is_a_fault_in_words(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(AdwatchError, match=r"secret\.key"):
            KeyFile(tmp_path / "secret.key").open(fresh=False)
    finally:
        os.seteuid(0)
