"""What the HTTP server shows, made from the store's values; each view is frozen once made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from adwatch.core.model import Contact, Served
from adwatch.core.page import PLAIN, Asked, Document
from adwatch.core.phonebook import FORMS, PAGED, POSTED, Book, Form, make_book
from adwatch.edges.store import Store
from adwatch.edges.web import View, Web
from adwatch.once import Once


class Pages:
    """Keeps what the server shows in step with the store."""

    def __init__(self, store: Store, web: Web | None, others: Mapping[str, View]) -> None:
        self._store = store
        self._web = web
        self._others = others
        self._people = ""
        self.served: tuple[Served, ...] = ()
        """The peers as they were shown last."""

    def renew(self, now: float) -> None:
        """Replaces what is shown where a peer or a contact is another; `now` as of the epoch."""
        if self._web is None or (people := self._store.people()) == self._people:
            return
        mark, _, changed = self._store.meta("phone_book").rpartition(" ")
        modified = float(changed or 0)
        if mark != people:  # HTTP tells times apart by whole seconds
            modified = max(float(int(now)), modified + 1)
        contacts = tuple(self._store.contacts().values())
        self.served = tuple(self._store.served())
        book = phone_book(self.served, contacts, modified)
        self._web.show({**self._others, **book})
        if mark != people:  # last, for on a full disk it fails
            self._store.remember("phone_book", f"{people} {modified}")
        self._people = people


def phone_book(
    served: Iterable[Served], contacts: Iterable[Contact], modified: float
) -> Mapping[str, View]:
    """The phone book in every form, by path.

    Nothing is written before it is asked for: at 20,000 people that takes half a second a form,
    which is the asking thread's and not the main loop's.
    """
    book = Once(lambda: make_book((s.peer for s in served), contacts))
    shelf = {form: _shown(book, form) for form in FORMS.values()}
    return {path: View(shelf[form], modified, path in POSTED) for path, form in FORMS.items()}


def _shown(book: Once[Book], form: Form) -> Callable[[Asked], Document]:
    if form in PAGED:
        return lambda asked: form(book(), asked)
    whole = Once(lambda: form(book(), PLAIN))
    return lambda _: whole()
