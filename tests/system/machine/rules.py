"""What may happen, as Hypothesis draws it: bursts of operations, and a look after some of them.

There is one rule on purpose: with one for each operation Hypothesis leaves out most kinds of them
in an example, and spent more steps on looking than on all else (measured).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from system.machine.oracle import VARIANTS
from system.machine.world import World

INDEX = st.integers(0, 7)
Operation = tuple[str, tuple[Any, ...]]
PLACE = st.sampled_from(["base", "a", "b", "out"])
OU = st.sampled_from(["a", "b"])
INNER = st.sampled_from(["one", "two"])
GROUP = st.sampled_from(["all", "one", "two"])
_NO_NUMBERS = ["LAN", "general", "_1", "1" * 33, "１０１", "٣"]
NUMBERS = st.sampled_from(
    [str(n) for n in range(100, 108)] + ["10a", "10A", "*7", "+49 30 1", *_NO_NUMBERS]
)
HOSTILE = st.sampled_from(
    [
        "a\nsecret = x",
        "a\r[evil]",
        "x]\n[y](lan)",
        "#exec /bin/id",
        "; gone",
        ";-- swallowed",
        "a\\;b",
        "[general]",
        " blank before",
        "blank behind ",
        "\ttab",
        "a\x07b",
        "\u202ertl",
        "${SHELL(id)}",
        'a=b,c|d<e>"f"',
        "Ünï–ço\u2028dé",
        "x" * 64,
        "\0",
        "a\0b",
        "\u00a0",
        "\x85",
        "\ufeffa",
        "]",
        "\x1f",
    ]
)
TEXTS = st.one_of(HOSTILE, st.text(max_size=20).filter(lambda s: s == s.encode().decode()))
OCTETS = st.sampled_from([b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
SINGLE = st.sampled_from(["facsimileTelephoneNumber", "mobile", "userPrincipalName"])
SPOILT = st.sampled_from(
    ["cookie", "usn back", "usn ahead", "invocation", "question", "lost", "garbage"]
)


def _values(number: str | None, fax: str | None) -> dict[str, str]:
    values = {"telephoneNumber": number, "facsimileTelephoneNumber": fax}
    return {name: value for name, value in values.items() if value}


def _is(name: str, *values: st.SearchStrategy[Any]) -> st.SearchStrategy[Operation]:
    return st.tuples(st.just(name), st.tuples(*values))


CREATE = _is(
    "create",
    st.sampled_from(["anna", "Ün ï", "éa", "o'b", "ß"]),
    PLACE,
    st.builds(_values, st.none() | NUMBERS | TEXTS, st.none() | TEXTS),
)
NUMBER = _is("change", INDEX, st.just("telephoneNumber"), st.none() | NUMBERS)
OPERATION = st.one_of(
    CREATE,
    CREATE,
    NUMBER,
    NUMBER,
    _is(
        "change",
        INDEX,
        st.just("otherTelephone"),
        st.lists(NUMBERS | TEXTS.filter(bool), max_size=3, unique=True),
    ),
    _is("change", INDEX, SINGLE, st.none() | TEXTS.filter(bool) | OCTETS),
    _is("swap", INDEX, INDEX),
    _is("same", INDEX, INDEX),
    _is("rename", INDEX, st.sampled_from(["x ", "Ünï ", "y\\, "])),
    _is("login", INDEX, st.sampled_from(["boris", "ärger", "ßx", "ǆ", "i̇", "x;y"])),
    _is("move", INDEX, PLACE),
    _is("move_ou", OU, PLACE),
    _is("rename_ou", OU, st.sampled_from(["c", "d", "e\\, f"])),
    _is("delete_ou", OU),
    _is("disable", INDEX),
    _is("enable", INDEX),
    _is("expire", INDEX, st.sampled_from([-3600.0, 2.0, 3600.0, None])),
    _is("delete", INDEX),
    _is("recreate", INDEX),
    _is("reanimate", INDEX, PLACE),
    _is("join", GROUP, st.integers(1, 7)),
    _is("leave", GROUP, st.integers(1, 7)),
    _is("primary", GROUP, st.integers(1, 7)),
    _is("nest", GROUP, INNER),
    _is("unnest", GROUP, INNER),
    _is("rename_group", INNER, st.sampled_from(["g", "]x;", "#exec ", "Ü, "])),
    _is("kill"),
    _is("start"),
    _is("restart"),
    _is("sync"),
    _is("rotate", INDEX),
    _is("restart_dc"),
    _is("swap_dc", st.booleans()),
    _is("spoil_cursor", SPOILT, st.integers(0, 40)),
    _is("configure", st.sampled_from(sorted(VARIANTS)), st.booleans()),
    _is("lose_state", st.booleans()),
)


def machine_of(
    make: Callable[[], World],
    go_on: Callable[[], bool],
    broken: list[tuple[list[Any], BaseException]],
    counts: Counter[str],
) -> type[Machine]:
    """The machine on worlds that `make` makes; nothing more is done once `go_on` says no.

    What was done before something differed is put into `broken`, what was done at all into
    `counts`.
    """

    class Bound(Machine):
        def __init__(self) -> None:
            super().__init__(make(), go_on, broken, counts)

    return Bound


class Machine(RuleBasedStateMachine):
    """Draws operations for one world, and looks now and then whether all is as AD says."""

    def __init__(
        self,
        world: World,
        go_on: Callable[[], bool],
        broken: list[tuple[list[Any], BaseException]],
        counts: Counter[str],
    ) -> None:
        super().__init__()
        self.world = world
        self._go_on = go_on
        self._broken = broken
        self._counts = counts

    def _do(self, name: str, *values: Any) -> None:
        if not self._go_on():
            return
        try:
            self.world.do(name, *values)
        except Exception as error:
            self._broken.append((list(self.world.done), error))
            raise

    @rule(operations=st.lists(OPERATION, min_size=1, max_size=8), look=st.booleans())
    def burst(self, operations: list[Operation], look: bool) -> None:
        for name, values in operations:
            self._do(name, *values)
        if look:
            self._do("look")

    def teardown(self) -> None:
        try:
            self._do("look", True)
        finally:
            self._counts.update(self.world.counts)
            self.world.close()
