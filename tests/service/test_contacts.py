"""Contacts as a whole: kept in the store, never peers, and never wiped by an empty answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from adwatch.config.load import load
from adwatch.contacts import Contacts
from adwatch.core.model import Contact
from adwatch.core.pace import Pace, Tempo
from adwatch.edges.web import Gate, Web
from adwatch.errors import DirectoryError
from adwatch.pages import Pages
from adwatch.service import Service
from adwatch.testing import FakeClock, MemoryDirectory
from adwatch.wiring import build

STAFF = "OU=Staff,DC=example,DC=test"
PARTNERS = "OU=Partners,DC=example,DC=test"
CONFIG = """\
directory: {servers: [ldaps://dc.example.test], user: u, password: p}
outputs: [{path: users.conf, reload: null}]
safety: {max_removals: 1}
state: state
"""


class Site(SimpleNamespace):
    domain: MemoryDirectory
    service: Service
    contacts: Contacts

    def turn(self, how: str = "poll") -> None:
        assert self.service.turn(how).exit_code == 0
        self.contacts.read()

    def names(self) -> list[str]:
        return sorted(contact.name for contact in self.service.store.contacts().values())


@pytest.fixture(params=[True, False], ids=["sees deletions", "blind"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    (tmp_path / "config.yaml").write_text(CONFIG)
    clock = FakeClock()
    domain = MemoryDirectory(
        STAFF, sees_deletions=request.param, clock=clock, contact_base=PARTNERS
    )
    domain.add_user("ann", telephoneNumber="100")
    service = build(load(tmp_path / "config.yaml"), directory=domain)
    service.clock = clock
    service.prepare()
    service.open()
    yield Site(
        domain=domain,
        service=service,
        contacts=Contacts(domain, service.store, wanted=True),
        path=tmp_path,
    )
    service.close()


def add(site: Site, name: str, **more: str) -> str:
    dn = f"CN={name},{PARTNERS}"
    site.domain.add_contact(dn, telephoneNumber="1", **more)
    return dn


def test_contacts_are_followed_and_are_no_peers(site: Site) -> None:
    one = add(site, "one", company="Co", mail="a@b.c", mobile="2")
    site.turn()
    (contact,) = site.service.store.contacts().values()
    numbers = (("work", "1"), ("mobile", "2"))
    assert contact == Contact(contact.guid, "one", "Co", "a@b.c", numbers)
    add(site, "two")
    site.domain.modify(one, displayName="Uno")
    site.turn()
    assert site.names() == ["Uno", "two"]
    site.domain.delete(one)
    site.turn()
    if site.service.store.owed("compare"):
        site.turn("compare")
    assert site.names() == ["two"]
    assert [served.peer.login for served in site.service.store.served()] == ["ann"]
    assert not site.service.store.pending()
    assert not site.contacts.owed()


def test_what_cannot_be_read_stays_owed_and_the_book_as_it_was(site: Site) -> None:
    one = add(site, "one")
    site.turn()
    site.domain.modify(one, displayName="Uno")
    site.service.turn()
    site.domain.fault = DirectoryError("away")
    with pytest.raises(DirectoryError):
        site.contacts.read()
    assert (site.names(), site.contacts.owed()) == (["one"], True)
    site.domain.fault = None
    site.contacts.read()
    assert (site.names(), site.contacts.owed()) == (["Uno"], False)


def test_an_answer_without_anybody_wipes_nothing(site: Site) -> None:
    one, two = add(site, "one"), add(site, "two")
    site.turn()
    site.domain.contact_base = f"OU=Elsewhere,{PARTNERS}"
    site.service.turn("reconcile")
    with pytest.raises(DirectoryError, match="none of the 2 contacts"):
        site.contacts.read()
    assert (site.names(), site.contacts.owed()) == (["one", "two"], True)
    site.domain.contact_base = PARTNERS
    site.domain.delete(one)
    site.turn("reconcile")
    assert (site.names(), site.contacts.owed()) == (["two"], False)
    assert two


def test_contacts_that_nobody_asks_for_any_more_are_forgotten(site: Site) -> None:
    add(site, "one")
    site.turn()
    site.service.turn("reconcile")
    Contacts(site.domain, site.service.store, wanted=False).read()
    assert (site.names(), site.contacts.owed()) == ([], False)


def test_hostile_names_are_kept_as_they_are(site: Site) -> None:
    names = ["\ud800", "a\x00b", "'; DROP TABLE contacts; --"]
    for index, name in enumerate(names):
        add(site, f"c{index}", displayName=name)
    site.turn()
    assert site.names() == sorted(names)


def test_the_book_is_made_anew_only_when_somebody_in_it_is_another(site: Site) -> None:
    web = Web("127.0.0.1", 1, Gate())
    pages = Pages(site.service.store, web, {})
    site.turn()
    pages.renew(1000.5)
    first = web._views
    assert first["/phonebook.vcf"].modified == 1000
    site.domain.modify("CN=ann," + STAFF, wWWHomePage="changes no peer")
    site.turn()
    pages.renew(1001)
    assert web._views is first
    add(site, "one")
    site.turn()
    pages.renew(1000.9)
    assert web._views["/phonebook.vcf"].modified == 1001
    site.domain.modify("CN=ann," + STAFF, mobile="5")
    site.turn()
    pages.renew(1000.95)
    assert web._views["/phonebook.vcf"].modified == 1002
    again = Web("127.0.0.1", 1, Gate())
    Pages(site.service.store, again, {}).renew(5000)
    assert again._views["/phonebook.vcf"].modified == 1002


def test_contacts_wait_while_the_directory_is_away_and_are_tried_ever_more_rarely() -> None:
    tempo = Tempo(poll=1, reconcile=3600, settle=0, at_most=0)
    pace = Pace.begin(tempo, 0.0, 3600).owes_contacts(0.0, owed=True)
    assert pace.reads_contacts(0.0)
    away = pace.failed(0.0, 0.0, refused=False)
    assert not away.reads_contacts(100.0)
    assert away.wait(0.0) > 0
    rests = []
    for _ in range(8):
        pace = pace.contacts_failed(0.0, 1.0).owes_contacts(0.0, owed=True)
        rests.append(pace.contacts_at)
    assert rests == sorted(rests)
    assert rests[-1] == 30
    pace = pace.read(0.0).owes_contacts(0.0, owed=False)
    assert not pace.reads_contacts(1e9)
    assert pace.owes_contacts(5.0, owed=True).contacts_at == 5.0


def test_what_is_owed_of_contacts_that_are_no_longer_wanted_is_not_read(site: Site) -> None:
    add(site, "one")
    site.service.turn()
    site.domain.fault = DirectoryError("must not be asked")
    dropped = Contacts(site.domain, site.service.store, wanted=False)
    dropped.read()
    assert not dropped.owed()
