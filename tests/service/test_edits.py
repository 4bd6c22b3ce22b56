"""What is noticed of edits, and how often: also of those that come while files are being read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from service.test_turn import Site

from adwatch import commands, edits, journal, run, wiring
from adwatch.edits import Edits, first_edition
from adwatch.service import Service

OWN = "  - {name: own, path: own.conf, template: own.j2, reload: null}"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """One with a template of its own."""
    (tmp_path / "own.j2").write_text("{{ number }}\n")
    site = Site(tmp_path)
    site.outputs = OWN
    yield site.start()
    site.stop()


@contextmanager
def followed(service: Service, edition: edits.Edition | None = None) -> Iterator[Edits]:
    one = Edits(edition or first_edition(service.parts, service.store), service.store, lambda: None)
    one.open()
    try:
        yield one
    finally:
        one.close()


def edit(service: Service, old: str, new: str) -> None:
    path = service.config.origin
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_nothing_is_an_edit_where_nothing_was_edited(service: Service) -> None:
    with followed(service) as one:
        assert not one.touched.is_set()
        assert not one.changed()


def test_an_edit_while_the_program_is_being_loaded_is_taken(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: Any) -> Service:
        edit(service, "max_removals: 2", "max_removals: 3")
        return service

    made: list[edits.Edition] = []
    monkeypatch.setattr(wiring, "build", build)
    monkeypatch.setattr(journal, "begin", lambda _: None)
    monkeypatch.setattr(commands, "collect_seldom", lambda: None)
    monkeypatch.setattr(
        run, "Runner", lambda _, edition: SimpleNamespace(run=lambda: made.append(edition))
    )
    commands.run(SimpleNamespace(config=str(service.config.origin), verbose=False))
    with followed(service, made[0]) as one:
        assert one.touched.is_set()
        assert one.changed()
        taken = one.take()
        assert taken is not None
        assert taken.changed == {"safety"}
        assert not one.changed()


def test_a_template_that_is_edited_while_the_service_starts_is_taken(
    service: Service, tmp_path: Path
) -> None:
    edition = first_edition(service.parts, service.store)
    (tmp_path / "own.j2").write_text("{{ number }}!\n")
    with followed(service, edition) as one:
        assert one.touched.is_set()
        assert one.changed()
        taken = one.take()
        assert taken is not None
        assert taken.changed == {"outputs"}
        assert not one.changed()


def test_a_template_that_comes_just_when_it_was_looked_for_is_taken(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_outputs = edits.make_outputs

    def late(*given: Any) -> Any:
        try:
            return make_outputs(*given)
        finally:
            (tmp_path / "late.j2").write_text("{{ number }}\n")

    monkeypatch.setattr(edits, "make_outputs", late)
    with followed(service) as one:
        edit(service, "own.j2", "late.j2")
        assert one.take() is None
        assert "late.j2" in str(one.fault)
        assert one.changed()
        assert one.take() is not None
        assert not one.changed()


def test_an_edit_after_which_a_file_is_not_needed_any_more_is_taken_once(service: Service) -> None:
    with followed(service) as one:
        edit(service, "template: own.j2", "format: pjsip.conf")
        assert one.changed()
        assert one.take() is not None
        assert not one.changed()
