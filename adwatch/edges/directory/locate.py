"""Which domain controllers a domain has: DNS SRV records (MS-ADTS 6.3.2.3, RFC 2782)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

from adwatch.errors import DirectoryError


class Record(NamedTuple):
    """One SRV record."""

    priority: int
    weight: int
    port: int
    host: str


def domain_controllers(domain: str, scheme: str, timeout_s: float) -> list[tuple[int, str]]:
    """Priority and URL of each of a domain's controllers, in the order in which to try them.

    The records name the LDAP port; with `ldaps` the port is that scheme's own. Raises
    DirectoryError where DNS has none, or does not answer within `timeout_s` seconds.
    """
    import dns.exception
    import dns.resolver

    name = f"_ldap._tcp.dc._msdcs.{domain.rstrip('.')}."
    try:
        # A resolver of its own each time, for /etc/resolv.conf may be another one by now.
        answer = dns.resolver.Resolver().resolve(name, "SRV", lifetime=timeout_s)
    except dns.resolver.NXDOMAIN as error:
        raise DirectoryError(
            f"DNS knows no domain controllers of {domain}: there is no {name}",
            "use a DNS server that knows the domain, or name them in directory.servers",
        ) from error
    except dns.exception.DNSException as error:
        raise DirectoryError(
            f"DNS can't be asked for the domain controllers of {domain}: {error}",
            "look at /etc/resolv.conf, or name them in directory.servers",
        ) from error
    records = [Record(r.priority, r.weight, r.port, str(r.target).rstrip(".")) for r in answer]
    records = [record for record in records if record.host]  # "." means that there is none
    if not records:
        raise DirectoryError(f"DNS says that {domain} has no domain controllers ({name})")
    return [
        (r.priority, f"ldaps://{r.host}" if scheme == "ldaps" else f"ldap://{r.host}:{r.port}")
        for r in in_order(records, random.random)
    ]


def in_order(records: Iterable[Record], chance: Callable[[], float]) -> list[Record]:
    """Records by priority, those of the same by a draw with their weights (RFC 2782).

    `chance` gives a number from 0 to 1 at each call.
    """
    left = sorted(records, key=lambda r: (r.priority, r.weight))
    ordered: list[Record] = []
    while left:
        drawn = [r for r in left if r.priority == left[0].priority]
        goal, passed = chance() * sum(r.weight for r in drawn), 0
        for record in drawn:
            passed += record.weight
            if passed >= goal:
                break
        ordered.append(record)
        left.remove(record)
    return ordered
