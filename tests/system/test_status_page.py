"""The status page in a real browser, of a real service on a real domain.

Screenshots go to $SCREENSHOTS, else to the test's own folder.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from program import Adwatch, wait_for
from proxy import Proxy

from system.programs import chromium
from system.samba import SambaDC, free_port

STAFF = "OU=Staff,DC=example,DC=test"
NOBODY_MAY_GO = "safety: {max_removals: 0, max_removals_percent: 0}\n"
HOSTILE = """<script>document.title='taken'</script>"'><img src=x onerror=alert(1)>"""
INJECTED = """() => new Promise((done) => {
  const refused = [];
  document.addEventListener("securitypolicyviolation", (event) => {
    if (refused.push(event.effectiveDirective) === 2) done(refused);
  });
  const script = document.createElement("script");
  script.textContent = "document.title = 'taken'";
  document.body.append(script);
  const text = document.createElement("p");
  text.setAttribute("style", "color: red");
  document.body.append(text);
})"""
HIDDEN = """(hidden) => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""
expect.set_options(timeout=30_000)  # Chromium shares two cores with whatever else is tested
BACKWARDS = "\u202eolleh"
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 740}

Make = Callable[..., Adwatch]
User = Callable[..., str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = chromium()
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


class Site:
    """An installation with a status page, and whoever looks at it."""

    def __init__(self, adwatch: Adwatch, port: int, context: BrowserContext) -> None:
        self.adwatch = adwatch
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.context = context
        self.complaints: list[str] = []

    def open(self, path: str = "/") -> Page:
        """A page, once it is live; whatever its console complains of is kept."""
        page = self.context.new_page()
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        wait_for("the server", self._listens)
        answer = page.goto(self.url + path)
        assert answer is not None
        assert answer.ok
        expect(page.locator("#live")).to_have_text("Live")
        return page

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


@pytest.fixture
def install(make: Make, browser: Browser) -> Iterator[Callable[..., Site]]:
    """Installs adwatch with a status page that has buttons; everybody has the token."""
    contexts: list[BrowserContext] = []

    def begin(more: str = "", **parts: Any) -> Site:
        port = free_port()
        http = f"http: {{listen: '127.0.0.1:{port}', token_file: token, approve: true}}\n"
        adwatch = make(more=http + more, **parts)
        (adwatch.folder / "token").write_text("s3cret\n")
        login = {"username": "anybody", "password": "s3cret"}
        contexts.append(browser.new_context(http_credentials=login, viewport=DESK))
        return Site(adwatch, port, contexts[-1])

    yield begin
    for context in contexts:
        context.close()


@pytest.fixture
def ou(temporary: Callable[..., str]) -> str:
    """An OU of its own for a base, so that the test says how many users there are."""
    return temporary(f"OU=Page,{STAFF}", "organizationalUnit")


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path / "shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def some(user: User, ou: str, names: str) -> list[str]:
    return [
        user(name.lower(), parent=ou, telephoneNumber=str(7700 + n), mobile=f"+49 170 55500{n}")
        for n, name in enumerate(names.split())
    ]


def state(page: Page) -> str:
    return (page.locator("h1").text_content() or "").strip()


def looked_at(page: Page, name: str, shots: Path) -> None:
    """Screenshots, light and dark, wide and narrow, and what axe finds serious in each: nothing."""
    for scheme in ("light", "dark"):
        for width, size in (("desk", DESK), ("phone", PHONE)):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size(size)
            page.screenshot(path=shots / f"{name}-{scheme}-{width}.png", full_page=True)
            room = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert room <= 0, f"{name}: the page is wider than a {width}"
        found = Axe().run(page).response["violations"]
        grave = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not grave, [(one["id"], one["nodes"][0]["html"]) for one in grave]
    page.set_viewport_size(DESK)


def test_four_states_are_shown_as_they_come_without_a_reload(
    dc: SambaDC, install: Callable[..., Site], between: Proxy, user: User, ou: str, shots: Path
) -> None:
    dns = some(user, ou, "Abelson Ivanova Schmidt Okafor Dubois Lindqvist")
    site = install(NOBODY_MAY_GO, server=between.url, base=f'"{ou}"')
    adwatch = site.adwatch
    text = adwatch.config.read_text()
    adwatch.config.write_text(text.replace("timeout: 4s", "timeout: 60s"))
    assert adwatch("sync").returncode == 0
    between.freeze()
    adwatch.start()
    page = site.open()
    assert state(page) == "adwatch is Starting"
    expect(page.locator(".cause")).to_contain_text("6 peers from before are served meanwhile")
    looked_at(page, "starting", shots)

    between.thaw()
    expect(page.locator("h1")).to_have_text("adwatch is Online", timeout=30_000)
    expect(page.locator("#announcer")).to_contain_text("Online")
    looked_at(page, "online", shots)

    page.locator("#q").focus()
    dn = user("newcomer", parent=ou, telephoneNumber="7799")
    row = page.locator("#changes-list li").first
    expect(row).to_contain_text("7799", timeout=30_000)
    expect(row).to_contain_text("added")
    expect(page.locator("#peers tbody")).to_contain_text("Newcomer")
    assert page.evaluate("document.activeElement.id") == "q"
    dc.modify(dn, mobile="123")
    expect(row).to_contain_text("mobile: from nothing → to 123", timeout=30_000)

    between.refuse()
    between.cut()
    expect(page.locator("h1")).to_have_text("adwatch is Degraded", timeout=30_000)
    expect(page).to_have_title(re.compile("^Degraded"))
    expect(page.locator("#troubles")).to_contain_text("Directory")
    expect(page.locator(".cause")).to_have_text(
        "AD can't be read. The 7 peers known last are served meanwhile."
    )
    looked_at(page, "degraded", shots)
    page.locator("#who").fill("7700")
    page.locator("#who").press("Enter")
    expect(page.locator("#answer .notice")).to_contain_text("AD was not read")
    expect(page.locator("#answer h3").first).to_have_text("Served as 7700 Abelson")

    between.accept()
    expect(page.locator("h1")).to_have_text("adwatch is Online", timeout=60_000)
    for one in dns[:3]:
        dc.modify(one, telephoneNumber=None)
    expect(page.locator("#held tbody tr")).to_have_count(3, timeout=30_000)
    expect(page.locator("h1")).to_have_text("adwatch is Held")
    page.goto(site.url)
    looked_at(page, "held", shots)
    assert not site.complaints


def test_what_is_held_is_approved_by_keyboard_and_only_as_it_was_shown(
    dc: SambaDC, install: Callable[..., Site], user: User, ou: str
) -> None:
    dns = some(user, ou, "Abelson Ivanova Schmidt Okafor")
    site = install(NOBODY_MAY_GO, base=f'"{ou}"')
    site.adwatch.start()
    page = site.open()
    expect(page.locator("h1")).to_have_text("adwatch is Online", timeout=30_000)
    dc.modify(dns[0], telephoneNumber=None)
    expect(page.locator("#approve")).to_have_text("Approve: let 1 go", timeout=30_000)
    old = site.open()
    old.route("**/events*", lambda route: route.abort())  # it does not hear of what comes next
    old.reload()
    dc.modify(dns[1], telephoneNumber=None)
    expect(page.locator(".stale")).to_be_visible(timeout=30_000)
    expect(page.locator("#approve")).to_be_disabled()

    old.locator("#approve").click()
    expect(old.locator("[role=alert]")).to_contain_text("no longer what you were shown")
    expect(old.locator("#held tbody tr")).to_have_count(2)
    assert site.adwatch.section("7700")

    page.locator("#show").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#approve")).to_have_text("Approve: let 2 go")
    page.locator("#held .wide").focus()
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "approve":
            break
    page.keyboard.press("Enter")
    expect(page.locator("[role=alert]")).to_have_text("2 removals let go.")
    expect(page.locator("#held")).to_have_count(0)
    wait_for("their end", lambda: not site.adwatch.section("7700"))
    assert not site.adwatch.section("7701")
    assert site.adwatch.section("7702")
    assert "event=judged verdict=approved by=127.0.0.1 held=2" in site.adwatch.log.read_text()

    dc.modify(dns[2], telephoneNumber=None)
    expect(page.locator("#reject")).to_have_text("Reject: keep 1", timeout=30_000)
    assert site.adwatch.stop() < 3
    expect(page.locator("#live")).to_have_text("Connection lost; trying again")
    site.adwatch.start()
    expect(page.locator("#live")).to_have_text("Live", timeout=30_000)
    page.locator("#show").click(timeout=30_000)  # for the old form is another process's
    expect(page.locator(".stale")).to_be_hidden()  # else the next click is on that one again
    text = site.adwatch.config.read_text()
    site.adwatch.config.write_text(text.replace("approve: true", "approve: false"))
    page.locator("#show").click(timeout=30_000)
    expect(page.locator("#held")).to_contain_text("http.approve: true")
    assert page.locator("#reject").count() == 0
    site.adwatch.config.write_text(text)
    page.locator("#reject").wait_for(timeout=30_000)
    page.locator("#reject").press("Space")
    expect(page.locator("[role=alert]")).to_have_text("1 removal kept.")
    assert site.adwatch.section("7702")


def test_search_and_explain_and_what_is_hostile(
    install: Callable[..., Site], user: User, ou: str, shots: Path
) -> None:
    some(user, ou, "Abelson Ivanova")
    user("hostile", parent=ou, telephoneNumber="7790", displayName=HOSTILE)
    user("backwards", parent=ou, telephoneNumber="7791", displayName=BACKWARDS)
    user("nobody", parent=ou, telephoneNumber="no number")
    site = install("peers: {name: displayName or sAMAccountName}\n", base=f'"{ou}"')
    site.adwatch.start()
    page = site.open()
    expect(page.locator("h1")).to_have_text("adwatch is Online", timeout=30_000)
    rows = page.locator("#peers table").first.locator("tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.nth(2)).to_contain_text(HOSTILE)
    expect(rows.nth(3)).to_contain_text("⟨U+202E⟩olleh")
    expect(page.locator("#changes-list")).to_contain_text("7790")
    expect(page.locator("#without + .wide")).to_contain_text("try telephoneNumber | digits")
    assert page.locator("main img").count() == 0
    assert not site.complaints
    assert page.evaluate(INJECTED) == ["script-src-elem", "style-src-attr"]
    assert "Online" in page.title()
    site.complaints.clear()  # of those two

    page.locator("#q").fill("IVAN 7701")
    page.locator("#q").press("Enter")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("ivanova")
    for words in ("nobody-here", HOSTILE):
        page.locator("#q").fill(words)
        page.get_by_role("button", name="Search").click()
        expect(page.locator("#q")).to_have_value(words)
        count = 1 if words == HOSTILE else 0
        expect(page.locator('[data-part="peers"] > .hint')).to_contain_text(f"{count} peer")

    for who, head in (("ivanova", "Served as 7701 ivanova"), ("nobody", "No peer")):
        page.locator("#who").fill(who)
        page.get_by_role("button", name="Explain").click()
        expect(page.locator("#answer h3").first).to_have_text(head)
    expect(page.locator(".because")).to_contain_text("is not made of ASCII digits")
    expect(page.locator("#answer")).to_contain_text("telephoneNumber")
    looked_at(page, "explain", shots)
    page.goto(f"{site.url}/?who=%22%3E%3Cscript%3E")
    expect(page.locator("#answer")).to_contain_text('Nobody in AD is called "><script>')
    assert not site.complaints


def test_a_tab_that_nobody_sees_holds_no_connection(
    install: Callable[..., Site], user: User, ou: str
) -> None:
    some(user, ou, "Abelson")
    site = install(base=f'"{ou}"')
    site.adwatch.start()
    page = site.open()
    expect(page.locator("h1")).to_have_text("adwatch is Online", timeout=30_000)
    page.evaluate(HIDDEN, True)
    expect(page.locator("#live")).to_have_text("Paused while nobody looks")
    user("newcomer", parent=ou, telephoneNumber="7799")
    wait_for("the newcomer", lambda: site.adwatch.section("7799"))
    expect(page.locator("#peers tbody tr")).to_have_count(1)
    page.evaluate(HIDDEN, False)
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("#peers tbody tr")).to_have_count(2)
    expect(page.locator("#changes-list li").first).to_contain_text("7799")


def test_a_look_at_the_whole_page_that_fails_is_made_again(
    dc: SambaDC, install: Callable[..., Site], user: User, ou: str
) -> None:
    dns = some(user, ou, "Abelson Ivanova")
    site = install(NOBODY_MAY_GO, base=f'"{ou}"')
    site.adwatch.start()
    page = site.open()
    expect(page.locator("h1")).to_have_text("adwatch is Online")
    page.route(f"{site.url}/", lambda route: route.abort())  # the stream of events goes on
    with page.expect_event("requestfailed", timeout=30_000):
        dc.modify(dns[0], telephoneNumber=None)
    page.unroute(f"{site.url}/")
    expect(page.locator("h1")).to_have_text("adwatch is Held", timeout=15_000)  # no incident yet


def test_without_scripts_everything_works_but_the_live_part(
    dc: SambaDC, install: Callable[..., Site], browser: Browser, user: User, ou: str
) -> None:
    dns = some(user, ou, "Abelson Ivanova")
    site = install(NOBODY_MAY_GO, base=f'"{ou}"')
    site.adwatch.start()
    wait_for("online", lambda: site.adwatch.status()["state"] == "online")
    dc.modify(dns[0], telephoneNumber=None)
    wait_for("one is held", lambda: site.adwatch.status()["state"] == "held")
    with browser.new_context(java_script_enabled=False) as plain:
        page = plain.new_page()
        page.goto(f"{site.url}/?token=s3cret&q=7701")
        assert page.url == f"{site.url}/?q=7701"
        assert "s3cret" not in page.content()
        expect(page.locator("#live")).to_contain_text("reload for news")
        expect(page.locator("#peers tbody tr")).to_have_count(1)
        page.locator("#who").fill("abelson")
        page.get_by_role("button", name="Explain").click()
        expect(page.locator(".because")).to_contain_text("no longer matches the filter")
        page.locator("#reject").click()
        expect(page.locator("[role=alert]")).to_have_text("1 removal kept.")
    assert site.adwatch.section("7700")
