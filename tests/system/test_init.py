"""`adwatch init`: from nothing to a configuration that works, by questions or by options."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from program import ADWATCH, Adwatch

from adwatch.config.load import load
from system.samba import SambaDC
from system.screen import screen


@pytest.fixture
def place(tmp_path: Path) -> Adwatch:
    """A folder without a configuration."""
    site = Adwatch(tmp_path / "etc", "")
    site.config.unlink()
    site.password_file.unlink()
    return site


def options(dc: SambaDC) -> list[str]:
    return ["--server", dc.ldaps_url, "--user", "svc-adwatch@example.test"]


def secret(dc: SambaDC, place: Adwatch, password: str = "") -> list[str]:
    path = place.folder / "given"
    path.write_text(f"{password or dc.service_password}\n")
    return ["--password-file", str(path)]


def test_questions_lead_to_a_configuration_that_check_and_sync_accept(
    dc: SambaDC, place: Adwatch
) -> None:
    users = len(dc.ldapsearch("(&(telephoneNumber=*)(objectClass=user))", "1.1", base=dc.staff_dn))
    with screen(place, "init", *options(dc)[:2], "--base", dc.staff_dn, columns=100) as shown:
        shown.until("Account that may read the users")
        shown.type("svc-adwatch@example.test\r")
        shown.until("Password of svc-adwatch@example.test:")
        shown.type("Wr0ng\r")
        shown.until("certificate of the domain's CA:")
        shown.type(f"{dc.ca_file}\r")
        # What is typed before the next question is thrown away.
        shown.until("the password is wrong (correct the password that directory names)\r\nPassword")
        shown.type(f"{dc.service_password}\r")
        text = shown.until("")
        assert shown.process.wait(20) == 0, text
    assert dc.service_password not in text
    assert "Wr0ng" not in text
    served, rejected = re.search(r"(\d+) users have a number .* (\d+) have not", text).groups()  # type: ignore[union-attr]
    assert int(served) > 10
    assert int(served) + int(rejected) <= users
    assert text.count("@example.test ") >= 10, "ten of them are shown"
    assert "systemctl enable --now adwatch" in text
    assert place.config.stat().st_mode & 0o777 == 0o640
    assert place.password_file.stat().st_mode & 0o777 == 0o600
    assert dc.service_password not in place.config.read_text()
    config = load(place.config)
    assert config.directory.servers == (dc.ldaps_url,)
    assert config.outputs[0].format == "pjsip.conf"
    moved = place.config.read_text().replace("/etc/asterisk/adwatch", str(place.folder))
    place.config.write_text(moved.replace("/var/lib/adwatch", str(place.folder / "state")))
    assert place("sync").stdout.endswith(f"{served} peers served\n")
    assert "✗ directory" not in place("check").stdout


def test_the_domain_is_asked_for_and_one_without_controllers_is_told(place: Adwatch) -> None:
    with screen(place, "init", columns=100) as shown:
        shown.until("Domain")
        shown.type("nowhere.invalid\r")
        text = shown.until("")
        assert shown.process.wait(20) == 4, text
    assert "_ldap._tcp.dc._msdcs.nowhere.invalid" in text
    assert not place.config.exists()


def test_options_need_nobody(dc: SambaDC, place: Adwatch) -> None:
    given, ca = secret(dc, place), ("--ca-file", str(dc.ca_file))
    done = place("init", *options(dc), *given, *ca, "--format", "users.conf")
    assert done.returncode == 0, done.stderr
    config = load(place.config)
    assert str(config.directory.password_file) == given[1]
    assert not place.password_file.exists(), "the one that was given is used"
    assert "#tryinclude /etc/asterisk/adwatch/users.conf" in done.stdout
    again = place("init", *options(dc), *given, *ca)
    assert again.returncode == 1
    assert "is there already (give --force to replace it)" in again.stderr
    forced = place("init", *options(dc), *given, *ca, "--force")
    assert forced.returncode == 0
    assert load(place.config).outputs[0].format == "pjsip.conf"


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (lambda dc, place: [*options(dc), *secret(dc, place)], 4, "certificate"),
        (lambda dc, place: [*options(dc), *secret(dc, place), "--ca-file", "/none"], 4, "/none"),
        (lambda dc, _: options(dc), 1, "give --password-file"),
        (lambda dc, _: ["--server", dc.ldaps_url], 1, "give --user"),
        (lambda dc, _: [*options(dc), "--password-file", "/none"], 3, "/none"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_written(
    dc: SambaDC, place: Adwatch, more: Callable[[SambaDC, Adwatch], list[str]], code: int, said: str
) -> None:
    done = place("init", *more(dc, place))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not place.config.exists()
    assert not place.password_file.exists()


def test_a_wrong_password_is_said_and_nothing_is_written(dc: SambaDC, place: Adwatch) -> None:
    given = secret(dc, place, "Wr0ng")
    done = place("init", *options(dc), *given, "--ca-file", str(dc.ca_file))
    assert done.returncode == 5
    assert "the password is wrong" in done.stderr
    assert not place.config.exists()


def test_names_that_yaml_would_read_otherwise_stay_what_they_are(place: Adwatch) -> None:
    base = "OU=Stock: 'A' # \"B\",DC=example,DC=test"
    script = (
        "from pathlib import Path; from adwatch.init import Answers, text_of; import sys;"
        "sys.stdout.write(text_of(Answers('', ('ldaps://dc',), \"o'no: #1\", '', '', sys.argv[1]),"
        "Path('bind-password')))"
    )
    python = ADWATCH.with_name("python")
    done = subprocess.run([python, "-c", script, base], capture_output=True, text=True, check=True)
    place.config.write_text(done.stdout)
    config = load(place.config)
    assert config.directory.base == (base,)
    assert config.directory.user == "o'no: #1"
