"""Which domain controller is used: the first that can be, and a better one when it can again.

Each controller counts its own USNs and may lag behind the others, so going over to another one
means reading everything; that is the reader's business.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import Final

from adwatch.core.words import line
from adwatch.edges.directory import feeds
from adwatch.edges.directory.locate import domain_controllers
from adwatch.edges.directory.security import Security
from adwatch.edges.directory.session import Session
from adwatch.errors import CredentialsError, DirectoryError, PasswordError

log = logging.getLogger(__name__)

# One that answers and could not be read so often in a row is tried after all others.
_UNREADABLE: Final = 2


@dataclass(frozen=True, slots=True)
class Servers:
    """Where domain controllers are: `urls`, or the SRV records of `domain` where there are none."""

    urls: tuple[str, ...]
    domain: str | None
    security: Security

    def ranked(self) -> Sequence[tuple[int, str]]:
        """Rank and URL of each server to try, the preferred first; no rank is better than 0.

        Raises DirectoryError where DNS names none.
        """
        if self.urls:
            return list(enumerate(self.urls))
        scheme = "ldaps" if self.security.start == "ldaps" else "ldap"
        assert self.domain is not None
        found = domain_controllers(self.domain, scheme, self.security.timeout_s / 2)
        best = found[0][0]
        return [(priority - best, url) for priority, url in found]


@dataclass(frozen=True, slots=True)
class Link:
    """A session and what is known about its server."""

    rank: int
    session: Session
    root: feeds.Root
    choice: feeds.Choice
    sees_deletions: bool


class Links:
    """Makes links. `feed` and `watched` are what `feeds.choose` takes.

    `password` is called at each bind.
    """

    def __init__(
        self, servers: Servers, password: Callable[[], str], feed: str, watched: Sequence[str]
    ) -> None:
        self._servers = servers
        self._password = password
        self._feed = feed
        self._watched = watched
        self._opening: set[Session] = set()
        self._found: Link | None = None
        self._search: Thread | None = None
        self._refused_password: str | None = None
        self._unread: Counter[str] = Counter()
        self._closed = False

    def session(self, url: str) -> Session:
        """A session to a server, open. Raises DirectoryError where it can't be had."""
        session = Session(url, self._servers.security, self._password())
        self._opening.add(session)
        try:
            session.open()
        finally:
            self._opening.discard(session)
        return session

    def first(self) -> Link:
        """A link to the first server that can be used.

        Raises CredentialsError as soon as one refuses the account, for the next would count one
        more wrong password; PasswordError where that can't be read; DirectoryError where none
        can be used.
        """
        failures = []
        ranked = self._servers.ranked()
        for rank, url in sorted(ranked, key=lambda r: self._unread[r[1]] >= _UNREADABLE):
            try:
                return self._link(rank, url)
            except (CredentialsError, PasswordError):
                raise
            except DirectoryError as error:
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        raise DirectoryError(
            "no domain controller can be used: " + "; ".join(e.message for e in failures),
            "look at the first one",
        )

    def _link(self, rank: int, url: str) -> Link:
        session = self.session(url)
        self._opening.add(session)
        try:
            root = feeds.read_root(session)
            if not root.synchronized:
                raise DirectoryError(  # noqa: TRY301
                    f"{url} says that it is not synchronized", "let it replicate first"
                )
            choice = feeds.choose(session, root, self._feed, self._watched)
            sees = feeds.sees_deletions(session, root.naming_context)
        except DirectoryError:
            session.close()
            raise
        finally:
            self._opening.discard(session)
        return Link(rank, session, root, choice, sees)

    def failed(self, link: Link) -> None:
        """Word that a server could be connected to and not be read."""
        self._unread[link.session.url] += 1

    def worked(self, link: Link) -> None:
        """Word that a server was read."""
        del self._unread[link.session.url]

    def look_for_better(self, rank: int) -> None:
        """Begins to look for a server better than `rank`, without keeping anybody waiting."""
        if self._search is None or not self._search.is_alive():
            self._search = Thread(target=self._look, args=(rank,), name="prefer", daemon=True)
            self._search.start()

    def _look(self, rank: int) -> None:
        try:
            better = [(r, url) for r, url in self._servers.ranked() if r < rank]
            password = self._password()
        except DirectoryError as error:
            log.debug(line("not_preferred", cause=error))
            return
        if password == self._refused_password:
            return  # each refusal may count as a wrong password
        for found, url in better:
            try:
                self._keep(self._link(found, url))
            except CredentialsError as error:
                self._refused_password = password if error.counts else None
                log.warning(line("not_preferred", server=url, cause=error))
                return
            except DirectoryError as error:
                log.debug(line("not_preferred", server=url, cause=error))
            else:
                return

    def _keep(self, link: Link) -> None:
        before, self._found = self._found, link
        for spare in (before, link if self._closed else None):
            if spare is not None:
                spare.session.close()

    def better(self, rank: int) -> Link | None:
        """The link that was looked for, once, if it is still better than `rank`."""
        found, self._found = self._found, None
        if found is not None and found.rank >= rank:
            found.session.close()
            return None
        return found

    def abort(self) -> None:
        """Makes whatever is being opened fail at once; safe from any thread."""
        for session in list(self._opening):
            session.abort()

    def close(self) -> None:
        """Lets go of what was found and not taken."""
        self._closed = True
        found, self._found = self._found, None
        if found is not None:
            found.session.close()
