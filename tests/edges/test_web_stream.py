"""Answers that go on: what readers get, what ends them, and that none holds another up."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from threading import active_count

import pytest
from edges.test_web import LOOPBACK, MODIFIED, Site
from program import wait_for

from adwatch.core.page import Asked, Document
from adwatch.edges.web import Gate, News, View, Web, server, stream

EVENTS = Document("text/event-stream", b"")


class Stage(Site):
    """A server whose path /events tells the news, whatever they are, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.news = News("")

    def begin(self) -> Web:
        web = self.start()
        events = View(lambda _: EVENTS, None, page=True, follow=self.follow)
        web.show({"/page": View(self.page, MODIFIED), "/events": events})
        return web

    def follow(self, asked: Asked) -> Callable[[float], str]:
        self.asked.append(asked)
        known, size = "", int(asked.query.get("size", "0"))

        def more(wait_s: float) -> str:
            nonlocal known
            before, known = known, self.news.wait(known, wait_s)
            return "" if known is before else known + "x" * size

        return more

    def reader(self, more: bytes = b"", path: bytes = b"/events") -> socket.socket:
        """Asks for the events; the head of the answer is read."""
        reader = self.connect()
        reader.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + more + b"\r\n")
        return reader

    def tell(self, text: str) -> None:
        self.news.publish(text)


def heard(reader: socket.socket, text: bytes) -> bytes:
    """What comes up to a text."""
    got = b""
    while text not in got:
        octets = reader.recv(4096)
        assert octets, got
        got += octets
    return got


def rest(reader: socket.socket) -> bytes:
    return b"".join(iter(lambda: reader.recv(4096), b""))


@pytest.fixture
def stage() -> Iterator[Stage]:
    made, threads = Stage(), active_count()
    yield made
    if made.web is not None:
        made.web.close()
    wait_for("every thread's end", lambda: active_count() <= threads)


def places(web: Web) -> int:
    return int(web._followers._value)


def test_news_come_as_they_are_published(stage: Stage) -> None:
    stage.begin()
    with stage.reader(b"Last-Event-ID: 17\r\n") as one, stage.reader() as other:
        for text in ("first", "second", "third"):
            stage.tell(f"data: {text}\n\n")
            for reader in (one, other):
                got = heard(reader, text.encode())
        assert sorted(asked.last_event for asked in stage.asked) == ["", "17"]
        stage.tell("data: last\n\n")
        got = heard(one, b"last")
        assert b"first" not in got


def test_the_head_is_one_of_events_that_nobody_stores(stage: Stage) -> None:
    stage.begin()
    with stage.reader() as reader:
        stage.tell("x")
        head = heard(reader, b"\r\n\r\n").lower()
    assert head.startswith(b"http/1.1 200 ")
    assert b"content-type: text/event-stream" in head
    assert b"cache-control: no-store" in head
    assert b"content-length" not in head
    assert stage.get("/events", "--head").status == 200


def test_a_silence_is_broken_by_a_comment(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_BEAT_S", 0.2)
    monkeypatch.setattr(stream, "_TICK_S", 0.05)
    stage.begin()
    with stage.reader() as reader:
        heard(reader, b": here\n\n")
        heard(reader, b": here\n\n")


def test_it_ends_in_good_order_after_a_while_so_that_the_browser_comes_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_LIFE_S", 0.3)
    monkeypatch.setattr(stream, "_TICK_S", 0.05)
    web = stage.begin()
    with stage.reader() as reader:
        assert rest(reader).endswith(b"0\r\n\r\n")
    wait_for("its place", lambda: places(web) == 16)


def test_a_server_that_closes_ends_its_readers_and_no_others(stage: Stage) -> None:
    web = stage.begin()
    with stage.reader() as reader:
        stage.tell("data: hello\n\n")
        heard(reader, b"hello")
        web.close()
        web.open()
        assert rest(reader).endswith(b"0\r\n\r\n")
        with stage.reader() as another:
            stage.tell("data: again\n\n")
            heard(another, b"again")


def test_who_goes_away_leaves_its_place(stage: Stage) -> None:
    web = stage.begin()
    with stage.reader():
        wait_for("its place to be taken", lambda: places(web) == 15)
    wait_for("its place", lambda: places(web) == 16)


def test_readers_have_places_of_their_own_and_who_finds_none_is_told(stage: Stage) -> None:
    web = stage.begin()
    readers = [stage.reader() for _ in range(16)]
    wait_for("every place to be taken", lambda: places(web) == 0)
    answer = stage.get("/events")
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    wait_for("the guests' places", lambda: web._guests._value >= 63)
    assert stage.get("/page").status == 200
    for reader in readers:
        reader.close()
    wait_for("the places", lambda: places(web) == 16)


def test_a_reader_that_stalls_is_hung_up_on_and_stops_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_SEND_S", 0.5)
    web = stage.begin()
    with stage.reader(path=b"/events?size=30000000") as deaf, stage.reader() as other:
        wait_for("both", lambda: places(web) == 14)
        for text in ("one", "two", "three"):
            stage.tell(f"data: {text}\n\n")
            heard(other, text.encode())
        wait_for("the end of the deaf one", lambda: places(web) == 15)
        assert deaf.fileno() > 0


def test_a_view_that_fails_costs_no_place(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(*_: object, **__: object) -> None:
        raise ConnectionResetError

    web = stage.begin()
    monkeypatch.setattr(server, "send", hang_up)
    with stage.reader() as reader:
        assert reader.recv(1) == b""
    assert places(web) == 16
    wait_for("the guest's place", lambda: web._guests._value == 64)


def test_whoever_follows_has_to_pass_another_gate(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_TICK_S", 0.05)
    monkeypatch.setattr(stream, "_BEAT_S", 600.0)  # or one that does not end would not be silent
    web = stage.begin()
    with stage.reader() as one:
        stage.tell("data: before\n\n")
        heard(one, b"before")
        web.admit(web.gate)
        stage.tell("data: the same gate\n\n")
        heard(one, b"the same gate")
        web.admit(Gate(LOOPBACK, lambda: "s3cret"))
        stage.tell("data: another\n\n")
        assert rest(one).endswith(b"0\r\n\r\n")
    with stage.reader() as stranger:
        assert rest(stranger).startswith(b"HTTP/1.1 401 ")
    with stage.reader(b"Authorization: Bearer s3cret\r\n") as guest:
        heard(guest, b"another")
