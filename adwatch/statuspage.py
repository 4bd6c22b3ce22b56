"""The status page: written on the asking thread from one frozen snapshot, live by small events.

What AD holds is hostile: everything is escaped, nothing stands in a script or a style, and what
could not be seen is written out.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from socket import gethostname
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from adwatch import __version__
from adwatch.core import board
from adwatch.core.board import Explanation, Snapshot
from adwatch.core.page import Asked, Document
from adwatch.edges.store import Store
from adwatch.edges.web import News, View
from adwatch.once import Once
from adwatch.parts import Parts

Explain = Callable[[Parts, str, str | None], Explanation]
Order = Callable[[dict[str, Any]], dict[str, Any]]

_HTML: Final = "text/html; charset=utf-8"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_GUARDS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # With no-referrer, a browser would hide the origin of a form from this very server.
    ("Referrer-Policy", "same-origin"),
)
_FILES: Final = {
    "/adwatch.css": "text/css; charset=utf-8",
    "/adwatch.js": "text/javascript; charset=utf-8",
    "/adwatch.svg": "image/svg+xml",
}
_DONE: Final = {"approved": "let go", "dismissed": "kept"}
_NOTICES: Final = 32
_UNREAD: Final = "adwatch is not connected to it yet"
_OTHER_SITE: Final = "Another site sent you here; press Explain if it is you who asks."
_DIFFERS: Final = (
    "Nothing was done: what is held is no longer what you were shown. Here is how it stands now."
)


class StatusPage:
    """Everything about the page. `renew` and `change` are the loop's, all else is any thread's."""

    def __init__(
        self, parts: Parts, store: Store, explain: Explain, order: Order, alive: Callable[[], float]
    ) -> None:
        """`order` hands something to the loop; `alive` is when that came round, monotonic."""
        self._parts = parts
        self._store = store
        self._explain = explain
        self._order = order
        self._alive = alive
        self._begun = time.time()
        self._form = secrets.token_urlsafe(24)
        self._notices: OrderedDict[str, str] = OrderedDict()
        self._news: News[_Issue | None] = News(None)
        self._source: object = None
        self._seen = ""
        self._templates = _templates()

    def change(self, parts: Parts) -> None:
        """Goes on with another edition of the configuration."""
        self._parts = parts

    def renew(self, status: Mapping[str, Any], served: tuple[Any, ...]) -> None:
        """Puts in place what is shown; reads the store only where somebody is another."""
        before = self._news.latest
        last = before.snapshot if before else None
        http = self._parts.config.http
        if http is None and last is not None and last.status["state"] == status["state"]:
            return  # nobody can look; since when it is in its state is known
        seen = f"{self._store.people()} {status['peers']['rejected']}"
        if last is None or seen != self._seen or served is not self._source:
            last = Snapshot(
                status,
                0.0,
                Once(lambda: board.in_order(served)),
                tuple(self._store.rejections()),
                tuple(self._store.latest(board.CHANGES)),
            )
            self._seen, self._source = seen, served
        since = board.since(status, before.snapshot if before else None, time.time())
        approve = http is not None and http.approve
        now = replace(last, status=status, since=since, approve=approve)
        self._news.publish(_Issue(now))

    def views(self) -> Mapping[str, View]:
        """The paths of the page."""
        folder = files("adwatch").joinpath("browser")
        kept = {}
        for path, kind in _FILES.items():
            document = Document(kind, folder.joinpath(path[1:]).read_bytes())
            kept[path] = View(_always(document), self._begun, open=True)
        events = Document("text/event-stream", b"", headers=(("X-Accel-Buffering", "no"),))
        return {
            "/": View(self._show, None, posts=True, page=True),
            "/events": View(lambda _: events, None, page=True, follow=self._follow),
            **kept,
        }

    def _show(self, asked: Asked) -> Document:
        """The page; what somebody posted is done before."""
        if asked.form is not None:
            return self._judged(asked, asked.form)
        who = asked.query.get("who", "").strip()
        told = self._notices.pop(asked.query.get("told", ""), "")
        if not who:
            return self._page(asked, notice=told)
        if asked.origin == "other":
            return self._page(asked, notice=_OTHER_SITE)
        issue = self._news.latest
        directory = issue.snapshot.status["directory"] if issue else {"fault": _UNREAD}
        fault = directory["fault"] or (None if directory["server"] else _UNREAD)
        return self._page(asked, explanation=self._explain(self._parts, who, fault))

    def _judged(self, asked: Asked, form: Mapping[str, str]) -> Document:
        """A verdict is handed to the loop, where a person gave it on this very page."""
        refusal = self._refusal(asked, form)
        if refusal is not None:
            return self._page(asked, notice=refusal[1], status=refusal[0])
        said = {"command": "judge", "verdict": form["verdict"], "held": form.get("held", "")}
        answer = self._order({**said, "by": asked.address})
        if answer.get("differs"):
            return self._page(asked, notice=_DIFFERS, status=409)
        if "held" not in answer:
            words = f"Nothing was done: {answer.get('error', 'adwatch gave no answer')}."
            return self._page(asked, notice=words, status=503)
        words = f"{board.count(len(answer['held']), 'removal')} {_DONE[form['verdict']]}."
        faults = " ".join(answer.get("faults", ()))
        key = self._remember(f"{words} {faults}".strip())
        return Document(_HTML, b"", 303, (("Location", f"./?told={key}"), *_GUARDS))

    def _refusal(self, asked: Asked, form: Mapping[str, str]) -> tuple[int, str] | None:
        """Why a verdict is not taken, and the status of HTTP for it."""
        issue = self._news.latest
        if issue is None or not issue.snapshot.approve:
            return 403, "Nothing was done: the buttons are off (http.approve in the configuration)."
        if asked.origin != "own":
            return 403, "Nothing was done: no browser says that this form was adwatch's own."
        if not hmac.compare_digest(self._form.encode(), form.get("form", "").encode()):
            return 403, "Nothing was done: the page is from before adwatch was started anew."
        if form.get("verdict") not in _DONE:
            return 400, "Nothing was done: that is no verdict."
        return None

    def _remember(self, notice: str) -> str:
        """Keeps a notice until the browser that is sent on comes for it."""
        key = secrets.token_urlsafe(9)
        self._notices[key] = notice
        while len(self._notices) > _NOTICES:
            self._notices.popitem(last=False)
        return key

    def _page(
        self,
        asked: Asked,
        *,
        notice: str = "",
        explanation: Explanation | None = None,
        status: int = 200,
    ) -> Document:
        issue = self._news.latest
        if issue is None:
            return Document("text/plain; charset=utf-8", b"adwatch is starting\n", 503)
        snapshot, words = issue.snapshot, asked.query.get("q", "").strip()
        quiet = time.monotonic() - self._alive()
        text = self._templates.get_template("status.html").render(
            shown=snapshot,
            status=snapshot.status,
            headline=board.headline(snapshot.status, quiet),
            mark=self._mark(issue),
            troubles=board.troubles(snapshot.status),
            held=snapshot.status["held"][: board.JUDGED],
            held_digest=board.held_digest(snapshot.status["held"]),
            form=self._form,
            words=words,
            who=asked.query.get("who", "").strip(),
            peers=board.search(snapshot.peers(), words),
            rejected=board.rejected(snapshot.rejections, words),
            explanation=explanation,
            notice=notice,
            now=time.time(),
            host=gethostname(),
            version=__version__,
            most=board.JUDGED,
        )
        return Document(_HTML, text.encode(), status, _GUARDS)

    def _mark(self, issue: _Issue) -> str:
        stuck = time.monotonic() - self._alive() >= board.STUCK_S
        return f"{issue.mark()[:32]}{' stuck' if stuck else ''}"

    def _follow(self, asked: Asked) -> Callable[[float], str]:
        """What happens, from the change on that a browser knows; each call waits for more."""
        given = asked.last_event or asked.query.get("after", "")
        after = int(given) if given.isdecimal() and len(given) < 19 else 0
        known, mark, read = None, "", -1.0

        def follow(wait_s: float) -> str:
            nonlocal known, mark, read, after
            issue = self._news.wait(known, wait_s)
            first, known = known is None, issue
            if issue is None:
                return ""
            said, snapshot = "retry: 3000\n\n" if first else "", issue.snapshot
            for number, change in snapshot.changes:
                if number > after:
                    said += _event("change", {"html": self._change(change)}, number)
            after = max(after, snapshot.last_change)
            now = {"now": time.time(), "read": snapshot.read}
            if mark != (mark := self._mark(issue)):
                said += _event("status", {**now, "mark": mark, "state": snapshot.status["state"]})
            elif read != snapshot.read:
                said += _event("read", now)
            read = snapshot.read
            return said

        return follow

    def _change(self, change: Any) -> str:
        module = self._templates.get_template("parts.html").make_module({"now": time.time()})
        return str(module.change(change)).strip()  # type: ignore[attr-defined]


class _Issue:
    """A snapshot, and its mark once somebody asks for it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.mark = Once(lambda: board.mark(snapshot))


def _event(kind: str, said: Mapping[str, Any], number: int = 0) -> str:
    """JSON has no line end in it, so that one line of data holds it."""
    head = f"id: {number}\n" if number else ""
    return f"{head}event: {kind}\ndata: {json.dumps(said)}\n\n"


def _always(document: Document) -> Callable[[Asked], Document]:
    return lambda _: document


def _templates() -> Environment:
    """The page's templates: escaping everything, and refusing a name that is not there."""
    folder = files("adwatch").joinpath("browser")
    sources = {
        n: folder.joinpath(n).read_text(encoding="utf-8") for n in ("status.html", "parts.html")
    }
    made = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"when": _when, "day": _day, "iso": _iso, "seconds": board.seconds}
    made.globals |= {"count": board.count, "grouped": board.grouped, "ago": ago}
    return made


def _finalize(value: Any) -> Any:
    return value if isinstance(value, Markup) else board.visible(str(value))


def _iso(moment: str | float) -> str:
    return datetime.fromtimestamp(board.seconds(moment), UTC).isoformat(timespec="seconds")


def _when(moment: str | float, now: float) -> str:
    """A time of this machine's clock: the hour alone where it is today's."""
    then = datetime.fromtimestamp(board.seconds(moment)).astimezone()
    today = datetime.fromtimestamp(now).astimezone().date() == then.date()
    return then.strftime("%H:%M:%S" if today else "%-d %b %H:%M")


def _day(moment: str | float) -> str:
    return datetime.fromtimestamp(board.seconds(moment)).astimezone().strftime("%-d %B %Y")


def ago(moment: str | float, now: float) -> str:
    """How long ago that was, in words."""
    passed = max(0.0, now - board.seconds(moment))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed >= size:
            return f"{passed / size:.0f} {unit} ago"
    return f"{passed:.0f} s ago" if passed >= 1 else "just now"
