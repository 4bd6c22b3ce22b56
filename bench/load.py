#!/usr/bin/python3
"""Runs within the domain controller: adds users to its database, offline, in transactions.

`load.py COUNT` makes OU=Bench and COUNT users in it. Over LDAP the same takes three times as long.
"""

import secrets
import sys

import ldb
from samba.auth import system_session
from samba.dsdb import UF_NORMAL_ACCOUNT
from samba.param import LoadParm
from samba.samdb import SamDB

AT_ONCE = 1000


def user(number: int, parent: str, realm: str) -> dict[str, object]:
    """One of them: every third has a fax number, every fourth a mobile."""
    login = f"bench{number:06d}"
    made: dict[str, object] = {
        "dn": f"CN=Bench User {number:06d},{parent}",
        "objectClass": "user",
        "sAMAccountName": login,
        "userPrincipalName": f"{login}@{realm}",
        "mail": f"{login}@{realm}",
        "givenName": "Bench",
        "sn": f"User {number:06d}",
        "displayName": f"Bench User {number:06d}",
        "department": f"Department {number % 40}",
        "telephoneNumber": str(1_000_000 + number),
        "userAccountControl": str(UF_NORMAL_ACCOUNT),
        "clearTextPassword": secrets.token_urlsafe(12).encode("utf-16-le"),
    }
    if number % 3 == 0:
        made["facsimileTelephoneNumber"] = f"context{number % 7}"
    if number % 4 == 0:
        made["mobile"] = f"+7 900 {number:07d}"
    return made


def main(count: int) -> None:
    """Adds the users."""
    parameters = LoadParm()
    parameters.load_default()
    samdb = SamDB(session_info=system_session(), lp=parameters)
    parent = f"OU=Bench,{samdb.domain_dn()}"
    samdb.add({"dn": parent, "objectClass": "organizationalUnit"})
    realm = parameters.get("realm").lower()
    for first in range(0, count, AT_ONCE):
        samdb.transaction_start()
        try:
            for number in range(first, min(first + AT_ONCE, count)):
                samdb.add(
                    ldb.Message.from_dict(samdb, user(number, parent, realm), ldb.FLAG_MOD_ADD)
                )
        except BaseException:
            samdb.transaction_cancel()
            raise
        samdb.transaction_commit()
        print(min(first + AT_ONCE, count), flush=True)


main(int(sys.argv[1]))
