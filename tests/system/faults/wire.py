"""Faults between adwatch and the domain controller, and of that itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from certificates import DAY, Authority
from proxy import DIRSYNC, ENTRY, Message

from system.faults.world import Injection, Site


@contextmanager
def killed(site: Site) -> Iterator[None]:
    site.dc.kill()
    try:
        yield
    finally:
        site.dc.start()


@contextmanager
def frozen(site: Site) -> Iterator[None]:
    site.dc.pause()
    try:
        yield
    finally:
        site.dc.unpause()


@contextmanager
def refusing(site: Site) -> Iterator[None]:
    site.between.refuse()
    site.between.reset()
    try:
        yield
    finally:
        site.between.accept()


@contextmanager
def silent(site: Site) -> Iterator[None]:
    """Connections stay, and nothing passes any more."""
    site.between.freeze()
    try:
        yield
    finally:
        site.between.thaw()


@contextmanager
def dropping(site: Site) -> Iterator[None]:
    rule = ("INPUT", "-p", "tcp", "--dport", "636", "-j", "DROP")
    site.in_its_network("iptables", "-I", *rule)
    try:
        yield
    finally:
        site.in_its_network("iptables", "-D", *rule)


@contextmanager
def slow(site: Site) -> Iterator[None]:
    site.in_its_network(
        "tc", "qdisc", "add", "dev", "eth0", "root", "tbf",
        "rate", "64kbit", "burst", "1600", "latency", "400ms",
    )  # fmt: skip
    try:
        yield
    finally:
        site.in_its_network("tc", "qdisc", "del", "dev", "eth0", "root")


@contextmanager
def unknown_authority(site: Site) -> Iterator[None]:
    """The CA that adwatch trusts is another one, and the connection begins anew."""
    path = site.adwatch.folder / "ca.pem"
    before = path.read_bytes()
    path.write_bytes(Authority("another").file(site.certificates).read_bytes())
    site.between.reset()
    try:
        yield
    finally:
        path.write_bytes(before)


def shows(host: str = "localhost", **dates: Any) -> Injection:
    """The server has another certificate, of a CA that adwatch trusts; new connections see it."""

    @contextmanager
    def inject(site: Site) -> Iterator[None]:
        pem = site.authority.server(site.certificates, host, **dates)
        site.between.show(pem, pem)
        site.between.reset()
        try:
            yield
        finally:
            site.between.show()
            site.between.reset()

    return inject


def _now() -> datetime:
    return datetime.now(UTC)


expired = shows(begins=_now() - 3 * DAY, ends=_now() - DAY)
of_another_host = shows("elsewhere")
ends_soon = shows(begins=_now() - DAY, ends=_now() + 10 * DAY)


@contextmanager
def cookie_refused(site: Site) -> Iterator[None]:
    """What adwatch gives back of DirSync is 16 random octets, each time."""

    def spoil(raw: bytes) -> bytes:
        at = raw.find(b"MSDS")
        return raw if at < 0 else raw[:at] + os.urandom(16) + raw[at + 16 :]

    site.between.spoil = spoil
    try:
        yield
    finally:
        site.between.honest()


@contextmanager
def without_dirsync(site: Site) -> Iterator[None]:
    """The root says nothing of DirSync any more, and the connection begins anew."""

    def hide(found: Message) -> list[bytes] | None:
        raw = found.raw.replace(DIRSYNC.encode(), b"1.2.840.113556.1.4.999")
        return [raw] if found.tag == ENTRY and raw != found.raw else None

    site.between.on_answer = hide
    site.between.reset()
    try:
        yield
    finally:
        site.between.honest()
        site.between.reset()
