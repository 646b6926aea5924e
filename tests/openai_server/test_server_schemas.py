"""Schemas are filled with what they admit, or with what they do not; which cannot be filled."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minutes import format_of, plain, thing
from openai import OpenAI

from mina_pipeline.testing.openai_server import Unfillable, fill
from mina_pipeline.testing.openai_server.schemas import wrong

names = st.sampled_from("abcd")
low, more = st.integers(-9, 9), st.integers(0, 9)
length = st.integers(0, 40)
leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string"}, {"type": ["null", "integer"]}]),
    st.sampled_from([{"type": "string", "format": "date"}, {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}]),
    st.builds(lambda a, b: {"type": "string", "minLength": a, "maxLength": a + b}, length, length),
    st.builds(lambda a, b: {"type": "integer", "minimum": a, "maximum": a + b}, low, more),
    st.builds(lambda a, b: {"type": "number", "exclusiveMinimum": a, "maximum": a + b + 0.5}, low, more),
    st.builds(lambda a: {"type": "number", "exclusiveMaximum": a}, st.floats(-9, 9)),
    st.builds(lambda a, b: {"type": "integer", "multipleOf": b + 1, "minimum": a}, low, more),
    st.builds(lambda values: {"enum": values}, st.lists(st.none() | st.integers() | names, min_size=1)),
    st.sampled_from([{"anyOf": [{"$ref": "#"}, {"type": "null"}]}, {"type": "array", "items": {"$ref": "#"}}]),
    st.just({"const": 3}),
)
schemas = st.dictionaries(
    names,
    st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(lambda properties: thing(**properties), st.dictionaries(names, inner, max_size=3)),
            st.builds(
                lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 3)
            ),
            st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        ),
        max_leaves=8,
    ),
).map(lambda properties: thing(**properties))


def admits(schema: Any, value: Any, root: Any) -> bool:
    """Whether a schema of the above admits a value: written apart from the generator."""
    if "$ref" in schema:
        return admits(root, value, root)
    if "anyOf" in schema:
        return any(admits(option, value, root) for option in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema:
        return bool(value == schema["const"])
    match schema["type"]:
        case "object":
            inner = schema["properties"]
            return (
                isinstance(value, dict)
                and set(value) == set(inner)
                and all(admits(inner[key], value[key], root) for key in inner)
            )
        case "array":
            fits = isinstance(value, list) and len(value) >= schema.get("minItems", 0)
            return fits and all(admits(schema["items"], item, root) for item in value)
        case "string":
            if schema.get("format") or schema.get("pattern"):
                return isinstance(value, str) and bool(date.fromisoformat(value))
            return isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 99)
        case "integer" | "number" as kind:
            return (
                isinstance(value, int if kind == "integer" else int | float)
                and not isinstance(value, bool)
                and schema.get("minimum", value) <= value <= schema.get("maximum", value)
                and value < schema.get("exclusiveMaximum", value + 1)
                and value > schema.get("exclusiveMinimum", value - 1)
                and not value % schema.get("multipleOf", 1 if kind == "integer" else value or 1)
            )
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case kinds:
            return any(admits({**schema, "type": kind}, value, root) for kind in kinds)


@given(schemas)
def test_what_fills_a_schema_is_admitted_by_it(schema: dict[str, Any]) -> None:
    """Every strict schema is filled with a value that it admits, the same each time; a wrong one is not admitted."""
    value = fill(schema)
    assert admits(schema, value, schema), value
    assert value == fill(schema)
    assert not admits(schema, wrong(schema), schema), wrong(schema)


@pytest.mark.parametrize("end", [{"type": "null"}, {"type": "string"}])
def test_a_schema_that_refers_to_itself_stays_small(end: dict[str, Any]) -> None:
    """A tree ends after a few levels, by null or by what else has no branches."""
    side = {"anyOf": [{"$ref": "#"}, end]}
    assert len(json.dumps(fill(thing(left=side, right=side, more={"type": "array", "items": {"$ref": "#"}})))) < 4000
    assert len(json.dumps(fill({"type": "object", "properties": {"optional": {"$ref": "#"}}}))) < 200


def test_a_wrong_value_is_wrong_in_one_type() -> None:
    """The first property that admits not everything gets another type; where there is none, the whole does."""
    words = {"type": "array", "items": {"type": "string"}}
    assert wrong(thing(a={}, b=words, c=words)) == {"a": "a 1", "b": "wrong", "c": ["c 1"]}
    assert wrong(thing(a={"anyOf": [words, {"type": ["string", "null"]}]})) == {"a": 0.5}
    assert wrong(thing(a={})) == ["wrong"]
    assert wrong(words) == "wrong"


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (thing(a={"type": "string", "pattern": "^[A-Z]{17}$"}), "pattern"),
        (thing(a={"$ref": "#"}), "never ends"),
        (thing(a={"$ref": "#/$defs/b"}), "not in the schema"),
        (thing(a={"type": "integer", "minimum": 3, "maximum": 2}), "bounds"),
        (thing(a={"type": "strnig"}), "no type"),
    ],
)
def test_what_cannot_be_filled_says_why(client: OpenAI, schema: dict[str, Any], why: str) -> None:
    """A schema that the generator cannot fill is a 400 that says so, not a wrong answer; a script still answers it."""
    with pytest.raises(Unfillable, match=why):
        fill(schema)
    with pytest.raises(openai.BadRequestError, match=why):
        plain(client, response_format=format_of(schema))
