"""What the HTTP server shows, made from the store's values; each view is frozen once made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock

from adwatch.core.model import Contact, Served
from adwatch.core.phonebook import FORMS, PAGED, POSTED, Asked, Book, Document, Form, make_book
from adwatch.edges.store import Store
from adwatch.edges.web import View, Web


class Pages:
    """Keeps what the server shows in step with the store."""

    def __init__(self, store: Store, web: Web | None) -> None:
        self._store = store
        self._web = web
        self._people = ""

    def renew(self, now: float) -> None:
        """Replaces what is shown where a peer or a contact is another; `now` as of the epoch."""
        if self._web is None or (people := self._store.people()) == self._people:
            return
        mark, _, changed = self._store.meta("phone_book").rpartition(" ")
        modified = float(changed or 0)
        if mark != people:  # HTTP tells times apart by whole seconds
            modified = max(float(int(now)), modified + 1)
            self._store.remember("phone_book", f"{people} {modified}")
        self._people = people
        contacts = self._store.contacts().values()
        self._web.show(phone_book(self._store.served(), contacts, modified))


def phone_book(
    served: Iterable[Served], contacts: Iterable[Contact], modified: float
) -> Mapping[str, View]:
    """The phone book in every form, by path."""
    book = make_book((s.peer for s in served), contacts)
    shelf = {form: _Shown(book, form) for form in FORMS.values()}
    return {path: View(shelf[form], modified, path in POSTED) for path, form in FORMS.items()}


class _Shown:
    """One form of a book; the whole of it is written when it is first asked for, and kept."""

    def __init__(self, book: Book, form: Form) -> None:
        self._book = book
        self._form = form
        self._lock = Lock()
        self._whole: Document | None = None

    def __call__(self, asked: Asked) -> Document:
        if self._form in PAGED:
            return self._form(self._book, asked)
        with self._lock:
            if self._whole is None:
                self._whole = self._form(self._book, asked)
            return self._whole
