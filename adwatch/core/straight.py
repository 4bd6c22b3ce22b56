"""Jinja2 within narrow bounds as plain Python: the same text, several times quicker.

Taken is what gives exactly what Jinja2 gives where every name is a text; whoever uses it asks
Jinja2 itself where `Unfit` is raised here, or anything at all by what was made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from jinja2 import nodes

# Jinja2's filters that are methods of a text, for values that are texts.
_METHODS: Final = frozenset({"upper", "lower", "capitalize"})
_COMPARISONS: Final = {"eq": "==", "ne": "!=", "in": "in", "notin": "not in"}
_JUNCTIONS: Final = {nodes.Or: "or", nodes.And: "and"}


class Unfit(ValueError):  # noqa: N818 - no fault: Jinja2 has to be asked
    """Something that only Jinja2 itself can do."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may use: Python's source for each name, and functions by their name.

    `options` are the fixed texts that `options.NAME` stands for; `fits` says of a fixed text
    whether it may stand where a value may, `slices` that of a slice; `members` are the names
    that may stand as `peer.NAME`, too.
    """

    names: Callable[[str], str]
    filters: Mapping[str, Callable[..., str]]
    tests: Mapping[str, Callable[[str], bool]]
    options: Mapping[str, object]
    fits: Callable[[str], bool]
    slices: bool = True
    members: frozenset[str] = frozenset()

    def functions(self) -> dict[str, Callable[..., Any]]:
        """What the source made within this scope calls."""
        called = {f"filter_{name}": each for name, each in self.filters.items()}
        return {**called, **{f"test_{name}": each for name, each in self.tests.items()}}


def function(parameters: Iterable[str], body: Iterable[str], scope: Scope) -> Callable[..., Any]:
    """The function of so many parameters that the lines of source are the body of.

    Raises Unfit where Python finds it too deep.
    """
    lines = "".join(f"    {line}\n" for line in body)
    made: dict[str, Any] = scope.functions()
    try:
        exec(f"def straight({', '.join(parameters)}):\n{lines}", made)  # noqa: S102 - our own words
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise Unfit("too deep") from error
    result: Callable[..., Any] = made["straight"]
    return result


def text_of(node: nodes.Node, scope: Scope) -> str:
    """The source of an expression that gives a text."""
    if isinstance(node, nodes.Name):
        return scope.names(node.name)
    if _is_member(node, scope):
        return scope.names(node.attr)
    if isinstance(node, (nodes.Const, nodes.Getattr)):
        return repr(_fixed(node, scope))
    if isinstance(node, (nodes.Or, nodes.And)):
        left, right = text_of(node.left, scope), text_of(node.right, scope)
        return f"({left} {_JUNCTIONS[type(node)]} {right})"
    return _composed(node, scope)


def _composed(node: nodes.Node, scope: Scope) -> str:
    if isinstance(node, nodes.Concat):
        return f"({' + '.join(text_of(each, scope) for each in node.nodes)})"
    if isinstance(node, nodes.CondExpr) and node.expr2 is not None:
        one, other = text_of(node.expr1, scope), text_of(node.expr2, scope)
        return f"({one} if {_truth_of(node.test, scope)} else {other})"
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice) and scope.slices:
        part = node.arg
        if part.step is None:
            ends = ":".join(_count(end) for end in (part.start, part.stop))
            return f"{text_of(node.node, scope)}[{ends}]"
    if isinstance(node, nodes.Filter) and node.node is not None:
        return _filtered(node, scope)
    raise Unfit(type(node).__name__)


def _is_member(node: nodes.Node, scope: Scope) -> TypeGuard[nodes.Getattr]:
    return (
        isinstance(node, nodes.Getattr)
        and isinstance(node.node, nodes.Name)
        and node.node.name == "peer"
        and node.attr in scope.members
    )


def _fixed(node: nodes.Node, scope: Scope) -> str:
    value = _option(node, scope) if isinstance(node, nodes.Getattr) else _constant(node)
    if not isinstance(value, str) or not scope.fits(value):
        raise Unfit("a fixed value")
    return value


def _option(node: nodes.Getattr, scope: Scope) -> object:
    owner = node.node
    if isinstance(owner, nodes.Name) and owner.name == "options" and node.attr in scope.options:
        return scope.options[node.attr]
    raise Unfit(node.attr)


def _constant(node: nodes.Node | None) -> object:
    if isinstance(node, nodes.Const):
        return node.value
    raise Unfit(type(node).__name__)


def _count(node: nodes.Node | None) -> str:
    """One end of a slice."""
    if node is None:
        return ""
    sign, inner = ("-", node.node) if isinstance(node, nodes.Neg) else ("", node)
    value = _constant(inner)
    if type(value) is not int:
        raise Unfit("a slice")
    return f"{sign}{value}"


def _filtered(node: nodes.Filter, scope: Scope) -> str:
    assert node.node is not None
    value, name, given = text_of(node.node, scope), node.name, _given(node)
    if name in scope.filters and all(type(each) in (str, int) for each in given):
        return f"filter_{name}({', '.join([value, *map(repr, given)])})"
    if name in _METHODS and not given:
        return f"{value}.{name}()"
    raise Unfit(name)


def _given(node: nodes.Filter | nodes.Test) -> list[object]:
    """The arguments of a filter or a test, all of them fixed and told by their places."""
    if node.kwargs or node.dyn_args or node.dyn_kwargs:
        raise Unfit(node.name)
    return [_constant(each) for each in node.args]


def _truth_of(node: nodes.Node, scope: Scope) -> str:
    """The source of a condition."""
    if isinstance(node, nodes.Not):
        return f"(not {_truth_of(node.node, scope)})"
    if isinstance(node, (nodes.Or, nodes.And)):
        left, right = _truth_of(node.left, scope), _truth_of(node.right, scope)
        return f"({left} {_JUNCTIONS[type(node)]} {right})"
    if isinstance(node, nodes.Compare) and len(node.ops) == 1:
        (operand,) = node.ops
        if operand.op in _COMPARISONS:
            left, right = text_of(node.expr, scope), text_of(operand.expr, scope)
            return f"({left} {_COMPARISONS[operand.op]} {right})"
    if isinstance(node, nodes.Test) and node.name in scope.tests and not _given(node):
        return f"test_{node.name}({text_of(node.node, scope)})"
    if isinstance(node, nodes.Getattr) and not _is_member(node, scope):
        return repr(bool(_option(node, scope)))
    return text_of(node, scope)


def text_of_all(body: Iterable[nodes.Node], scope: Scope) -> str:
    """The source of what a template writes, whose statements are outputs and conditions alone."""
    pieces: list[str] = []
    for node in body:
        if isinstance(node, nodes.Output):
            pieces += [_output(each, scope) for each in node.nodes]
        elif isinstance(node, nodes.If):
            pieces.append(_conditional(node, scope))
        else:
            raise Unfit(type(node).__name__)
    return f"''.join(({', '.join(pieces)},))" if pieces else "''"


def _output(node: nodes.Node, scope: Scope) -> str:
    return repr(node.data) if isinstance(node, nodes.TemplateData) else text_of(node, scope)


def _conditional(node: nodes.If, scope: Scope) -> str:
    source = text_of_all(node.else_, scope)
    for each in (*reversed(node.elif_), node):
        source = f"({text_of_all(each.body, scope)} if {_truth_of(each.test, scope)} else {source})"
    return source
