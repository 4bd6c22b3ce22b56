"""Search requests as octets: ldap3 encodes them, and what comes again and again is encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ldap3.operation.search import search_operation
from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
from ldap3.utils.asn1 import encode

from adwatch.edges.directory import entries

ROOT_NUMBER: Final = 2**31 - 1  # the largest there is; ldap3 counts up from 1
ANYTHING: Final = "(objectClass=*)"
_BASE: Final = 0  # the scope baseObject (RFC 4511, 4.5.1.2)
_OFTEN: Final = 500  # a filter that is longer names objects, and does not come again

Control = tuple[str, bool, bytes | None]


def search_request(
    number: int,
    base: str,
    scope: int,
    text: str,
    attributes: Sequence[str],
    controls: Sequence[Control] = (),
    size_limit: int = 0,
) -> bytes:
    """A search as an LDAPMessage. Raises LDAPException where ldap3 can't encode it."""
    encoded = _operation if len(text) < _OFTEN else _operation.__wrapped__
    operation = encoded(base, scope, text, tuple(attributes), size_limit)
    return entries.write_message(number, operation, controls)


@lru_cache(maxsize=4)
def root_request(attribute: str) -> bytes:
    """A search of the rootDSE for one attribute, always with the same number."""
    return search_request(ROOT_NUMBER, "", _BASE, ANYTHING, (attribute,))


@lru_cache(maxsize=32)
def _operation(
    base: str, scope: int, text: str, attributes: tuple[str, ...], size_limit: int
) -> bytes:
    """A search request as ldap3 encodes it, which takes longer than an idle tick may."""
    request = search_operation(
        base, text, scope, 0, list(attributes), size_limit, 0, False, False, False
    )
    message = LDAPMessage()
    message["messageID"] = MessageID(0)
    message["protocolOp"] = ProtocolOp().setComponentByName("searchRequest", request)
    return entries.operation_of(encode(message))
