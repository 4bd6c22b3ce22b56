"""What the loop does beside reading the users: reloads of Asterisk, the contacts, its memory.

Reloads and contacts take the pace as it is and give it as it is then; what fails stays owed.
"""

from __future__ import annotations

import random
import time
from typing import Final

from adwatch.contacts import Contacts
from adwatch.core.pace import Pace
from adwatch.core.tally import Tally
from adwatch.edges.memory import give_back
from adwatch.errors import AdwatchError, NotTakenError, StoreError
from adwatch.reloads import Reloads
from adwatch.service import Service
from adwatch.troubles import Troubles

_MANY: Final = 1000  # changes, whose peers leave holes in memory that are worth a second


def look_after_reload(pace: Pace, reloads: Reloads, troubles: Troubles, tally: Tally) -> Pace:
    """Begins, follows and ends reloads; a failure stays owed and is tried again."""
    now = time.monotonic()
    try:
        if not reloads.under_way():
            if reloads.owed() and pace.reloads(now):
                return pace.reloading(now, begun=reloads.begin())
            if pace.looks(now):
                reloads.look_again()
                return pace.saw(now, odd=reloads.odd())
            return pace
        if reloads.follow():
            tally.reload(failed=False)
            pace = pace.reload_done()
            troubles.over("asterisk")
        return pace if reloads.under_way() else pace.saw(now, odd=reloads.odd())
    except StoreError:
        raise
    except AdwatchError as error:
        tally.reload(failed=True)
        troubles.failed("asterisk", error)
        taken = not isinstance(error, NotTakenError)
        return pace.reload_failed(now, random.random(), taken=taken)  # noqa: S311


def look_after_contacts(pace: Pace, contacts: Contacts, troubles: Troubles) -> Pace:
    """Reads the contacts that are owed, once the users are read; a failure stays owed."""
    now = time.monotonic()
    if not pace.reads_contacts(now):
        return pace
    try:
        contacts.read()
        troubles.told("contacts", None)
        return pace.owes_contacts(now, owed=False)
    except StoreError:
        raise
    except AdwatchError as error:
        troubles.told("contacts", error)
        return pace.contacts_failed(now, random.random())  # noqa: S311


def let_go(service: Service, changes: int | None) -> None:
    """Gives back to the system what a reading of everybody needed, once nobody holds its turn.

    `changes` are so many as it found; None where nobody read everybody.
    """
    if changes is not None:
        if changes > _MANY:
            service.publisher.gather()
        give_back()
