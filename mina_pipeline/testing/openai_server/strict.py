"""What strict structured outputs refuse: a schema that OpenAI would answer with a 400 gets one here as well."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

NOT_PERMITTED = (
    "allOf oneOf not if then else dependentRequired dependentSchemas uniqueItems default contains propertyNames".split()
)
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def complaint(name: str, schema: Any) -> str | None:
    """Why a strict schema would be refused, in OpenAI's words; None where it would not."""
    if not NAME.fullmatch(name):
        return f"Invalid name {name!r}: expected a string of 1 to 64 letters, digits, '_' and '-'."
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        found = schema.get("type") if isinstance(schema, Mapping) else schema
        return f"Invalid schema for response_format {name!r}: schema must be of type 'object', got {found!r}."
    for place, why in faults(schema, ()):
        return f"Invalid schema for response_format {name!r}: In context={place!r}, {why}."
    return None


def faults(schema: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each rule that the schema breaks, with the place in it."""
    for word in NOT_PERMITTED:
        if word in schema:
            yield place, f"'{word}' is not permitted"
    if "$ref" in schema and len(schema) > 1 and place:
        yield place, f"$ref cannot have keywords {set(schema) - {'$ref'}}"
    properties = schema.get("properties", {})
    kinds = schema.get("type", ())
    if "object" in ([kinds] if isinstance(kinds, str) else kinds):
        if schema.get("additionalProperties") is not False:
            yield place, "'additionalProperties' is required to be supplied and to be false"
        missing = [key for key in properties if key not in schema.get("required", ())]
        if missing:
            why = "'required' is required to be supplied and to be an array including every key in properties"
            yield place, f"{why}. Missing {missing[0]!r}"
    for group in ("properties", "$defs", "definitions"):
        for key, inner in schema.get(group, {}).items():
            if isinstance(inner, Mapping):
                yield from faults(inner, (*place, group, key))
    if isinstance(schema.get("items"), Mapping):
        yield from faults(schema["items"], (*place, "items"))
    for number, inner in enumerate(schema.get("anyOf", ())):
        yield from faults(inner, (*place, "anyOf", str(number)))
