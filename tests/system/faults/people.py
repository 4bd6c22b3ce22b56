"""Faults that people make in AD: accounts, rights, numbers, values, whole OUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ldap3.core.exceptions import LDAPException

from system.faults.world import ACCOUNT, Injection, Site
from system.follower import LEAVERS, SALES, STAFF
from system.rights import LIST_AND_READ, denied
from system.samba import SambaDC


@contextmanager
def password_changed(site: Site) -> Iterator[None]:
    """In AD; mended by putting the new one into the file."""
    site.dc.set_password(ACCOUNT, "Another-5678")
    site.between.reset()
    yield
    site.adwatch.password_file.write_text("Another-5678\n")


def account(
    spoil: Callable[[SambaDC, str], object], mend: Callable[[SambaDC, str], object]
) -> Injection:
    """Something is wrong with the account, and the connection begins anew."""

    @contextmanager
    def inject(site: Site) -> Iterator[None]:
        (dn,) = site.dc.ldapsearch(f"(sAMAccountName={ACCOUNT})", "1.1")
        spoil(site.dc, dn)
        site.between.reset()
        try:
            yield
        finally:
            mend(site.dc, dn)

    return inject


disabled = account(lambda dc, dn: dc.disable(dn), lambda dc, dn: dc.enable(dn))
expired = account(
    lambda dc, dn: dc.modify(dn, accountExpires=10**17),
    lambda dc, dn: dc.modify(dn, accountExpires=0),
)


@contextmanager
def locked(site: Site) -> Iterator[None]:
    """Somebody else tries passwords until AD has enough."""
    site.dc.tool("domain", "passwordsettings", "set", "--account-lockout-threshold=2")
    try:
        for _ in range(3):
            with suppress(LDAPException):
                site.dc.connect(f"{ACCOUNT}@{site.dc.realm}", "wrong").unbind()
        site.between.reset()
        yield
    finally:
        site.dc.tool("domain", "passwordsettings", "set", "--account-lockout-threshold=0")
        site.dc.tool("user", "unlock", ACCOUNT)


@contextmanager
def blind(site: Site) -> Iterator[None]:
    """The account may not read the users any more, and the connection begins anew."""
    with denied(site.dc, SALES, ACCOUNT, LIST_AND_READ):
        site.between.reset()
        yield
    site.between.reset()


@contextmanager
def moved_away(site: Site) -> Iterator[None]:
    """An OU with eight users leaves what adwatch watches."""
    ou = site.temporary(f"OU=Moving,{STAFF}", "organizationalUnit")
    for number in range(7520, 7528):
        site.user(f"moving-{number}", telephoneNumber=str(number), parent=ou)
        site.also.add(str(number))
    site.serve(site.base | site.also)
    away = site.dc.move(ou, LEAVERS)
    yield
    site.dc.move(away, STAFF)


@contextmanager
def one_number_twice(site: Site) -> Iterator[None]:
    site.user("twice", telephoneNumber="7504")
    dn = site.user("again", telephoneNumber="7504")
    yield
    site.dc.modify(dn, telephoneNumber="7505")


# AD itself takes no more than 64 characters.
HOSTILE = ("a\n#exec rm", "75;--", "75;06", "75]", "x](+)", ">5", "9" * 64, "\u202e7506", "7 5")


@contextmanager
def hostile_numbers(site: Site) -> Iterator[None]:
    made = [
        site.user(f"hostile-{index}", telephoneNumber=number)
        for index, number in enumerate(HOSTILE)
    ]
    yield
    for index, dn in enumerate(made):
        site.dc.modify(dn, telephoneNumber=str(7530 + index))
