"""Domain controllers by DNS: in RFC 2782's order, and from the real domain's own DNS."""

from __future__ import annotations

import dns.resolver
import pytest
from hypothesis import given
from hypothesis import strategies as st
from system.samba import SambaDC

from adwatch.edges.directory.locate import Record, domain_controllers, in_order
from adwatch.errors import DirectoryError


@pytest.fixture
def dns_of(dc: SambaDC, monkeypatch: pytest.MonkeyPatch) -> None:
    """The domain controller is asked for names."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [dc.address]
    monkeypatch.setattr(dns.resolver, "Resolver", lambda: resolver)


@pytest.mark.usefixtures("dns_of")
def test_a_domains_controllers_are_found_in_its_dns() -> None:
    assert domain_controllers("example.test", "ldaps", 5) == [(0, "ldaps://dc1.example.test")]
    assert domain_controllers("example.test.", "ldap", 5) == [(0, "ldap://dc1.example.test:389")]


@pytest.mark.usefixtures("dns_of")
def test_a_domain_that_dns_does_not_know_is_a_fault_in_words() -> None:
    with pytest.raises(DirectoryError, match="knows no domain controllers of sub"):
        domain_controllers("sub.example.test", "ldaps", 5)


def test_a_dns_server_that_is_silent_is_a_fault_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], 1
    monkeypatch.setattr(dns.resolver, "Resolver", lambda: resolver)
    with pytest.raises(DirectoryError, match="DNS can't be asked") as raised:
        domain_controllers("example.test", "ldaps", 0.5)
    assert "directory.servers" in raised.value.hint


def record(priority: int, weight: int, host: str) -> Record:
    return Record(priority, weight, 389, host)


def test_srv_records_come_by_priority_and_then_by_a_draw_with_their_weights() -> None:
    records = [record(10, 0, "c"), record(0, 60, "a"), record(0, 20, "b"), record(0, 0, "z")]

    def order(*draws: float) -> str:
        left = iter(draws)
        return "".join(r.host for r in in_order(records, lambda: next(left)))

    assert order(0.0, 0.1, 0.5, 0.9) == "zbac"
    assert order(0.9, 0.9, 0.5, 0.9) == "abzc"
    assert order(0.2, 0.0, 0.5, 0.9) == "bzac"
    assert in_order([], lambda: 0.5) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=8), st.floats(0, 1))
def test_no_srv_record_is_lost_and_no_priority_overtaken(
    given_records: list[tuple[int, int]], chance: float
) -> None:
    records = [record(p, w, str(n)) for n, (p, w) in enumerate(given_records)]
    ordered = in_order(records, lambda: chance)
    assert sorted(ordered) == sorted(records)
    assert [r.priority for r in ordered] == sorted(r.priority for r in records)
