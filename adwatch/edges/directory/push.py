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

from adwatch.core.pace import delay
from adwatch.core.words import line
from adwatch.edges.directory import entries
from adwatch.edges.directory.session import BASE, SHOW_DELETED, SUBTREE, Session
from adwatch.errors import DirectoryError

log = logging.getLogger(__name__)

NOTIFICATION: Final = "1.2.840.113556.1.4.528"
_ANYTHING: Final = "(objectClass=*)"
_PROVE_ALIVE_S: Final = 240  # MaxConnIdleTime is 900 s (KB 315071)


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
        self.listening = False

    def end(self) -> None:
        """Ends the thread without waiting for it."""
        self._ended.set()
        if self._session is not None:
            self._session.abort()

    def run(self) -> None:
        """Connects again and again, later and later, until `end` is called."""
        failures = 0
        while not self._ended.is_set():
            try:
                self._session, context = self._connect()
                failures = 0
                self._listen(self._session, context)
            except DirectoryError as error:
                failures += 1
                if failures == 1 and not self._ended.is_set():
                    log.info(line("push_lost", cause=error))
            finally:
                self.listening = False
                if self._session is not None:
                    self._session.close()
            self._ended.wait(delay(failures, random.random()))  # noqa: S311

    def _listen(self, session: Session, context: str) -> None:
        controls = [(NOTIFICATION, True, None), (SHOW_DELETED, True, None)]
        number = session.send(context, SUBTREE, _ANYTHING, ["objectGUID"], controls)
        self.listening = True
        log.info(line("push", server=session.url))
        while not self._ended.is_set():
            message = session.next_message(_PROVE_ALIVE_S)
            if message is None:
                for _ in session.search("", BASE, _ANYTHING, ["1.1"]):
                    self._wake()  # a notification may have come among the answers
            elif message.id == number and message.tag == entries.SEARCH_DONE:
                result = entries.read_result(message.body)
                raise DirectoryError(f"{session.url} ended push: {result.code} {result.text}")
            else:
                self._wake()
