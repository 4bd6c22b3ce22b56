"""What may happen, as Hypothesis draws it: the rules of the state machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from system.machine.oracle import VARIANTS
from system.machine.world import World

INDEX = st.integers(0, 7)
PLACE = st.sampled_from(["base", "a", "b", "out"])
OU = st.sampled_from(["a", "b"])
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
_SPOILT = ["cookie", "usn back", "usn ahead", "invocation", "question", "lost", "garbage"]
TEXTS = st.one_of(HOSTILE, st.text(max_size=20).filter(lambda s: s == s.encode().decode()))
OCTETS = st.sampled_from([b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
SINGLE = st.sampled_from(["facsimileTelephoneNumber", "mobile", "userPrincipalName"])


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

    @rule(
        place=PLACE,
        number=st.none() | NUMBERS | TEXTS,
        login=st.sampled_from(["anna", "Ün ï", "éa", "o'b", "ß"]),
        fax=st.none() | TEXTS,
    )
    def create(self, place: str, number: str | None, login: str, fax: str | None) -> None:
        values = {"telephoneNumber": number, "facsimileTelephoneNumber": fax}
        self._do("create", login, place, {k: v for k, v in values.items() if v})

    @rule(index=INDEX, number=st.none() | NUMBERS)
    def number(self, index: int, number: str | None) -> None:
        self._do("change", index, "telephoneNumber", number)

    @rule(index=INDEX, numbers=st.lists(NUMBERS | TEXTS.filter(bool), max_size=3, unique=True))
    def numbers(self, index: int, numbers: list[str]) -> None:
        self._do("change", index, "otherTelephone", numbers)

    @rule(index=INDEX, name=SINGLE, value=st.none() | TEXTS.filter(bool) | OCTETS)
    def value(self, index: int, name: str, value: str | bytes | None) -> None:
        self._do("change", index, name, value)

    @rule(one=INDEX, other=INDEX)
    def swap(self, one: int, other: int) -> None:
        self._do("swap", one, other)

    @rule(one=INDEX, other=INDEX)
    def same(self, one: int, other: int) -> None:
        self._do("same", one, other)

    @rule(index=INDEX, name=st.sampled_from(["x ", "Ünï ", "y\\, "]))
    def rename(self, index: int, name: str) -> None:
        self._do("rename", index, name)

    @rule(index=INDEX, login=st.sampled_from(["boris", "ärger", "ßx", "ǆ", "i̇", "x;y"]))
    def login(self, index: int, login: str) -> None:
        self._do("login", index, login)

    @rule(index=INDEX, place=PLACE)
    def move(self, index: int, place: str) -> None:
        self._do("move", index, place)

    @rule(name=OU, place=st.sampled_from(["base", "a", "b", "out"]))
    def move_ou(self, name: str, place: str) -> None:
        self._do("move_ou", name, place)

    @rule(name=OU, new=st.sampled_from(["c", "d", "e\\, f"]))
    def rename_ou(self, name: str, new: str) -> None:
        self._do("rename_ou", name, new)

    @rule(name=OU)
    def delete_ou(self, name: str) -> None:
        self._do("delete_ou", name)

    @rule(index=INDEX, what=st.sampled_from(["disable", "enable", "delete", "recreate"]))
    def account(self, index: int, what: str) -> None:
        self._do(what, index)

    @rule(index=INDEX, seconds=st.sampled_from([-3600.0, 2.0, 3600.0, None]))
    def expire(self, index: int, seconds: float | None) -> None:
        self._do("expire", index, seconds)

    @rule(index=INDEX, place=PLACE)
    def reanimate(self, index: int, place: str) -> None:
        self._do("reanimate", index, place)

    @rule(group=GROUP, index=st.integers(1, 7), what=st.sampled_from(["join", "join", "leave"]))
    def member(self, group: str, index: int, what: str) -> None:
        self._do(what, group, index)

    @rule(
        group=GROUP, inner=st.sampled_from(["one", "two"]), what=st.sampled_from(["nest", "unnest"])
    )
    def nested(self, group: str, inner: str, what: str) -> None:
        self._do(what, group, inner)

    @rule(group=GROUP, index=st.integers(1, 7))
    def primary(self, group: str, index: int) -> None:
        self._do("primary", group, index)

    @rule(group=GROUP, name=st.sampled_from(["g", "]x;", "#exec ", "Ü, "]))
    def rename_group(self, group: str, name: str) -> None:
        self._do("rename_group", group, name)

    @rule(index=INDEX)
    def rotate(self, index: int) -> None:
        self._do("rotate", index)

    @rule(what=st.sampled_from(["kill", "start", "restart", "restart_dc", "sync"]))
    def process(self, what: str) -> None:
        self._do(what)

    @rule(stays_away=st.booleans())
    def swap_dc(self, stays_away: bool) -> None:
        self._do("swap_dc", stays_away)

    @rule(
        how=st.sampled_from(_SPOILT),
        amount=st.integers(0, 40),
    )
    def cursor(self, how: str, amount: int) -> None:
        self._do("spoil_cursor", how, amount)

    @rule(variant=st.sampled_from(sorted(VARIANTS)), strict=st.booleans())
    def setup(self, variant: str, strict: bool) -> None:
        self._do("configure", variant, strict)

    @rule(output=st.booleans())
    def lose_state(self, output: bool) -> None:
        self._do("lose_state", output)

    @rule()
    def look(self) -> None:
        self._do("look")

    def teardown(self) -> None:
        try:
            self._do("look", True)
        finally:
            self._counts.update(self.world.counts)
            self.world.close()
