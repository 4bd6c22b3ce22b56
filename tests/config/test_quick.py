"""The state directory without a parser: what the parser says, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adwatch.config.quick import STATE, written_state
from adwatch.config.source import read, state_of
from adwatch.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "config.yaml.example"
FILE = Path("/dev/shm/adwatch-test-quick.yaml")

PIECES = r"""
state: a
state: b/c
state:
state: ~
state: 'q'
state: "q"
 state: deep
state : x
state: a b
state: a # b
x: 1
x: 'a
y: b'
x: "a
b"
x: [a,
b]
x: {a: [b], c: 'd'}
x: {a: [
x: |
x: >-
  text
- a
- b: c
# it's a comment
x: a # it's
x: a#b
x: it's
x: [it's, 'x', "state's]
x: &a b
x: *a
x: !t b
'state': q
? state
---
...
x: a[0] | upper ~ b[1:]
x: "\""
	x: a
x: [a]]
x: [[a], {b: c}] # d
x: {}
x: a: b
""".splitlines()


def by_the_parser(text: str) -> str | None:
    """The state directory by YAML, None where the text is not plain YAML."""
    FILE.write_text(text)
    try:
        return state_of(read(FILE).tree)
    except ConfigError:
        return None
    finally:
        FILE.unlink()


@given(st.lists(st.sampled_from(PIECES), max_size=6))
@example(["x: [it's, 'x', \"state's]", "state: a", "y' \"]"])
@example([" state: deep"])
@example(["# all of it is indented", "", " state: deep"])
def test_what_is_said_is_what_the_parser_says(lines: list[str]) -> None:
    text = "\n".join(lines)
    said, parsed = written_state(text.encode()), by_the_parser(text)
    if said is not None and parsed is not None:
        assert said == parsed


@given(st.text(alphabet="ab :'\"[]{},#&*|>-\n\\", max_size=40), st.text(max_size=20))
def test_whatever_stands_around_the_key(before: str, after: str) -> None:
    text = f"{before}\nstate: here\n{after}"
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        return
    said, parsed = written_state(octets), by_the_parser(text)
    if said is not None and parsed is not None:
        assert said == parsed


def test_the_example_needs_no_parser() -> None:
    octets = EXAMPLE.read_bytes()
    assert written_state(octets) == STATE
    assert written_state(octets.replace(b"state: /var/lib/adwatch", b"state: other")) == "other"


@pytest.mark.parametrize(
    "text", ["x: 'a\nstate: b\nc'", 'x: "a\nstate: b\nc"', "x: [a,\nstate: b\n]", "{state: b}"]
)
def test_a_key_that_may_stand_within_something_is_left_to_the_parser(text: str) -> None:
    assert written_state(text.encode()) is None
