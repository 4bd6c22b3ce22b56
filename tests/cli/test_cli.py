"""Commands as people type them, where no domain controller is needed."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest
from program import Adwatch, configured

NOBODY_THERE = "ldaps://localhost:1"


@pytest.fixture
def adwatch(tmp_path: Path) -> Adwatch:
    return Adwatch(tmp_path, configured(NOBODY_THERE, tmp_path / "ca.pem"), "secret-word")


def test_a_dead_directory_exits_4_in_one_sentence_and_writes_no_output(adwatch: Adwatch) -> None:
    (adwatch.folder / "ca.pem").write_bytes(Path("/etc/ssl/certs/ca-certificates.crt").read_bytes())
    done = adwatch("sync")
    assert done.returncode == 4
    assert done.stderr == (
        "adwatch: ldaps://localhost:1: [Errno 111] Connection refused (is it up and reachable?)\n"
    )
    assert not adwatch.output.exists()


def test_a_missing_ca_file_is_named(adwatch: Adwatch) -> None:
    done = adwatch("sync")
    assert done.returncode == 4
    assert str(adwatch.folder / "ca.pem") in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("directory: {serverz: x}", ":1:13: directory.serverz: unknown key; did you mean"),
        ("state: a\nstate: b", ":2:1: state: "),
        ("directory: {poll: 10x}", ":1:19: directory.poll: '10x' is not a duration"),
        ("peers: {number: 'a ++'}", ":1:17: peers.number: is not a Jinja2 expression"),
        ("peers: {number: 'x | nosuch'}", ":1:17: peers.number: is not a Jinja2 expression"),
        ("directory: [", ":1:12: '[' is never closed"),
        ("\tx: 1", ":1:1: "),
    ],
)
def test_a_bad_configuration_exits_3_with_file_line_and_column(
    adwatch: Adwatch, line: str, said: str
) -> None:
    adwatch.config.write_text(line + "\n")
    for command in ("run", "sync", "diff", "check", "status", "peers", "history"):
        done = adwatch(command)
        assert done.returncode == 3, command
        assert str(adwatch.config) in done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert sorted(p.name for p in adwatch.folder.iterdir()) == ["bind-password", "config.yaml"]


def test_a_template_with_a_fault_is_a_fault_of_the_configuration(adwatch: Adwatch) -> None:
    (adwatch.folder / "own.j2").write_text("{% if %}")
    text = adwatch.config.read_text().replace("options: {template: lan}", "template: own.j2")
    adwatch.config.write_text(text)
    done = adwatch("sync")
    assert done.returncode == 3
    assert ":12:" in done.stderr
    assert "outputs[0].template: the template own.j2 is not Jinja2, line 1" in done.stderr


def test_secrets_in_your_own_template_need_a_file_that_not_everybody_reads(
    adwatch: Adwatch,
) -> None:
    (adwatch.folder / "own.j2").write_text("secret={{ secret }}\n")
    text = adwatch.config.read_text()
    own = 'template: own.j2\n    mode: "0644"'
    adwatch.config.write_text(text.replace("options: {template: lan}", own))
    done = adwatch("sync")
    assert done.returncode == 3
    assert "outputs[0].mode: 0644 lets everybody read the secrets" in done.stderr


def test_an_unreadable_password_file_exits_3_and_says_which(adwatch: Adwatch) -> None:
    (adwatch.folder / "ca.pem").write_bytes(Path("/etc/ssl/certs/ca-certificates.crt").read_bytes())
    adwatch.password_file.unlink()
    done = adwatch("sync")
    assert done.returncode == 3
    assert str(adwatch.password_file) in done.stderr
    assert not adwatch.output.exists()


def test_usage_exits_2(adwatch: Adwatch) -> None:
    assert adwatch("explain").returncode == 2
    assert adwatch("nosuch").returncode == 2


def test_status_of_what_does_not_run(adwatch: Adwatch) -> None:
    done = adwatch("status", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 3
    assert (said["state"], said["pid"]) == ("stopped", None)
    assert said["peers"] == {"served": 0, "rejected": 0, "held": 0}
    assert said["outputs"][0]["name"] == "users"
    assert set(said) == {
        "state",
        "directory",
        "peers",
        "held",
        "outputs",
        "listens",
        "faults",
        "known",
        "servers",
        "alerts",
        "pid",
        "version",
        "started",
        "trace",
    }
    assert not (adwatch.folder / "state").exists()


def test_check_names_the_line_of_a_template_that_cannot_be_used(adwatch: Adwatch) -> None:
    (adwatch.folder / "own.j2").write_text("[{{ number }}]\nx = 1\n{{ } }}\n")
    text = adwatch.config.read_text()
    whole = "outputs:\n  - name: own\n    path: own.conf\n    template: own.j2\n"
    adwatch.config.write_text(re.sub(r"(?ms)^outputs:\n.*?(?=^\S)", whole, text))
    done = adwatch("check", "--offline")
    assert done.returncode == 3
    assert "outputs[0].template: the template own.j2 is not Jinja2, line 3" in done.stderr


def test_render_without_any_state_makes_asterisk_refuse_the_reload(adwatch: Adwatch) -> None:
    done = adwatch("render", "users")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("[")
    assert "]" not in done.stdout


def test_render_falls_back_to_the_output_itself(adwatch: Adwatch) -> None:
    adwatch.output.write_text("[502](lan)\n")
    done = adwatch("render", "users")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[502](lan)\n", "")


def test_render_prints_the_state_first_and_never_an_empty_text(adwatch: Adwatch) -> None:
    adwatch.output.write_text("[502](lan)\n")
    copies = adwatch.folder / "state" / "outputs"
    copies.mkdir(parents=True)
    (copies / "users").write_text("")
    assert adwatch("render", "users").stdout == "[502](lan)\n"
    (copies / "users").write_text("[503](lan)\n")
    assert adwatch("render", "users").stdout == "[503](lan)\n"


@pytest.mark.parametrize("broken", ["directory: [", "", "outputs: nonsense"])
def test_render_is_silent_on_stderr_whatever_the_configuration_is(
    adwatch: Adwatch, broken: str
) -> None:
    adwatch.config.write_text(broken)
    done = adwatch("render", "users")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("[")


def test_render_loads_neither_pydantic_nor_jinja_nor_ldap(adwatch: Adwatch) -> None:
    code = (
        "import sys; from adwatch.cli import main;"
        f"main(['render', 'users', '-c', {str(adwatch.config)!r}]);"
        "assert not {'pydantic', 'jinja2', 'ldap3', 'sqlite3'} & set(sys.modules)"
    )
    assert os.spawnlp(os.P_WAIT, "python3", _python(), "-c", code) == 0


def test_render_as_a_program_loads_no_parser_of_yaml_or_of_command_lines(
    adwatch: Adwatch,
) -> None:
    code = (
        "import sys; from adwatch.__main__ import main;"
        f"sys.argv[1:] = ['render', 'users', '-c', {str(adwatch.config)!r}];"
        "assert main() == 0;"
        "assert not {'yaml', 'dataclasses', 'argparse', 'typing', 'pathlib'} & set(sys.modules)"
    )
    state = adwatch.folder / "state" / "outputs"
    state.mkdir(parents=True)
    (state / "users").write_text("[502](lan)\n")
    assert os.spawnlp(os.P_WAIT, "python3", _python(), "-S", "-c", code) == 0


@pytest.mark.parametrize("words", [["users", "extra"], ["--bogus", "users"], []])
def test_render_refuses_other_words_as_every_command_does(
    adwatch: Adwatch, words: list[str]
) -> None:
    done = adwatch("render", *words)
    assert done.returncode == 2
    assert "usage: adwatch" in done.stderr


def _python() -> str:
    import sys

    return sys.executable


def test_config_show_masks_secrets_and_is_a_configuration(adwatch: Adwatch) -> None:
    text = adwatch.config.read_text().replace("password_file: bind-password", "password: hunter2")
    adwatch.config.write_text(text)
    shown = adwatch("config", "show").stdout
    assert "hunter2" not in shown
    assert "********" in shown
    adwatch.config.write_text(shown)
    assert adwatch("config", "show").stdout == shown


def test_config_schema_is_json_schema(adwatch: Adwatch) -> None:
    schema = json.loads(adwatch("config", "schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "directory" in schema["properties"]


def test_check_offline_names_what_is_missing_and_how_to_make_it(adwatch: Adwatch) -> None:
    text = adwatch.config.read_text().replace("path: users.conf", "path: missing/users.conf")
    adwatch.config.write_text(text)
    done = adwatch("check", "--offline")
    assert done.returncode == 1
    assert "✓ bind password: readable" in done.stdout
    line = next(line for line in done.stdout.splitlines() if "output users" in line)
    assert line.startswith("✗")
    assert "install -d" in line


def test_check_says_which_step_of_the_network_fails(adwatch: Adwatch) -> None:
    done = adwatch("check")
    assert done.returncode == 1
    assert "✓ DNS localhost: 127.0.0.1" in done.stdout
    assert "✗ TCP localhost:1: Connection refused" in done.stdout


def test_check_says_what_apprise_makes_of_each_target(adwatch: Adwatch) -> None:
    (adwatch.folder / "url").write_text("json://token@127.0.0.1/x\n")
    targets = "['slack://BADTOKEN/SECRETAAA', {url_file: url, min_level: error}, {url_file: none}]"
    adwatch.config.write_text(adwatch.config.read_text() + f"alerts: {{targets: {targets}}}\n")
    done = adwatch("check", "--offline")
    assert done.returncode == 1
    assert "✗ alerts slack://********: Apprise does not understand this URL" in done.stdout
    assert f"✓ alerts {adwatch.folder}/url: JSON, from error on" in done.stdout
    assert f"✗ alerts {adwatch.folder}/none: " in done.stdout
    assert "SECRETAAA" not in done.stdout + done.stderr


def test_a_second_instance_exits_7(adwatch: Adwatch) -> None:
    import fcntl

    state = adwatch.folder / "state"
    state.mkdir()
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = adwatch("run")
    assert done.returncode == 7
    assert "another adwatch works in" in done.stderr


def test_an_unknown_peer_has_no_secret(adwatch: Adwatch) -> None:
    done = adwatch("secret", "502")
    assert done.returncode == 1
    assert "no peer is served for '502'" in done.stderr
    assert not (adwatch.folder / "state").exists()


def test_a_damaged_store_is_said_set_aside_and_kept(adwatch: Adwatch) -> None:
    state = adwatch.folder / "state"
    state.mkdir()
    (state / "adwatch.db").write_bytes(b"garbage" * 1000)
    (state / "secret.key").write_text("00" * 32)
    done = adwatch("sync")
    assert done.returncode == 4
    (kept,) = state.glob("adwatch.db.damaged-*")
    assert "the store was damaged (file is not a database)" in done.stderr
    assert f"it is kept as {kept.name}" in done.stderr
    assert kept.read_bytes() == b"garbage" * 1000


def test_every_command_is_documented(adwatch: Adwatch) -> None:
    documented = (Path(__file__).parents[2] / "README.md").read_text()
    listed = adwatch("sync", "--help").stdout
    assert "--dry-run" in listed
    for command in (
        *("run", "sync", "diff", "check", "status", "peers", "explain", "history"),
        *("render", "secret", "approve", "reject", "config"),
    ):
        assert f"`adwatch {command}" in documented, command


def test_the_state_can_live_at_a_path_longer_than_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 60)
    adwatch = Adwatch(
        deep,
        configured(NOBODY_THERE, Path("ca.pem"), "u"),
        "word",
    )
    (deep / "ca.pem").write_bytes(Path("/etc/ssl/certs/ca-certificates.crt").read_bytes())
    adwatch.start()
    try:
        from program import wait_for

        wait_for("the fault", lambda: adwatch.status()["state"] == "degraded")
        assert adwatch("status", "--json").returncode == 1
        sock = deep / "state" / "control.sock"
        assert stat.S_ISSOCK(sock.stat().st_mode)
        assert sock.stat().st_mode & 0o777 == 0o600
        assert "Connection refused" in adwatch.status()["directory"]["fault"]
        assert adwatch("sync").returncode == 4
        assert adwatch("run").returncode == 7
        assert adwatch.stop() < 3
        assert not sock.exists()
    finally:
        adwatch.kill()
