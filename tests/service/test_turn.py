"""Turns as a whole: what is served, held, written and owed, over a directory in memory."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adwatch.config.load import load
from adwatch.core.model import Change
from adwatch.difference import difference
from adwatch.edges.store import Store
from adwatch.errors import (
    CredentialsError,
    DirectoryError,
    HeldError,
    KeyLostError,
    OutputError,
    StoreError,
)
from adwatch.report import explain
from adwatch.service import Service
from adwatch.testing import FakeClock, MemoryDirectory
from adwatch.turn import Turn
from adwatch.wiring import build

STAFF = "OU=Staff,DC=example,DC=test"
CONFIG = """\
directory: {{servers: [ldaps://dc.example.test], user: u, password: p}}
peers: {{context: '"users"'{peers}}}
outputs:
  - name: users
    path: users.conf
    options: {{template: lan}}
    reload: sip reload
{outputs}
asterisk: {{command: [sh, -c, 'echo "$0" >> {folder}/reloads; {fails}'], verify: false}}
safety: {{max_removals: 2, max_removals_percent: 10, window: 10m}}
state: state
{more}
"""


class Site:
    """A service over a domain in memory, started anew as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.domain = MemoryDirectory(STAFF, clock=self.clock)
        self.fails = "true"
        self.outputs = ""
        self.peers = ""
        self.more = ""
        self.service: Service | None = None

    def start(self, *, dry: bool = False) -> Service:
        self.stop()
        config = self.folder / "config.yaml"
        config.write_text(
            CONFIG.format(
                folder=self.folder,
                fails=self.fails,
                outputs=self.outputs,
                peers=self.peers,
                more=self.more,
            )
        )
        self.service = build(load(config), dry=dry, directory=self.domain)
        self.service.clock = self.clock
        if not dry:
            self.service.prepare()
        self.service.open()
        return self.service

    def stop(self) -> None:
        if self.service is not None:
            self.service.close()
            self.service = None

    def turn(self, how: str = "poll") -> Turn:
        """One turn as `sync` makes it, reload included."""
        service = self.service or self.start()
        turn = service.turn(how)
        service.reload_now(turn)
        return turn

    @property
    def path(self) -> Path:
        return self.folder / "users.conf"

    def numbers(self) -> list[str]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [line[1:].partition("]")[0] for line in lines if line.startswith("[")]

    def reloads(self) -> int:
        path = self.folder / "reloads"
        return path.read_text().count("\n") if path.exists() else 0

    def service_history(self) -> list[Change]:
        assert self.service is not None
        return self.service.store.history(None, 1000)

    def users(self, count: int, first: int = 100) -> list[str]:
        return [
            self.domain.add_user(f"u{n}", telephoneNumber=str(n))
            for n in range(first, first + count)
        ]


def crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()


def test_users_become_sections_by_number_and_asterisk_is_told_once(site: Site) -> None:
    site.users(3)
    turn = site.turn()
    assert (turn.exit_code, site.numbers(), site.reloads()) == (0, ["100", "101", "102"], 1)
    text = site.path.read_text()
    assert "\n[100](lan)\nfullname = U100\nsecret = " in text
    assert oct(site.path.stat().st_mode)[-3:] == "640"


def test_a_turn_without_changes_writes_and_reloads_nothing(site: Site) -> None:
    site.users(3)
    site.turn()
    before = site.path.stat().st_mtime_ns, site.path.stat().st_ino
    for how in ("poll", "compare", "reconcile"):
        assert site.turn(how).changes == ()
    site.start()
    site.turn()
    assert (site.path.stat().st_mtime_ns, site.path.stat().st_ino) == before
    assert site.reloads() == 1


def test_a_change_is_in_the_history_field_by_field(site: Site) -> None:
    (dn,) = site.users(1)
    site.turn()
    site.domain.modify(dn, telephoneNumber="200", mobile="+1")
    site.turn()
    assert site.service
    (change,) = site.service.store.history(None, 1)
    assert change.what == "changed"
    assert {f: (o, n) for f, o, n in change.values} == {
        "number": ("100", "200"),
        "call_group": ("1", "2"),
        "pickup_group": ("1", "2"),
        "mobile": ("", "+1"),
    }


@pytest.mark.parametrize("leave", ["delete", "disable", "clear", "move"])
def test_a_leaver_loses_the_peer_and_gets_the_same_secret_on_return(site: Site, leave: str) -> None:
    site.users(5)
    dn = site.domain.add_user("leaver", telephoneNumber="900")
    site.turn()
    before = site.path.read_text()
    if leave == "delete":
        site.domain.delete(dn)
    elif leave == "disable":
        site.domain.disable(dn)
    elif leave == "clear":
        site.domain.modify(dn, telephoneNumber=None)
    else:
        dn = site.domain.move(dn, "OU=Leavers,DC=example,DC=test")
    turn = site.turn()
    assert "900" not in site.numbers()
    assert [c.what for c in turn.changes] == ["removed"]
    assert turn.changes[0].reason
    if leave == "disable":
        site.domain.enable(dn)
    elif leave == "clear":
        site.domain.modify(dn, telephoneNumber="900")
    elif leave == "move":
        site.domain.move(dn, STAFF)
    else:
        return
    site.turn()
    assert site.path.read_text() == before


def test_a_deletion_that_the_account_cannot_see_is_owed_as_a_comparison(site: Site) -> None:
    site.domain.sees_deletions = False
    dns = site.users(5)
    site.turn()
    site.domain.delete(dns[0])
    site.turn()
    assert site.service
    assert site.service.store.owed("compare")
    site.start()  # the debt outlives the process
    assert site.service.store.owed("compare")
    site.turn("compare")
    assert not site.service.store.owed("compare")
    assert site.numbers() == ["101", "102", "103", "104"]


@pytest.mark.parametrize(
    ("fault", "code"), [(DirectoryError("gone"), 4), (CredentialsError("no"), 5)]
)
def test_a_directory_that_fails_removes_nobody(
    site: Site, fault: DirectoryError, code: int
) -> None:
    site.users(3)
    site.turn()
    site.domain.fault = fault
    for how in ("poll", "compare", "reconcile"):
        assert site.turn(how).exit_code == code
    assert site.numbers() == ["100", "101", "102"]


def test_starting_without_a_directory_serves_what_was_and_restores_a_lost_output(
    site: Site,
) -> None:
    site.users(3)
    site.turn()
    text = site.path.read_text()
    site.path.unlink()
    site.domain.fault = DirectoryError("gone")
    site.start()
    assert site.turn().exit_code == 4
    assert site.path.read_text() == text


def test_nothing_is_written_before_the_first_reading_has_worked(site: Site) -> None:
    site.domain.fault = DirectoryError("gone")
    assert site.turn().exit_code == 4
    assert not site.path.exists()


def hide_all(site: Site) -> None:
    site.domain.matches = lambda _: False


def test_an_empty_directory_is_held_and_not_believed(site: Site) -> None:
    site.users(2)
    site.turn()
    hide_all(site)
    turn = site.turn("reconcile")
    assert (turn.exit_code, turn.held, site.numbers()) == (6, 2, ["100", "101"])
    assert site.service
    site.service.judge("approved")
    assert site.numbers() == []
    assert site.path.exists()


def test_more_losses_than_the_limits_are_held_while_the_rest_goes_on(site: Site) -> None:
    dns = site.users(10)
    site.turn()
    for dn in dns[:3]:
        site.domain.delete(dn)
    site.users(1, first=500)
    site.domain.modify(dns[9], telephoneNumber="600")
    turn = site.turn()
    assert (turn.exit_code, turn.held) == (6, 3)
    kept = ["100", "101", "102", "103", "104", "105", "106", "107", "108", "500", "600"]
    assert site.numbers() == kept
    site.turn()
    assert site.numbers() == kept
    assert site.service
    held = [h.reason for h in site.service.store.pending()]
    assert held == ["deleted in AD"] * 3


def test_losses_count_over_the_window_and_no_longer(site: Site) -> None:
    dns = site.users(10)
    site.turn()
    for index, expected in enumerate((0, 0, 1)):
        site.clock.now += 60
        site.domain.delete(dns[index])
        assert site.turn().held == expected
    assert site.service
    site.service.judge("approved")
    site.clock.now += 601
    site.domain.delete(dns[5])
    assert site.turn().held == 0


def test_approve_covers_what_was_shown_and_nothing_later(site: Site) -> None:
    dns = site.users(10)
    site.turn()
    for dn in dns[:4]:
        site.domain.delete(dn)
    site.turn()
    assert site.service
    judged, _ = site.service.judge("approved")
    assert len(judged) == 4
    assert len(site.numbers()) == 6
    for dn in dns[4:8]:
        site.domain.delete(dn)
    assert site.turn().held == 4
    assert len(site.numbers()) == 6


def test_reject_keeps_the_peers_until_they_change_again(site: Site) -> None:
    dns = site.users(10)
    site.turn()
    for dn in dns[:4]:
        site.domain.disable(dn)
    site.turn()
    assert site.service
    site.service.judge("dismissed")
    for how in ("poll", "reconcile"):
        turn = site.turn(how)
        assert (turn.exit_code, turn.held) == (0, 0)
    assert len(site.numbers()) == 10
    site.domain.enable(dns[0])
    site.turn()
    site.domain.delete(dns[1])
    site.turn()
    assert "101" not in site.numbers()
    assert len(site.numbers()) == 9


def test_somebody_held_who_comes_back_is_released(site: Site) -> None:
    dns = site.users(10)
    site.turn()
    for dn in dns[:4]:
        site.domain.disable(dn)
    assert site.turn().held == 4
    for dn in dns[:4]:
        site.domain.enable(dn)
    turn = site.turn()
    assert (turn.exit_code, turn.held) == (0, 0)
    assert {c.what for c in turn.changes} == {"released"}


def test_two_users_of_one_number_and_the_second_takes_over(site: Site) -> None:
    first, second = site.users(1)[0], site.domain.add_user("second", telephoneNumber="100")
    site.turn()
    assert "U100" in site.path.read_text()
    assert site.service
    (rejection,) = site.service.store.rejections()
    assert (rejection.login, rejection.reason) == ("second", "number 100 is held by u100")
    (finding,) = site.domain.find("second", frozenset())
    assert explain(site.service, finding)["reasons"] == ["number 100 is held by u100"]
    site.domain.modify(first, telephoneNumber="101")
    site.turn()
    assert "Second" in site.path.read_text()
    assert site.service.store.rejections() == []
    assert second


def test_a_bad_value_rejects_one_user_and_stops_nobody(site: Site) -> None:
    site.users(2)
    site.domain.add_user("evil", telephoneNumber="200", userPrincipalName="a\n#exec rm -rf /")
    site.domain.add_user("slash", telephoneNumber="+49 (0) 30")
    turn = site.turn()
    assert (turn.exit_code, site.numbers()) == (0, ["100", "101"])
    assert "#exec" not in site.path.read_text()
    assert site.service
    reasons = {r.login: r.reason for r in site.service.store.rejections()}
    assert "U+000A" in reasons["evil"]
    assert "telephoneNumber | digits" in reasons["slash"]


def test_a_dry_run_and_a_diff_write_nothing_at_all(site: Site) -> None:
    dns = site.users(3)
    site.turn()
    site.stop()
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in site.folder.rglob("*")}
    site.domain.delete(dns[0])
    site.domain.modify(dns[1], telephoneNumber="400")
    service = site.start(dry=True)
    found = difference(service, lambda: service.turn().changes)
    text = found.text()
    assert "- 100 U100 (u100): deleted in AD" in text
    assert "~ 400 U101 (u101)" in text
    assert "    number: '101' → '400'" in text
    assert "-[100](lan)" in text
    assert "secret = ********" in text
    assert service.secret(service.peer("400")) not in text
    config = site.folder / "config.yaml"
    after = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in site.folder.rglob("*")}
    before[config] = after[config]
    assert after == before


def test_a_dry_run_on_a_new_machine_makes_nothing(site: Site) -> None:
    site.users(3)
    service = site.start(dry=True)
    assert len(service.turn().changes) == 3
    assert sorted(p.name for p in site.folder.iterdir()) == ["config.yaml"]


def test_a_lost_store_keeps_every_secret(site: Site) -> None:
    site.users(3)
    site.turn()
    text = site.path.read_text()
    site.stop()
    (site.folder / "state" / "adwatch.db").unlink()
    site.turn()
    assert site.path.read_text() == text


def test_a_lost_store_with_an_empty_directory_drops_nobody(site: Site) -> None:
    site.users(3)
    site.turn()
    site.stop()
    (site.folder / "state" / "adwatch.db").unlink()
    hide_all(site)
    turn = site.turn()
    assert isinstance(turn.faults["directory"], HeldError)
    assert turn.exit_code == 6
    assert site.numbers() == ["100", "101", "102"]


@pytest.mark.parametrize("left", ["adwatch.db", "users.conf"])
def test_a_lost_key_is_an_error_and_never_new_secrets(site: Site, left: str) -> None:
    site.users(3)
    site.turn()
    site.stop()
    for path in (site.folder / "state" / "adwatch.db", site.path):
        if path.name != left:
            path.unlink()
    (site.folder / "state" / "secret.key").unlink()
    with pytest.raises(KeyLostError, match="is gone"):
        site.start()
    assert not (site.folder / "state" / "secret.key").exists()


def test_an_empty_include_made_for_asterisk_is_no_output_yet(site: Site) -> None:
    site.path.touch()
    site.users(1)
    site.turn()
    assert site.numbers() == ["100"]


def test_a_rotated_secret_is_another_for_good_and_for_nobody_else(site: Site) -> None:
    site.users(2)
    site.turn()
    assert site.service
    one, two = site.service.peer("100"), site.service.peer("U101@".rstrip("@").lower())
    before = site.service.secret(one), site.service.secret(two)
    site.service.rotate(one)
    rotated = site.service.secret(one)
    assert rotated != before[0]
    assert rotated in site.path.read_text()
    site.stop()
    (site.folder / "state" / "adwatch.db").unlink()
    site.turn()
    assert site.service
    assert (site.service.secret(one), site.service.secret(two)) == (rotated, before[1])


def test_a_reload_that_fails_is_owed_told_and_paid_after_a_restart(site: Site) -> None:
    site.users(1)
    site.fails = "echo No such command; false"
    turn = site.turn()
    assert turn.exit_code == 1
    assert "No such command" in str(turn.faults["asterisk"])
    assert site.service
    assert site.service.reloads.owed()
    site.fails = "true"
    site.start()
    assert site.turn().exit_code == 0
    assert not site.service.reloads.owed()
    assert site.reloads() == 2


def test_words_of_refusal_count_although_the_exit_status_is_0(site: Site) -> None:
    site.users(1)
    site.fails = "echo No such command"
    assert site.turn().exit_code == 1


def test_an_output_that_cannot_be_written_stops_no_other(site: Site) -> None:
    site.outputs = "  - {name: lost, path: missing/sip.conf, format: sip.conf, reload: null}"
    site.users(1)
    turn = site.turn()
    assert isinstance(turn.faults["output lost"], OutputError)
    assert "missing" in str(turn.faults["output lost"])
    assert (turn.exit_code, site.numbers(), site.reloads()) == (1, ["100"], 1)
    (site.folder / "missing").mkdir()
    assert site.turn().exit_code == 0
    assert "[100]" in (site.folder / "missing" / "sip.conf").read_text()


def test_one_reload_pays_for_all_outputs_of_the_same_command(site: Site) -> None:
    site.outputs = "  - {name: sip, path: sip.conf, format: sip.conf, reload: sip reload}"
    site.users(1)
    site.turn()
    assert site.reloads() == 1


def test_a_value_that_one_format_cannot_hold_is_missing_from_that_one_alone(site: Site) -> None:
    site.outputs = "  - {name: boxes, path: boxes.conf, format: voicemail.conf, reload: null}"
    site.domain.add_user("com,ma", telephoneNumber="100")
    site.users(1, first=200)
    turn = site.turn()
    assert turn.exit_code == 0
    assert site.numbers() == ["100", "200"]
    assert "100 =>" not in (site.folder / "boxes.conf").read_text()
    assert site.service
    (rejection,) = site.service.store.rejections()
    assert (rejection.output, rejection.number) == ("boxes", "100")
    assert "name holds the character U+002C (comma)" in rejection.reason
    assert "name is made of sAMAccountName[:1] | upper" in rejection.reason


def test_your_own_template_writes_what_it_likes_and_its_values_are_escaped(site: Site) -> None:
    (site.folder / "own.j2").write_text("exten => {{ number }},1,NoOp({{ name }})\n")
    site.outputs = "  - {name: own, path: own.conf, template: own.j2, reload: null}"
    site.domain.add_user("semi;colon", telephoneNumber="100")
    site.turn()
    assert "exten => 100,1,NoOp(Semi\\;colon)\n" in (site.folder / "own.conf").read_text()


def test_a_crash_between_commit_and_write_is_made_good(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.users(2)
    site.turn()
    site.users(1, first=300)

    assert site.service
    with monkeypatch.context() as patched:
        patched.setattr("adwatch.edges.asterisk.replace", crash)
        with pytest.raises(KeyboardInterrupt):
            site.service.turn()
    site.start()
    site.turn()
    assert site.numbers() == ["100", "101", "300"]
    assert site.reloads() == 2


def test_a_crash_in_a_comparison_leaves_it_owed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.domain.sees_deletions = False
    dns = site.users(5)
    site.turn()
    site.domain.delete(dns[0])
    site.turn()
    assert site.service
    with monkeypatch.context() as patched:
        patched.setattr(site.service.store, "apply", crash)
        with pytest.raises(KeyboardInterrupt):
            site.service.turn("compare")
    site.start()
    assert site.service.store.owed("compare")
    site.turn("compare")
    assert len(site.numbers()) == 4


def test_a_crash_after_approval_is_made_good_at_the_next_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns = site.users(10)
    site.turn()
    for dn in dns[:4]:
        site.domain.delete(dn)
    site.turn()
    assert site.service
    with monkeypatch.context() as patched:
        patched.setattr(site.service.store, "apply", crash)
        with pytest.raises(KeyboardInterrupt):
            site.service.judge("approved")
    site.domain.fault = DirectoryError("gone")
    site.start()
    site.turn()
    assert len(site.numbers()) == 6


def test_asterisk_may_read_the_last_good_text_and_nobody_the_key(site: Site) -> None:
    site.users(1)
    site.turn()
    state = site.folder / "state"
    assert (state / "outputs" / "users").read_text() == site.path.read_text()
    assert (state / "outputs" / "users").stat().st_mode & 0o777 == 0o640
    assert (state / "secret.key").stat().st_mode & 0o777 == 0o600
    assert (state / "adwatch.db").stat().st_mode & 0o777 == 0o600


def test_the_last_good_text_is_for_whoever_may_read_the_output(site: Site) -> None:
    site.path.touch()
    os.chown(site.path, 12345, 54321)
    site.users(1)
    site.turn()
    copy = (site.folder / "state" / "outputs" / "users").stat()
    assert (site.path.stat().st_uid, site.path.stat().st_gid) == (12345, 54321)
    assert (copy.st_uid, copy.st_gid) == (12345, 54321)


def test_the_secret_may_come_from_ad(site: Site) -> None:
    site.more = "secrets: {attribute: info}"
    site.domain.add_user("with", telephoneNumber="100", info="s3cret;x")
    site.domain.add_user("without", telephoneNumber="101")
    site.turn()
    assert "secret = s3cret\\;x\n" in site.path.read_text()
    assert site.numbers() == ["100"]
    assert not (site.folder / "state" / "secret.key").exists()


def test_another_mapping_of_the_same_attributes_maps_everybody_anew(site: Site) -> None:
    site.users(2)
    site.turn()
    site.peers = ", name: sAMAccountName | upper, email: sAMAccountName"
    site.start()
    turn = site.turn()
    assert [c.what for c in turn.changes] == ["changed", "changed"]
    assert "email = u100" in site.path.read_text()
    assert not site.turn().full


def test_an_output_added_later_refuses_what_it_cannot_hold(site: Site) -> None:
    site.domain.add_user("com,ma", telephoneNumber="100")
    site.users(1, first=200)
    site.turn()
    site.outputs = "  - {name: boxes, path: boxes.conf, format: voicemail.conf, reload: null}"
    site.start()
    assert site.turn().exit_code == 0
    text = (site.folder / "boxes.conf").read_text()
    assert ("100 =>" in text, "200 =>" in text) == (False, True)
    assert site.numbers() == ["100", "200"]
    assert site.service
    assert [r.output for r in site.service.store.rejections()] == ["boxes"]


def test_a_template_that_suddenly_fails_for_everybody_is_held_and_writes_nothing(
    site: Site,
) -> None:
    own = site.folder / "own.j2"
    own.write_text("x = {{ name }}\n")
    site.outputs = "  - {name: own, path: own.conf, template: own.j2, reload: null}"
    site.users(5)
    site.turn()
    text = (site.folder / "own.conf").read_text()
    own.write_text("x = {{ nosuch }}\n")
    site.start()
    turn = site.turn()
    assert turn.held == 5
    assert "nosuch" in str(turn.faults["output own"])
    assert (site.folder / "own.conf").read_text() == text
    assert len(site.numbers()) == 5
    own.write_text("y = {{ name }}\n")
    site.start()
    assert site.turn().exit_code == 0
    assert "y = U100" in (site.folder / "own.conf").read_text()


def test_an_output_that_is_lost_together_with_the_cursor_is_written_again(site: Site) -> None:
    """The full read finds nobody changed, and the file is missing all the same."""
    site.domain.add_user("ryabov", telephoneNumber="502")
    site.turn()
    site.stop()
    store = Store(site.folder / "state")
    with closing(store):
        store.open()
        store.remember("cursor", "")
    site.path.unlink()
    site.turn()
    assert site.numbers() == ["502"]


def test_a_change_whose_rows_could_not_be_stored_is_read_again(site: Site) -> None:
    """The cursor moves with its rows or not at all."""
    dn = site.domain.add_user("ryabov", telephoneNumber="502")
    site.turn()
    service = site.start()
    site.domain.modify(dn, telephoneNumber="503")
    with closing(sqlite3.connect(site.folder / "state" / "adwatch.db")) as database:
        full = "CREATE TRIGGER full BEFORE INSERT ON history BEGIN SELECT RAISE(ABORT, 'full'); END"
        database.execute(full)
        database.commit()
        assert isinstance(service.turn().faults["store"], StoreError)
        database.execute("DROP TRIGGER full")
        database.commit()
    site.turn()
    assert site.numbers() == ["503"]
