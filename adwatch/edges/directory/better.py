"""The way back to a better server than the one in use, once it has all that this one has told.

Nothing forces anybody to leave: on one that lags behind, newcomers would lose their phones,
leavers get them back, and old numbers return.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Thread
from typing import Final

from adwatch.core.words import line
from adwatch.edges.directory.links import Link, Links
from adwatch.errors import CredentialsError, DirectoryError

log = logging.getLogger(__name__)

Alike = Callable[[Link, frozenset[str]], bool]
# Where more users than that have changed since, their values are not compared one by one.
_AT_MOST: Final = 100


class Better:
    """Looks for a better server on a thread of its own, and follows how far it has come.

    What is told by the one in use is seen at some time between two readings of its USN, so it
    counts as known up to the later one.
    """

    def __init__(self, links: Links) -> None:
        self._links = links
        self._search: Thread | None = None
        self._found: Link | None = None
        self._waiting: Link | None = None
        self._closed = False
        self._forget()

    def _forget(self) -> None:
        self._everything_by: int | None = None
        self._told: dict[str, int] = {}
        self._just_told: set[str] = set()

    def look(self, rank: int) -> None:
        """Begins to look for a server better than `rank`, without keeping anybody waiting."""
        if self._search is None or not self._search.is_alive():
            self._search = Thread(target=self._look, args=(rank,), name="prefer", daemon=True)
            self._search.start()

    def _look(self, rank: int) -> None:
        try:
            better = [(r, url) for r, url in self._links.servers.ranked() if r < rank]
        except DirectoryError as error:
            log.debug(line("not_preferred", cause=error))
            return
        for found, url in better:
            try:
                self._keep(self._links.link(found, url))
            except DirectoryError as error:
                refused = isinstance(error, CredentialsError) and error.counts
                level = logging.WARNING if refused else logging.DEBUG
                log.log(level, line("not_preferred", server=url, cause=error))
                if refused:
                    return  # the next one would count one more wrong password
            else:
                return

    def _keep(self, link: Link) -> None:
        before, self._found = self._found, link
        for spare in (before, link if self._closed else None):
            if spare is not None:
                spare.session.close()

    def read(self, usn: int) -> None:
        """Word that the USN of the server in use was read."""
        if self._everything_by is None:
            self._everything_by = usn
        if self._just_told:
            self._told |= dict.fromkeys(self._just_told, usn)
            self._just_told.clear()

    def told(self, guids: frozenset[str] | None) -> None:
        """Word of users whom the server in use was asked about, of all of them with None."""
        if guids is None:
            self._forget()
        elif self._waiting is not None:
            self._just_told |= guids

    def take(self, link: Link, alike: Alike) -> Link | None:
        """A better server than that of `link`, once, if it has come as far.

        `alike` says whether it gives the same of some users as the one in use.
        """
        found, self._found = self._found, None
        if found is not None:
            self._leave()
            self._waiting = found
            self._forget()
        waiting = self._waiting
        if waiting is None:
            return None
        try:
            if waiting.rank >= link.rank:  # what was in use got lost meanwhile
                self._leave()
                return None
            if not self._has_come(waiting, link.root.invocation, alike):
                return None
        except DirectoryError as error:
            log.info(line("not_preferred", cause=error))
            self._leave()
            return None
        self._waiting = None
        return waiting

    def _has_come(self, waiting: Link, invocation: str, alike: Alike) -> bool:
        if self._everything_by is None:
            return False
        known = waiting.knows(invocation)
        if known < self._everything_by:
            return False
        self._told = {guid: usn for guid, usn in self._told.items() if usn > known}
        doubtful = frozenset(self._told) | self._just_told
        return len(doubtful) <= _AT_MOST and (not doubtful or alike(waiting, doubtful))

    def _leave(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.session.close()

    def abort(self) -> None:
        """Makes whatever waits fail at once; safe from any thread."""
        waiting = self._waiting
        if waiting is not None:
            waiting.session.abort()

    def close(self) -> None:
        """Lets go of what was found and not taken."""
        self._closed = True
        self._leave()
        found, self._found = self._found, None
        if found is not None:
            found.session.close()
