"""Outputs whose files, store or users are not as they were left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service.test_turn import Site

from adwatch.core.model import Served
from adwatch.edges import asterisk
from adwatch.edges.store import Store
from adwatch.errors import OutputError, StoreError
from adwatch.lastgood import path_of
from adwatch.service import Service

HINTS = "  - {name: hints, path: hints.conf, format: hints.conf, options: {tech: PJSIP}}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()


def started(site: Site, users: int) -> tuple[Service, list[str]]:
    dns = site.users(users)
    assert site.turn().exit_code == 0
    assert site.service
    return site.service, dns


def test_a_store_that_breaks_off_while_it_is_read_leaves_no_half_an_output(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _ = started(site, 4)
    service.publisher.forget()
    site.domain.add_user("fifth", telephoneNumber="500")
    whole = Store.each_served

    def breaks_off(store: Store) -> Iterator[Served]:
        yield next(whole(store))
        raise StoreError("the store can't be used: disk I/O error", "")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "each_served", breaks_off)
        with pytest.raises(StoreError):
            site.turn()
    assert site.turn().exit_code == 0
    assert site.numbers() == ["100", "101", "102", "103", "500"]


def test_users_who_swap_numbers_change_nothing_where_only_numbers_are_written(site: Site) -> None:
    site.outputs = HINTS
    service, (first, second) = started(site, 2)
    hints = site.folder / "hints.conf"
    before = hints.stat().st_ino
    site.domain.modify(first, telephoneNumber="101")
    site.domain.modify(second, telephoneNumber="100")
    assert site.turn().exit_code == 0
    assert hints.stat().st_ino == before
    assert service.store.owed("reload") == {}


def test_a_copy_that_is_gone_after_a_failed_write_is_written_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _ = started(site, 2)
    copy = path_of(site.folder / "state", "users")
    assert copy.exists()

    def full(*_: object, **__: object) -> asterisk.Written:
        raise OutputError("the disk is full", "")

    dn = site.domain.add_user("brief", telephoneNumber="500")
    with monkeypatch.context() as patched:
        patched.setattr("adwatch.edges.asterisk.replace", full)
        assert site.turn().exit_code != 0
    site.domain.delete(dn)
    copy.unlink()
    site.path.unlink()
    assert site.turn().exit_code == 0
    assert copy.read_bytes() == site.path.read_bytes()
    assert service.publisher.is_current(service.outputs[0])


def test_outputs_that_were_gathered_are_the_same_and_follow_changes(site: Site) -> None:
    service, dns = started(site, 4)
    before = site.path.read_text(), site.path.stat().st_ino
    service.publisher.gather()
    assert site.turn().exit_code == 0
    assert (site.path.read_text(), site.path.stat().st_ino) == before
    site.domain.modify(dns[1], telephoneNumber="500")
    site.domain.delete(dns[2])
    assert site.turn().exit_code == 0
    assert site.numbers() == ["100", "103", "500"]
    assert site.path.read_text() == service.publisher.text(
        service.outputs[0], service.store.served()
    )


@pytest.mark.parametrize("what", ["mode", "text"])
def test_another_hand_that_is_there_before_anybody_looks_is_noticed(
    site: Site, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    service, _ = started(site, 2)
    real = asterisk.replace

    def followed(path: Path, *rest: Any, **more: Any) -> asterisk.Written:
        written = real(path, *rest, **more)
        if path == site.path and what == "mode":
            path.chmod(0o666)
        elif path == site.path:
            path.write_bytes(path.read_bytes().replace(b"[101]", b"[999]"))
        return written

    site.domain.add_user("third", telephoneNumber="300")
    with monkeypatch.context() as patched:
        patched.setattr("adwatch.edges.asterisk.replace", followed)
        service.turn()
    assert service.restore().wrote
    assert site.numbers() == ["100", "101", "300"]
    assert site.path.stat().st_mode & 0o777 == 0o640
    assert not service.restore().wrote
