"""A number in, the name of whoever it belongs to out; where two could be meant, nobody.

No configuration says in which country the PBX stands, so two spellings are one number only where
some country dials it so: +49 30 123456 as 0049 30…, 49 30…, 030… and 30…, never as 123456.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Final, NamedTuple, TypeVar

from adwatch.core.model import Peer

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

# What could harm a terminal or turn a line of text around; no name needs it.
_UNSHOWN: Final = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SCHEME: Final = re.compile(r"(?:tel|sips?):([^@;]*).*\Z", re.IGNORECASE | re.DOTALL)
_OPTIONAL_ZERO: Final = re.compile(r"(?<=\d)([^\d]*)\(0\)")  # +49 (0)30 …
_SEPARATORS: Final = str.maketrans("", "", " \t.-/()~")
_WORLD_LENGTHS: Final = range(5, 16)  # ITU-T E.164: at most 15 digits
_DIALLED_LENGTHS: Final = range(7, 20)
_TRUNK_LENGTHS: Final = range(5, 20)  # with the trunk prefix 0, which no extension begins with
_TAIL: Final = 5
# What is dialled before a country code besides 00: in North America, Russia, Australia, Japan.
_ABROAD: Final = ("011", "810", "0011", "010")


@dataclass(frozen=True, slots=True)
class Listing:
    """Somebody who may call: `extension` is compared as it is written, `numbers` are telephone
    numbers in any spelling.
    """

    name: str
    numbers: tuple[str, ...] = ()
    extension: str = ""


def listing(peer: Peer) -> Listing:
    """How a peer is found: by its number and by its mobile."""
    return Listing(peer.name, (peer.number, peer.mobile), peer.number)


class Spelling(NamedTuple):
    """A telephone number as it is written: digits alone, with the country code where `world`."""

    digits: str
    world: bool


@lru_cache(maxsize=1 << 16)
def spelling(text: str) -> Spelling | None:
    """Reads a telephone number, None for what is none: too short, too long, or with letters.

    A trunk prefix between country code and number (+49 (0)30) is left out.
    """
    said = text if text.isascii() else _plain(text)
    if ":" in said and (uri := _SCHEME.match(said.strip())):
        said = uri[1]
    if "(0)" in said:
        said = _OPTIONAL_ZERO.sub(r"\1", said)
    digits = said.translate(_SEPARATORS)
    world = digits.startswith("+")
    digits = digits.removeprefix("+")
    if not (digits.isascii() and digits.isdecimal()):
        return None
    if not world and _begins_abroad(digits):
        world, digits = True, digits[2:]
    if world:
        return _with_country(digits)
    lengths = _TRUNK_LENGTHS if digits.startswith("0") else _DIALLED_LENGTHS
    return Spelling(digits, world=False) if len(digits) in lengths else None


def _begins_abroad(digits: str) -> bool:
    """Whether digits begin with 00 and a country code; after America's 1 comes no 0 or 1."""
    if not digits.startswith("00"):
        return False
    code = _country(digits[2:])
    return bool(code) and not (code == "1" and digits[3:4] in ("0", "1"))


def _with_country(digits: str) -> Spelling | None:
    code = _country(digits)
    if digits[len(code) :].startswith("0") and _trunk(code) == "0":
        digits = code + digits[len(code) :].lstrip("0")
    return Spelling(digits, world=True) if len(digits) in _WORLD_LENGTHS else None


def _plain(text: str) -> str:
    """Every script's digits as ASCII, every dash as one, marks of writing direction left out."""
    plain = []
    for character in unicodedata.normalize("NFKC", text):
        kind = unicodedata.category(character)
        if kind == "Nd":
            plain.append(str(unicodedata.decimal(character)))
        elif kind != "Cf":
            plain.append({"Pd": "-", "Zs": " "}.get(kind, character))
    return "".join(plain).replace("\u2212", "-")  # the sign of subtraction


def _country(digits: str) -> str:
    """The country code that digits begin with, empty where none does; no code begins another."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    codes = (digits[:length] for length in (1, 2, 3))
    return next((c for c in codes if c[:1] > "0" and int(c) in COUNTRY_CODE_TO_REGION_CODE), "")


@cache
def _trunk(code: str) -> str:
    """What a country dials before a national number, empty where nothing."""
    import phonenumbers

    region = phonenumbers.region_code_for_country_code(int(code)) if code else ""
    return phonenumbers.ndd_prefix_for_region(region, True) or "" if region else ""


@lru_cache(maxsize=4096)
def _at_home(world: str) -> frozenset[str]:
    """How a number is dialled or shown in its own country, as digits."""
    import phonenumbers

    code = _country(world)
    try:
        number = phonenumbers.parse(f"+{world}")
    except phonenumbers.NumberParseException:
        return frozenset({world[len(code) :]})
    significant = phonenumbers.national_significant_number(number)
    form = phonenumbers.PhoneNumberFormat.NATIONAL
    usual = phonenumbers.normalize_digits_only(phonenumbers.format_number(number, form))
    return frozenset({significant, _trunk(code) + significant, usual})


@lru_cache(maxsize=4096)
def _abroad(dialled: str) -> tuple[str, ...]:
    """The numbers with country code that digits without a plus may stand for, if any."""
    import phonenumbers

    found = [dialled]
    found += [dialled.removeprefix(prefix) for prefix in _ABROAD if dialled.startswith(prefix)]
    if len(dialled) == 11 and dialled.startswith("8"):  # Russia's and Kazakhstan's trunk prefix
        found.append("7" + dialled[1:])
    numbers = []
    for digits in found:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(f"+{digits}")):
                numbers.append(digits)
        except phonenumbers.NumberParseException:
            continue
    return tuple(numbers)


def same(one: Spelling, other: Spelling) -> bool:
    """Whether two spellings may be of one number, in whatever country both are used."""
    if one.world and other.world:
        return one == other
    if one.world or other.world:
        world, dialled = (one, other) if one.world else (other, one)
        return _dials(dialled.digits, world.digits)
    a, b = sorted((one.digits, other.digits), key=len)
    if a == b or (b == "0" + a and len(a) in _DIALLED_LENGTHS):
        return True
    return any(_dials(b, w) for w in _abroad(a)) or any(_dials(a, w) for w in _abroad(b))


def _dials(dialled: str, world: str) -> bool:
    """Whether digits reach a number with country code: from its own country, or from abroad."""
    before = dialled.removesuffix(world)
    if before != dialled and before in ("", *_ABROAD):
        return True
    return dialled in _at_home(world)


@lru_cache(maxsize=4096)
def _read_in(region: str, number: Spelling) -> str:
    """A number with country code, read as dialled in a region; empty where it is none there."""
    import phonenumbers

    try:
        text = f"+{number.digits}" if number.world else number.digits
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return ""
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


@cache
def known_region(region: str) -> bool:
    """Whether a region (ISO 3166, such as DE) has telephone numbers."""
    import phonenumbers

    return region in phonenumbers.SUPPORTED_REGIONS


@dataclass(frozen=True, slots=True)
class Callers:
    """Who has which number; made whole, then only read, by any thread."""

    _extensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _numbers: Mapping[Spelling, tuple[str, ...]] = field(default_factory=dict)
    _tails: Mapping[str, tuple[Spelling, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, listings: Iterable[Listing]) -> Callers:
        """The index of everybody who has a name."""
        extensions: dict[str, tuple[str, ...]] = {}
        numbers: dict[Spelling, tuple[str, ...]] = {}
        tails: dict[str, tuple[Spelling, ...]] = {}
        for one in listings:
            name = _UNSHOWN.sub("", one.name).strip()
            if not name:
                continue
            if one.extension:
                _add(extensions, one.extension.lower(), name)
            for number in {s for s in map(spelling, one.numbers) if s}:
                if number not in numbers:
                    _add(tails, number.digits[-_TAIL:], number)
                _add(numbers, number, name)
        return cls(extensions, numbers, tails)

    def name(self, number: str, region: str = "") -> str:
        """Who has a number, empty where nobody is known or more than one could be meant.

        An extension is looked for first. With a region (ISO 3166, such as DE) all numbers
        without country code, known and asked, are of that region; without, of any.
        """
        names = self._extensions.get(number.strip().lower())
        if names is None:
            names = self._by_number(number, region)
        return names[0] if len(names) == 1 else ""

    def _by_number(self, number: str, region: str) -> tuple[str, ...]:
        asked = spelling(number)
        if asked is None:
            return ()
        near = self._tails.get(asked.digits[-_TAIL:], ())
        if region:
            wanted = _read_in(region, asked)
            found = [known for known in near if wanted and _read_in(region, known) == wanted]
        else:
            found = [known for known in near if same(known, asked)]
        return tuple({name for known in found for name in self._numbers[known]})


def _add(index: dict[_Key, tuple[_Value, ...]], key: _Key, value: _Value) -> None:
    known = index.get(key, ())
    if value not in known:
        index[key] = (*known, value)
