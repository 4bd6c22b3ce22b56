"""An entry of the directory becomes a candidate for a peer: Jinja2 expressions, compiled once.

Most expressions are plain Python by then. Where one is not, a bare attribute name still never
reaches Jinja2, and all other fields are one template: one evaluation however many there are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from operator import itemgetter
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import TemplateError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from adwatch.core import straight, words
from adwatch.core.model import MAPPED, Candidate, Entry, Peer, count, disabled, expiry
from adwatch.core.safe import UnsafeText

# What adwatch itself needs of a user, whatever the expressions name.
ALWAYS_ASKED: Final = (
    "objectGUID",
    "sAMAccountName",
    "userAccountControl",
    "accountExpires",
    "whenCreated",
    "uSNChanged",
)
# What of it decides about a candidate, as `Entry.firsts` is asked for it.
_DECIDING: Final = (
    "samaccountname",
    "whencreated",
    "usnchanged",
    "useraccountcontrol",
    "accountexpires",
)
# Values of back-links come and go without a write to the user (MS-ADTS 3.1.1.1.6).
_BACK_LINKS: Final = frozenset({"memberof"})

_SHOWN: Final = 60
_SETS: Final = 1000
_BARE = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)\s*\Z", re.ASCII)


class MappingError(ValueError):
    """An expression gives nothing that can be a field; the message says which and why."""


def digits(value: object) -> str:
    """The ASCII digits of a value, all else left out."""
    return re.sub(r"[^0-9]", "", str(value))


def last(value: object, count: int) -> str:
    """The last `count` characters of a value."""
    text = str(value)
    return text[-count:] if count > 0 else ""


def regex_replace(value: object, pattern: str, replacement: str) -> str:
    """A value with every match of a Python regular expression replaced."""
    return re.sub(pattern, replacement, str(value))


def e164(value: object, region: str) -> str:
    """A telephone number as +COUNTRY…, read as dialled in `region` (ISO 3166, such as DE).

    An empty value stays empty. Raises MappingError for what is no number there.
    """
    import phonenumbers

    text = str(value)
    if not text.strip():
        return ""
    try:
        parsed = phonenumbers.parse(text, region.upper())
    except phonenumbers.NumberParseException as error:
        raise MappingError(f"{text!a} is no telephone number in {region!a}") from error
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def octets(value: object, most: int) -> str:
    """As much of a value as `most` octets hold, such as the 79 that Asterisk keeps of a name."""
    return words.octets(str(value), most)


_FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "digits": digits,
    "last": last,
    "regex_replace": regex_replace,
    "e164": e164,
    "octets": octets,
}
_MAPPED_OF = itemgetter(*MAPPED)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    environment.globals.clear()  # else `range` or `dict` would hide an attribute of that name
    environment.filters |= _FILTERS
    return environment


class _Values:
    """What `entry` is in an expression: every value of an attribute, by any of its spellings."""

    __slots__ = ("_attributes",)

    def __init__(self, attributes: Mapping[str, tuple[str, ...]]) -> None:
        self._attributes = attributes

    def __getitem__(self, name: str) -> list[str]:
        return list(self._attributes.get(name.lower(), ()))


def expression_names(expression: str) -> frozenset[str]:
    """The names and `entry["…"]` subscripts that an expression uses.

    Raises MappingError where it is not an expression, or asks for an attribute in a way that
    can't be known before reading.
    """
    try:
        _environment().compile_expression(expression, undefined_to_none=False)
        tree = _environment().parse("{{ (" + expression + ") }}")
        names = find_undeclared_variables(tree)
    except TemplateSyntaxError as error:
        raise MappingError(f"is not a Jinja2 expression: {error.message}") from error
    except TemplateError as error:
        raise MappingError(f"is not a Jinja2 expression: {error}") from error
    names = set(names)
    if "entry" in names:
        names.remove("entry")
        names |= _subscripts(tree)
    return frozenset(names)


def _subscripts(tree: nodes.Template) -> set[str]:
    found = set()
    uses = sum(1 for name in tree.find_all(nodes.Name) if name.name == "entry")
    for item in tree.find_all(nodes.Getitem):
        key = item.arg
        entry = isinstance(item.node, nodes.Name) and item.node.name == "entry"
        if entry and isinstance(key, nodes.Const) and isinstance(key.value, str):
            found.add(key.value)
            uses -= 1
    if uses:
        raise MappingError('uses entry other than as entry["attribute"], so adwatch can\'t ask AD')
    return found


def expression_fault(field: str, expression: str) -> str | None:
    """What is wrong with the expression of `field` in a clause, or None."""
    del field  # every field takes the same language
    if not expression.strip():
        return 'is empty; write "" in quotes within the value for an empty field: \'""\''
    try:
        expression_names(expression)
    except MappingError as error:
        return str(error)
    return None


@dataclass(frozen=True, slots=True)
class Expressions:
    """The `peers` section: expressions by field, in the order of the contract, extras last."""

    fields: tuple[tuple[str, str], ...]
    secret_attribute: str = ""
    drop_disabled: bool = True


class Mapper:
    """Entries → candidates, with every expression compiled."""

    def __init__(self, expressions: Expressions) -> None:
        self.digest = hashlib.sha256(ascii(expressions).encode()).hexdigest()
        """Tells one mapping from another."""
        self._secret = expressions.secret_attribute.lower()
        self._drop_disabled = expressions.drop_disabled
        self._order = [field for field, _ in expressions.fields]
        self._extras = [field for field in self._order if field not in MAPPED]
        self._bare: dict[str, str] = {}
        self._computed: dict[str, str] = {}
        self._names: dict[str, str] = {}
        asked: dict[str, str] = {}
        used_above: set[str] = set()
        for field, expression in expressions.fields:
            names = expression_names(expression)
            own = names - set(self._order[: self._order.index(field)])
            asked |= {name.lower(): name for name in sorted(own)}
            self._names |= {name: name.lower() for name in own}
            bare = _BARE.match(expression)
            if bare and bare[1] in own:
                self._bare[field] = bare[1].lower()
            else:
                self._computed[field] = expression
                used_above |= names - own
        # In the order of the fields, so that a name means the field only once it stands above.
        self._unit = {
            f: e for f, e in expressions.fields if f in self._computed.keys() | used_above
        }
        if self._secret:
            asked[self._secret] = expressions.secret_attribute
        self.attributes: tuple[str, ...] = tuple(asked.values())
        """The attributes that the expressions name, each once, in their own spelling."""
        self._shows = frozenset(asked) - _BACK_LINKS
        self._seen: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.number_attributes: frozenset[str] = frozenset(
            name.lower() for name in expression_names(dict(expressions.fields)["number"])
        )
        self.origins = {field: _origin(expression) for field, expression in expressions.fields}
        """What each field is made of, for people: `displayName`, or a whole expression."""
        if self._secret:
            self.origins["secret"] = expressions.secret_attribute
        self._asked: tuple[str, ...] = ()
        """The attributes, in lower case, that `_quick` takes the first values of."""
        self._quick = self._straightened(expressions)
        self._wanted = (*_DECIDING, *self._asked)

    @cached_property
    def _evaluate(self) -> Callable[[dict[str, Any]], Mapping[str, Any]] | None:
        """The fields that are no bare attributes, as one template, for who needs Jinja2."""
        if not self._computed:
            return None
        source = "".join(f"{{% set {field} = ({e}) %}}" for field, e in self._unit.items())
        template = _environment().from_string(source)

        def evaluate(names: dict[str, Any]) -> Mapping[str, Any]:
            context = template.new_context(names, shared=True)  # there are no globals to add
            for _ in template.root_render_func(context):
                pass
            return context.vars

        return evaluate

    def _straightened(self, expressions: Expressions) -> Callable[..., tuple[str, ...]] | None:
        """All fields by plain Python, None where one of them needs Jinja2."""
        parameters: dict[str, str] = {}
        above: dict[str, str] = {}

        def source_of(name: str) -> str:
            if name == "entry":
                raise straight.Unfit(name)
            return above.get(name) or parameters.setdefault(name.lower(), f"a{len(parameters)}")

        scope = straight.Scope(source_of, _FILTERS, {}, {}, lambda _: True)
        body = []
        try:
            for field, expression in expressions.fields:
                tree = _environment().parse("{{ (" + expression + ") }}")
                source = straight.text_of_all(tree.body, scope)
                body.append(f"f{len(above)} = {source}")
                above[field] = f"f{len(above)}"
            body.append(f"return {', '.join(above.values())}")
            self._asked = tuple(parameters)
            return straight.function(parameters.values(), body, scope)
        except (straight.Unfit, RecursionError):
            return None

    def fields(self, entry: Entry) -> dict[str, str]:
        """The mapped fields of an entry. Raises MappingError naming the field that failed."""
        return self._mapped(entry, entry.firsts(self._asked))

    def _mapped(self, entry: Entry, values: list[str]) -> dict[str, str]:
        """The same, given the first values of what `_quick` asks for."""
        if self._quick is not None:
            try:
                found = self._quick(*values)
            except Exception:  # noqa: BLE001 - the long way tells which field it is
                return self._by_jinja(entry)
            return dict(zip(self._order, found, strict=True))
        return self._by_jinja(entry)

    def _by_jinja(self, entry: Entry) -> dict[str, str]:
        result = {field: entry.first(name) for field, name in self._bare.items()}
        if self._evaluate is None:
            return result
        names: dict[str, Any] = {n: entry.first(lower) for n, lower in self._names.items()}
        names["entry"] = _Values(entry.attributes)
        try:
            computed = self._evaluate(names)
        except Exception:  # noqa: BLE001 - the admin's expression may raise anything
            computed = self._one_by_one(names)
        for field in self._computed:
            result[field] = _as_text(field, computed[field])
        return result

    def _one_by_one(self, names: dict[str, Any]) -> dict[str, Any]:
        """The slow way round, to learn which field it is that fails."""
        names = dict(names)
        for field, expression in self._unit.items():
            evaluate = _environment().compile_expression(expression, undefined_to_none=False)
            try:
                names[field] = evaluate(**names)
            except Exception as error:
                raise MappingError(f"{field}: {expression}: {error}") from error
        return names

    def candidate(self, entry: Entry, at: float) -> Candidate:
        """The peer that an entry asks for at a time, or the exact reason why it gets none.

        An account that has expired is as good as disabled: nobody can log on with it.
        """
        peer, reason, fault = None, "", False
        login, created, usn, control, ends, *values = entry.firsts(self._wanted)
        expires = expiry(ends) if self._drop_disabled else 0.0
        if self._drop_disabled and disabled(control):
            reason, expires = "the account is disabled in AD", 0.0
        elif expires and expires <= at:
            reason, expires = "the account has expired in AD", 0.0
        else:
            try:
                peer, reason = self._peer(entry, login, values)
            except MappingError as error:
                reason, fault = str(error), True
            except UnsafeText as error:
                reason, fault = error.told(self.origins), True
        return Candidate(
            entry.guid,
            entry.dn,
            login,
            created,
            peer,
            reason,
            fault,
            usn=count(usn),
            expires=expires,
            shown=self._shown(tuple(entry.attributes)),
        )

    def _shown(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The attributes of the mapping that are among those of an entry."""
        if names not in self._seen:  # users have the same few sets of them
            if len(self._seen) > _SETS:
                self._seen.clear()
            self._seen[names] = tuple(sorted(self._shows.intersection(names)))
        return self._seen[names]

    def _peer(self, entry: Entry, login: str, values: list[str]) -> tuple[Peer | None, str]:
        mapped = self._mapped(entry, values)
        if not mapped["number"]:
            return None, "its number is empty"
        secret = entry.first(self._secret) if self._secret else ""
        if self._secret and not secret:
            raise MappingError(f"the attribute {self._secret} that holds its secret is empty")
        extra = tuple([(field, mapped[field]) for field in self._extras])
        all_of_it = entry.guid, *_MAPPED_OF(mapped), entry.dn, login, extra, secret
        return Peer(*all_of_it), ""


def _origin(expression: str) -> str:
    """An expression without what does not fit a sentence."""
    plain = " ".join(expression.split())
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 1] + "…"


def _as_text(field: str, value: Any) -> str:
    if value is None or isinstance(value, Undefined):
        return ""  # the first of no values, say
    if not isinstance(value, (str, int, float)):
        # A generator too, such as of | map: its text would be another one at every start.
        raise MappingError(f"{field} gives a list; take one with | first, or use | join")
    try:
        return str(value)
    except ValueError as error:  # an integer of more than 4,300 digits
        raise MappingError(f"{field}: {error}") from error
