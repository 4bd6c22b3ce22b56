"""A store that is damaged, lost or full: what is noticed, what is kept, and what nobody loses."""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from program import made_by_pytest
from service.test_turn import STAFF, Site

from adwatch.core.model import Debt
from adwatch.edges.store import Store, connection
from adwatch.edges.store.damage import asides
from adwatch.errors import DamagedError, DirectoryError, HeldError, StoreError


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()


def store(site: Site) -> Path:
    return site.folder / "state" / "adwatch.db"


def kept(site: Site) -> list[Path]:
    return asides(store(site))


def replaced(path: Path, old: bytes, new: bytes) -> None:
    octets = path.read_bytes()
    assert old in octets
    path.write_bytes(octets.replace(old, new))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def cut_to_one_page(path: Path) -> None:
    os.truncate(path, 4096)


def zero_a_page(path: Path) -> None:
    """The page that has the peers."""
    octets = bytearray(path.read_bytes())
    at = octets.index(b'"U101"') // 4096 * 4096
    octets[at : at + 4096] = bytes(4096)
    path.write_bytes(octets)


def spoil_the_header(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    octets[:100] = os.urandom(100)
    path.write_bytes(octets)


def flip_a_bit_of_a_name(path: Path) -> None:
    replaced(path, b'"U101"', b'"U001"')


def flip_a_bit_of_the_cursor(path: Path) -> None:
    replaced(path, b'"usn": 1', b'"usn": 3')


def flip_a_bit_of_the_text(path: Path) -> None:
    """So that it is no JSON any more."""
    replaced(path, b'", "101", "U101"', b'\\", "101", "U101"'[:16])


def drop_a_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE holds")
        database.commit()


def drop_an_index(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP INDEX candidates_claim")
        database.commit()


def forget_a_row(path: Path) -> None:
    """As an old copy of a page would."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM served WHERE claim = '101'")
        database.commit()


def age_the_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 1")


MAGIC = bytes.fromhex("d9d505f920a163d7")  # of a rollback journal
DAMAGES = (
    *(truncate, cut_to_one_page, zero_a_page, spoil_the_header, flip_a_bit_of_a_name),
    *(flip_a_bit_of_the_cursor, flip_a_bit_of_the_text, drop_a_table, drop_an_index),
    *(forget_a_row, age_the_schema),
)


@pytest.fixture(params=DAMAGES, ids=lambda damage: damage.__name__)
def damage(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    found: Callable[[Path], None] = request.param
    return found


def test_a_damaged_store_is_set_aside_and_costs_nobody_a_peer_a_number_or_a_secret(
    site: Site, damage: Callable[[Path], None]
) -> None:
    site.users(5)
    site.turn()
    text = site.path.read_text()
    site.stop()
    damage(store(site))
    broken = store(site).read_bytes()
    turn = site.turn()
    assert (turn.exit_code, turn.faults) == (0, {})
    assert site.path.read_text() == text
    (aside,) = kept(site)
    assert aside.read_bytes() == broken
    assert aside.stat().st_mode & 0o777 == 0o600
    assert site.service
    assert site.service.store.count() == 5
    assert site.service.store_fault() is None
    site.start()
    assert len(kept(site)) == 1


def test_while_the_directory_is_away_the_outputs_stay_and_one_fault_names_the_file(
    site: Site, damage: Callable[[Path], None]
) -> None:
    site.users(5)
    site.turn()
    text = site.path.read_text()
    site.stop()
    damage(store(site))
    site.domain.fault = DirectoryError("away")
    for _ in range(2):  # and the next process says so, too
        site.start()
        turn = site.turn()
        assert turn.exit_code == 4
        (aside,) = kept(site)
        assert f"it is kept as {aside.name}" in str(turn.faults["store"])
        assert set(turn.faults) == {"directory", "store"}
        assert site.path.read_text() == text
    site.domain.fault = None
    assert site.turn().faults == {}
    assert site.path.read_text() == text


def test_what_both_the_damaged_store_and_the_outputs_say_is_known_at_once(site: Site) -> None:
    site.users(5)
    site.turn()
    site.stop()
    flip_a_bit_of_a_name(store(site))
    site.domain.fault = DirectoryError("away")
    service = site.start()
    known = sorted(one.peer.number for one in service.store.served())
    assert known == ["100", "102", "103", "104"]  # 101 is another in the output
    assert "4 peers are known of it" in str(service.store_fault())
    assert [c.number for c in service.store.history(None, 10)] == [
        "100",
        "101",
        "102",
        "103",
        "104",
    ]


def rivals(site: Site) -> None:
    """Two ask for 100, and the younger account holds it."""
    first = site.domain.add_user("first", telephoneNumber="100", whenCreated="20200101000000.0Z")
    site.turn()
    site.domain.modify(first, telephoneNumber="999")
    site.domain.add_user("second", telephoneNumber="100", whenCreated="20250101000000.0Z")
    site.turn()
    site.domain.modify(first, telephoneNumber="100")
    site.turn()
    assert "fullname = Second\n" in site.path.read_text()


@pytest.mark.parametrize(
    "lost",
    ["gone", "empty", spoil_the_header, zero_a_page, flip_a_bit_of_the_cursor],
    ids=lambda one: getattr(one, "__name__", one),
)
@pytest.mark.parametrize("kind", ["users.conf", "hash", "pjsip.conf", "own", "copy"])
def test_who_held_a_number_keeps_it_when_the_store_is_lost(
    site: Site, lost: str | Callable[[Path], None], kind: str
) -> None:
    own = "  - {name: own, path: own.conf, template: own.j2, reload: null}"
    (site.folder / "own.j2").write_text("exten => {{ number }},1,NoOp({{ name }})\n")
    outputs = {"own": own, "pjsip.conf": own.replace("template: own.j2", "format: pjsip.conf")}
    outputs["hash"] = own.replace("template: own.j2", "format: sip.conf, options: {hash: true}")
    site.outputs = outputs.get(kind, "")
    site.users(3, first=101)
    rivals(site)
    if kind != "users.conf":
        site.path.unlink()
    before = {path: path.read_text() for path in site.folder.glob("*.conf")}
    site.stop()
    if callable(lost):
        lost(store(site))
    else:
        store(site).unlink()
        if lost == "empty":
            store(site).touch()
    site.domain.modify(f"CN=second,{STAFF}", sAMAccountName="second2") if kind == "hash" else None
    turn = site.turn()
    assert turn.faults == {}
    assert "fullname = Second" in site.path.read_text()
    assert "100" not in {r.number for r in turn.changes if r.what == "removed"}
    if kind in ("own", "pjsip.conf"):
        assert all(path.read_text() == text for path, text in before.items())


def test_a_person_who_was_told_to_be_kept_is_kept_although_ad_has_him_no_more(site: Site) -> None:
    dns = site.users(9)
    site.turn()
    for dn in dns[:4]:
        site.domain.delete(dn)
    site.turn()
    assert site.service
    site.service.judge("dismissed")
    site.turn()
    site.domain.delete(dns[4])
    site.stop()
    drop_an_index(store(site))
    site.turn()
    assert site.numbers() == ["100", "101", "102", "103", "105", "106", "107", "108"]
    assert site.service.store.pending() == []


def test_who_waits_for_a_persons_word_still_waits(site: Site) -> None:
    dns = site.users(9)
    site.turn()
    for dn in dns[:4]:
        site.domain.delete(dn)
    assert site.turn().held == 4
    site.stop()
    flip_a_bit_of_the_cursor(store(site))
    turn = site.turn()
    assert (turn.held, set(turn.faults)) == (4, set())
    assert len(site.numbers()) == 9
    assert site.service
    site.service.judge("approved")
    assert len(site.numbers()) == 5


@pytest.mark.parametrize("damage", [spoil_the_header, zero_a_page, flip_a_bit_of_the_cursor])
def test_a_damaged_store_and_a_directory_that_shows_nobody_drop_nobody(
    site: Site, damage: Callable[[Path], None]
) -> None:
    site.users(9)
    site.turn()
    text = site.path.read_text()
    site.stop()
    damage(store(site))
    site.domain.matches = lambda _: False
    turn = site.turn()
    assert turn.exit_code == 6
    assert turn.held == 9 or isinstance(turn.faults["directory"], HeldError)
    assert site.path.read_text() == text


def test_a_rotated_secret_of_a_lost_store_stays_rotated(site: Site) -> None:
    site.users(2)
    site.turn()
    assert site.service
    peer = site.service.peer("100")
    site.service.rotate(peer)
    secret = site.service.secret(peer)
    text = site.path.read_text()
    site.stop()
    spoil_the_header(store(site))
    site.turn()
    assert site.path.read_text() == text
    assert secret in text


def test_a_rotation_while_the_store_is_rebuilt_writes_no_half_output(site: Site) -> None:
    site.users(5)
    site.turn()
    site.stop()
    flip_a_bit_of_a_name(store(site))
    site.domain.fault = DirectoryError("away")
    service = site.start()
    service.rotate(service.peer("100"))
    assert len(site.numbers()) == 5
    site.domain.fault = None
    site.turn()
    assert len(site.numbers()) == 5
    assert service.secret(service.peer("100")) in site.path.read_text()


@pytest.mark.parametrize("damage", [spoil_the_header, None])
def test_a_reload_that_was_owed_is_paid_although_the_store_is_lost(
    site: Site, damage: Callable[[Path], None] | None
) -> None:
    site.fails = "false"
    site.users(1)
    assert site.turn().exit_code == 1
    site.stop()
    if damage:
        damage(store(site))
    else:
        store(site).unlink()
    site.fails = "true"
    before = site.reloads()
    assert site.turn().exit_code == 0
    assert site.reloads() == before + 1


def test_a_hot_journal_is_no_damage_and_who_only_looks_can_look(site: Site) -> None:
    """A crash in the middle of a commit leaves one."""
    site.users(3)
    site.turn()
    site.stop()
    code = f"""
import os, sqlite3
db = sqlite3.connect({str(store(site))!r}, isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
for n in range(200):
    db.execute("INSERT INTO meta VALUES (?, ?)", (f"k{{n}}", "x" * 2000))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    journal = store(site).with_name("adwatch.db-journal")
    assert journal.stat().st_size > 0
    with closing(Store(store(site).parent)) as copy:
        copy.open_copy()
        assert copy.count() == 3
    assert site.turn().faults == {}
    assert kept(site) == []
    assert not journal.exists()


def write_journal(journal: Path, old: bytes, word: bytes) -> None:
    """A journal that would bring back each page with that word (sqlite.org/fileformat2, 3)."""
    pages = {at // 4096 + 1: old[at : at + 4096] for at in range(0, len(old), 4096)}
    back = {number: page for number, page in pages.items() if word in page}
    head = struct.pack(">8s5I", MAGIC, len(back), 0, len(pages), 512, 4096).ljust(512, b"\0")
    sums = {number: sum(page[4096 - 200 : 0 : -200]) for number, page in back.items()}
    records = [struct.pack(">I4096sI", n, page, sums[n]) for n, page in back.items()]
    journal.write_bytes(head + b"".join(records))


def test_a_journal_that_belongs_to_another_file_is_kept_with_the_store_that_it_spoilt(
    site: Site,
) -> None:
    """As after a backup was put back while the journal of a crash still lay there."""
    site.users(30)
    site.turn()
    old = store(site).read_bytes()
    site.domain.modify(f"CN=u101,{STAFF}", mobile="1")
    site.turn()
    site.stop()
    journal = store(site).with_name("adwatch.db-journal")
    write_journal(journal, old, b'"U101"')
    octets = journal.read_bytes()
    turn = site.turn()
    assert turn.faults == {}
    (aside,) = kept(site)
    assert aside.with_name(aside.name + "-journal").read_bytes() == octets
    assert len(site.numbers()) == 30
    assert len(list((site.folder / "state").glob("*journal*"))) == 1


def test_a_store_of_a_newer_adwatch_is_refused_and_left_alone(site: Site) -> None:
    site.users(1)
    site.turn()
    site.stop()
    with closing(sqlite3.connect(store(site))) as database:
        database.execute("PRAGMA user_version = 99")
    octets = store(site).read_bytes()
    with pytest.raises(StoreError, match=r"newer adwatch \(schema 99\)"):
        site.start()
    assert store(site).read_bytes() == octets
    assert kept(site) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not")
def test_a_store_that_may_not_be_read_is_a_fault_and_no_damage(site: Site, tmp_path: Path) -> None:
    site.users(1)
    site.turn()
    site.stop()
    octets = store(site).read_bytes()
    (tmp_path / "state").chmod(0o777)
    for folder in (tmp_path, *made_by_pytest(tmp_path)):
        folder.chmod(folder.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        with closing(Store(tmp_path / "state")) as mine, pytest.raises(StoreError) as caught:
            mine.open()
    finally:
        os.seteuid(0)
    assert not isinstance(caught.value, DamagedError)
    assert "can't be used" in caught.value.message
    assert store(site).read_bytes() == octets
    assert kept(site) == []


def test_what_was_taken_back_is_not_remembered(site: Site) -> None:
    site.turn()
    kept = site.service.store

    def owe_and_be_broken_off() -> None:
        with kept._transaction():
            kept.owe(Debt("reload", "users", 1.0))
            assert "users" in kept.owed("reload")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        owe_and_be_broken_off()
    assert kept.owed("reload") == {}


def test_of_those_set_aside_the_oldest_and_the_newest_four_stay(site: Site) -> None:
    site.users(1)
    site.turn()
    seen = []
    for number in range(8):
        site.stop()
        octets = b"garbage %d" % number * 1000
        store(site).write_bytes(octets)
        store(site).with_name("adwatch.db-journal").write_bytes(b"journal %d" % number)
        seen.append(octets)
        site.turn()
    assert [one.read_bytes() for one in kept(site)] == [seen[0], *seen[4:]]
    sides = [one.with_name(one.name + "-journal").read_bytes() for one in kept(site)]
    assert sides == [b"journal %d" % n for n in (0, 4, 5, 6, 7)]
    assert len(list((site.folder / "state").glob("*-journal"))) == 5
    assert site.numbers() == ["100"]


def test_a_file_in_wal_mode_is_brought_back_to_the_rollback_journal(site: Site) -> None:
    site.users(1)
    site.turn()
    site.stop()
    with closing(sqlite3.connect(store(site))) as database:
        assert database.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    site.turn()
    names = {path.name for path in (site.folder / "state").glob("adwatch.db*")}
    assert names == {"adwatch.db", "adwatch.db.seal"}
    with closing(sqlite3.connect(store(site))) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_store_that_was_left_whole_is_believed_to_the_octet(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.users(3)
    site.turn()
    site.stop()
    looked: list[Path] = []
    whole = connection.verify
    monkeypatch.setattr(
        connection, "verify", lambda db, version: looked.append(store(site)) or whole(db, version)
    )
    site.start()
    assert not looked
    site.users(1, first=600)
    assert site.turn().faults == {}
    site.stop()
    site.start()
    assert not looked
    site.stop()
    flip_a_bit_of_a_name(store(site))
    site.start()
    assert looked
    assert len(kept(site)) == 1


def test_a_reader_that_stays_too_long_delays_one_commit_and_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_BUSY_S", 0.1)
    site.users(1)
    site.turn()
    site.users(1, first=500)
    with closing(sqlite3.connect(store(site), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM meta").fetchone()
        turn = site.turn()
        assert "locked" in str(turn.faults["store"])
        reader.execute("COMMIT")
    assert site.turn().faults == {}
    assert site.numbers() == ["100", "500"]
    site.stop()
    with closing(Store(store(site).parent)) as copy:
        copy.open_copy()
        assert copy.count() == 2


def test_a_store_taken_away_while_it_is_open_is_noticed_at_the_next_write(site: Site) -> None:
    site.users(1)
    site.turn()
    assert site.service
    store(site).rename(store(site).with_name("elsewhere"))
    with pytest.raises(DamagedError, match="was taken away while it was in use"):
        site.service.store.owe(Debt("reload", "x", 0.0))
    site.service.reopen()
    assert site.turn().faults == {}
    assert site.numbers() == ["100"]


def test_a_damaged_row_of_the_history_costs_its_fields_and_nothing_else(site: Site) -> None:
    """It is not in the digest, which would take ever longer, and nothing is decided by it."""
    site.users(2)
    site.turn()
    site.stop()
    replaced(store(site), b'["number", "", "101"]', b'["number", "", "101"[')
    service = site.start()
    assert kept(site) == []
    assert [(c.number, bool(c.values)) for c in service.store.history(None, 9)] == [
        ("100", True),
        ("101", False),
    ]


def test_a_store_from_before_the_digest_gets_one(site: Site) -> None:
    site.users(3)
    site.turn()
    site.stop()
    with closing(sqlite3.connect(store(site))) as database:
        database.execute("DELETE FROM meta WHERE key = 'digest'")
        database.commit()
    assert site.turn().faults == {}
    assert kept(site) == []
    site.stop()
    flip_a_bit_of_a_name(store(site))
    site.start()
    assert len(kept(site)) == 1


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not an octet is left meanwhile."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 1):
            while True:
                try:
                    if not file.write(bytes(size)):
                        break
                except OSError:
                    break
    try:
        yield
    finally:
        ballast.unlink()


def test_on_a_full_disk_all_files_stay_whole_and_it_goes_on_once_there_is_room(
    small: Path,
) -> None:
    site = Site(small)
    dns = site.users(3)
    site.turn()
    text = site.path.read_text()
    for number in range(5):
        site.domain.modify(dns[0], mobile=str(number))
        site.domain.add_user(f"more{number}", telephoneNumber=str(500 + number))
        with filled(small):
            turn = site.turn()
            assert "full" in str(turn.faults["store"])
            assert turn.exit_code == 1
            assert site.path.read_text() == text
            with pytest.raises(StoreError):
                site.service.rotate(site.service.peer("100"))  # type: ignore[union-attr]
            assert not list(small.rglob("*~"))
        assert site.turn().faults == {}
        assert str(500 + number) in site.numbers()
        text = site.path.read_text()
        site.start()
        assert kept(site) == []
    site.stop()


@pytest.mark.parametrize("room", range(0, 60, 4))
def test_wherever_the_room_ends_nothing_is_torn(small: Path, room: int) -> None:
    """`room` KiB are left, so that some of the turn's files fit and others do not."""
    site = Site(small)
    site.users(20)
    site.turn()
    before = site.path.read_text()
    copy = small / "state" / "outputs" / "users"
    spare = small / "spare"
    spare.write_bytes(bytes(room * 1024))
    site.users(20, first=500)
    with filled(small):
        spare.unlink()
        site.turn()
        assert site.path.read_text() == before or len(site.numbers()) == 40
        assert copy.read_text() in (before, site.path.read_text())
    assert site.turn().exit_code == 0
    assert len(site.numbers()) == 40
    assert copy.read_text() == site.path.read_text()
    assert site.service
    assert not site.service.reloads.owed()
    site.stop()
