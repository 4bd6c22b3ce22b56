"""A domain and an adwatch process that things happen to, one recorded operation after another.

Each operation takes plain values, so that a list of them is a script that can be run again.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldap3 import BASE, MODIFY_ADD, MODIFY_DELETE, MODIFY_REPLACE
from ldap3.core.exceptions import LDAPOperationResult
from ldap3.utils.conv import escape_bytes
from ldap3.utils.dn import escape_rdn, safe_rdn
from program import LONGEST_S, Adwatch

from adwatch.edges.store import Store
from system.machine.oracle import (
    VARIANTS,
    Expected,
    as_asterisk_reads,
    expected,
    replayed,
    section_of,
)
from system.samba import SambaDC, replicates, wait_until

QUIET_S = 60.0
_BUSY = "not at rest"
_SHOW_DELETED = ("1.2.840.113556.1.4.417", True, None)
_TREE_DELETE = ("1.2.840.113556.1.4.805", True, None)
_CONFIG = """\
directory:
  servers: [{servers}]
  user: {account}@example.test
  password_file: bind-password
  tls: {{ca_file: {ca}}}
  base: ["{base}"]
  filter: '{filter}'
  disabled: {disabled}
  feed: {feed}
  push: {push}
  poll: 200ms
  timeout: 5s
peers:
  mobile: mobile
{peers}secrets: {{key_file: secret.key}}
outputs:
  - name: users
    path: users.conf
    options: {{template: lan}}
    reload: sip reload
asterisk:
  command: ['true']
  settle: 50ms
safety: {{{safety}}}
state: state
"""


@dataclass(frozen=True)
class Combination:
    """Which feed, which account, and whether adwatch listens for notifications."""

    feed: str
    account: str
    push: bool = True

    def __str__(self) -> str:
        return f"{self.feed}+{self.account}{'' if self.push else '+nopush'}"


COMBINATIONS = tuple(
    Combination(feed, account, push)
    for (feed, account), push in zip(
        [(f, a) for f in ("dirsync", "usn") for a in ("svc-adwatch", "svc-adwatch-sync")],
        (True, False, False, True),
        strict=True,
    )
)


@dataclass
class _User:
    guid: str
    login: str
    deleted: bool = False


class DifferenceError(AssertionError):
    """After quiet, adwatch's peers are not what AD says."""


class World:
    """One subtree of the domain, one installation of adwatch, and what was done to them."""

    def __init__(self, dcs: Sequence[SambaDC], combination: Combination, folder: Path) -> None:
        self.dcs = list(dcs)
        self.dc = self.dcs[0]
        self.combination = combination
        self.done: list[tuple[str, tuple[Any, ...]]] = []
        self.counts: Counter[str] = Counter()
        self.users: list[_User] = []
        self.variant = "original"
        self.strict = False
        self.secrets: dict[str, str] = {}
        self._holders: dict[str, str] = {}
        self._touched: set[str] | None = set()
        self._before: dict[str, dict[str, str]] = {}
        self._rows = 0
        self._first_start = False
        self._away: list[SambaDC] = []
        self._serial = 0
        self._name = "m" + uuid.uuid4().hex[:8]
        self._folder = folder / self._name
        self._build()
        self.adwatch = Adwatch(self._folder, self._config(), self.dc.service_password)
        self.adwatch.start("--verbose")

    def _build(self) -> None:
        self._ous = {"top": self._add_ou(self._name, self.dc.staff_dn)}
        for name, parent in (("base", "top"), ("a", "base"), ("b", "base"), ("out", "top")):
            self._ous[name] = self._add_ou(name, self._dn(self._ous[parent]))
        self._groups = {name: self._add_group(name) for name in ("all", "one", "two")}
        self.create("anchor", "base", {"telephoneNumber": f"9{self._name[1:5]}"})
        self.join("all", 0)
        for at, place in enumerate(("base", "a", "a", "b", "out")):
            self.create("born", place, {"telephoneNumber": str(100 + at)})

    def _add_ou(self, name: str, parent: str) -> str:
        dn = f"OU={name},{parent}"
        self.dc.admin().add(dn, ["organizationalUnit"])
        return self._guid(dn)

    def _add_group(self, name: str) -> str:
        dn = f"CN={self._name}-{name},{self._dn(self._ous['out'])}"
        self.dc.admin().add(dn, ["group"], {"sAMAccountName": f"{self._name}-{name}"})
        return self._guid(dn)

    def _guid(self, dn: str) -> str:
        admin = self.dc.admin()
        admin.search(dn, "(objectClass=*)", BASE, attributes=["objectGUID"])
        return str(uuid.UUID(bytes_le=admin.response[0]["raw_attributes"]["objectGUID"][0]))

    def _dn(self, guid: str, *, deleted: bool = False) -> str:
        """Where an object is now."""
        octets = escape_bytes(uuid.UUID(guid).bytes_le)
        admin = self.dc.admin()
        controls = [_SHOW_DELETED] if deleted else None
        admin.search(
            self.dc.base_dn, f"(objectGUID={octets})", attributes=["1.1"], controls=controls
        )
        return str(next(r["dn"] for r in admin.response if r["type"] == "searchResEntry"))

    def _config(self) -> str:
        variant = VARIANTS[self.variant]
        everybody = self._dn(self._groups["all"])
        return _CONFIG.format(
            servers=", ".join(dc.ldaps_url for dc in self.dcs),
            account=self.combination.account,
            ca=self.dc.ca_file,
            base=self._dn(self._ous["base"]),
            filter=variant.filter.format(all=everybody),
            disabled="drop" if variant.drop_disabled else "keep",
            feed=self.combination.feed,
            push=str(self.combination.push).lower(),
            peers=variant.peers,
            safety=f"max_removals: {1 if self.strict else 1000}, max_removals_percent: 1",
        )

    # What happens in AD. An operation that the domain controller refuses changes nothing.

    def do(self, name: str, *values: Any) -> None:
        """Records one operation and does it."""
        self.done.append((name, values))
        self.counts[name] += 1
        if name not in ("look", "kill", "start", "restart", "sync", "restart_dc"):
            self._first_start = False
        try:
            getattr(self, name)(*values)
        except LDAPOperationResult:
            self.counts[f"{name} refused"] += 1

    def _user(self, index: int, *, deleted: bool = False) -> _User | None:
        """The user that an operation means; the first one is never touched, and always served."""
        some = [user for user in self.users[1:] if user.deleted == deleted]
        return some[index % len(some)] if some else None

    def _touch(self, *users: _User) -> None:
        if self._touched is not None:
            self._touched |= {user.guid for user in users}

    def _touch_all(self) -> None:
        self._touched = None

    def create(self, login: str, place: str, values: Mapping[str, str | list[str]]) -> None:
        """A new user; `login` gets a suffix of its own."""
        self._serial += 1
        whole = f"{login[:10]}{self._name[1:]}{self._serial}"
        dn = self.dc.add_user(whole, self._dn(self._ous[place]), **dict(values))
        self.users.append(_User(self._guid(dn), whole))
        self._touch(self.users[-1])

    def change(self, index: int, name: str, value: str | bytes | list[str] | None) -> None:
        """Other values of an attribute, or none."""
        if user := self._user(index):
            self._touch(user)
            self.dc.modify(self._dn(user.guid), **{name: value})

    def swap(self, one: int, other: int) -> None:
        """Two users exchange their numbers."""
        users = self._user(one), self._user(other)
        if users[0] and users[1]:
            dns = [self._dn(user.guid) for user in users if user]
            numbers = [self._values(dn, "telephoneNumber") for dn in dns]
            self._touch(users[0], users[1])
            for dn, number in zip(dns, reversed(numbers), strict=True):
                self.dc.modify(dn, telephoneNumber=number or None)

    def same(self, one: int, other: int) -> None:
        """A user asks for the number of another."""
        users = self._user(one), self._user(other)
        if users[0] and users[1] and users[0] != users[1]:
            number = self._values(self._dn(users[1].guid), "telephoneNumber")
            self._touch(users[0])
            self.dc.modify(self._dn(users[0].guid), telephoneNumber=number or None)

    def _values(self, dn: str, name: str) -> list[str]:
        admin = self.dc.admin()
        admin.search(dn, "(objectClass=*)", BASE, attributes=[name])
        return [v.decode() for v in admin.response[0]["raw_attributes"].get(name, [])]

    def rename(self, index: int, name: str) -> None:
        """Another common name."""
        if user := self._user(index):
            self._touch(user)
            rdn = f"CN={name}{user.login}"
            self.dc.admin().modify_dn(self._dn(user.guid), rdn)

    def login(self, index: int, login: str) -> None:
        """Another login, and so another name."""
        if user := self._user(index):
            self._touch(user)
            self._serial += 1
            whole = f"{login[:10]}{self._name[1:]}{self._serial}"
            self.dc.modify(self._dn(user.guid), sAMAccountName=whole)
            user.login = whole

    def move(self, index: int, place: str) -> None:
        """Into another OU, below the base or outside of it."""
        if user := self._user(index):
            self._touch(user)
            self._move(user.guid, self._dn(self._ous[place]))

    def _move(self, guid: str, parent: str) -> None:
        dn = self._dn(guid)
        rdn = "+".join(safe_rdn(dn))
        self.dc.admin().modify_dn(dn, rdn, new_superior=parent)

    def move_ou(self, name: str, place: str) -> None:
        """An OU and all in it elsewhere."""
        self._touch_all()
        self._move(self._ous[name], self._dn(self._ous[place]))

    def rename_ou(self, name: str, new: str) -> None:
        """Another name for an OU, and so another DN for all in it."""
        self._touch_all()
        self.dc.admin().modify_dn(self._dn(self._ous[name]), f"OU={new}")

    def delete_ou(self, name: str) -> None:
        """An OU goes with all in it, and an empty one of that name comes in its place."""
        self._touch_all()
        dn = self._dn(self._ous[name])
        inside = [self._ous[n] for n in ("a", "b") if n != name]
        if any(self._dn(guid).endswith("," + dn) for guid in inside):
            return  # the other OU is in it, which the operations to come still need
        below = self._below(dn)
        self.dc.admin().delete(dn, controls=[_TREE_DELETE])
        for user in self.users:
            user.deleted = user.deleted or user.guid in below
        self._ous[name] = self._add_ou(f"{name}{len(self.done)}", self._dn(self._ous["base"]))

    def _below(self, dn: str) -> set[str]:
        admin = self.dc.admin()
        admin.search(dn, "(objectClass=user)", attributes=["objectGUID"])
        found = (r["raw_attributes"] for r in admin.response if r["type"] == "searchResEntry")
        return {str(uuid.UUID(bytes_le=values["objectGUID"][0])) for values in found}

    def disable(self, index: int) -> None:
        """The account can't be used from now on."""
        if user := self._user(index):
            self._touch(user)
            self.dc.disable(self._dn(user.guid))

    def enable(self, index: int) -> None:
        """The account can be used again."""
        if user := self._user(index):
            self._touch(user)
            self.dc.enable(self._dn(user.guid))

    def expire(self, index: int, seconds: float | None) -> None:
        """The account ends so many seconds from now, or never."""
        if user := self._user(index):
            self._touch(user)
            ends = int((time.time() + seconds + 11_644_473_600) * 10**7) if seconds else 0
            self.dc.modify(self._dn(user.guid), accountExpires=ends)

    def delete(self, index: int) -> None:
        """A user goes to Deleted Objects."""
        if user := self._user(index):
            self._touch(user)
            self.dc.delete(self._dn(user.guid))
            user.deleted = True

    def reanimate(self, index: int, place: str) -> None:
        """A deleted user is brought back, with the few values that a tombstone keeps."""
        if user := self._user(index, deleted=True):
            self._touch(user)
            changes = {
                "isDeleted": [(MODIFY_DELETE, [])],
                "distinguishedName": [
                    (MODIFY_REPLACE, [f"CN=back {user.login},{self._dn(self._ous[place])}"])
                ],
            }
            dn = self._dn(user.guid, deleted=True)
            self.dc.admin().modify(dn, changes, controls=[_SHOW_DELETED])
            user.deleted = False

    def recreate(self, index: int) -> None:
        """A user is deleted, and another made with the same DN, login and number."""
        if user := self._user(index):
            dn = self._dn(user.guid)
            number = self._values(dn, "telephoneNumber")
            self._touch(user)
            self.dc.delete(dn)
            user.deleted = True
            again = {"sAMAccountName": user.login, "userAccountControl": "512"}
            again |= {"unicodePwd": f'"{uuid.uuid4()}"'.encode("utf-16-le")}  # type: ignore[dict-item]
            again |= {"telephoneNumber": number} if number else {}  # type: ignore[dict-item]
            self.dc.admin().add(dn, ["user"], again)
            self.users.append(_User(self._guid(dn), user.login))
            self._touch(self.users[-1])

    def join(self, group: str, index: int) -> None:
        """A user becomes a member of a group; 0 is the first user of all."""
        user = self.users[0] if index == 0 else self._user(index)
        if user:
            self._touch(user)
            self._member(group, self._dn(user.guid), MODIFY_ADD)

    def leave(self, group: str, index: int) -> None:
        """A user is a member no longer."""
        if user := self._user(index):
            self._touch(user)
            self._member(group, self._dn(user.guid), MODIFY_DELETE)

    def nest(self, group: str, inner: str) -> None:
        """A group becomes a member of another."""
        self._touch_all()
        self._member(group, self._dn(self._groups[inner]), MODIFY_ADD)

    def unnest(self, group: str, inner: str) -> None:
        """A group is a member of another no longer."""
        self._touch_all()
        self._member(group, self._dn(self._groups[inner]), MODIFY_DELETE)

    def primary(self, group: str, index: int) -> None:
        """A user's primary group becomes this one, which memberOf then no longer lists."""
        if user := self._user(index):
            self._touch(user)
            with suppress(LDAPOperationResult):  # it is a member already
                self._member(group, self._dn(user.guid), MODIFY_ADD)
            admin, dn = self.dc.admin(), self._dn(self._groups[group])
            admin.search(dn, "(objectClass=*)", BASE, attributes=["objectSid"])
            sid = admin.response[0]["raw_attributes"]["objectSid"][0]
            rid = int.from_bytes(sid[-4:], "little")
            self.dc.modify(self._dn(user.guid), primaryGroupID=rid)

    def rename_group(self, group: str, name: str) -> None:
        """Another name for a group, and so another memberOf for all in it."""
        if group != "all":  # the filter names that one
            self._touch_all()
            rdn = f"CN={escape_rdn(name + self._name)}-{group}"
            self.dc.admin().modify_dn(self._dn(self._groups[group]), rdn)

    def _member(self, group: str, dn: str, how: str) -> None:
        self.dc.admin().modify(self._dn(self._groups[group]), {"member": [(how, [dn])]})

    # What happens to adwatch, and to the domain controllers.

    def kill(self) -> None:
        """As when the power fails; it stays down until it is started or quiet is awaited."""
        self.adwatch.kill()

    def start(self) -> None:
        """Starts adwatch where it is down."""
        if self.adwatch.running is None:
            self.adwatch.start("--verbose")

    def restart(self) -> None:
        """An orderly stop and a start; one that has only just begun dies of the signal."""
        if self.adwatch.running is not None:
            self.adwatch.running.terminate()
            ended = self.adwatch.running.wait(LONGEST_S)
            assert ended in (0, -signal.SIGTERM), f"adwatch ended with {ended}"
            self.adwatch.running = None
        self.adwatch.start("--verbose")

    def lose_state(self, output: bool = True) -> None:
        """The state directory is gone, and the output or not; the key is kept elsewhere."""
        self.adwatch.kill()
        shutil.rmtree(self._folder / "state", ignore_errors=True)
        if output or self.strict:  # what it had and AD has not is held then, for good
            self.adwatch.output.unlink(missing_ok=True)
        self._touch_all()
        self._replicate()
        self._rows, self._first_start = 0, output or self.strict  # else it says who held what
        self.adwatch.start("--verbose")

    def _answers(self) -> bool:
        """Whether the service runs; one that has just begun must first take the lock.

        A command that works by itself in that moment would make it end with 7.
        """
        running = self.adwatch.running
        if running is None:
            return False
        wait_until(lambda: self._said("status")["pid"] == running.pid, QUIET_S, "it answers")
        return True

    def rotate(self, index: int) -> None:
        """A served user gets another secret."""
        guids = sorted(set(self._holders.values()) & set(self.secrets))
        if guids and self._answers():
            guid = guids[index % len(guids)]
            done = self.adwatch("secret", guid, "--rotate")
            if done.returncode == 0:
                if done.stdout.strip() == self.secrets[guid]:
                    raise DifferenceError(f"the secret of {guid} stays when it is rotated")
                self.secrets[guid] = done.stdout.strip()
            else:
                self.counts["rotate refused"] += 1

    def sync(self) -> None:
        """A person asks for a turn, of the service where one runs."""
        self._answers()
        done = self.adwatch("sync")
        if done.returncode not in (0, 4, 6, 7) or "Traceback" in done.stderr:
            raise DifferenceError(f"sync exits {done.returncode}: {done.stderr}")

    def spoil_cursor(self, how: str, amount: int) -> None:
        """The cursor is lost, or says something else."""
        self.adwatch.kill()
        store = self._folder / "state" / "adwatch.db"
        if store.exists():
            with closing(Store(store.parent)) as rows:  # which writes the digest, too
                rows.open()
                found = rows.meta("cursor")
                if found and how == "lost":
                    if self.strict:  # as lose_state does, and for the same reason
                        self.adwatch.output.unlink(missing_ok=True)
                    rows.remember("cursor", "")
                elif found and how == "garbage":
                    rows.remember("cursor", "{x")
                elif found and not found.startswith("{x"):  # spoilt, and not read since
                    rows.remember("cursor", json.dumps(_spoilt(json.loads(found), how, amount)))
        self.adwatch.start("--verbose")

    def configure(self, variant: str, strict: bool = False) -> None:
        """Another filter and another mapping; `strict` lets a person approve of removals."""
        self.adwatch.kill()
        self.variant, self.strict = variant, strict
        self._touch_all()
        self.adwatch.config.write_text(self._config())
        self.adwatch.start("--verbose")

    def restart_dc(self) -> None:
        """The domain controller loses its power and gets it back."""
        self.dc.kill()
        self.dc.start()

    def swap_dc(self, stays_away: bool = False) -> None:
        """Another domain controller is used from now on; the one so far is away for a while.

        With `stays_away` that is until they replicate, and it comes back behind the other.
        """
        before, others = self.dc, [dc for dc in self.dcs if dc is not self.dc]
        if others:
            self._replicate()
            self.dc = others[0]
            before.kill()
            self._away = [before]
            if not stays_away:
                self._return()

    def _return(self) -> None:
        while self._away:
            self._away.pop().start()

    def _replicate(self) -> None:
        self._return()
        for other in self.dcs:
            if other is not self.dc:
                wait_until(lambda to=other: replicates(self.dc, to), QUIET_S, "they replicate")  # type: ignore[misc]

    def look(self, stays: bool = False) -> None:
        """After quiet, peers, file and history must be what AD says; `stays`: from then on."""
        if self.adwatch.running is None:
            self.adwatch.start("--verbose")
        self._replicate()
        deadline = time.monotonic() + QUIET_S
        while fault := self.fault():
            if time.monotonic() > deadline:
                raise DifferenceError(f"{self.combination}: {fault}\n{self._told()}")
            if fault.startswith("held"):
                self._approve()
            time.sleep(0.05)  # between two looks, of which the deadline bounds the number
        if stays:
            self._stays()
        log = self.adwatch.log.read_text()
        for event, what in (("full_read", "full reads"), ("compare", "comparisons")):
            self.counts[f"{what} by adwatch"] = log.count(f" event={event} ")
        self._touched = set()
        self._first_start = False

    def _told(self) -> str:
        """What adwatch says: its log without the idle ticks, its status and its history."""
        lines = self.adwatch.log.read_text().splitlines()
        busy = [line for line in lines if 'event=search base="" scope=0' not in line]
        said = [self.adwatch(command).stdout for command in ("status", "history")]
        return "\n".join([*busy[-300:], *said])

    def _stays(self) -> None:
        """What equals AD must do so still after adwatch has read it once more."""
        wanted, at = self._wanted(), self._said("status")["directory"]["last_success"]
        wait_until(
            lambda: self._said("status")["directory"]["last_success"] > at, QUIET_S, "a reading"
        )
        deadline = time.monotonic() + QUIET_S
        while fault := self.fault():
            rests = not fault.startswith(_BUSY)  # else it may just owe itself a comparison
            same = self._wanted() == wanted  # else an account has expired just now
            if (rests and same) or time.monotonic() > deadline:
                raise DifferenceError(f"{self.combination}: it did not stay so: {fault}")
            self.counts["changed while looked at"] += 1
            time.sleep(0.05)

    def _approve(self) -> None:
        """A person lets the removals through that are held."""
        done = self.adwatch("approve")
        if done.returncode:
            raise DifferenceError(f"approve exits {done.returncode}: {done.stderr}")
        self.counts["approved"] += len(done.stdout.splitlines())

    def _said(self, *command: str) -> Any:
        done = self.adwatch(*command, "--json")
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise DifferenceError(
                f"{command} says {done.stdout!r}, {done.stderr}\n{self._told()}"
            ) from error

    def _wanted(self) -> Expected:
        return expected(
            self.dc,
            self.combination.account,
            self._dn(self._ous["base"]),
            VARIANTS[self.variant],
            self._dn(self._groups["all"]),
        )

    def fault(self) -> str:
        """The first thing that is not as AD says, empty where all is."""
        if self.adwatch.running is not None and self.adwatch.running.poll() is not None:
            return f"adwatch ended with {self.adwatch.running.returncode}"
        wanted = self._wanted()
        fault = self._file_fault(wanted)
        if fault and not self.strict:
            return fault
        with ThreadPoolExecutor() as pool:  # three processes on two cores
            commands = ("status",), ("peers",), ("history", "--limit", "100000")
            status, peers, history = pool.map(lambda c: self._said(*c), commands)
        if status["state"] == "held" and self.strict:
            return f"held: {status['peers']}"
        if fault:
            return fault
        if status["state"] != "online" or status["directory"]["comparison_owed"]:
            return f"{_BUSY}: {status}"
        by_guid = {peer.pop("guid"): peer for peer in peers}
        fault = self._peers_fault(wanted, status, by_guid)
        fault = fault or self._history_fault(history, by_guid) or self._file_fault(wanted)
        if not fault:
            self._holders = {peer["number"].lower(): g for g, peer in by_guid.items()}
            self._before, self._rows = by_guid, len(history)
        return fault or self._secret_fault()

    def _file_fault(self, wanted: Expected) -> str:
        sections = as_asterisk_reads(self.adwatch.text())
        numbers = {g: peer["number"] for g, peer in wanted.claims.items()}
        rivals = wanted.rivals()
        if {number.lower() for number in sections} != set(rivals):
            return f"sections {sorted(sections)}, and AD has {sorted(numbers.values())}"
        for number, options in sections.items():
            without = {name: value for name, value in options.items() if name != "secret"}
            if without not in [section_of(wanted.claims[g]) for g in rivals[number.lower()]]:
                return f"section {number}: {options}"
        return "" if list(sections) == sorted(sections) else f"not by number: {list(sections)}"

    def _peers_fault(
        self,
        wanted: Expected,
        status: Mapping[str, Any],
        peers: Mapping[str, Mapping[str, str]],
    ) -> str:
        for guid, peer in peers.items():
            if peer != wanted.claims.get(guid):
                return f"peer {peer}, and AD has {wanted.claims.get(guid)}"
        holders = {peer["number"].lower(): guid for guid, peer in peers.items()}
        rivals = wanted.rivals()
        if set(holders) != set(rivals):
            return f"peers {sorted(holders)}, and AD has {sorted(rivals)}"
        for number, guids in rivals.items():
            before = self._holders.get(number)
            stays = self._touched is not None and before in guids and before not in self._touched
            if stays and holders[number] != before:
                return f"{number} went from {before} to {holders[number]}"
            if self._first_start and holders[number] != guids[0]:
                return f"{number} is with {holders[number]}, and {guids[0]} is older"
        refused = len(wanted.faulty) + sum(len(guids) - 1 for guids in rivals.values())
        if status["peers"] != {"served": len(peers), "rejected": refused, "held": 0}:
            return f"{status['peers']}, and {refused} can't be served"
        return ""

    def _history_fault(
        self, rows: Sequence[Mapping[str, Any]], peers: Mapping[str, Mapping[str, str]]
    ) -> str:
        told = replayed(rows)
        if told != peers:
            return f"history leads to {told}, and the peers are {peers}"
        for row in rows[self._rows :]:
            guid = str(row["guid"])
            stayed = guid in peers and peers[guid] == self._before.get(guid)
            untouched = self._touched is not None and guid not in self._touched
            if stayed and untouched and row["what"] in ("added", "changed", "removed"):
                return f"history tells of a user that nobody touched: {row}"
        return ""

    def _secret_fault(self) -> str:
        for number, options in as_asterisk_reads(self.adwatch.text()).items():
            guid, secret = self._holders[number.lower()], options["secret"]
            if self.secrets.get(guid, secret) != secret:
                return f"another secret for {guid}"
            if any(s == secret and g != guid for g, s in self.secrets.items()):
                return f"the secret of somebody else for {guid}"
            self.secrets[guid] = secret
        return ""

    def close(self) -> None:
        """Leaves nothing behind, in AD or here."""
        self.adwatch.kill()
        self._return()
        top = self._dn(self._ous["top"])
        for dn in self.dc.ldapsearch("(objectClass=user)", "1.1", base=top):
            self.dc.delete(dn)  # first, since no group goes that is somebody's primary one
        self.dc.admin().delete(top, controls=[_TREE_DELETE])
        shutil.rmtree(self._folder, ignore_errors=True)


def _spoilt(cursor: dict[str, Any], how: str, amount: int) -> dict[str, Any]:
    changes: dict[str, Callable[[], dict[str, Any]]] = {
        "cookie": lambda: {"cookie": "00" * amount},
        "usn back": lambda: {"usn": max(1, cursor["usn"] - amount)},
        "usn ahead": lambda: {"usn": cursor["usn"] + 10**6},
        "invocation": lambda: {"invocation": str(uuid.UUID(int=amount))},
        "question": lambda: {"question": "another"},
    }
    return {**cursor, **changes[how]()}
