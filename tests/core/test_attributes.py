"""Attributes are what a dict of tuples is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwatch.core.attributes import Attributes

dicts = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.text(max_size=3), min_size=1))


@given(dicts)
def test_the_same_as_a_dict(wanted: dict[str, list[str]]) -> None:
    model = {name: tuple(values) for name, values in wanted.items()}
    values = tuple(v[0] if len(v) == 1 else v for v in model.values())
    made = Attributes(tuple(model), values)
    assert made == model
    assert model == made
    assert (list(made), len(made), repr(made)) == (list(model), len(model), repr(model))
    for name in "abcdefg":
        assert made.get(name, ("none",)) == model.get(name, ("none",))
        assert (name in made) == (name in model)


def test_what_is_absent_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Attributes(("a",), ("1",))["b"]
