"""Rights given to and taken from an account, as an administrator does with `samba-tool dsacl`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from system.samba import SambaDC, run

# Its schemaIDGUID. A right to read it is inherited, unlike those to attributes of the property
# sets that the default ACL of a user names, such as mobile's.
EMPLOYEE_TYPE = "a8df73f0-c5ea-11d1-bbcb-0080c76670c0"
LIST_AND_READ = "(D;CI;LCRP;;;{sid})"
# The schemaIDGUID of replUpToDateVector; only the domain's own object has a value.
READ_PROGRESS = "(OD;;RP;bf967a16-0de6-11d0-a285-00aa003049e2;;{sid})"
READ_EMPLOYEE_TYPE = "(OD;CI;RP;" + EMPLOYEE_TYPE + ";;{sid})"


def sid_of(dc: SambaDC, login: str) -> str:
    """An account's SID as text (MS-DTYP 2.4.2.1)."""
    (entry,) = dc.ldapsearch(f"(sAMAccountName={login})", "objectSid").values()
    octets = entry["objectSid"][0]
    parts = struct.unpack(f"<{octets[1]}I", octets[8:])
    return "-".join(["S-1", str(int.from_bytes(octets[2:8], "big")), *map(str, parts)])


@contextmanager
def denied(dc: SambaDC, dn: str, login: str, ace: str) -> Iterator[None]:
    """An ACE on an object, in SDDL with `{sid}` for the account's, until the end."""
    dsacl = ("docker", "exec", dc.container, "samba-tool", "dsacl")
    sddl = ace.format(sid=sid_of(dc, login))
    run(*dsacl, "set", "--objectdn", dn, "--sddl", sddl)
    try:
        yield
    finally:
        run(*dsacl, "delete", "--objectdn", dn, "--sddl", sddl)
