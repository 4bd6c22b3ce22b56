"""The way back to the preferred controller, step by step: what was told since must be there too."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from program import wait_for
from proxy import DONE, Message, Proxy, proxy

from adwatch.edges.directory import feeds
from system.follower import edge, session
from system.test_two_dcs import LONG_S, Both, both, level

__all__ = ["both"]


TRIES = 5


def test_a_change_told_after_the_better_was_found_must_have_come_there(
    both: Both, tmp_path: Path
) -> None:
    """It comes between the reading of the USN and the reading of the users, as chance has it."""
    first, second = both
    dn = second.add_user("two-told", telephoneNumber="6990")
    noise = second.add_user("two-noise")
    for attempt in range(TRIES):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        level(*both)
        with ExitStack() as stack:
            stack.callback(first.take_in, changes=True)
            if only_the_users_values_keep_it_away(both, dn, noise, stack, folder):
                return
    pytest.fail("every time, a controller wrote something of its own meanwhile")


def only_the_users_values_keep_it_away(
    both: Both, dn: str, noise: str, stack: ExitStack, folder: Path
) -> bool:
    """Plays it once; false where a controller's own write would have kept it away as well."""
    first, second = both
    proxies: list[Proxy] = []
    for dc in both:
        (folder / dc.name).mkdir()
        proxies.append(stack.enter_context(proxy(dc, folder / dc.name)))
    before_first, before_second = proxies
    before_first.refuse()
    directory = edge(first, feed="usn", servers=tuple(p.url for p in proxies))
    stack.callback(directory.close)
    batch = directory.read(None, dict)
    assert directory.reach().server == before_second.url
    second.modify(noise, description=f"moves the USN: {folder.name}")
    root = cut_off_when_level(both)
    before_first.accept()
    directory.prefer()
    wait_for("it is found", lambda: directory._better._found is not None, LONG_S)
    told: list[Message] = []
    number = f"699{int(folder.name) + 1}"

    def behind_the_gate(found: Message) -> list[bytes] | None:
        asked = next(m for m in before_second.requests if (m.link, m.id) == (found.link, found.id))
        if found.tag == DONE and b"highestCommittedUSN" in asked.body and not told:
            told.append(found)
            second.modify(dn, telephoneNumber=number)
        return None

    before_second.on_answer = behind_the_gate
    batch = directory.read(batch.cursor, dict)
    assert number in [e.first("telephonenumber") for e in batch.entries]
    batch = directory.read(batch.cursor, dict)
    assert directory.reach().server == before_second.url
    waiting = directory._better._waiting
    assert waiting is not None
    needed = directory._better._everything_by
    assert needed is not None
    if waiting.knows(root.invocation) < needed:
        return False

    first.take_in(changes=True)

    def back() -> bool:
        nonlocal batch
        batch = directory.read(batch.cursor, dict)
        return directory.reach().server == before_first.url

    wait_for("the way back", back, LONG_S)
    assert number in [e.first("telephonenumber") for e in batch.entries]
    return True


def cut_off_when_level(both: Both) -> feeds.Root:
    """From now on the first takes in nothing, and lacks nothing; the root of the second."""
    first, second = both
    with closing(session(first)) as here, closing(session(second)) as there:
        root = feeds.read_root(there)

        def caught_up() -> bool:
            known = feeds.read_progress(here, root.naming_context)
            return known.get(root.invocation, 0) >= feeds.read_gate(there)

        def level_and_cut_off() -> bool:
            """A controller writes on its own now and then, so it may be past it again."""
            first.take_in(changes=True)
            wait_for("they are level", caught_up, LONG_S)
            first.take_in(changes=False)
            return caught_up()

        wait_for("they are level, and nothing comes after", level_and_cut_off, LONG_S)
        return root
