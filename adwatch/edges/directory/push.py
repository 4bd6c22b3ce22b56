"""AD's change notifications, as a hint to poll now and as nothing more (MS-ADTS 3.1.1.3.4.1.9).

A notification says too little and is promised to nobody: no replay after a lost connection,
no deletions without rights, a timer of 5 s in Samba. So losing it costs time, never a change.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from threading import Event, Thread
from typing import Final

from adwatch.core.pace import REFUSED_S, delay
from adwatch.core.words import line
from adwatch.edges.directory import entries
from adwatch.edges.directory.requests import ANYTHING
from adwatch.edges.directory.session import BASE, SHOW_DELETED, SUBTREE, Session
from adwatch.errors import CredentialsError, DirectoryError

log = logging.getLogger(__name__)

NOTIFICATION: Final = "1.2.840.113556.1.4.528"
_PROVE_ALIVE_S: Final = 240  # MaxConnIdleTime is 900 s (KB 315071)
_ANSWER_S: Final = 10


class Push(Thread):
    """Listens on a connection of its own and calls `wake` for every sign of a change.

    `connect` opens a session and gives it with the naming context to listen on.
    """

    def __init__(self, connect: Callable[[], tuple[Session, str]], wake: Callable[[], None]):
        super().__init__(name="push", daemon=True)
        self._connect = connect
        self._wake = wake
        self._ended = Event()
        self._session: Session | None = None
        self._failures = 0
        self._moved = Event()
        self._wanted = ""
        self.listening = False

    def end(self) -> None:
        """Ends the thread without waiting for it."""
        self._ended.set()
        self._moved.set()
        if self._session is not None:
            self._session.abort()

    def follow(self, url: str) -> None:
        """Lets go of a connection that leads elsewhere, and so makes another."""
        self._wanted, session = url, self._session
        if session is not None and session.url != url:
            session.abort()
        self._moved.set()

    def run(self) -> None:
        """Connects again and again, later and later, until `end` is called."""
        while not self._ended.is_set():
            rest = None
            self._moved.clear()
            try:
                self._session, context = self._connect()
                if self._wanted in ("", self._session.url):  # else another one is in use by now
                    self._listen(self._session, context)
            except DirectoryError as error:
                if isinstance(error, CredentialsError) and error.counts:
                    rest = REFUSED_S  # the service's own connection is who tries again
                self._failures += 1
                if self._failures == 1 and not self._ended.is_set():
                    log.info(line("push_lost", cause=error))
            finally:
                self.listening = False
                if self._session is not None:
                    self._session.close()
            if not self._ended.is_set():
                self._moved.wait(rest or delay(self._failures, random.random()))  # noqa: S311

    def _listen(self, session: Session, context: str) -> None:
        controls = [(NOTIFICATION, True, None), (SHOW_DELETED, True, None)]
        number = session.send(context, SUBTREE, ANYTHING, ["objectGUID"], controls)
        proof = session.send("", BASE, ANYTHING, ["1.1"], [])
        while not self._ended.is_set():
            message = session.next_message(_ANSWER_S if proof else _PROVE_ALIVE_S)
            if message is None and proof:
                raise DirectoryError(f"{session.url}: no answer within {_ANSWER_S} s")
            if message is None:
                proof = session.send("", BASE, ANYTHING, ["1.1"], [])
            elif message.id == number and message.tag == entries.SEARCH_DONE:
                result = entries.read_result(message.body)
                raise DirectoryError(f"{session.url} ended push: {result.code} {result.text}")
            elif message.id == proof and message.tag == entries.SEARCH_DONE:
                proof = 0
                self._registered(session)
            elif self.listening:
                self._wake()

    def _registered(self, session: Session) -> None:
        """The DC has answered what was asked after the registration, which it so has taken."""
        if not self.listening:
            self.listening, self._failures = True, 0
            log.info(line("push", server=session.url))
        self._wake()  # nobody says what changed before
