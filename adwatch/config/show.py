"""The configuration as others read it: in force, secrets masked, and its JSON Schema."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from itertools import pairwise
from pathlib import PurePath
from textwrap import dedent
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

from adwatch.config.schema import Config
from adwatch.config.values import MASK, Address, AlertUrl, Duration, Mode, Network


def show(config: Config) -> str:
    """The configuration in force as YAML: every key, secrets as ********."""
    return yaml.dump(plain(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file as a person writes it."""
    schema = Config.model_json_schema(schema_generator=_Generator)
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **schema,
        "title": "adwatch configuration",
        "description": "The configuration file of adwatch: /etc/adwatch/config.yaml",
    }


def descriptions(section: type[BaseModel]) -> dict[str, str]:
    """What the schema says of each key of a section, in the text below it.

    pydantic's `use_attribute_docstrings` would parse the source at every start, for nobody.
    """
    made = ast.parse(dedent(inspect.getsource(section))).body[0]
    assert isinstance(made, ast.ClassDef)
    return {
        key.target.id: inspect.cleandoc(below.value.value)
        for key, below in pairwise(made.body)
        if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(below.value.value, str)
    }


def plain(value: Any) -> Any:
    """A value of the configuration as a person would write it, secrets masked."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, SecretStr) and not isinstance(value, AlertUrl):
        return MASK
    written = (AlertUrl, Duration, Mode, Address, PurePath, Network)
    return str(value) if isinstance(value, written) else value


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        return True


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, _schema: Any) -> bool:
        return False

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        for key, text in descriptions(schema["cls"]).items():
            made["properties"][key]["description"] = text
        return made

    def encode_default(self, dft: Any) -> Any:
        return plain(dft)
