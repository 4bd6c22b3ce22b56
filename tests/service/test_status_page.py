"""The status page: what it shows, whose verdict it takes, what it tells those who follow."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from program import wait_for
from service.test_turn import Site

from adwatch import inquiry
from adwatch.core.board import CHANGES, JUDGED, SHOWN, Explanation, held_digest
from adwatch.core.page import Asked, Document
from adwatch.errors import CredentialsError, DirectoryError
from adwatch.inquiry import Inquiry
from adwatch.orders import Orders
from adwatch.parts import Parts
from adwatch.report import Health, status
from adwatch.requests import Requests
from adwatch.service import Service
from adwatch.statuspage import StatusPage
from adwatch.testing import MemoryDirectory

HOSTILE = """</script><script>alert('1')</script>"'>\u202e\x07\u2028"""


class Desk:
    """A page over a service, whose loop does at once what it is handed."""

    def __init__(self, site: Site, *, approve: str = "true") -> None:
        site.more = f"http: {{token_file: token, approve: {approve}}}"
        self.site = site
        self.service: Service = site.start()
        self.questions: list[tuple[str, str | None]] = []
        self.ordered: list[dict[str, Any]] = []
        self.quiet_s = 0.0
        self.page = StatusPage(
            self.service.parts, self.service.store, self.explain, self.order, self.alive
        )
        self.health = Health(pid=1, started=site.clock(), turned=True)

    def alive(self) -> float:
        return time.monotonic() - self.quiet_s

    def explain(self, _: Parts, who: str, fault: str | None) -> Explanation:
        self.questions.append((who, fault))
        return Explanation(who)

    def order(self, said: dict[str, Any]) -> dict[str, Any]:
        self.ordered.append(said)
        answer = Orders(self.service, lambda _: self.site.turn(), lambda _: None).do(said)
        self.renew()
        return answer

    def renew(self) -> None:
        self.health.reach = self.service.directory.reach()
        said = status(self.service, self.health, self.site.clock())
        served = tuple(self.service.store.served())
        self.page.renew(said, served)

    def show(self, form: Mapping[str, str] | None = None, **asked: Any) -> Document:
        view = self.page.views()["/"]
        return view.show(Asked(form=form, address="10.0.0.7", **asked))

    def text(self, **query: str) -> str:
        return self.show(query=query).content.decode()

    def form(self, verdict: str = "approved") -> dict[str, str]:
        """What a browser would post from the page as it is now."""
        pairs = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', self.text())
        return {**dict(pairs), "verdict": verdict}

    def pending(self) -> list[str]:
        return [hold.number for hold in self.service.store.pending()]

    def follow(self, **asked: Any) -> Any:
        follow = self.page.views()["/events"].follow
        assert follow is not None
        return follow(Asked(**asked))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def desk(site: Site) -> Desk:
    return Desk(site)


@pytest.fixture
def dns(desk: Desk) -> list[str]:
    """Nine users, three of whom are held."""
    dns = desk.site.users(9)
    desk.site.turn()
    lose(desk, dns[:3])
    return dns


def lose(desk: Desk, dns: list[str]) -> None:
    for dn in dns:
        desk.site.domain.modify(dn, telephoneNumber=None)
    desk.site.turn()
    desk.renew()


def events(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Number, kind and data of each event."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        if "data" in lines:
            found.append((lines.get("id", ""), lines["event"], json.loads(lines["data"])))
    return found


@pytest.mark.usefixtures("dns")
def test_a_verdict_is_taken_from_the_page_and_told_once(desk: Desk) -> None:
    answer = desk.show(desk.form(), origin="own")
    location = dict(answer.headers)["Location"]
    assert (answer.status, desk.pending()) == (303, [])
    assert desk.ordered[0]["by"] == "10.0.0.7"
    told = location.partition("told=")[2]
    assert "3 removals let go." in desk.text(told=told)
    assert "removals let go" not in desk.text(told=told)
    assert desk.site.numbers() == ["103", "104", "105", "106", "107", "108"]


@pytest.mark.usefixtures("dns")
def test_rejecting_keeps_them(desk: Desk) -> None:
    assert desk.show(desk.form("dismissed"), origin="own").status == 303
    assert (desk.pending(), len(desk.site.numbers())) == ([], 9)
    assert 'id="approve"' not in desk.text()


@pytest.mark.usefixtures("dns")
@pytest.mark.parametrize(
    ("change", "origin", "status", "words"),
    [
        ({}, "", 403, "no browser says"),
        ({}, "other", 403, "no browser says"),
        ({"form": "x"}, "own", 403, "before adwatch was started anew"),
        ({"form": ""}, "own", 403, "before adwatch was started anew"),
        ({"verdict": "rotate"}, "own", 400, "no verdict"),
        ({"held": "x"}, "own", 409, "no longer what you were shown"),
        ({"held": ""}, "own", 409, "no longer what you were shown"),
    ],
)
def test_no_other_form_counts(
    desk: Desk, change: dict[str, str], origin: Any, status: int, words: str
) -> None:
    answer = desk.show({**desk.form(), **change}, origin=origin)
    assert answer.status == status
    assert words in answer.content.decode()
    assert desk.pending() == ["100", "101", "102"]
    assert desk.show({}, origin="own").status == 403


@pytest.mark.usefixtures("dns")
def test_a_form_of_another_process_counts_for_nothing(desk: Desk, site: Site) -> None:
    old = desk.form()
    desk.page = Desk(site).page
    desk.service = site.service or desk.service
    desk.renew()
    assert desk.show(old, origin="own").status == 403
    assert desk.pending() == ["100", "101", "102"]


def test_what_came_later_is_not_approved_by_an_old_page(desk: Desk, dns: list[str]) -> None:
    old = desk.form()
    lose(desk, dns[3:4])
    answer = desk.show(old, origin="own")
    text = answer.content.decode()
    assert (answer.status, desk.pending()) == (409, ["100", "101", "102", "103"])
    assert "Approve: let 4 go" in text
    assert desk.show(desk.form(), origin="own").status == 303


def test_another_loss_of_the_same_user_is_another_set(desk: Desk, dns: list[str]) -> None:
    old = desk.form()
    desk.site.domain.delete(dns[0])
    desk.site.turn()
    assert desk.show(old, origin="own").status == 409


def test_the_buttons_are_off_by_default_and_nobody_gets_past_that(site: Site) -> None:
    desk = Desk(site, approve="false")
    dns = site.users(9)
    site.turn()
    lose(desk, dns[:3])
    assert "http.approve: true" in desk.text()
    assert "<button name" not in desk.text()
    form = {"form": desk.page._form, "verdict": "approved"}
    held = held_digest(status(desk.service, desk.health, 0.0)["held"])
    assert desk.show({**form, "held": held}, origin="own").status == 403
    assert desk.pending() == ["100", "101", "102"]


def test_more_than_anybody_reads_is_judged_on_the_machine(desk: Desk) -> None:
    dns = desk.site.users(JUDGED + 2, first=1000)
    desk.site.turn()
    lose(desk, dns[: JUDGED + 1])
    text = desk.text()
    assert "more than anybody judges on a page" in text
    assert "<button name" not in text
    assert text.count('<tr><th scope="row" class="number">') == JUDGED + SHOWN


def test_many_peers_are_counted_and_some_are_shown(desk: Desk) -> None:
    desk.site.users(SHOWN + 50, first=1000)
    desk.site.turn()
    desk.renew()
    text = desk.text()
    assert "150 peers; the first 100 are shown." in text
    assert "1 peer matches <q><bdi>U1149</bdi></q>." in desk.text(q="U1149")
    assert len(re.findall('<li class="change ', text)) == CHANGES


def test_a_hostile_value_is_text_everywhere(desk: Desk) -> None:
    desk.site.domain.add_user("u1", telephoneNumber="100", mobile="<b>" + HOSTILE[:40])
    desk.site.turn()
    desk.site.domain.add_user("u2", telephoneNumber=HOSTILE)
    desk.site.turn()
    desk.renew()
    page = desk.text(q=HOSTILE, who=HOSTILE)
    (status_event, *_) = [text for _, kind, text in events(desk.follow()(0.0)) if kind == "change"]
    for text in (page, status_event["html"]):
        assert "<script>alert" not in text
        assert not re.search("[\u202e\x07\u2028]", text)
    assert page.count("<script") == 1
    assert "⟨U+202E⟩⟨U+0007⟩" in page


def test_who_follows_gets_what_it_lacks_and_then_what_comes(desk: Desk) -> None:
    dns = desk.site.users(3)
    desk.site.turn()
    desk.renew()
    last = desk.service.store.latest(1)[0][0]
    one = desk.follow(query={"after": str(last - 1)})
    other = desk.follow(query={"after": "1"}, last_event=str(last))
    (change, said) = events(one(0.0))
    assert (change[:2], said[1]) == ((str(last), "change"), "status")
    assert said[2]["mark"] in desk.text()
    assert [kind for _, kind, _ in events(other(0.0))] == ["status"]
    assert one(0.0) == ""
    desk.health.last_success = time.time()
    desk.renew()
    assert [kind for _, kind, _ in events(one(0.0))] == ["read"]
    desk.site.domain.modify(dns[0], mobile="1")
    desk.site.turn()
    desk.renew()
    for follow in (one, other):
        (change, said) = events(follow(0.0))
        assert change[0] == str(last + 1)
        assert 'class="change changed"' in change[2]["html"]
        assert said[1] == "status"


def test_who_lost_the_connection_for_long_gets_the_latest_changes(desk: Desk) -> None:
    desk.site.users(CHANGES + 20)
    desk.site.turn()
    desk.renew()
    found = [number for number, kind, _ in events(desk.follow()(0.0)) if kind == "change"]
    assert len(found) == CHANGES
    assert found == sorted(found, key=int)


def test_a_loop_that_hangs_is_told_to_those_who_look(desk: Desk) -> None:
    desk.site.users(1)
    desk.site.turn()
    desk.renew()
    follow = desk.follow()
    follow(0.0)
    desk.quiet_s = 90.0
    assert [kind for _, kind, _ in events(follow(0.0))] == ["status"]
    text = desk.text()
    assert "Stuck" in text
    assert "not come round for 90 s" in text


def test_since_when_is_known_from_before_anybody_could_look(desk: Desk) -> None:
    parts = desk.service.parts
    closed = replace(parts, config=parts.config.model_copy(update={"http": None}))
    desk.health.started = 1.0
    desk.page.change(closed)
    desk.site.turn()
    desk.renew()
    desk.health.faults["directory"] = "down"
    begun = int(time.time())
    desk.renew()
    desk.page.change(parts)
    desk.renew()
    said = re.search(r'class="since">since <time datetime="([^"]+)"', desk.text())
    assert said
    assert begun <= datetime.fromisoformat(said[1]).timestamp() <= time.time()


def test_a_question_from_another_site_is_not_asked(desk: Desk) -> None:
    desk.renew()
    answer = desk.show(query={"who": "100"}, origin="other")
    assert "Another site sent you here" in answer.content.decode()
    assert not desk.questions
    desk.show(query={"who": " 100 "})
    desk.health.faults["directory"] = "AD is down"
    desk.renew()
    desk.show(query={"who": "100"}, origin="own")
    del desk.health.faults["directory"]
    desk.site.domain.fault = DirectoryError("AD is down")
    desk.renew()
    desk.show(query={"who": "100"})
    assert [fault for _, fault in desk.questions] == [
        None,
        "AD is down",
        "adwatch is not connected to it yet",
    ]


def test_a_policy_lets_nothing_in_from_elsewhere(desk: Desk) -> None:
    desk.renew()
    answer = desk.show()
    headers = dict(answer.headers)
    policy = headers["Content-Security-Policy"]
    for rule in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "same-origin"
    text = answer.content.decode()
    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=|https?://", text)


def test_before_the_loop_has_said_anything_the_page_says_that(desk: Desk) -> None:
    assert desk.show().status == 503
    assert desk.follow()(0.0) == ""


def test_what_the_store_knows_is_told_where_ad_is_not_read(desk: Desk, dns: list[str]) -> None:
    answer = Inquiry()(desk.service.parts, "100", "AD is down")
    (found,) = answer.found
    assert answer.fault == "AD is down"
    assert found.said["peer"]["number"] == "100"
    assert found.said["in_scope"] is False
    assert any("removal is held" in reason for reason in found.said["reasons"])
    assert [change.what for change in found.changes] == ["held", "added"]
    (kept,) = Inquiry()(desk.service.parts, dns[5], "AD is down").found
    assert kept.said["mapping"]["number"] == "105"
    assert Inquiry()(desk.service.parts, "nobody", "AD is down").found == ()


def test_an_inquiry_that_cannot_reach_ad_says_so(desk: Desk, dns: list[str]) -> None:
    answer = Inquiry()(desk.service.parts, dns[5], None)
    assert "dc.example.test" in answer.fault
    assert len(answer.found) == 1


def test_ad_is_asked_by_a_connection_that_is_closed_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = list[bool]()
    monkeypatch.setattr(inquiry, "make_directory", lambda *_: desk.site.domain)
    monkeypatch.setattr(desk.site.domain, "close", lambda: closed.append(True))
    desk.site.users(1)
    desk.site.turn()
    answer = Inquiry()(desk.service.parts, "100", None)
    (found,) = answer.found
    assert (answer.fault, found.said["peer"]["number"]) == ("", "100")
    assert found.said["attributes"]["telephoneNumber"] == ["100"]
    assert closed == [True]


def test_a_password_that_was_refused_is_not_sent_by_whoever_presses_the_button(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, domain = list[str](), MemoryDirectory()

    def find(who: str, _: object) -> list[Any]:
        asked.append(who)
        raise CredentialsError("the account was refused")

    monkeypatch.setattr(inquiry, "make_directory", lambda *_: domain)
    monkeypatch.setattr(domain, "find", find)
    ask, parts = Inquiry(), desk.service.parts
    for _ in range(3):
        assert "refused" in ask(parts, "100", None).fault
    assert asked == ["100"]
    ask(replace(parts, directory=domain), "100", None)
    assert asked == ["100", "100"], "another password makes another directory"


def test_an_answer_that_takes_too_long_is_ended(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain, aborted = MemoryDirectory(), Event()

    def hang(*_: object) -> list[Any]:
        assert aborted.wait(20)
        raise DirectoryError("the connection was ended")

    monkeypatch.setattr(inquiry, "_WITHIN_S", 0.1)
    monkeypatch.setattr(inquiry, "make_directory", lambda *_: domain)
    monkeypatch.setattr(domain, "find", hang)
    monkeypatch.setattr(domain, "abort", aborted.set)
    assert "was ended" in Inquiry()(desk.service.parts, "100", None).fault


def test_few_are_answered_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, go, asked = Inquiry(), Event(), []

    def wait(_: Parts, who: str, __: str | None) -> Explanation:
        asked.append(who)
        go.wait(20)
        return Explanation(who)

    monkeypatch.setattr(ask, "_answer", wait)
    threads = [Thread(target=ask, args=(desk.service.parts, str(n), None)) for n in range(2)]
    for thread in threads:
        thread.start()
    wait_for("two", lambda: len(asked) == 2)
    assert "ask again" in ask(desk.service.parts, "3", None).fault
    go.set()
    for thread in threads:
        thread.join()
    assert ask(desk.service.parts, "4", None).fault == ""


def test_what_the_loop_does_not_begin_in_time_is_never_done() -> None:
    requests, done = Requests(Event()), list[dict[str, Any]]()

    def do(said: dict[str, Any]) -> dict[str, Any]:
        done.append(said)
        return {"exit": 0}

    answer = requests.hand_over({"command": "judge"}, lambda: None, 0.05)
    assert "nothing was done" in answer["error"]
    requests.answer(do, lambda: None)
    assert not done
    assert not requests.waiting
    said = requests.hand_over({"n": 1}, lambda: requests.answer(do, lambda: None), 0.05)
    assert (said, done) == ({"exit": 0}, [{"n": 1}])


def test_what_the_loop_has_begun_is_waited_for() -> None:
    requests, begun = Requests(Event()), Event()

    def slowly(_: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        Event().wait(0.3)
        return {"exit": 0}

    loop = Thread(target=lambda: requests.answer(slowly, lambda: None))

    def wake() -> None:
        loop.start()
        assert begun.wait(20)

    assert requests.hand_over({}, wake, 0.1) == {"exit": 0}
    loop.join()


def test_a_fault_of_the_directory_is_the_cause_at_one_look(desk: Desk) -> None:
    desk.site.users(2)
    desk.site.turn()
    desk.health.faults["directory"] = str(DirectoryError("AD is down", "start it"))
    desk.renew()
    text = desk.text()
    assert "Degraded" in text
    assert "The 2 peers known last are served meanwhile." in text
    assert "AD is down (start it)" in text
