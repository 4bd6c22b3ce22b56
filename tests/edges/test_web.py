"""The HTTP server on real sockets, asked by curl and by clients that misbehave."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from threading import Event, Thread, active_count

import pytest
from program import wait_for
from system.samba import free_port

from adwatch.core.page import Asked, Document
from adwatch.edges.web import Gate, View, Web
from adwatch.edges.web import server as module
from adwatch.errors import AdwatchError
from adwatch.listeners import Listeners

LOOPBACK = (ip_network("127.0.0.0/8"),)
GATE = Gate(LOOPBACK)
BODY = b"<a/>\n"
MODIFIED = 1_700_000_000.0  # 14 November 2023, 22:13:20


class Answer:
    """What curl got."""

    def __init__(self, text: bytes) -> None:
        head, _, self.body = text.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        pairs = (line.partition(": ") for line in lines)
        self.headers = {name.lower(): value for name, _, value in pairs}


class Site:
    """A server with one page, as small as a page can be."""

    def __init__(self) -> None:
        self.port = free_port()
        self.web: Web | None = None
        self.asked: list[Asked] = []

    def start(self, gate: Gate = GATE, host: str = "127.0.0.1") -> Web:
        self.web = Web(host, self.port, gate)
        self.web.show({"/page": View(self.page, MODIFIED), "/posted": View(self.page, 0, True)})
        self.web.open()
        return self.web

    def page(self, asked: Asked) -> Document:
        self.asked.append(asked)
        return Document("text/xml; charset=utf-8", BODY)

    def get(self, path: str, *options: str, host: str = "127.0.0.1") -> Answer:
        url = path if "://" in path else f"http://{host}:{self.port}{path}"
        command = ["curl", "-sS", "-i", "--max-time", "20", "--path-as-is", *options, url]
        return Answer(subprocess.run(command, capture_output=True, check=True).stdout)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def raw(self, octets: bytes) -> bytes:
        """What the server says to some octets, until it hangs up."""
        with self.connect() as connection:
            connection.sendall(octets)
            return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.fixture
def site() -> Iterator[Site]:
    made, threads = Site(), active_count()
    yield made
    if made.web is not None:
        made.web.close()
    wait_for("every thread's end", lambda: active_count() <= threads)


def test_a_page_comes_with_what_caches_need(site: Site) -> None:
    site.start()
    answer = site.get("/page")
    assert (answer.status, answer.body) == (200, BODY)
    assert answer.headers["content-type"] == "text/xml; charset=utf-8"
    assert answer.headers["content-length"] == str(len(BODY))
    assert answer.headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["connection"] == "close"


def test_a_phone_that_has_the_page_gets_304_without_a_body(site: Site) -> None:
    site.start()
    tag = site.get("/page").headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = site.get("/page", "-H", f"If-None-Match: {known}")
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert site.get("/page", "-H", 'If-None-Match: "other"').status == 200


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ("Tue, 14 Nov 2023 22:13:20 GMT", 304),
        ("Tue, 14 Nov 2023 22:13:19 GMT", 200),
        ("yesterday", 200),
        ("Tue, 99 Nov 99999 22:13:19 GMT", 200),
    ],
)
def test_the_time_serves_those_who_know_no_tag(site: Site, since: str, status: int) -> None:
    site.start()
    assert site.get("/page", "-H", f"If-Modified-Since: {since}").status == status
    tagged = site.get("/page", "-H", f"If-Modified-Since: {since}", "-H", 'If-None-Match: "x"')
    assert tagged.status == 200


def test_head_has_the_headers_alone(site: Site) -> None:
    site.start()
    answer = site.get("/page", "--head")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(BODY))
    assert site.get("/none", "--head").body == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "X"])
def test_nothing_but_reading_is_done(site: Site, method: str) -> None:
    site.start()
    answer = site.get("/page", "-X", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert not site.asked


def test_a_snom_phone_may_ask_by_post_and_its_words_are_thrown_away(site: Site) -> None:
    site.start()
    for size in (1, 50_000, 5_000_000):
        answer = site.get("/posted", "-d", "x" * min(size, 100_000))
        assert (answer.status, answer.body) == (200, BODY)
    assert site.get("/posted", "-X", "PUT").headers["allow"] == "GET, HEAD, POST"


def test_what_is_not_there_is_told_with_what_is(site: Site) -> None:
    site.start()
    answer = site.get("/elsewhere")
    assert answer.status == 404
    assert answer.body.decode().splitlines()[1:] == ["/page", "/posted"]


@pytest.mark.parametrize("path", ["//page", "/page?", "/page?a=b", "///page?x?y"])
def test_addresses_as_phones_make_them_up_are_understood(site: Site, path: str) -> None:
    site.start()
    assert site.get(path).status == 200


@pytest.mark.parametrize("path", ["/../etc/passwd", "/page/../page", "/%2e%2e/page", "/PAGE"])
def test_no_address_leads_to_anything_else(site: Site, path: str) -> None:
    site.start()
    assert site.get(path).status == 404


def test_whose_network_is_not_let_in_gets_403_whatever_he_says_of_himself(site: Site) -> None:
    site.start(Gate((ip_network("10.0.0.0/8"), ip_network("fd00::/8")), lambda: "t"))
    answer = site.get("/page?token=t", "-H", "X-Forwarded-For: 10.0.0.1", "-H", "Host: 10.0.0.1")
    assert answer.status == 403
    assert "127.0.0.1" in answer.body.decode()
    assert not site.asked


def test_networks_are_compared_in_both_families() -> None:
    gate = Gate((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    known = ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "fd00::1%eth0")
    assert all(map(gate.knows, known))
    assert not any(map(gate.knows, ("11.0.0.1", "::ffff:11.0.0.1", "fe80::1", "127.0.0.1")))


def test_without_networks_and_token_only_this_machine_is_let_in() -> None:
    assert Gate().knows("127.0.0.1")
    assert Gate().knows("::1")
    assert Gate().knows("::ffff:127.0.0.1")
    assert not Gate().knows("192.0.2.1")
    assert Gate(token=lambda: "t").knows("192.0.2.1")


def test_the_token_is_asked_for_in_each_way_that_a_phone_can_show_it(site: Site) -> None:
    site.start(Gate(LOOPBACK, lambda: "s3cret"))
    assert site.get("/page?token=s3cret").status == 200
    assert site.get("/page", "-H", "Authorization: Bearer s3cret").status == 200
    assert site.get("/page", "-u", "anybody:s3cret").status == 200
    for options in ((), ("-H", "Authorization: Bearer other"), ("-u", "s3cret:"), ("-u", "a:b")):
        answer = site.get("/page", *options)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
    junk = base64.b64encode(b"\xff\xfe").decode()
    for proof in ("Basic ???", f"Basic {junk}", "Bearer", "Digest x", "Bearer \xe9"):
        assert site.get("/page", "-H", f"Authorization: {proof}").status == 401
    for query in ("token=", "token=s3cre", "token=s3crett", "token=%ff", "Token=s3cret"):
        assert site.get(f"/page?{query}").status == 401
    assert site.get("/none").status == 401


def test_the_token_is_carried_on_by_links_and_reaches_no_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    site.start(Gate(LOOPBACK, lambda: "s3cret"))
    site.get("/page?token=s3cret&a=1", "-H", "Host: pbx.example.test:8389")
    (asked,) = site.asked
    assert asked.link(b="2") == "http://pbx.example.test:8389/page?token=s3cret&b=2"
    site.get("/page?token=other")
    site.get("/page", "-u", "a:s3cret")
    assert "/page" in caplog.text
    assert "s3cret" not in caplog.text
    assert "other" not in caplog.text


def test_a_host_that_is_none_is_in_no_link(site: Site) -> None:
    site.start()
    site.get("/page", "-H", "Host: a/b?c#<d>")
    assert site.asked[0].link() == "/page"


def test_a_token_that_changes_is_the_one_that_counts(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    site.start(Gate(LOOPBACK, file.read_text))
    assert site.get("/page?token=one").status == 200
    file.write_text("two")
    assert site.get("/page?token=one").status == 401
    assert site.get("/page?token=two").status == 200


def test_a_token_that_cannot_be_read_lets_nobody_in(site: Site) -> None:
    faults: list[AdwatchError] = []

    def token() -> str:
        if faults:
            raise faults[0]
        return ""

    site.start(Gate(LOOPBACK, token))
    faults.append(AdwatchError("the token file is gone"))
    assert site.get("/page?token=").status == 503
    with pytest.raises(AdwatchError, match="is gone"):
        Web("127.0.0.1", free_port(), Gate(LOOPBACK, token)).open()


def test_an_address_in_use_is_a_fault_in_words(site: Site) -> None:
    site.start()
    with pytest.raises(AdwatchError, match=f"port {site.port}: Address already in use"):
        Web("127.0.0.1", site.port, Gate()).open()
    with pytest.raises(AdwatchError, match=r"can't listen on no-such-host\.invalid"):
        Web("no-such-host.invalid", site.port, Gate()).open()


def test_the_address_is_free_again_once_closed(site: Site) -> None:
    for _ in range(3):
        web = site.start()
        assert site.get("/page").status == 200
        web.close()
        with pytest.raises(ConnectionRefusedError):
            site.connect()


def test_ipv6_is_served_and_all_addresses_mean_both_families(site: Site) -> None:
    web = site.start(Gate(), host="::1")
    assert site.get("/page", host="[::1]").status == 200
    web.close()
    site.start(Gate(), host="::")
    assert site.get("/page", host="[::1]").status == 200
    assert site.get("/page", host="127.0.0.1").status == 200


def test_what_is_shown_is_replaced_in_one_step(site: Site) -> None:
    web = site.start()
    old = site.get("/page").headers["etag"]
    web.show({"/page": View(lambda _: Document("text/plain", b"new"), MODIFIED + 1)})
    answer = site.get("/page", "-H", f"If-None-Match: {old}")
    assert (answer.status, answer.body) == (200, b"new")


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /page HTTP/1.1\r\n\r\n", 400),
        (b"GET /page HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /page HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /page HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(4000)), 431),
        (b"GET /page?" + b"&".join(b"a%d=b" % n for n in range(17)) + b" HTTP/1.0\r\n\r\n", 400),
        (b"GET /page HTTP/1.0\r\n\r\n", 200),
        (b"GET http://a/page HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ],
    ids=map(str, range(10)),
)
def test_what_is_no_request_is_refused_in_http(site: Site, octets: bytes, status: int) -> None:
    site.start()
    assert site.raw(octets).startswith(b"HTTP/1.1 %d " % status)


def test_of_several_requests_in_one_only_the_first_is_answered(site: Site) -> None:
    site.start()
    one = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
    assert site.raw(one * 3).count(b"HTTP/1.1 200") == 1


def test_who_sends_a_little_now_and_then_is_hung_up_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REQUEST_S", 0.4)
    site.start()
    with site.connect() as slow:
        slow.sendall(b"GET /page HTTP/1.1\r\n")
        closed = False
        deadline = time.monotonic() + 20
        while not closed and time.monotonic() < deadline:
            slow.settimeout(0.05)
            try:
                slow.sendall(b"X: y\r\n")
                closed = slow.recv(100) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
        assert closed
    assert site.get("/page").status == 200


def test_who_does_not_read_does_not_hold_the_others_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ANSWER_S", 0.4)
    web = site.start()
    shown = Event()

    def large(_: Asked) -> Document:
        assert web._guests._value == 63
        shown.set()
        return Document("text/plain", os.urandom(1 << 25))

    web.show({"/page": View(large, 0)})
    with site.connect() as deaf:
        deaf.sendall(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
        assert shown.wait(20)
        wait_for("its end", lambda: web._guests._value == 64)


def test_with_every_place_taken_a_phone_waits_and_is_served(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REQUEST_S", 3.0)  # within which all of them have come
    web = site.start()
    silent = [site.connect() for _ in range(70)]
    wait_for("every place to be taken", lambda: web._guests._value == 0)
    try:
        assert site.get("/page").status == 200
    finally:
        for connection in silent:
            connection.close()


def test_strangers_take_no_places_of_those_who_are_let_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"127.0.0.1": True, "127.0.0.2": False}
    monkeypatch.setattr(Gate, "knows", lambda _, address: known[address])
    web = site.start()
    strangers = []
    for _ in range(100):
        stranger = socket.socket()
        stranger.bind(("127.0.0.2", 0))
        stranger.connect(("127.0.0.1", site.port))
        strangers.append(stranger)
    wait_for("the strangers' places to be taken", lambda: web._strangers._value == 0)
    assert site.get("/page").status == 200
    for stranger in strangers:
        stranger.close()


def test_when_no_more_files_can_be_opened_it_is_said_once_and_survived(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept, tries = socket.socket.accept, iter(range(4))

    def refuse(listening: socket.socket) -> object:
        if next(tries, None) is not None:
            raise OSError(24, "Too many open files")
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", refuse)
    site.start()
    assert site.get("/page").status == 200
    assert caplog.text.count("Too many open files") == 1


def test_when_no_thread_can_be_started_the_next_visitor_is_served(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = site.start()
    start, tries = Thread.start, iter(range(1))

    def refuse(thread: Thread) -> None:
        if next(tries, None) is not None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(Thread, "start", refuse)
    with site.connect() as connection:
        assert connection.recv(1) == b""
    assert site.get("/page").status == 200
    wait_for("every place", lambda: web._guests._value == 64)


class Port:
    """A listener whose address is taken so many times; opening it waits for `answer`."""

    def __init__(self, taken: int) -> None:
        self.taken = taken
        self.answer = Event()
        self.answer.set()
        self.closed = Event()

    def open(self) -> None:
        assert self.answer.wait(30)
        self.taken -= 1
        if self.taken >= 0:
            raise AdwatchError("taken")

    def close(self) -> None:
        self.closed.set()


def opened(listeners: Listeners, now: float) -> dict[str, AdwatchError | None]:
    """What came of all that was due."""
    found = dict(listeners.open(now, 1.0))
    while listeners._openings:
        found |= dict(listeners.open(now, 1.0))
    return found


def test_a_listener_is_opened_once_and_one_that_fails_again_and_again() -> None:
    listeners = Listeners({"http": Port(2), "agi": Port(0)})
    assert listeners.wait(0.0) == 0
    first = opened(listeners, 0.0)
    assert (str(first["http"]), first["agi"]) == ("taken", None)
    rest = listeners.wait(0.0)
    assert 0 < rest < 30
    assert not opened(listeners, rest / 2)
    assert list(opened(listeners, rest)) == ["http"]
    assert opened(listeners, rest * 10) == {"http": None}
    assert not opened(listeners, 1e9)
    assert listeners.wait(1e9) > 1e9
    assert Listeners({}).wait(0.0) > 1e9


def test_an_edit_has_what_does_not_listen_yet_tried_at_once_and_the_others_left_alone() -> None:
    ports = {"http": Port(1), "agi": Port(0)}
    listeners = Listeners(ports)
    opened(listeners, 0.0)
    assert listeners.wait(0.0) > 0
    listeners.change(ports)
    assert listeners.wait(0.0) == 0
    assert opened(listeners, 0.0) == {"http": None}
    assert listeners.listening == {"http", "agi"}
    assert not ports["agi"].closed.is_set()


def test_one_that_takes_long_to_open_holds_up_nobody_and_wakes_at_its_end() -> None:
    slow, woken = Port(0), Event()
    slow.answer.clear()
    listeners = Listeners({"http": slow, "agi": Port(0)}, woken.set)
    found: dict[str, AdwatchError | None] = {}
    wait_for("the other", lambda: found.update(listeners.open(0.0, 1.0)) or "agi" in found)
    assert listeners.listening == {"agi"}
    assert listeners.wait(0.0) > 1e9, "nobody looks again and again"
    slow.answer.set()

    def ended() -> bool:
        assert woken.wait(30)
        woken.clear()  # it may have been for the other one, which wakes after its end is seen
        found.update(listeners.open(0.0, 1.0))
        return "http" in found

    wait_for("the slow one", ended)
    assert found == {"http": None, "agi": None}
    assert listeners.listening == {"http", "agi"}


def test_one_that_is_given_up_while_it_opens_is_closed_then() -> None:
    slow = Port(0)
    slow.answer.clear()
    listeners = Listeners({"http": slow})
    assert not dict(listeners.open(0.0, 1.0))
    listeners.change({"http": None})
    assert not slow.closed.is_set()
    slow.answer.set()
    assert slow.closed.wait(30)
    assert not dict(listeners.open(1e9, 1.0))
