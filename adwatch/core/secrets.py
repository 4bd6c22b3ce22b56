"""SIP secrets come from the key, the user's GUID and a rotation count; nothing stores them."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

KEY_OCTETS = 32
_LENGTH = 24
# Without 0 O 1 l I: people read secrets out over the telephone. 24 of 56 are 139 bits.
_ALPHABET = "23456789abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
_PAIRS = [first + second for second in _ALPHABET for first in _ALPHABET]  # the lower digit first
_ALL = len(_ALPHABET) ** _LENGTH
_EIGHT = len(_ALPHABET) ** 8


def derive(key: bytes, guid: str, rotation: int = 0) -> str:
    """The secret of a user: 24 ASCII letters and digits, the same for the same arguments.

    `key` holds KEY_OCTETS octets, `guid` is dashed text, `rotation` counts from 0.
    """
    mac = _begun(key).copy()
    mac.update(bytes.fromhex(guid.replace("-", "")) + rotation.to_bytes(8, "big"))
    number = int.from_bytes(mac.digest(), "big") % _ALL
    letters: list[str] = []
    for _ in range(_LENGTH // 8):  # parts of a number that divide as quickly as numbers do
        number, part = divmod(number, _EIGHT)
        high, low = divmod(part, len(_PAIRS) ** 2)
        second, first = divmod(low, len(_PAIRS))
        fourth, third = divmod(high, len(_PAIRS))
        letters += _PAIRS[first], _PAIRS[second], _PAIRS[third], _PAIRS[fourth]
    return "".join(letters)


@lru_cache(maxsize=1)
def _begun(key: bytes) -> hmac.HMAC:
    """The MAC as far as it is the same for every user."""
    return hmac.new(key, b"adwatch sip secret 1\0", "sha256")


def ha1(user: str, realm: str, secret: str) -> str:
    """MD5(user:realm:secret) in hex, what SIP digest calls HA1 (RFC 2617, 3.2.2.2)."""
    text = f"{user}:{realm}:{secret}".encode("utf-8", "surrogateescape")
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def pin(secret: str) -> str:
    """Six digits that belong to a SIP secret and tell nothing of it: a mailbox's first PIN."""
    digest = hashlib.sha256(
        b"adwatch voicemail pin 1\0" + secret.encode("utf-8", "surrogateescape")
    )
    return f"{int.from_bytes(digest.digest(), 'big') % 10**6:06d}"


def salted(salt: str, password: str) -> str:
    """Tells one password from another without keeping either; `salt` is hexadecimal."""
    octets = password.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(octets, salt=bytes.fromhex(salt), n=2**14, r=8, p=1).hex()
