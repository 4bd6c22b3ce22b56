"""`adwatch check` names what nobody returned, and tells a misspelt name from a missing right."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from program import Adwatch

from system.rights import READ_EMPLOYEE_TYPE, denied
from system.samba import SambaDC

Make = Callable[..., Adwatch]
PAGE = (Path(__file__).parents[2] / "docs" / "attributes.md").read_text().splitlines()


@pytest.fixture
def unit(dc: SambaDC) -> Iterator[str]:
    """A unit with one user in it, who has a number, a kind of employment, and little else."""
    dn = f"OU=Attributes {uuid.uuid4().hex[:6]},{dc.staff_dn}"
    dc.admin().add(dn, ["organizationalUnit"], {})
    user = dc.add_user("attributes", dn, telephoneNumber="7901", employeeType="staff")
    yield dn
    dc.delete(user)
    dc.delete(dn)


def lines(site: Adwatch, what: str, *, code: int) -> list[str]:
    done = site("check")
    assert done.returncode == code, done.stdout
    return [line for line in done.stdout.splitlines() if line[2:].startswith(f"{what}: ")]


def test_what_only_defaults_ask_for_may_be_empty_everywhere(make: Make, unit: str) -> None:
    site = make("svc-adwatch-sync", base=f'"{unit}"')
    (said,) = lines(site, "attributes", code=0)
    assert said.startswith("✓ attributes: no user returned facsimileTelephoneNumber, mobile, ")
    assert said.endswith("empty everywhere, or not readable by the account")
    assert said in PAGE


def test_a_misspelt_name_is_told_with_the_right_one(make: Make, unit: str) -> None:
    peers = "peers:\n  name: displayNmae\n  extra:\n    desk: xyzzy\n    door: employeeType\n"
    peers += "    keys: entry['userCertificate;binary'] | length\n"
    said = lines(make(base=f'"{unit}"', more=peers), "attributes", code=1)
    told = "✗ attributes: AD has no attribute called displayNmae (did you mean displayName?)"
    assert told in said
    assert told in PAGE
    assert any("no attribute called xyzzy (correct the name in peers" in line for line in said)
    assert not any("employeeType" in line for line in said)
    assert not any("no attribute called userCert" in line for line in said)
    assert not any("no user returned" in line and "xyzzy" in line for line in said)


def test_a_misspelt_name_in_the_filter_is_told_where_it_finds_nobody(make: Make, unit: str) -> None:
    site = make(base=f'"{unit}"', directory="filter: (&(telefoneNumber=*)(objectClass=user))")
    (said,) = lines(site, "users", code=1)
    assert "0 match the filter; no user below directory.base shows telefoneNumber (" in said
    assert said in PAGE
    (said,) = lines(site, "attributes", code=1)
    assert "no attribute called telefoneNumber (did you mean telephoneNumber?)" in said


def test_a_misspelt_name_in_the_filter_is_told_where_it_finds_everybody(
    make: Make, unit: str
) -> None:
    site = make(base=f'"{unit}"', directory="filter: (&(objectClass=user)(!(msHide=TRUE)))")
    said = lines(site, "attributes", code=1)
    assert [line.split()[7] for line in said if "no attribute called" in line] == ["msHide"]
    assert lines(site, "users", code=1) == ["✓ users: 1 match the filter"]


def test_a_right_that_is_missing_is_told(make: Make, unit: str, dc: SambaDC) -> None:
    asking = make(base=f'"{unit}"', more="peers:\n  extra: {kind: employeeType}\n")
    testing = make(base=f'"{unit}"', directory="filter: (&(employeeType=*)(objectClass=user))")
    assert not any("employeeType" in line for line in lines(asking, "attributes", code=0))
    assert lines(testing, "users", code=0) == ["✓ users: 1 match the filter"]
    with denied(dc, unit, "svc-adwatch", READ_EMPLOYEE_TYPE):
        said = lines(asking, "attributes", code=1)
        assert "✗ attributes: no user returned employeeType (empty everywhere, or not" in said[0]
        assert said[0] in PAGE
        (said,) = lines(testing, "users", code=1)
        assert "no user below directory.base shows employeeType" in said
