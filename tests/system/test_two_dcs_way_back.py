"""The way back to the preferred controller, step by step: what was told since must be there too."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from program import wait_for
from proxy import DONE, Message, Proxy, proxy

from adwatch.edges.directory import feeds
from system.follower import edge, session
from system.test_two_dcs import LONG_S, Both, both, level

__all__ = ["both"]


def test_a_change_told_after_the_better_was_found_must_have_come_there(  # noqa: PLR0915
    both: Both, tmp_path: Path
) -> None:
    """It comes between the reading of the USN and the reading of the users, as chance has it."""
    first, second = both
    dn = second.add_user("two-told", telephoneNumber="6990")
    noise = second.add_user("two-noise")
    level(*both)
    with ExitStack() as stack:
        proxies: list[Proxy] = []
        for dc in both:
            (tmp_path / dc.name).mkdir()
            proxies.append(stack.enter_context(proxy(dc, tmp_path / dc.name)))
        before_first, before_second = proxies
        before_first.refuse()
        directory = edge(first, feed="usn", servers=tuple(p.url for p in proxies))
        stack.callback(directory.close)
        batch = directory.read(None, dict)
        assert directory.reach().server == before_second.url
        second.modify(noise, description="moves the USN")
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
        before_first.accept()
        directory.prefer()
        wait_for("it is found", lambda: directory._better._found is not None, LONG_S)
        told: list[Message] = []

        def behind_the_gate(found: Message) -> list[bytes] | None:
            asked = next(
                m for m in before_second.requests if (m.link, m.id) == (found.link, found.id)
            )
            if found.tag == DONE and b"highestCommittedUSN" in asked.body and not told:
                told.append(found)
                second.modify(dn, telephoneNumber="6991")
            return None

        before_second.on_answer = behind_the_gate
        batch = directory.read(batch.cursor, dict)
        assert "6991" in [e.first("telephonenumber") for e in batch.entries]
        batch = directory.read(batch.cursor, dict)
        assert directory.reach().server == before_second.url
        waiting = directory._better._waiting
        assert waiting is not None
        needed = directory._better._everything_by
        assert needed is not None
        assert waiting.knows(root.invocation) >= needed, "only the user's values keep it away"

        first.take_in(changes=True)

        def back() -> bool:
            nonlocal batch
            batch = directory.read(batch.cursor, dict)
            return directory.reach().server == before_first.url

        wait_for("the way back", back, LONG_S)
        assert "6991" in [e.first("telephonenumber") for e in batch.entries]
