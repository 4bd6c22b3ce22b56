"""Which domain controllers a domain has: DNS SRV records (MS-ADTS 6.3.2.3, RFC 2782)."""

from __future__ import annotations

import random

from adwatch.errors import DirectoryError


def domain_controllers(domain: str, scheme: str, timeout_s: float) -> list[str]:
    """URLs of a domain's controllers, by priority and then by weighted chance.

    The records name the LDAP port; with `ldaps` the port is that scheme's own.
    """
    import dns.exception
    import dns.resolver

    name = f"_ldap._tcp.dc._msdcs.{domain.rstrip('.')}."
    try:
        answer = dns.resolver.resolve(name, "SRV", lifetime=timeout_s)
    except dns.exception.DNSException as error:
        raise DirectoryError(
            f"DNS has no domain controllers for {domain}: {error}",
            "name them in directory.servers, or use a DNS server that knows the domain",
        ) from error
    records = sorted(answer, key=lambda r: (r.priority, -r.weight * random.random()))  # noqa: S311
    hosts = [(str(r.target).rstrip("."), r.port) for r in records]
    return [f"ldaps://{h}" if scheme == "ldaps" else f"ldap://{h}:{p}" for h, p in hosts]
