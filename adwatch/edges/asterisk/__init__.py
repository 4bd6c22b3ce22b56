"""Asterisk: the files that it includes, and the ways to have it read them and to look at it.

A `Pbx` is one way to talk to it (`command`, `ami`: imported where one is made); an `Errand` is
one round of reloads and looks on a thread of its own, which the loop polls.
"""

from adwatch.edges.asterisk.errand import Errand, Order, Result
from adwatch.edges.asterisk.files import (
    Written,
    differs,
    is_others,
    numbers_in,
    octets,
    read,
    replace,
    sweep,
    writable,
)
from adwatch.edges.asterisk.look import Changes, Look, Pbx, Shown, Wanted, changes, look_kind

__all__ = [
    "Changes",
    "Errand",
    "Look",
    "Order",
    "Pbx",
    "Result",
    "Shown",
    "Wanted",
    "Written",
    "changes",
    "differs",
    "is_others",
    "look_kind",
    "numbers_in",
    "octets",
    "read",
    "replace",
    "sweep",
    "writable",
]
