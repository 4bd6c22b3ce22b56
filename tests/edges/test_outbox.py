"""What the store keeps for alerts: nothing is lost, nothing told twice that need not be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adwatch.core.incidents import Condition, Incident
from adwatch.core.messages import Message
from adwatch.edges.store import Store
from adwatch.edges.store.rows import Letter

DOWN = Incident(Condition("directory", "ünreachable\ud83d".encode("utf-8", "replace").decode()),
                1.5, 2.5, 2.0, opened=True)  # fmt: skip
HELD = Incident(Condition("held", "x", members=("501 a", "502 b")), 1, 2, members=("501 a",))
MESSAGE = Message("directory", "opened", "error", "some words", "text\n", "<p>", "short")
LETTER = Letter("target", MESSAGE, 10.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    made.open()
    yield made
    made.close()


def test_incidents_and_letters_are_as_they_were_after_a_restart(
    store: Store, tmp_path: Path
) -> None:
    known = {one.condition.key: one for one in (DOWN, HELD)}
    store.tell(known, [LETTER, replace(LETTER, target="other")])
    store.failed(store.letters()[1], 99.0)
    store.close()
    again = Store(tmp_path)
    again.open()
    assert again.incidents() == known
    assert again.letters() == [
        replace(LETTER, id=1),
        replace(LETTER, id=2, target="other", tries=1, due=99.0),
    ]
    again.close()


def test_a_newer_reminder_takes_the_place_of_one_that_waits_and_of_nothing_else(
    store: Store,
) -> None:
    reminder = replace(LETTER, message=replace(MESSAGE, occasion="reminder", text="1"))
    store.tell({}, [LETTER, reminder, replace(reminder, target="other")])
    store.tell({}, [replace(reminder, message=replace(reminder.message, text="2"))])
    waiting = [(one.target, one.message.occasion, one.message.text) for one in store.letters()]
    assert waiting == [
        ("target", "opened", "text\n"), ("other", "reminder", "1"), ("target", "reminder", "2"),
    ]  # fmt: skip


def test_a_delivered_letter_is_gone(store: Store) -> None:
    store.tell({}, [LETTER])
    (letter,) = store.letters()
    store.delivered(letter)
    assert (store.letters(), store.count_letters()) == ([], 0)


def test_a_damaged_store_gives_up_its_incidents_and_letters_too(
    store: Store, tmp_path: Path
) -> None:
    store.tell({"directory": DOWN}, [LETTER])
    store.close()
    path = tmp_path / "adwatch.db"
    octets = path.read_bytes()
    path.write_bytes(
        octets.replace(b"some words", b"Some words")
    )  # a flipped bit: only the digest tells
    again = Store(tmp_path)
    again.open()
    assert again.aside is not None
    left = again.left()
    again.restore(left, [], [], "damaged")
    assert again.incidents() == {"directory": DOWN}
    assert [one.target for one in again.letters()] == ["target"]
    again.close()
