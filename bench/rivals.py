"""Other ways to read the same users from the same controller, each a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from system.samba import SambaDC

from bench.domain import BASE
from bench.measure import Took, timed

FILTER: Final = "(&(telephoneNumber=*)(objectCategory=person)(objectClass=user)(sAMAccountName=*))"
# What adwatch asks of AD with the default mapping.
ATTRIBUTES: Final = (
    "objectGUID", "sAMAccountName", "userAccountControl", "accountExpires", "whenCreated",
    "uSNChanged", "telephoneNumber", "userPrincipalName", "facsimileTelephoneNumber", "mobile",
)  # fmt: skip
_PHP: Final = Path(__file__).with_name("original.php")
_LDAP3: Final = """
import ssl, sys
from ldap3 import Connection, NONE, SUBTREE, Server, Tls
url, ca, user, password, base, text, *names = sys.argv[1:]
tls = Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=ca)
link = Connection(Server(url, tls=tls, get_info=NONE), user, password, auto_bind=True)
found = link.extend.standard.paged_search(base, text, SUBTREE, attributes=names, paged_size=1000)
print(sum(1 for _ in found))
"""


class Rivals:
    """The programs that are there, and how each reads everybody."""

    def __init__(self, dc: SambaDC, folder: Path) -> None:
        self._dc = dc
        self._out = folder / "rival.out"
        self._tls = {"LDAPTLS_CACERT": str(dc.ca_file), "LDAPTLS_REQCERT": "demand"}
        self._url = f"ldaps://127.0.0.1:{dc.ldaps_port}"

    def ldapsearch(self, *options: str, attributes: tuple[str, ...] = ATTRIBUTES) -> Took:
        """OpenLDAP's own program, which prints LDIF."""
        who = "-D", self._dc.service_user, "-w", self._dc.service_password
        command = ["ldapsearch", "-x", "-LLL", "-H", self._url, *who, "-b", BASE, *options]
        return timed([*command, FILTER, *attributes], env=self._tls, output=self._out)

    def paged(self) -> Took:
        """The same by pages of a thousand, as Microsoft's AD demands it."""
        return self.ldapsearch("-E", "pr=1000/noprompt")

    def ldap3(self) -> Took:
        """A script that reads everybody with ldap3 as its manual shows it."""
        dc = self._dc
        who = dc.ldaps_url, dc.ca_file, dc.service_user, dc.service_password, BASE, FILTER
        return timed([sys.executable, "-c", _LDAP3, *map(str, who), *ATTRIBUTES], output=self._out)

    def php(self) -> Took:
        """The bench's own script that does at every run what the original did."""
        dc = self._dc
        who = self._url, dc.service_user, dc.service_password, BASE, FILTER
        command = ["php", "-d", "memory_limit=-1", str(_PHP), *who]
        return timed(command, env=self._tls, output=self._out)

    @staticmethod
    def has_php() -> bool:
        """Whether there is a `php` that speaks LDAP."""
        if shutil.which("php") is None:
            return False
        said = subprocess.run(["php", "-m"], check=True, capture_output=True, text=True).stdout
        return "ldap" in said.split()
