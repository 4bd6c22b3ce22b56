"""Active Directory as adwatch reads it: the feed names, a read by objectGUID decides.

The read asks with the user's own filter below the user's own bases, so a delete, a move, a
cleared number and a changed filter are one case: asked for, and not given.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from adwatch.core.ldapfilter import filter_attributes
from adwatch.core.mapping import ALWAYS_ASKED
from adwatch.core.model import ALL_CONTACTS, Batch, Cursor, Entry, Finding, Reach, Seen
from adwatch.core.phonebook import CONTACT_ATTRIBUTES
from adwatch.core.words import line
from adwatch.edges.directory import feeds, schema
from adwatch.edges.directory.better import Better
from adwatch.edges.directory.links import Link, Links, Servers
from adwatch.edges.directory.push import Push
from adwatch.edges.directory.scope import BY_GUID, Scope, alike
from adwatch.edges.directory.session import LdapError, Session
from adwatch.edges.directory.settings import Settings
from adwatch.edges.directory.stopwatch import timed
from adwatch.errors import DirectoryError

log = logging.getLogger(__name__)

T = TypeVar("T")
Known = Callable[[], Mapping[str, Seen]]
Take = Callable[[Entry], Entry]

# Where more than one of so many differs from what is known, everything is read instead: by GUID
# that costs more (measured on Samba 4.22: 43 ms for a hundred, 1.2 s for 20,000 at once).
_ODD_SHARE = 20
_CONTACTS_BY_GUID = 5 * BY_GUID
# What a feed must name besides what is read: moves and renames, deletions, rights.
_FOLLOWED = ("name", "isDeleted", "nTSecurityDescriptor")
_FOLLOWED_OF_GROUPS = ("member", "primaryGroupID")


class ActiveDirectory:
    """Reads the directory. Nothing is opened before it is needed; any failure closes.

    `last` gives up to where the changes are known, when a server is to be chosen. Every method
    raises DirectoryError where the answer is not whole, and then nothing may be concluded from it.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        last: Callable[[], Cursor | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._last = last
        self._link: Link | None = None
        self._scope: Scope
        self._push: Push | None = None
        self._since = 0.0
        tested = filter_attributes(settings.filter)
        asked = {a.lower(): a for a in (*ALWAYS_ASKED, *tested, *settings.attributes)}
        self._groups = "memberof" in asked
        if self._groups and "memberof" not in map(str.lower, settings.attributes):
            del asked["memberof"]  # long, and the server is the one who tests it
        self._attributes = tuple(asked.values())
        shown: tuple[str, ...] = CONTACT_ATTRIBUTES
        if settings.contact_filter:
            shown += filter_attributes(settings.contact_filter)
            self._groups |= "memberof" in map(str.lower, shown)
        followed = _FOLLOWED + _FOLLOWED_OF_GROUPS * self._groups
        followed += shown * bool(settings.contact_filter)
        self._watched = tuple(dict.fromkeys((*self._attributes, *followed)))
        servers = Servers(settings.servers, settings.domain, settings.security)
        self._links = Links(servers, settings.password, settings.feed, self._watched)
        self._better = Better(self._links)

    def open(self) -> None:
        """Connects to the first server that answers and lags not behind, preferred first."""
        if self._link is None:
            self._use(self._links.first(self._last()))

    def _use(self, link: Link) -> None:
        self._drop()
        self._link, self._since = link, self._clock()
        self._better.told(None)
        self._scope = self._scope_of(link)
        self._asked = self._question(link)
        said = {"server": link.session.url, "host": link.root.host, "feed": link.choice.name}
        why, sees = link.choice.why, link.sees_deletions
        log.info(line("connected", **said, why=why, sees_deletions=sees))
        if self._push is not None:
            self._push.follow(link.session.url)

    def check(self) -> None:
        """Asks the server in use for its USN alone, so that a lost connection shows."""
        self._guarded(lambda link: feeds.read_gate(link.session))

    def urls(self) -> Sequence[str]:
        """The servers to try, preferred first; looked up in DNS where none are configured."""
        return [url for _, url in self._links.servers.ranked()]

    def prefer(self) -> None:
        """Looks for a better server than the one in use; the next reading goes over to it."""
        if self._link is not None:
            self._better.look(self._link.rank)

    def partners(self) -> int:
        """Of how many other controllers the server in use says how far it is behind them."""
        return self._guarded(
            lambda link: len(feeds.read_progress(link.session, link.root.naming_context))
        )

    def unknown(self, names: Iterable[str]) -> Mapping[str, str]:
        """The attributes that AD's schema has not, each with one that is like it, or empty."""
        return self._guarded(lambda link: schema.unknown(link.session, names))

    def unseen(self, names: Iterable[str]) -> Sequence[str]:
        """The attributes that no user below the bases has, as far as the account is shown."""
        context = self._guarded(lambda link: link.root.naming_context)
        bases = self._settings.bases or (context,)
        return self._guarded(lambda link: schema.unseen(link.session, bases, names))

    def listen(self, wake: Callable[[], None]) -> None:
        """Starts to listen for change notifications; `wake` is called from another thread."""
        self._push = Push(self._second_session, wake)
        self._push.start()

    def _second_session(self) -> tuple[Session, str]:
        link = self._link
        if link is None:
            raise DirectoryError("there is no connection to follow yet")
        return self._links.session(link.session.url), link.root.naming_context

    def close(self) -> None:
        """Ends all connections."""
        if self._push is not None:
            self._push.end()
            self._push = None
        self._better.close()
        self._drop()

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.session.close()

    def abort(self) -> None:
        """Makes whatever waits for the directory fail at once; safe from any thread."""
        self._links.abort()
        self._better.abort()
        link = self._link
        if link is not None:
            link.session.abort()

    def reach(self) -> Reach:
        """Which server is in use and how."""
        link = self._link
        if link is None:
            return Reach(tried=self._links.tried)
        return Reach(
            server=link.session.url,
            feed=link.choice.name,
            why=link.choice.why,
            push=self._push is not None and self._push.listening,
            connected_since=self._since,
            sees_deletions=link.sees_deletions,
            searches=link.session.searches,
            rank=link.rank,
            certificate_ends=str(link.session.certificate.get("notAfter", "")),
            tried=self._links.tried,
        )

    def read(
        self,
        since: Cursor | None,
        known: Known,
        take: Take | None = None,
        also: frozenset[str] = frozenset(),
    ) -> Batch:
        """What changed since `since` and the users `also`, or everything where that can't be told.

        `known` gives every user known so far, by GUID. Of a full read, `take` is handed every
        entry as it comes; what it gives stands in the batch in its place.
        """
        return self._guarded(lambda link: self._read(link, since, known, take, also))

    def compare(self, since: Cursor, known: Known) -> Batch:
        """What differs from `known`, found by listing GUID, DN and uSNChanged of all in scope.

        What changes without a write to the user stays unseen: membership, and rights to read.
        """
        return self._guarded(lambda link: self._compare(link, since, known))

    def contacts(self, guids: frozenset[str] | None) -> list[Entry]:
        """The contacts among `guids`, or all of them; one may come twice.

        A fault of theirs says nothing about the server: it keeps its connection and its rank.
        """
        self.open()
        link, wanted = self._link, self._settings
        assert link is not None
        bases = wanted.contact_bases or wanted.bases or (link.root.naming_context,)
        scope = Scope(
            link.session,
            link.root.naming_context,
            bases,
            wanted.contact_filter,
            ("objectGUID", *CONTACT_ATTRIBUTES),
            groups=False,
            section="contacts",
        )
        try:
            return list(scope.everybody() if guids is None else scope.found(guids).values())
        finally:
            if not link.session.is_open:
                self._drop()

    def find(self, who: str, number_attributes: Iterable[str]) -> list[Finding]:
        """The users that `who` (number, login, mail, DN or GUID) names, in scope or not."""
        return self._guarded(lambda _: self._scope.find(who, number_attributes))

    def _guarded(self, do: Callable[[Link], T]) -> T:
        """Runs `do` on an open link, the best that there is, and drops it where it fails."""
        self.open()
        assert self._link is not None
        self._prefer()
        link = self._link
        try:
            found = do(link)
        except DirectoryError as error:
            self._links.failed(link, error)
            self._drop()
            raise
        except BaseException:
            self._drop()  # the rest of an answer may be on its way
            raise
        self._links.worked(link)
        return found

    def _prefer(self) -> None:
        """Goes over to a better server that was found, once it knows all that this one told."""
        assert self._link is not None
        better = self._better.take(
            self._link, lambda link, users: alike(self._scope, self._scope_of(link), users)
        )
        if better is not None:
            self._use(better)

    def _question(self, link: Link) -> str:
        """A digest of what is asked: answers to another question are not comparable."""
        flags = link.choice.dirsync.flags if link.choice.dirsync else -1
        wanted = self._settings
        asked: list[Any] = [1, wanted.filter, wanted.bases, sorted(self._watched), flags]
        if wanted.contact_filter:
            asked += [wanted.contact_filter, wanted.contact_bases]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def _scope_of(self, link: Link) -> Scope:
        context = link.root.naming_context
        bases, text = self._settings.bases or (context,), self._settings.filter
        return Scope(link.session, context, bases, text, self._attributes, groups=self._groups)

    def _read(
        self,
        link: Link,
        since: Cursor | None,
        known: Known,
        take: Take | None,
        also: frozenset[str],
    ) -> Batch:
        took: dict[str, float] = {}
        with timed(took, "gate"):
            usn = self._gate(link)
        stale = self._stale(link, since, usn)
        if since is None or stale:
            log.info(line("full_read", why=stale or "a comparison of everything is due"))
            return self._read_all(link, usn, known, take, took)
        if usn == since.usn and not also:
            return Batch((), also, full=False, cursor=since, at=self._clock(), took=took)
        named, cursor, compare = list[feeds.Named](), since, ""
        try:
            if usn != since.usn:
                with timed(took, "feed"):
                    named, cursor, compare = self._changes(link, since, usn)
        except LdapError as error:
            if not link.choice.dirsync or error.code in feeds.LATER:
                raise
            log.warning(line("cookie_refused", code=error.code, cause=error.message))
            return self._read_all(link, usn, known, take, took)
        asked = also | {n.guid for n in named}
        with timed(took if asked else {}, "read"):
            found, gone, hint = self._scope.look(asked)
        self._better.told(asked)
        entries, at, why = tuple(found.values()), self._clock(), hint or compare
        by_value = bool(hint) or (self._groups and bool(compare))
        contacts = self._may_be_contacts(frozenset(n.guid for n in named))
        return Batch(entries, asked, False, cursor, at, gone, why, by_value, contacts, took)

    def _may_be_contacts(self, named: frozenset[str] = ALL_CONTACTS) -> frozenset[str]:
        if not self._settings.contact_filter:
            return frozenset()
        return named if len(named) <= _CONTACTS_BY_GUID else ALL_CONTACTS

    def _gate(self, link: Link) -> int:
        usn = feeds.read_gate(link.session)
        self._better.read(usn)
        return usn

    def _stale(self, link: Link, since: Cursor | None, usn: int) -> str:
        """Why a cursor can't be continued from, empty where it can."""
        if since is None:
            return ""
        if since.invocation != link.root.invocation:
            return "another domain controller's database, or a restored one (invocationId)"
        if usn < since.usn:
            return "the domain controller's USN went back"
        if since.question != self._asked:
            return "the filter, the base, the attributes or the feed are others now"
        return ""

    def _changes(
        self, link: Link, since: Cursor, usn: int
    ) -> tuple[list[feeds.Named], Cursor, str]:
        """The objects named since the cursor, the next cursor, and why to compare."""
        context, first, cookie = link.root.naming_context, since.usn + 1, b""
        sees = link.sees_deletions
        visible = feeds.usn_changes(link.session, context, first, show_deleted=sees)
        named = visible
        if link.choice.dirsync:
            named, cookie = link.choice.dirsync.changes(link.session, since.cookie)
        compare = self._unexplained(link, first, usn, visible)
        return named, replace(since, server=link.session.url, usn=usn, cookie=cookie), compare

    def _unexplained(self, link: Link, first: int, last: int, visible: list[feeds.Named]) -> str:
        """Why deletions, or objects hidden from now on, may be among the USNs `first` to `last`."""
        seen, sees = list(visible), link.sees_deletions
        missing = feeds.unexplained(first, last, seen)
        for context in link.root.all_contexts:
            if missing and context != link.root.naming_context:
                seen += feeds.usn_changes(link.session, context, first, show_deleted=sees)
                missing = feeds.unexplained(first, last, seen)
        return f"{missing} of {last - first + 1} writes are not visible" if missing else ""

    def _read_all(
        self, link: Link, usn: int, known: Known, take: Take | None, took: dict[str, float]
    ) -> Batch:
        """Everything in scope; the cookie is fetched first, so that nothing falls between."""
        with timed(took, "feed"):
            cookie = link.choice.dirsync.start(link.session) if link.choice.dirsync else b""
        found: dict[str, Entry] = {}
        with timed(took, "read"):
            for entry in self._scope.everybody():
                found[entry.guid] = take(entry) if take else entry
            more, gone, _ = self._scope.look([guid for guid in known() if guid not in found])
        for entry in more.values():  # moved about while the answer was made
            found[entry.guid] = take(entry) if take else entry
        self._better.told(None)
        cursor = Cursor(link.session.url, link.root.invocation, usn, cookie, self._asked)
        entries = tuple(found.values())
        contacts = self._may_be_contacts()
        return Batch(
            entries,
            frozenset(found),
            True,
            cursor,
            self._clock(),
            gone,
            contacts=contacts,
            took=took,
        )

    def _compare(self, link: Link, since: Cursor, known: Known) -> Batch:
        took: dict[str, float] = {}
        if self._stale(link, since, since.usn):
            return self._read_all(link, self._gate(link), known, None, took)
        with timed(took, "feed"):
            listed = self._scope.listed()
        have = known()
        log.debug(line("compare", users=len(listed)))
        odd = {guid for guid, seen in listed.items() if have.get(guid) != seen}
        odd |= frozenset(have) - frozenset(listed)
        if len(odd) > BY_GUID + len(listed) // _ODD_SHARE:
            return self._read_all(link, self._gate(link), known, None, took)
        with timed(took, "read"):
            found, gone, _ = self._scope.look(odd)
        self._better.told(frozenset(odd))
        entries = tuple(found.values())
        at, more = self._clock(), self._may_be_contacts()
        return Batch(entries, frozenset(odd), False, since, at, gone, contacts=more, took=took)
