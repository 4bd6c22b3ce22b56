"""config.yaml.example holds every key, loads, and shows the defaults that it says it shows."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from adwatch.config import source
from adwatch.config.load import load
from adwatch.config.schema import Config

EXAMPLE = Path(__file__).parents[2] / "config.yaml.example"
SAMPLES = {"directory": {"servers", "user", "base", "password_file"}}
OPTIONAL = {"ami": "asterisk", "targets": "alerts", "http": "", "contacts": ""}


def models(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in models(inner)]


def keys(model, way=()):
    for name, field in model.model_fields.items():
        yield (*way, name)
        for inner in models(field.annotation):
            yield from keys(inner, (*way, name))


def shown(tree, way=()):
    if isinstance(tree, dict):
        for name, inner in tree.items():
            yield (*way, name)
            yield from shown(inner, (*way, name))
    elif isinstance(tree, list):
        for inner in tree:
            yield from shown(inner, way)


def with_optional():
    """The example with the commented examples of what is null or empty put in."""
    text = EXAMPLE.read_text()
    for name in OPTIONAL:
        text = re.sub(rf"(?m)^( *){name}: (null|\[\]).*\n(?=\1# {name}:)", "", text)
        text = re.sub(
            rf"(?m)^( *)# {name}:.*\n(\1#  .*\n)+",
            lambda match: re.sub(r"(?m)^( *)# ", r"\1", match[0]),
            text,
        )
    return text


@pytest.fixture
def example():
    return load(EXAMPLE)


def test_it_loads(example):
    assert example.directory.servers


def test_every_key_is_in_it_in_order(write):
    tree = source.read(write(with_optional())).tree
    found = set(shown(tree))
    assert [way for way in keys(Config) if way not in found] == []
    assert list(tree) == list(Config.model_fields)


def test_the_commented_examples_load(write):
    text = with_optional().replace("  secret: null ", "  #secret: null")
    loaded = load(write(text))
    assert loaded.http is not None
    assert loaded.asterisk.ami is not None
    assert len(loaded.alerts.targets) == 2
    assert loaded.contacts is not None


def test_it_shows_the_defaults(example, config):
    defaults = config()
    for name in Config.model_fields:
        ours, theirs = getattr(example, name), getattr(defaults, name)
        left_out = SAMPLES.get(name, set())
        if name == "outputs":
            (ours,), (theirs,) = ours, theirs
            left_out = {"name", "path", "format", "options", "reload"}  # it leads with PJSIP
        if isinstance(ours, BaseModel):
            ours, theirs = (one.model_dump(exclude=left_out) for one in (ours, theirs))
        assert ours == theirs, name


def test_optional_sections_show_their_defaults(write):
    loaded = load(write(with_optional()))
    assert loaded.http.listen == type(loaded.http)().listen
    assert loaded.contacts == type(loaded.contacts)()
    assert (loaded.asterisk.ami.host, loaded.asterisk.ami.port) == ("127.0.0.1", 5038)


def test_the_users_conf_beside_it_is_the_default(write, config):
    text = re.sub(r"(?ms)^  - name: peers.*?^  # - name", "  # - name", EXAMPLE.read_text())
    before, _, after = text.partition("  # - name: users")
    beside, _, after = after.partition("\n\n")
    lines = [line.replace("  # ", "  ", 1) for line in beside.splitlines()]
    (ours,) = load(write(before + "\n".join(["  - name: users", *lines[1:], "", after]))).outputs
    (theirs,) = config().outputs
    assert ours.options == {"template": "lan"}
    assert ours.model_dump(exclude={"options"}) == theirs.model_dump(exclude={"options"})


def test_it_leads_with_pjsip(example):
    assert [output.format for output in example.outputs] == ["pjsip.conf"]
    assert example.outputs[0].reload == "module reload res_pjsip.so"


def test_it_says_what_must_be_changed():
    text = EXAMPLE.read_text()
    for key in ("servers", "user", "password_file", "base", "options"):
        assert re.search(rf"# CHANGE.*\n(\s*#.*\n)*\s*{key}:", text), key
    assert "pjsip.conf" in text


def test_it_fits_a_screen():
    assert max(map(len, EXAMPLE.read_text().splitlines())) <= 100
