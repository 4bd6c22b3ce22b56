"""The debt of a reload: when it is paid, when it is not incurred, and what outlives the process.

The command that is run writes down what it was asked for, and answers as the test says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import has_ended, wait_for
from service.test_turn import STAFF, Site

from adwatch.config.load import load
from adwatch.core.model import Debt
from adwatch.edits import first_edition, next_edition
from adwatch.errors import AsteriskError
from adwatch.report import Health, status
from adwatch.service import Service

CONFIG = """\
directory: {{servers: [ldaps://dc.example.test], user: u, password: p}}
peers: {{context: '"users"'}}
outputs:
  - {{name: users, path: users.conf, options: {{template: lan}}}}
{outputs}
asterisk: {{command: [sh, {folder}/asterisk], verify: {verify}}}
state: state
"""


class Told(Site):
    """A site whose Asterisk is a script: `answer` is shell, `$1` the command."""

    answer = ""
    verify = "true"

    def start(self, *, dry: bool = False) -> Service:
        self.say(self.answer)
        self.service = super().start(dry=dry)
        return self.service

    def say(self, answer: str) -> None:
        self.answer = answer
        script = f'echo "$1" >> {self.folder}/asked\n{answer}\n'
        (self.folder / "asterisk").write_text(script)

    def asked(self) -> list[str]:
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def reloads(self) -> int:
        return sum("reload" in line for line in self.asked())

    def output_status(self) -> dict[str, object]:
        assert self.service
        said = status(self.service, Health(), 0.0)["outputs"][0]
        assert isinstance(said, dict)
        return said


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    made = Told(tmp_path)

    class Filled:
        def format(self, **given: str) -> str:
            return CONFIG.format(verify=made.verify, **{**given, "outputs": made.outputs})

    monkeypatch.setattr("service.test_turn.CONFIG", Filled())
    yield made
    made.stop()


def written(site: Told) -> Service:
    """Peers in place, and no reload owed."""
    site.users(3)
    assert site.turn().exit_code == 0
    assert site.service
    assert site.reloads() == 1
    return site.service


def test_a_file_that_is_again_what_asterisk_knows_is_not_reloaded(site: Told) -> None:
    service = written(site)
    dn = site.domain.add_user("brief", telephoneNumber="500")
    service.turn()
    assert "500" in site.numbers()
    site.domain.delete(dn)
    service.turn()
    assert service.reloads.owed()
    assert site.turn().exit_code == 0
    assert not service.reloads.owed()
    assert site.reloads() == 1
    site.users(1, first=600)
    site.turn()
    assert site.reloads() == 2


def test_a_file_of_which_asterisk_may_have_read_another_between_is_reloaded(site: Told) -> None:
    service = written(site)
    dn = site.domain.add_user("brief", telephoneNumber="500")
    site.say("exit 1")
    assert site.turn().exit_code == 1
    site.say("")
    site.domain.delete(dn)
    assert site.turn().exit_code == 0
    assert not service.reloads.owed()
    assert site.reloads() == 3


def test_across_a_restart_the_same_file_is_reloaded_for_asterisk_may_have_been_started_too(
    site: Told,
) -> None:
    service = written(site)
    dn = site.domain.add_user("brief", telephoneNumber="500")
    service.turn()
    site.start()
    site.domain.delete(dn)
    site.turn()
    assert site.reloads() == 2


def test_what_cannot_be_understood_counts_as_done_and_unverified(
    site: Told, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site.say('case "$1" in *show*) echo "Privilege escalation protection disabled!";; esac')
    service = written(site)
    assert not service.reloads.owed()
    assert site.asked() == ["sip reload", "sip show peers"]
    (line,) = [r.message for r in caplog.records if "event=reloaded" in r.message]
    assert "verified=no" in line
    assert "Privilege escalation" in line
    assert site.output_status()["verified"] is None
    assert site.output_status()["fault"] is None


def test_without_verify_nobody_looks(site: Told) -> None:
    site.verify = "false"
    written(site)
    assert site.asked() == ["sip reload"]


@pytest.mark.parametrize("restart", [False, True])
def test_a_look_that_fails_is_made_again_without_another_reload(site: Told, restart: bool) -> None:
    site.users(2)
    site.say('case "$1" in *show*) exit 1;; esac')
    turn = site.turn()
    assert turn.exit_code == 1
    assert "'sip show peers' failed" in str(turn.faults["asterisk"])
    assert site.service
    assert site.service.reloads.owed()
    site.say("")
    if restart:
        site.start()
    assert site.turn().exit_code == 0
    assert not site.service.reloads.owed()
    assert site.reloads() == 1
    assert len(site.asked()) == 3


def test_a_file_that_changed_after_the_reload_is_reloaded_and_not_only_looked_at(
    site: Told,
) -> None:
    site.users(2)
    site.say('case "$1" in *show*) exit 1;; esac')
    site.turn()
    site.users(1, first=300)
    site.say("")
    site.turn()
    assert site.reloads() == 2


def with_a_reload_under_way(site: Told) -> Service:
    """A service whose reload ends once there is a file `go`."""
    site.verify = "false"
    site.users(1)
    site.say(f"while [ ! -e {site.folder}/go ]; do sleep 0.01; done")
    service = site.start()
    service.turn()
    assert service.reloads.begin()
    wait_for("the command", lambda: site.reloads() == 1)
    return service


def test_a_file_written_while_a_reload_is_under_way_stays_owed(site: Told) -> None:
    service = with_a_reload_under_way(site)
    site.users(1, first=300)
    service.turn()
    (site.folder / "go").touch()
    wait_for("its end", lambda: not (service.reloads.follow() or service.reloads.under_way()))
    assert service.reloads.owed()
    assert site.turn().exit_code == 0
    assert site.reloads() == 2


def test_an_edit_that_leaves_asterisk_where_it_is_breaks_no_reload_off(site: Told) -> None:
    service = with_a_reload_under_way(site)
    path = site.folder / "config.yaml"
    path.write_text(path.read_text().replace("verify: false", "verify: false, settle: 300ms"))
    edition = next_edition(first_edition(service.parts, service.store), load(path), service.store)
    assert edition.changed == {"asterisk"}
    service.change(edition.parts)
    (site.folder / "go").touch()
    wait_for("its end", service.reloads.follow)
    assert not service.reloads.owed()
    assert site.reloads() == 1


def test_commands_are_paid_for_one_by_one(site: Told) -> None:
    site.outputs = "  - {name: pjsip, path: pjsip.conf, format: pjsip.conf}"
    site.users(1)
    site.say('case "$1" in "sip reload") echo No such command;; esac')
    turn = site.turn()
    assert isinstance(turn.faults["asterisk"], AsteriskError)
    assert site.service
    assert list(site.service.store.owed("reload")) == ["users"]
    site.say("")
    assert site.turn().exit_code == 0
    assert site.asked().count("module reload res_pjsip.so") == 1
    assert site.asked().count("sip reload") == 2


def test_an_output_that_is_gone_from_the_configuration_owes_nothing(site: Told) -> None:
    service = written(site)
    service.store.owe(Debt("reload", "former", 0.0, "sip reload"))
    assert site.turn().exit_code == 0
    assert not service.reloads.owed()
    assert site.reloads() == 1


def test_a_file_that_cannot_be_put_in_place_owes_no_reload(site: Told) -> None:
    service = written(site)
    site.users(1, first=500)
    site.path.unlink()
    site.path.mkdir()
    assert service.turn().exit_code == 1
    assert not service.reloads.owed()


def test_a_reload_that_hangs_is_ended_with_the_service(site: Told) -> None:
    site.verify = "false"
    site.users(1)
    site.say(f"sleep 600 & echo $! > {site.folder}/pid; wait")
    service = site.start()
    service.turn()
    service.reloads.begin()
    pid = site.folder / "pid"
    wait_for("the child", lambda: pid.exists() and pid.read_text().strip())
    site.stop()
    wait_for("its end", lambda: has_ended(int(pid.read_text())))


def test_a_damaged_record_is_no_fault(site: Told) -> None:
    written(site)
    for text in ("[]", "{", '{"since": 3}', '{"told": true}', "null"):
        site.start().store.remember("asterisk users", text)
        site.start()
        assert site.turn().exit_code == 0
        site.domain.add_user(f"x{len(text)}", STAFF, telephoneNumber=f"70{len(text)}")
        assert site.turn().exit_code == 0
