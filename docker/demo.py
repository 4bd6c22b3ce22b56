"""The main job, shown: a user is edited in a real Active Directory, and the phone system knows.

Starts a Samba AD domain controller and `adwatch run`, changes users over LDAP, and shows what
arrives in the file that Asterisk includes, and when. Leaves nothing behind.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from program import Adwatch, configured, wait_for
from system.samba import SambaDC, domain


def show(what: str, change: Callable[[], object], seen: Callable[[], object]) -> None:
    """Makes one change in AD and says when the include file had it."""
    change()
    print(f"  {what:<52} {wait_for(what, seen):5.2f} s")


def play(dc: SambaDC, adwatch: Adwatch) -> None:
    """The whole story."""
    count = len(adwatch.text().split("\n\n")) - 1
    print(f"\n{count} users of the domain are peers now. One of them in {adwatch.output.name}:\n")
    print("    " + hidden(adwatch.section("502")).replace("\n", "\n    "))
    print("\nChanges made in AD over LDAP, and when the include file had them (poll: 1s):\n")
    section, made = adwatch.section, list[str]()

    def create() -> None:
        mail = "newcomer@example.test"
        made.append(dc.add_user("newcomer", telephoneNumber="700", userPrincipalName=mail))

    show("a user is created with number 700", create, lambda: section("700"))
    (dn,) = made
    show(
        "the number becomes 701",
        lambda: dc.modify(dn, telephoneNumber="701"),
        lambda: section("701") and not section("700"),
    )
    show(
        "the login becomes 'newname'",
        lambda: dc.modify(dn, sAMAccountName="newname"),
        lambda: "fullname = Newname" in section("701"),
    )
    show("the account is disabled", lambda: dc.disable(dn), lambda: not section("701"))
    show("the account is enabled", lambda: dc.enable(dn), lambda: section("701"))
    show("the user is deleted", lambda: dc.delete(dn), lambda: not section("701"))
    print("\nadwatch status says:\n")
    print("    " + adwatch("status").stdout.strip().replace("\n", "\n    "))
    print(f"\nAsterisk would have been told to reload {len(adwatch.reloads())} times.")


def hidden(section: str) -> str:
    """A section without its secret: this text is shown to people."""
    lines = section.split("\n")
    return "\n".join("secret = ********" if s.startswith("secret") else s for s in lines)


def main() -> int:
    """Plays the demo; gives the exit status."""
    print("Starting a Samba Active Directory domain controller (the first time builds its image).")
    with domain() as dc, tempfile.TemporaryDirectory(prefix="adwatch-demo-") as made:
        print(f"The domain example.test is up at {dc.ldaps_url}. Starting adwatch run.")
        config = configured(dc.ldaps_url, Path(dc.ca_file))
        adwatch = Adwatch(Path(made), config, dc.service_password)
        adwatch.start()
        try:
            wait_for("the first file", lambda: adwatch.section("502"))
            play(dc, adwatch)
        except AssertionError as error:
            print(f"\nThe demo failed: {error}\n\n{adwatch.log.read_text()}")
            return 1
        finally:
            adwatch.stop()
    print("Stopped adwatch, and removed the domain controller with all its data.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
