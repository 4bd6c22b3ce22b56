"""Connections to domain controllers: which is tried when, and which of them lags behind.

Each controller counts its own USNs and may lag behind the others, so going over to another one
means reading everything; that is the reader's business.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adwatch.core.model import Cursor
from adwatch.core.pace import REFUSED_S
from adwatch.core.words import line
from adwatch.edges.directory import feeds
from adwatch.edges.directory.locate import domain_controllers
from adwatch.edges.directory.security import Security
from adwatch.edges.directory.session import Session
from adwatch.errors import CertificateError, CredentialsError, DirectoryError, PasswordError

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

    def knows(self, invocation: str) -> float:
        """Up to which USN of a database the server has everything that was written there.

        Replication hands on a whole cycle at a time, with all that the source had until then:
        so who has a server's USN has also what that server got from others before it.
        """
        if invocation == self.root.invocation:
            return float("inf")
        return feeds.read_progress(self.session, self.root.naming_context).get(invocation, 0)


@dataclass(frozen=True, slots=True)
class _Refusal:
    password: str
    until: float
    error: CredentialsError


class Links:
    """Makes links. `feed` and `watched` are what `feeds.choose` takes.

    `password` is called at each bind. A password that one server has taken and another refuses
    is tried there again only after a while: the one that refuses may lag behind, and AD counts.
    """

    def __init__(
        self, servers: Servers, password: Callable[[], str], feed: str, watched: Sequence[str]
    ) -> None:
        self.servers = servers
        self._password = password
        self._feed = feed
        self._watched = watched
        self._opening: set[Session] = set()
        self._unread: Counter[str] = Counter()
        self._taken: dict[str, str] = {}
        self._refused: dict[str, _Refusal] = {}
        self.tried: Mapping[str, str] = {}
        """What the last try at each server failed of, empty where it did not; never altered."""

    def session(self, url: str) -> Session:
        """A session to a server, open. Raises DirectoryError where it can't be had.

        A CredentialsError does not count where another server takes the password.
        """
        password = self._password()
        before = self._refused.get(url)
        again = before is None or before.password != password or time.monotonic() > before.until
        if before is not None and not again and self._taken_elsewhere(password):
            raise CredentialsError(before.error.message, before.error.hint, counts=False)
        session = Session(url, self.servers.security, password)
        self._opening.add(session)
        try:
            session.open()
        except CredentialsError as error:
            if error.counts:
                self._taken.pop(url, None)
                self._refused[url] = _Refusal(password, time.monotonic() + REFUSED_S, error)
                if self._taken_elsewhere(password):
                    raise CredentialsError(error.message, error.hint, counts=False) from error
            raise
        finally:
            self._opening.discard(session)
        self._taken[url] = password
        return session

    def _taken_elsewhere(self, password: str) -> bool:
        return password in tuple(self._taken.values())  # other threads make sessions, too

    def first(self, since: Cursor | None = None) -> Link:
        """A link to the first server that can be used and has all that is known up to `since`.

        Where none has, to the one that lacks least. Raises CredentialsError as soon as one
        refuses the account, where the next would count one more wrong password; PasswordError
        where that can't be read; DirectoryError where none can be used.
        """
        reached, failures = self._tried(since)
        if reached:
            return _least(reached)
        for failure in failures:
            if len(failures) == 1 or (isinstance(failure, CredentialsError) and failure.counts):
                raise failure
        refused = all(isinstance(failure, CertificateError) for failure in failures)
        raise (CertificateError if refused and failures else DirectoryError)(
            "no domain controller can be used: " + "; ".join(e.message for e in failures),
            "look at the first one",
        )

    def _tried(self, since: Cursor | None) -> tuple[list[tuple[float, Link]], list[DirectoryError]]:
        """The servers that can be used, by what each lacks, and what the others failed of.

        Those after the first that lacks nothing are not tried, nor any that could not be read
        while another can be used, nor any more than one that counts a refusal.
        """
        reached, failures = list[tuple[float, Link]](), list[DirectoryError]()
        ranked = sorted(self.servers.ranked(), key=lambda r: self._unread[r[1]] >= _UNREADABLE)
        for rank, url in ranked:
            if reached and self._unread[url] >= _UNREADABLE:
                break
            try:
                link = self.link(rank, url)
                reached.append((self._lacks(link, since), link))
            except PasswordError:
                raise
            except DirectoryError as error:
                failures.append(error)
            else:
                if not reached[-1][0]:
                    break
            if failures and isinstance(failures[-1], CredentialsError) and failures[-1].counts:
                break
        return reached, failures

    def _lacks(self, link: Link, since: Cursor | None) -> float:
        """How many USNs a server lacks of what is known, 0 where it has everything."""
        if since is None:
            return 0
        try:
            return max(0, since.usn - link.knows(since.invocation))
        except DirectoryError:
            link.session.close()
            raise

    def link(self, rank: int, url: str) -> Link:
        """A link to one server. Raises DirectoryError where it can't be used."""
        try:
            link = self._link(rank, url)
        except DirectoryError as error:
            self._note(url, error.message)
            raise
        self._note(url, "")
        return link

    def _note(self, url: str, fault: str) -> None:
        self.tried = {**self.tried, url: fault}

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

    def failed(self, link: Link, error: DirectoryError) -> None:
        """Word that a server could be connected to and not be read."""
        self._unread[link.session.url] += 1
        self._note(link.session.url, error.message)

    def worked(self, link: Link) -> None:
        """Word that a server was read."""
        del self._unread[link.session.url]

    def abort(self) -> None:
        """Makes whatever is being opened fail at once; safe from any thread."""
        for session in list(self._opening):
            session.abort()


def _least(reached: list[tuple[float, Link]]) -> Link:
    """The link whose server lacks least; the others are closed."""
    lacks, best = min(reached, key=lambda r: r[0])
    for _, link in reached:
        if link is not best:
            link.session.close()
    if lacks:
        log.warning(line("lags", server=best.session.url, usns=lacks))
    return best
