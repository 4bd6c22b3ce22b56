"""What happens to an installation when it is killed: from the first start to a damaged store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from adwatch.testing import FakeClock, MemoryDirectory
from system.crash.sweep import Installation

STAFF = "OU=Staff,DC=example,DC=test"
NOW = FakeClock(float(int(time.time())))
CONFIG = """\
directory: {servers: [ldaps://dc.example.test], user: u, password: p, poll: 20ms}
peers: {context: '"users"'}
outputs:
  - {name: users, path: users.conf, options: {template: TEMPLATE}, reload: sip reload}
  - {name: pjsip, path: pjsip.conf, format: pjsip.conf, reload: pjsip reload}
asterisk:
  command: [sh, -c, 'FAILS; cp users.conf taken-users.conf; cp pjsip.conf taken-pjsip.conf;
    echo "$0" >> reloads']
  verify: false
  settle: 1ms
  at_most: 2ms
safety: {max_removals: 2, max_removals_percent: 10}
state: state
"""


def configured(template: str = "lan", fails: str = "true") -> str:
    return CONFIG.replace("TEMPLATE", template).replace("FAILS", fails)


def domain() -> MemoryDirectory:
    """A domain with nobody in it."""
    return MemoryDirectory(STAFF, clock=NOW)


def dn(number: int) -> str:
    return f"CN=u{number},{STAFF}"


def served(one: Installation) -> None:
    """Eight users in place, and nothing owed."""
    one.configure(configured())
    for number in range(100, 108):
        one.domain.add_user(f"u{number}", telephoneNumber=str(number))
    done(one, "sync")


def done(one: Installation, *command: str, code: int = 0) -> None:
    exits = one.run(*command)
    assert exits == code, (command, exits, one.said())


def nothing(_: Installation) -> None:
    """Nothing happens."""


def fresh(one: Installation) -> None:
    one.configure(configured())
    for number in range(100, 103):
        one.domain.add_user(f"u{number}", telephoneNumber=str(number))


def told(one: Installation) -> None:
    """The same, and somebody who is told at once of what is wrong."""
    served(one)
    one.configure(f"{configured()}alerts: {{targets: [{{url_file: hook}}], after: 0s}}\n")
    done(one, "sync")


def clash(one: Installation) -> None:
    """A second user asks for a number, which is told of."""
    one.domain.add_user("rival", telephoneNumber="103")


def add(one: Installation) -> None:
    one.domain.add_user("new", telephoneNumber="500")


def change(one: Installation) -> None:
    one.domain.modify(dn(100), userPrincipalName="other@example.test")


def remove(one: Installation) -> None:
    one.domain.delete(dn(101))


def hand_over(one: Installation) -> None:
    """A rival waits for the number, and its holder gives it up."""
    one.domain.add_user("heir", telephoneNumber="102")
    done(one, "sync")
    one.domain.modify(dn(102), telephoneNumber="700")


def hold(one: Installation) -> None:
    for number in range(100, 104):
        one.domain.delete(dn(number))
    done(one, "sync", code=6)


def template(one: Installation) -> None:
    one.configure(configured(template="office"))


def owe(one: Installation) -> None:
    """The last reload failed."""
    one.configure(configured(fails="exit 1"))
    add(one)
    done(one, "sync", code=1)
    one.configure(configured())


def unseen(one: Installation) -> None:
    """A deletion that only a comparison finds."""
    one.domain.sees_deletions = False
    one.domain.delete(dn(101))


def damage(one: Installation) -> None:
    """One bit of a stored name is another."""
    store = one.folder / "state" / "adwatch.db"
    octets = bytearray(store.read_bytes())
    octets[octets.index(b'"U105"') + 1] ^= 1
    store.write_bytes(octets)
    add(one)


def lose(one: Installation) -> None:
    (one.folder / "state" / "adwatch.db").unlink()
    add(one)


@dataclass(frozen=True)
class Scenario:
    """An installation is prepared, something changes, `command` is killed and `again` follows.

    `may_be_lost` says that a person asked, and has to ask again where no answer came.
    """

    name: str
    change: Callable[[Installation], None]
    command: tuple[str, ...] = ("sync",)
    prepare: Callable[[Installation], None] = served
    again: str = "sync"
    may_be_lost: bool = False


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("first start", nothing, prepare=fresh),
        Scenario("add", add),
        Scenario("change", change),
        Scenario("remove", remove),
        Scenario("number handed over", hand_over),
        Scenario("unseen deletion", unseen),
        Scenario("rotate", nothing, ("secret", "103", "--rotate"), may_be_lost=True),
        Scenario("approve", hold, ("approve",), may_be_lost=True),
        Scenario("template changed", template),
        Scenario("reload owed", owe),
        Scenario("run: add", add, ("run",), again="run"),
        Scenario("run: a message", clash, ("run",), prepare=told, again="run"),
        Scenario("store damaged", damage),
        Scenario("store gone", lose),
    )
}
