"""Who sees a page and whose form counts: tokens, cookies, the name of the host, the origin."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from socket import gethostname
from threading import active_count

import pytest
from edges.test_web import LOOPBACK, MODIFIED, Answer, Site
from program import wait_for

from adwatch.core.page import Asked, Document
from adwatch.edges.web import Gate, View, Web


class Desk(Site):
    """A server with a page, and beside it something for machines."""

    def begin(self, gate: Gate) -> Web:
        web = self.start(gate)
        page = View(self.shown, None, posts=True, page=True)
        free = View(self.shown, None, open=True)
        web.show({"/": page, "/book": View(self.page, MODIFIED), "/healthz": free})
        return web

    def shown(self, asked: Asked) -> Document:
        self.asked.append(asked)
        return Document("text/html", b"shown", headers=(("Referrer-Policy", "same-origin"),))

    @property
    def last(self) -> Asked:
        return self.asked[-1]


@pytest.fixture
def desk() -> Iterator[Desk]:
    made, threads = Desk(), active_count()
    yield made
    if made.web is not None:
        made.web.close()
    wait_for("every thread's end", lambda: active_count() <= threads)


def cookie(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_token_in_the_address_becomes_a_cookie_and_is_seen_no_more(desk: Desk) -> None:
    desk.begin(Gate(LOOPBACK, lambda: "s3cret"))
    answer = desk.get("/?token=s3cret&q=a%26b")
    assert (answer.status, answer.headers["location"]) == (303, "./?q=a%26b")
    said = answer.headers["set-cookie"]
    assert said.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert "s3cret" not in said
    assert desk.get("/?token=s3cret").headers["location"] == "./"
    shown = desk.get("/?q=a", "-H", f"Cookie: other=1; {cookie(answer)}")
    assert (shown.status, shown.body) == (200, b"shown")
    assert desk.get("/book?token=s3cret").status == 200, "a phone is sent nowhere"


def test_a_cookie_is_worth_nothing_after_another_token_or_elsewhere(desk: Desk) -> None:
    token = ["one"]
    desk.begin(Gate(LOOPBACK, lambda: token[0]))
    kept = cookie(desk.get("/?token=one"))
    assert desk.get("/", "-H", f"Cookie: {kept}").status == 200
    assert desk.get("/?token=two", "-H", f"Cookie: {kept}").status == 401
    for other in ("adwatch-1=x", f"{kept}0", kept.partition("=")[0], '"', "=", "\xe9"):
        assert desk.get("/", "-H", f"Cookie: {other}").status == 401
    token[0] = "two"
    assert desk.get("/", "-H", f"Cookie: {kept}").status == 401
    assert desk.web is not None
    desk.web.close()
    desk.begin(Gate(LOOPBACK, lambda: "one"))
    assert desk.get("/", "-H", f"Cookie: {kept}").status == 200, "an edited configuration"
    desk.web.close()
    desk.begin(Gate(LOOPBACK, lambda: "one", b"another process"))
    assert desk.get("/", "-H", f"Cookie: {kept}").status == 401


def test_a_browser_logs_in_as_it_does_by_itself(desk: Desk) -> None:
    desk.begin(Gate(LOOPBACK, lambda: "s3cret"))
    assert desk.get("/").headers["www-authenticate"].startswith("Basic")
    answer = desk.get("/", "-u", "anybody:s3cret")
    assert answer.status == 200
    assert "set-cookie" not in answer.headers


OWN = ["127.0.0.1:1", "127.0.0.1", "[::1]:1", "localhost:1", "LOCALHOST", "a.localhost:1"]
FOREIGN = [
    "evil.example:8389",
    "evil.example",
    "127.0.0.1.evil.example:1",
    "localhost.evil.example",
]


@pytest.mark.parametrize("host", [*OWN, gethostname()])
def test_names_of_this_machine_lead_to_it(desk: Desk, host: str) -> None:
    desk.begin(Gate())
    for path in ("/", "/book"):
        assert desk.get(path, "-H", f"Host: {host}").status == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_name_shows_nothing_where_no_token_is_asked_for(desk: Desk, host: str) -> None:
    desk.begin(Gate())
    for path in ("/", "/book"):
        answer = desk.get(path, "-H", f"Host: {host}")
        assert answer.status == 421
        assert "by its address" in answer.body.decode()
    assert not desk.asked
    assert desk.get("/healthz", "-H", f"Host: {host}").status == 200


def test_a_phone_may_use_any_name_and_so_may_who_has_the_token(desk: Desk) -> None:
    desk.begin(Gate((ip_network("127.0.0.0/8"),)))
    assert desk.get("/book", "-H", "Host: pbx.example.test").status == 200
    assert desk.get("/", "-H", "Host: pbx.example.test").status == 421
    assert desk.web is not None
    desk.web.close()
    desk.begin(Gate(LOOPBACK, lambda: "s3cret"))
    assert desk.get("/", "-u", "a:s3cret", "-H", "Host: pbx.example.test").status == 200


def test_a_form_arrives_with_who_sent_it_and_from_where(desk: Desk) -> None:
    desk.begin(Gate())
    own = f"http://127.0.0.1:{desk.port}"
    desk.get("/", "-d", "a=1&b=%3C2%3E", "-H", f"Origin: {own}")
    assert desk.last.form == {"a": "1", "b": "<2>"}
    assert (desk.last.address, desk.last.origin) == ("127.0.0.1", "own")
    desk.get("/")
    assert desk.last.form is None


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ([], ""),
        (["Sec-Fetch-Site: none"], ""),
        (["Sec-Fetch-Site: same-origin"], "own"),
        (["Origin: {own}", "Sec-Fetch-Site: same-origin"], "own"),
        (["Origin: https://{host}"], "own"),
        (["Origin: null"], "other"),
        (["Origin: http://evil.example"], "other"),
        (["Origin: {own}.evil.example"], "other"),
        (["Origin: http://127.0.0.1:1"], "other"),
        (["Origin: http://["], "other"),
        (["Origin: {own}", "Sec-Fetch-Site: cross-site"], "other"),
        (["Origin: {own}", "Sec-Fetch-Site: same-site"], "other"),
        (["Sec-Fetch-Site: cross-site"], "other"),
    ],
)
def test_whose_page_led_here(desk: Desk, headers: list[str], origin: str) -> None:
    desk.begin(Gate())
    host = f"127.0.0.1:{desk.port}"
    said = [one.format(own=f"http://{host}", host=host) for one in headers]
    options = [part for one in said for part in ("-H", one)]
    assert desk.get("/", "-d", "a=1", *options).status == 200
    assert desk.last.origin == origin


def test_what_is_no_form_has_no_words(desk: Desk) -> None:
    desk.begin(Gate())
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x"):
        desk.get("/", "-d", "a=1", "-H", f"Content-Type: {kind}")
        assert desk.last.form == {}
    desk.get("/", "-d", "&".join(f"a{n}=1" for n in range(99)))
    assert desk.last.form == {}
    desk.get("/", "--data-binary", b"a=\xff".decode("latin-1"))
    assert "a" not in (desk.last.form or {})
    desk.get("/", "-d", "a=" + "x" * 100_000)
    assert desk.last.form == {}


def test_a_page_has_its_own_policy_for_referrers(desk: Desk) -> None:
    desk.begin(Gate())
    assert desk.get("/").headers["referrer-policy"] == "same-origin"
    assert desk.get("/book").headers["referrer-policy"] == "no-referrer"
