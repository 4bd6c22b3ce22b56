"""What `config show` and `config schema` print."""

import json
import re
from pathlib import Path

import yaml

from adwatch.config.load import load
from adwatch.config.schema import Config
from adwatch.config.show import json_schema, show

HEAD = "directory: {servers: ldaps://dc1.example.test, user: u, password: pa55}\n"
FULL = (
    HEAD
    + """\
outputs:
- {path: /a/users.conf, options: {template: lan, hash: yes}, mode: "0600", owner: a:b}
- {path: /a/own.conf, template: t.j2, reload: null}
asterisk: {ami: {user: u, secret: pa55}}
alerts:
  targets: ["mailtos://u:pa55@h", {url: "slack://pa55/pa55", min_level: error}, {url_file: f}]
peers: {number: "'0123'", extra: {a: "null", b: "no"}}
http: {listen: "[::1]:80", allow: [10.0.0.0/8, "fd00::/8"]}
contacts: {}
agi: 127.0.0.1:4573
safety: {window: 90m}
"""
)


def test_shown_text_loads_as_the_same(write):
    before = load(write(FULL))
    text = show(before)
    again = load(write(text))
    assert show(again) == text
    for name in Config.model_fields.keys() - {"alerts", "asterisk", "directory"}:
        assert getattr(again, name) == getattr(before, name)


def test_secrets_are_masked(write):
    loaded = load(write(FULL))
    text = show(loaded)
    assert "pa55" not in text + repr(loaded) + str(loaded)
    tree = yaml.safe_load(text)
    assert tree["directory"]["password"] == "********"
    assert tree["asterisk"]["ami"]["secret"] == "********"
    assert [target["url"] for target in tree["alerts"]["targets"]] == [
        "mailtos://********",
        "slack://********",
        None,
    ]


def test_shown_as_a_person_would_write(write):
    text = show(load(write(FULL)))
    for line in ("window: 90m", "mode: '0600'", "agi: 127.0.0.1:4573", "listen: '[::1]:80'"):
        assert line in text
    assert "verify: true" in text
    assert "max_removals: 5" in text


def test_every_key_is_shown(write):
    def keys(model):
        return dict.fromkeys(model.model_fields)

    tree = yaml.safe_load(show(load(write(FULL))))
    assert list(tree) == list(keys(Config))
    for name, field in Config.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            assert list(tree[name]) == list(keys(field.annotation))


def resolve(schema, node):
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


def properties(schema, node=None, way=""):
    """Every property below a node of a JSON Schema: way and node."""
    node = resolve(schema, node or schema)
    for inner in (*node.get("anyOf", ()), node.get("items", {})):
        if inner:
            yield from properties(schema, inner, way)
    for name, inner in node.get("properties", {}).items():
        yield f"{way}{name}", inner
        yield from properties(schema, inner, f"{way}{name}.")


def test_schema():
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "adwatch configuration"
    assert schema["required"] == ["directory"]
    found = dict(properties(schema))
    assert {"directory.tls.start", "outputs.options.endpoint", "asterisk.ami.secret"} <= set(found)
    assert found["directory.tls.start"]["enum"] == ["ldaps", "starttls", "none"]
    assert found["safety.window"]["type"] == "string"
    assert found["safety.window"]["default"] == "10m"
    assert found["outputs.mode"]["default"] == "0640"
    assert found["http.listen"]["default"] == "127.0.0.1:8389"
    assert found["asterisk.verify"]["default"] is True


def test_every_object_of_the_schema_is_closed():
    schema = json_schema()
    for name, node in schema["$defs"].items():
        closed = next((one for one in node.get("anyOf", ()) if "properties" in one), node)
        assert closed["additionalProperties"] is False, name
    assert schema["additionalProperties"] is False


def test_every_key_of_the_schema_is_described():
    schema = json_schema()
    for way, node in properties(schema):
        if not way.startswith("outputs.options."):
            described = [node, *(node.get("anyOf", ()))]
            assert any(resolve(schema, one).get("description") for one in described), way


def test_patterns_accept_the_defaults():
    for way, node in properties(json_schema()):
        if "pattern" in node and "default" in node:
            assert re.search(node["pattern"], node["default"]), way


def test_schema_has_no_path_of_this_machine():
    assert str(Path.cwd()) not in json.dumps(json_schema())
