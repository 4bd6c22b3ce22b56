"""The failure scenarios that a correct watcher must pass, by their numbers: size, and odd GUIDs."""

from __future__ import annotations

import os
import random
import re
import subprocess
import uuid
from collections.abc import Callable

import pytest
from ldap3 import MODIFY_ADD
from program import ADWATCH, Adwatch, wait_for
from proxy import DIRSYNC, ENTRY, Message, Proxy, ber, failing, message

from adwatch.core.model import Entry
from adwatch.edges.directory.entries import read_entry
from adwatch.errors import DirectoryError
from system.follower import SALES, SYNC, Follower
from system.samba import SambaDC
from system.test_watcher_scenarios import started

Make = Callable[..., Adwatch]
Follow = Callable[..., Follower]
User = Callable[..., str]
New = Callable[..., str]
MOST_KIB_A_USER = 10  # 3.6 were measured
AWKWARD = b"\x5c\x28\x29\x2a\x00"  # backslash, parentheses, asterisk, NUL: all special in filters
ADD_BY_GUID = """
import sys
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
parameters = LoadParm()
parameters.load_default()
samdb = SamDB(session_info=system_session(), lp=parameters)
for login, octets in zip(sys.argv[2::2], sys.argv[3::2]):
    samdb.add(
        {"dn": f"CN={login},{sys.argv[1]}", "objectClass": "user", "sAMAccountName": login,
         "telephoneNumber": login[1:], "userAccountControl": "544",
         "objectGUID": bytes.fromhex(octets)},
        controls=["relax:0"],
    )
"""


@pytest.fixture
def awkward(dc: SambaDC) -> dict[str, str]:
    """Users whose GUIDs are made of octets that are special in filters; GUID by login.

    Only the DC itself may choose a GUID, so they are added within it.
    """
    guids = {f"g823{at}": bytes(random.choices(AWKWARD, k=16)) for at in range(5)}
    words = [word for login, octets in guids.items() for word in (login, octets.hex())]
    command = ["docker", "exec", dc.container, "python3", "-c", ADD_BY_GUID, SALES, *words]
    subprocess.run(command, check=True, capture_output=True)
    return {login: str(uuid.UUID(bytes_le=octets)) for login, octets in guids.items()}


@pytest.mark.parametrize("feed", ["dirsync", "usn"])
def test_scenario_23_guids_of_special_octets_hit_the_right_objects(
    dc: SambaDC, follow: Follow, awkward: dict[str, str], feed: str
) -> None:
    try:
        follower = follow(SYNC, feed)
        assert {login: follower.guid(login) for login in awkward} == awkward
        for login, guid in awkward.items():
            dc.modify(f"CN={login},{SALES}", telephoneNumber=f"{login[1:]}0")
            batch = follower.poll()
            assert batch.asked == {guid}
            assert [entry.login for entry in batch.entries] == [login]
            (found,) = follower.directory.find(guid, ["telephoneNumber"])
            assert found.entry.login == login
        assert follower.is_right()
    finally:
        for login in awkward:
            dc.delete(f"CN={login},{SALES}")


def test_scenario_23_a_group_with_special_characters_in_the_filter(
    dc: SambaDC, make: Make, user: User, temporary: New
) -> None:
    r"""The administrator writes the group's DN escaped as in RFC 4515, backslashes included."""
    dn = user("s23", telephoneNumber="8123")
    group = temporary(
        f"CN=Sales (EU)* \\, \\\\all,OU=Groups,{dc.base_dn}",
        "group",
        sAMAccountName="s23-group",
        member=[dn],
    )
    (real,) = dc.ldapsearch("(sAMAccountName=s23-group)", "1.1")
    escaped = "".join(f"\\{ord(c):02x}" if c in "\\*()" else c for c in real)
    filtered = f"filter: '(&(telephoneNumber=*)(memberOf={escaped}))'\npush: false\npoll: 200ms"
    adwatch = started(make, directory=filtered)
    assert re.findall(r"(?m)^\[(.*?)\]", adwatch.text()) == ["8123"]
    other = user("s23b", telephoneNumber="8124")
    dc.admin().modify(group, {"member": [(MODIFY_ADD, [other])]})
    wait_for("a second member", lambda: adwatch.section("8124"))


class Crowd:
    """A rule for a proxy: every user that the DC shows comes `times` over, each with a GUID."""

    def __init__(self, times: int) -> None:
        self._times = times
        self.made = 0

    def __call__(self, found: Message) -> list[bytes] | None:
        if found.tag != ENTRY or b"telephoneNumber" not in found.raw:
            return None
        dn, values = read_entry(found.body)
        return [found.raw, *(self._another(found.id, dn, values) for _ in range(self._times - 1))]

    def _another(self, number: int, dn: str, values: dict[str, list[bytes]]) -> bytes:
        self.made += 1
        name = f"crowd{self.made}".encode()
        own = {
            "objectguid": [uuid.uuid4().bytes],
            "samaccountname": [name],
            "telephonenumber": [b"9%07d" % self.made],
        }
        listed = (
            ber(0x30, ber(4, key.encode()), ber(0x31, *(ber(4, value) for value in held)))
            for key, held in {**values, **own}.items()
        )
        dn = f"CN=crowd{self.made},{dn.partition(',')[2]}"
        return message(number, ENTRY, ber(4, dn.encode()) + ber(0x30, *listed))


def most_memory_kib(adwatch: Adwatch) -> int:
    """The most memory that a `sync` takes."""
    command = [ADWATCH, "sync", "--config", adwatch.config]
    running = subprocess.Popen(command, cwd=adwatch.folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0
    return usage.ru_maxrss


def test_scenario_24_rows_are_taken_as_they_come(between: Proxy, follow: Follow) -> None:
    """The server holds back the rest of its one answer until the first rows were seen."""
    rows = 10
    seen, held = 0, False

    def hold_back(found: Message) -> list[bytes] | None:
        nonlocal seen, held
        seen += found.tag == ENTRY and b"telephoneNumber" in found.raw
        if seen == rows and not held:
            held = True
            between.freeze()
        return None

    taken: set[str] = set()

    def take(entry: Entry) -> Entry:
        taken.add(entry.guid)
        if len(taken) == rows:
            between.thaw()
        return entry

    follower = follow(servers=(between.url,))
    between.on_answer = hold_back
    follower.begin(take)
    assert held
    assert len(follower.people) > rows


def test_scenario_24_memory_grows_by_little_a_user(between: Proxy, make: Make) -> None:
    """Thousands of users in one unpaged answer, against a few dozen; the figures are the bench's.

    What is bounded is what a user adds: its row, its peer, its place in the file.
    """
    few = most_memory_kib(make(server=between.url))
    crowd = between.on_answer = Crowd(200)
    adwatch = make(server=between.url)
    many = most_memory_kib(adwatch)
    assert crowd.made > 4000
    assert adwatch.text().count("](lan)") > 4000
    assert (many - few) / crowd.made < MOST_KIB_A_USER


@pytest.mark.parametrize("code", [3, 4])
def test_scenario_24_a_feed_over_the_servers_limits_is_read_another_way(
    dc: SambaDC, between: Proxy, follow: Follow, user: User, code: int
) -> None:
    """MaxQueryDuration (3) or 256 MiB (4) end every DirSync: one fault, then uSNChanged is used."""
    dn = user("s24")
    follower = follow(SYNC, "auto", servers=(between.url,))
    between.on_request = failing(DIRSYNC, code)
    dc.modify(dn, telephoneNumber="8124")
    with pytest.raises(DirectoryError, match=f"code {code}"):
        follower.poll()
    assert follower.poll().full
    assert follower.directory.reach().feed == "usn"
    assert f"refused with code {code}" in follower.directory.reach().why
    assert follower.is_right()
    dc.modify(dn, telephoneNumber="8125")
    refused = len(between.searches(DIRSYNC))
    assert not follower.poll().full
    assert len(between.searches(DIRSYNC)) == refused
    assert follower.is_right()


def test_scenario_25_a_burst_is_a_few_reads_and_one_regeneration(
    between: Proxy, make: Make, user: User
) -> None:
    adwatch = started(make, server=between.url, directory="poll: 1h\npush: false")
    wait_for("the first reload", lambda: len(adwatch.reloads()) == 1)
    for i in range(110):
        user(telephoneNumber=f"825{i:03}")
    before = len(between.searches())
    assert adwatch("sync").returncode == 0
    assert len(re.findall(r"(?m)^\[825\d{3}\]", adwatch.text())) == 110
    assert len(between.searches()) - before <= 10  # a hundred users by GUID at a time
    assert adwatch.log.read_text().count("event=written") == 2
    wait_for("the reload", lambda: not adwatch.status()["outputs"][0]["reload_owed"])
    assert len(adwatch.reloads()) == 2


def test_scenario_25_logons_and_other_noise_leave_the_output_alone(
    dc: SambaDC, between: Proxy, make: Make, user: User
) -> None:
    dn = user("s25", telephoneNumber="8250")
    adwatch = started(make, SYNC, server=between.url, directory="poll: 200ms")
    wait_for("the reload", lambda: not adwatch.status()["outputs"][0]["reload_owed"])
    before, reloads = adwatch.output.stat(), adwatch.reloads()
    dc.set_password("s25", "Logon-1234")
    for count in range(5):
        with dc.session(f"s25@{dc.realm}", "Logon-1234"):
            dc.modify(dn, description=f"logon {count}")
    said = adwatch("sync").stdout
    assert re.fullmatch(r"\d+ peers served\n", said)
    after = adwatch.output.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert adwatch.reloads() == reloads
