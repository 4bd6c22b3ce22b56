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
            assert made.octets().decode() == renderer().document(peers.values())
    assert made.octets().decode() == renderer().document(peers.values())
    assert all(guid in made for guid in peers)


def test_a_thousand_are_put_in_their_places() -> None:
    peers = [replace(PEER, guid=str(n), number=str(n * 7919 % 10_007)) for n in range(1200)]
    made = Document(renderer())
    for peer in peers[:1000]:
        made.put(peer)
    made.octets()
    for peer in peers[1000:]:
        made.put(peer)
    assert made.octets().decode() == renderer().document(peers)


def test_a_peer_that_cannot_be_written_spoils_the_text_until_it_is_another() -> None:
    made = Document(renderer(FAILS))
    made.put(PEER)
    made.put(replace(PEER, guid="h", number="500"))
    for _ in range(2):
        with pytest.raises(RenderError, match="nosuch"):
            made.octets()
    made.put(replace(PEER, guid="h", number="501"))
    assert b"[501]" in made.octets()
    made.put(replace(PEER, guid="h", number="500"))
    made.drop("h")
    assert b"[502]" in made.octets()
