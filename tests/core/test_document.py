"""A document that follows changes: the same text as one that is written from nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.document import Document
from adwatch.core.model import Peer
from adwatch.core.render import Format, Renderer, RenderError

PEER = Peer("g", "502", "Ryabov", "r@example.test", "users", "5", "5", "", "CN=R", "ryabov")
FAILS = "{% if number == '500' %}{{ nosuch }}{% endif %}[{{ number }}]"

steps = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(["1", "2", "10", "9"]),
        st.sampled_from(["Ann", "Bob"]),
        st.booleans(),
    ),
    max_size=12,
)


def renderer(source: str = "") -> Renderer:
    form = Format("own", (), source) if source else Format("users.conf")
    return Renderer(form, lambda peer: f"secret-{peer.guid}")


def text_of(made: Document) -> str:
    return b"".join(made.parts()).decode()


@given(steps, st.booleans())
def test_whatever_comes_and_goes(steps: list[tuple[str, str, str, bool]], looked_at: bool) -> None:
    made, peers = Document(renderer()), dict[str, Peer]()
    for guid, number, name, stays in steps:
        peer = replace(PEER, guid=guid, number=number, name=name)
        if stays:
            peers[guid] = peer
            made.put(peer)
        else:
            peers.pop(guid, None)
            made.drop(guid)
        if looked_at:
            assert text_of(made) == renderer().document(peers.values())
    assert text_of(made) == renderer().document(peers.values())
    assert all(guid in made for guid in peers)


def test_a_thousand_are_put_in_their_places() -> None:
    peers = [replace(PEER, guid=str(n), number=str(n * 7919 % 10_007)) for n in range(1200)]
    made = Document(renderer())
    for peer in peers[:1000]:
        made.put(peer)
    made.parts()
    for peer in peers[1000:]:
        made.put(peer)
    assert text_of(made) == renderer().document(peers)
    for peer in peers[:1100]:
        made.drop(peer.guid)
    assert text_of(made) == renderer().document(peers[1100:])


def test_a_peer_that_cannot_be_written_spoils_the_text_until_it_is_another() -> None:
    made = Document(renderer(FAILS))
    made.put(PEER)
    made.put(replace(PEER, guid="h", number="500"))
    for _ in range(2):
        with pytest.raises(RenderError, match="nosuch"):
            made.parts()
    made.put(replace(PEER, guid="h", number="501"))
    assert "[501]" in text_of(made)
    made.put(replace(PEER, guid="h", number="500"))
    made.drop("h")
    assert "[502]" in text_of(made)


@given(steps, steps)
def test_what_became_of_it_is_told_since_it_was_published(
    first: list[tuple[str, str, str, bool]], then: list[tuple[str, str, str, bool]]
) -> None:
    made = Document(renderer())
    for step in first:
        take(made, step)
    assert made.since() is None
    made.published()
    before, printed = pieces(text_of(made)), made.print()
    for step in then:
        take(made, step)
    after, since = pieces(text_of(made)), made.since()
    assert since is not None
    assert since.print == printed
    assert pieces(since.before.decode()) == before - after
    assert pieces(since.after.decode()) == after - before
    assert (made.print() == printed) == (before == after)
    assert made.print()[0] == len(b"".join(made.parts()))
    made.published()
    again = made.since()
    assert again is not None
    assert (again.before, again.after) == (b"", b"")


def take(made: Document, step: tuple[str, str, str, bool]) -> None:
    guid, number, name, stays = step
    if stays:
        made.put(replace(PEER, guid=guid, number=number, name=name))
    else:
        made.drop(guid)


def pieces(text: str) -> set[str]:
    return {one for piece in text.split("\n\n") if (one := piece.strip("\n")).startswith("[")}
