"""Schemas are judged as the meta-schema of draft 2020-12 judges them, and told where they are wrong."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator, SchemaError

from broker.authoring.schema import complaints

GOOD: list[Any] = [
    True,
    {},
    {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]},
    {"$defs": {"a": {"type": "integer", "minimum": 0.5}}, "items": {"$ref": "#/$defs/a"}},
    {"prefixItems": [True, {"const": 1}], "items": False, "unevaluatedItems": False},
    {"anyOf": [{"enum": [1, "a", None]}], "not": {}, "if": {}, "then": {}, "else": {}},
    {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"a": {}}, "patternProperties": {"^x": {}}},
    {"multipleOf": 0.1, "maxLength": 3.0, "uniqueItems": True, "format": "uri", "unknown": 1, "default": []},
    {"$ref": "#/properties/a~1b", "properties": {"a/b": {}}},
]
BAD: list[tuple[Any, str]] = [
    ({"type": "objekt"}, "type has 'objekt'"),
    ({"type": []}, "type must name types"),
    ({"type": ["string", "string"]}, "type must name types, each once"),
    ({"properties": {"a": {"minLength": -1}}}, "properties.a.minLength must be a whole number"),
    ({"properties": []}, "properties must be an object"),
    ({"properties": {"a": 1}}, "properties.a must be a schema"),
    ({"required": "a"}, "required must be a list of names"),
    ({"required": ["a", "a"]}, "required has a name twice"),
    ({"anyOf": []}, "anyOf must be a list of one schema or more"),
    ({"anyOf": [{"maximum": "3"}]}, "anyOf[0].maximum must be a number"),
    ({"exclusiveMinimum": True}, "exclusiveMinimum must be a number"),
    ({"multipleOf": 0}, "multipleOf must be more than 0"),
    ({"enum": "a"}, "enum must be a list"),
    ({"items": [{}]}, "items must be one schema; several in a row are `prefixItems`"),
    ({"pattern": 5}, "pattern must be a text"),
    ({"dependentRequired": {"a": "b"}}, "dependentRequired must be a list of names"),
    ({"readOnly": "yes"}, "readOnly must be true or false"),
    (5, "the schema must be a schema"),
]


@pytest.mark.parametrize("schema", GOOD, ids=str)
def test_a_schema_in_order_is_let_be(schema: Any) -> None:
    Draft202012Validator.check_schema(schema)
    assert complaints(schema) == []


@pytest.mark.parametrize(("schema", "said"), BAD, ids=str)
def test_a_wrong_schema_is_told_where_it_is_wrong(schema: Any, said: str) -> None:
    with pytest.raises(SchemaError):
        Draft202012Validator.check_schema(schema)
    assert [said in each for each in complaints(schema)] == [True]


def test_a_reference_that_leads_nowhere_is_a_complaint() -> None:
    assert complaints({"properties": {"a": {"$ref": "#/$defs/b"}}}) == [
        "properties.a.$ref leads to #/$defs/b, which is not there"
    ]


def test_a_schema_of_another_draft_is_left_alone() -> None:
    assert complaints({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{}]}) == []


def test_a_schema_that_is_deep_beyond_sense_ends() -> None:
    deep: Any = {}
    for _ in range(200):
        deep = {"not": deep}
    assert len(complaints(deep)) == 1
