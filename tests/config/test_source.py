"""The text of the configuration: only plain YAML, every scalar as text, each fault at its place."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adwatch.config import source
from adwatch.config.load import load
from adwatch.errors import ConfigError, Fault

HEAD = "directory: {servers: ldaps://dc1.example.test, user: u, password_file: p}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "state: /a\nstate: /b\n",
            ["config.yaml:2:1: state: duplicate key; it stands in line 1 already"],
            id="duplicate key",
        ),
        pytest.param(
            "outputs:\n  - path: /a\n    path: /b\n",
            ["config.yaml:3:5: outputs[0].path: duplicate key; it stands in line 2 already"],
            id="duplicate key in a list",
        ),
        pytest.param(
            "state: *where\n",
            [
                (
                    "config.yaml:1:8: state: an alias (*) is not taken: put a value that begins so"
                    " in quotes"
                )
            ],
            id="alias",
        ),
        pytest.param(
            "state: &where /a\n",
            [
                (
                    "config.yaml:1:8: state: an anchor (&) is not taken: put a value that begins so"
                    " in quotes"
                )
            ],
            id="anchor",
        ),
        pytest.param(
            "state: !!str /a\n",
            [
                (
                    "config.yaml:1:8: state: a tag (!) is not taken: put a value that begins so"
                    " in quotes"
                )
            ],
            id="tag",
        ),
        pytest.param(
            "state: !!python/object/apply:os.system [id]\n",
            [
                (
                    "config.yaml:1:8: state: a tag (!) is not taken: put a value that begins so"
                    " in quotes"
                )
            ],
            id="code",
        ),
    ],
)
def test_beyond_plain_yaml(text, expected, lines):
    assert lines(text + HEAD) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "directory:\n\tuser: u\n",
            "config.yaml:2:1: a tab stands here: indent with spaces",
            id="tab",
        ),
        pytest.param(
            "directory:\n  base: [a, b\n",
            "config.yaml:2:9: '[' is never closed",
            id="unclosed bracket",
        ),
        pytest.param("http: {listen: a", "config.yaml:1:7: '{' is never closed", id="brace"),
        pytest.param(
            "state: '/a\n",
            "config.yaml:1:8: a quote that opens here is never closed",
            id="unclosed quote",
        ),
        pytest.param(
            "alerts: language: en\n",
            "config.yaml:1:17: a ':' is not allowed here: put the value in quotes, or mend the"
            " indentation",
            id="two colons",
        ),
        pytest.param(
            "state: @x\n",
            "config.yaml:1:8: put a value that begins with '@' in quotes",
            id="reserved",
        ),
        pytest.param(
            "directory:\n    user: u\n  base: b\n",
            "config.yaml:3:3: does not fit here: look at the indentation, quotes and commas",
            id="indentation",
        ),
        pytest.param(
            "state: /a\nfoo\n", "config.yaml:2:1: a key without ':' stands here", id="no colon"
        ),
        pytest.param(
            "state: /a\n---\nstate: /b\n",
            "config.yaml:2:1: a second document begins here (---): keep one",
            id="second document",
        ),
        pytest.param(
            "peers:\n  name: {{ mail }}\n",
            "config.yaml:2:10: peers.name: a key must be a word: put a value that begins with {"
            " or [ or * in quotes",
            id="a key that is a section",
        ),
        pytest.param(
            "- a\n- b\n",
            "config.yaml:1:1: must be sections, such as directory: and outputs:",
            id="list",
        ),
        pytest.param(
            "\n  hello\n",
            "config.yaml:2:3: must be sections, such as directory: and outputs:",
            id="text",
        ),
        pytest.param(
            "state: /a\nuser: \0x\n",
            "config.yaml:2:7: the character U+0000 must not stand here: delete it",
            id="NUL",
        ),
        pytest.param(
            "state: /a\x1b[0m\n",
            "config.yaml:1:10: the character U+001B must not stand here: delete it",
            id="control character",
        ),
        pytest.param(
            b"state: \xd0\x96\nuser: \xd0\x96\xff\n",
            "config.yaml:2:8: the octet 0xff is not UTF-8: save the file as UTF-8",
            id="invalid UTF-8",
        ),
        pytest.param(
            "state: /a\n".encode("utf-16"),
            "config.yaml:1:1: the octet 0xff is not UTF-8: save the file as UTF-8",
            id="UTF-16",
        ),
        pytest.param(
            b"#" * ((1 << 20) + 1),
            "config.yaml:1:1: is larger than 1024 KiB: is it the right file?",
            id="huge",
        ),
        pytest.param(
            "state: " + "[" * 100_000,
            "config.yaml:1:27: state[0][0]: is nested too deeply",
            id="deep",
        ),
        pytest.param(
            'state: "\\UFFFFFFFF"\n', "config.yaml:1:11: is not YAML", id="beyond Unicode"
        ),
    ],
)
def test_no_yaml_at_all(text, expected, lines):
    assert lines(text) == [expected]


def test_anchored_alias(lines):
    assert lines("state: &b *c\n") == [
        "config.yaml:1:8: state: an anchor (&) is not taken: put a value that begins so in quotes",
        "config.yaml:1:11: put a value that begins with *, & or ! in quotes",
    ]


def test_several_control_characters_are_told_at_once(lines):
    assert lines("a: \x01\nb: \x02\n") == [
        "config.yaml:1:4: the character U+0001 must not stand here: delete it",
        "config.yaml:2:4: the character U+0002 must not stand here: delete it",
    ]


def test_what_was_found_before_broken_yaml_is_told_too(lines):
    assert lines("state: /a\nstate: /b\nalerts: [\n") == [
        "config.yaml:2:1: state: duplicate key; it stands in line 1 already",
        "config.yaml:3:9: '[' is never closed",
    ]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0123", "0123"),
        ("0129", "0129"),
        ("+15551234", "+15551234"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        ("0x1F", "0x1F"),
        ("no", "no"),
        ("2001-01-01", "2001-01-01"),
        (".inf", ".inf"),
        ("=", "="),
        ('"null"', "null"),
        ("'~'", "~"),
        ('""', ""),
        ("null", None),
        ("~", None),
        ("", None),
        ("[1, 'no', ]", ["1", "no"]),
        ("{1: 2}", {"1": "2"}),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_stay_text(written, value, write):
    assert source.read(write(f"key: {written}\n")).tree == {"key": value}


def test_byte_order_mark_and_windows_line_ends_are_taken(write):
    found = source.read(write(b"\xef\xbb\xbfstate: /a\r\nagi: 1\r\n"))
    assert found.tree == {"state": "/a", "agi": "1"}
    assert source.position(found.marks, ("agi",)) == (2, 6)


def test_positions(write):
    marks = source.read(write("a:\n  - b: 1\n    c:   2\n")).marks
    assert source.position(marks, ("a", 0, "c")) == (3, 10)
    assert source.position(marks, ("a", 0, "c"), on_key=True) == (3, 5)
    assert source.position(marks, ("a", 0, "absent")) == (2, 5)
    assert source.position(marks, ("a", "absent", "deeper")) == (1, 1)
    assert source.position(marks, ("absent",)) == (1, 1)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_empty_is_an_empty_tree(text, write):
    assert source.read(write(text)).tree == {}


def test_no_such_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.yaml")
    assert caught.value.lines() == [f"{tmp_path}/none.yaml:1:1: there is no such file"]
    assert caught.value.hint == "name the file with -c PATH or $ADWATCH_CONFIG"


def test_directory_in_place_of_a_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.lines() == [f"{tmp_path}:1:1: this is a directory, not a file"]


def test_pipe_in_place_of_a_file_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="this is a pipe, not a file"):
        load(tmp_path / "pipe")


def test_dangling_link(tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to("gone.yaml")
    with pytest.raises(ConfigError) as caught:
        load(link)
    assert caught.value.lines() == [
        f"{link}:1:1: this is a link to gone.yaml, where there is nothing"
    ]


def test_link_to_itself(tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to(link)
    with pytest.raises(ConfigError, match="cannot be read: "):
        load(link)


def test_a_file_as_a_directory(write):
    with pytest.raises(ConfigError, match=r"cannot be read: Not a directory"):
        load(write("") / "config.yaml")


@pytest.fixture
def nobody():
    """Not root for the while of a test, for root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("nobody")
def test_unreadable():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.touch(mode=0)
        with pytest.raises(ConfigError, match="cannot be read: Permission denied") as caught:
            load(path)
    assert "chgrp adwatch" in caught.value.hint


def test_path_is_told_as_it_was_given(write, monkeypatch):
    monkeypatch.chdir(write("state: *a\n").parent)
    with pytest.raises(ConfigError) as caught:
        load(Path("config.yaml"))
    assert caught.value.lines()[0].startswith("config.yaml:1:")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(alphabet="a:-[]{}#&*!|>'\"%@`?,\\ \t\n0~<") | st.text())
@example(text='"\\x')
@example(text="? a\n: b")
@example(text="? [a]\n: b")
@example(text="*a: b")
@example(text=": b")
@example(text="%YAML 9.9\n---\na")
@example(text="%TAG ! x:\n---\n!a b: !!c d")
@example(text='a: "\\ud800"')
@example(text="<<: {a: b}\n<<: *x")
def test_any_text_is_a_tree_or_faults_at_a_place(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    faults: tuple[Fault, ...] = ()
    try:
        tree = source.read(path).tree
    except ConfigError as error:
        tree, faults = {}, error.faults or (Fault(0, 0, "", "no fault at all"),)
    assert all(fault.line >= 1 and fault.column >= 1 for fault in faults)
    assert all("\n" not in fault.message for fault in faults)
    assert isinstance(tree, dict)
    source.outputs_of(tree)
    source.state_of(tree)


def test_alias_bomb_is_no_bomb(lines):
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)
    )
    assert (
        "config.yaml:2:10: a1[0]: an alias (*) is not taken: put a value that begins so in quotes"
        in lines(bomb)
    )


def test_largest_file_is_refused_within_seconds(write):
    started = time.monotonic()
    with pytest.raises(ConfigError):
        load(write("[" * (1 << 20)))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("text", "outputs", "state"),
    [
        ("", [("users", "/etc/asterisk/adwatch/users.conf")], "/var/lib/adwatch"),
        ("state: st\noutputs: []\n", [], "st"),
        (
            "outputs:\n- path: /a/users.conf\n- {name: b, path: b.conf}\n- nonsense\n- {name: c}\n",
            [("users.conf", "/a/users.conf"), ("b", "b.conf")],
            "/var/lib/adwatch",
        ),
        ("state: [a]\noutputs: 7\n", [], "/var/lib/adwatch"),
    ],
)
def test_look_ups_for_render(text, outputs, state, write):
    tree = source.read(write(text)).tree
    assert source.outputs_of(tree) == outputs
    assert source.state_of(tree) == state


def test_look_ups_say_what_the_schema_says(config):
    loaded = config("")
    tree = source.read(loaded.origin).tree
    assert [(o.name, str(o.path)) for o in loaded.outputs] == source.outputs_of(tree)
    assert str(loaded.state) == source.state_of(tree)


def test_render_reads_without_pydantic_and_jinja2():
    code = (
        "import sys, adwatch.config.source\n"
        "print(*sorted(sys.modules.keys() & {'pydantic', 'jinja2', 'ldap3'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
