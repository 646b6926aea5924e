"""A value for a JSON schema: always the same one, valid, and small. Also one that breaks it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

DEEP = 6
"""So many objects and arrays inside one another, and optional things are left out: a schema may refer to itself."""
TOO_DEEP = 40

SAMPLES = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T10:00:00Z",
    "time": "10:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000001",
}
SHAPES = (
    "2026-01-02",
    "10:00",
    "10:00:00",
    "2026-01-02T10:00:00Z",
    "1",
    "a",
    "A",
    "a1",
    "A1",
    "a-1",
    "word",
    "1.0",
    "s1",
)


class Unfillable(ValueError):
    """The schema admits no value that this generator would find; says where and why."""


def fill(schema: Schema, *, stretch: float = 1.0) -> Any:
    """The value that stands for a schema.

    Knows type, enum, const, anyOf, oneOf, allOf, $ref, properties, items, prefixItems, the bounds of lengths, counts
    and numbers, and the usual formats; a `pattern` only where one of a few common shapes matches it. Every property is
    there; of alternatives the first that is not null; strings are the property's name and an index. With stretch=2
    strings and arrays are twice as long as maxLength and maxItems allow. Raises Unfillable.
    """
    return Filler(schema, stretch).value(schema, "value", 1, 0)


def wrong(schema: Schema) -> Any:
    """JSON that the schema does not admit: where it can be, of the right keys with one value of a wrong type."""
    filler = Filler(schema, 1.0)
    value = filler.value(schema, "value", 1, 0)
    properties = filler.flat(schema).get("properties", {})
    if isinstance(value, dict):
        for name, inner in properties.items():
            for candidate, kinds in ((["wrong"], {"array"}), ("wrong", {"string"}), (0.5, {"number"})):
                if not kinds & filler.types(inner, 0):
                    return {**value, name: candidate}
    return ["wrong"] if "array" not in filler.types(schema, 0) else "wrong"


class Filler:
    """Fills one root schema."""

    def __init__(self, root: Schema, stretch: float) -> None:
        self.root = root
        self.stretch = stretch

    def flat(self, written: Any) -> Schema:
        """The schema with its references followed and its allOf merged."""
        schema: Schema = written if isinstance(written, Mapping) else {}
        for _ in range(TOO_DEEP):
            if "$ref" in schema:
                target = self.look_up(schema["$ref"])
                schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
            elif "allOf" in schema:
                merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
                for part in map(self.flat, schema["allOf"]):
                    properties = {**merged.get("properties", {}), **part.get("properties", {})}
                    merged.update(part)
                    if properties:
                        merged["properties"] = properties
                schema = merged
            else:
                return schema
        raise Unfillable(f"references lead nowhere: {schema.get('$ref')}")

    def look_up(self, ref: str) -> Schema:
        """What a `$ref` inside the document points to."""
        found: Any = self.root
        if not ref.startswith("#"):
            raise Unfillable(f"{ref} lies outside the schema")
        for step in filter(None, ref[1:].split("/")):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or name not in found:
                raise Unfillable(f"{ref} is not in the schema")
            found = found[name]
        return found if isinstance(found, Mapping) else {}

    def types(self, schema: Any, depth: int) -> set[str]:
        """The JSON types that the schema admits, at least."""
        schema = self.flat(schema)
        if depth > TOO_DEEP:
            return set()
        if "const" in schema or "enum" in schema:
            return {json_type(value) for value in schema.get("enum", [schema.get("const")])}
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return {kind for option in schema[word] for kind in self.types(option, depth + 1)}
        named = schema.get("type")
        if named is None and ("properties" in schema or "items" in schema):
            named = "object" if "properties" in schema else "array"
        if named is None:
            return {"null", "boolean", "number", "string", "array", "object"}
        return {"number" if kind == "integer" else kind for kind in ([named] if isinstance(named, str) else named)}

    def value(self, schema: Any, name: str, index: int, depth: int) -> Any:
        """The value for one place; name: the property it is in, index: which of an array's items, from 1."""
        if schema is False:
            raise Unfillable(f"{name}: the schema admits nothing")
        if depth > TOO_DEEP:
            raise Unfillable(f"{name}: the schema refers to itself and never ends")
        schema = self.flat(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self.first_of(schema[word], name, index, depth)
        kinds = schema.get("type", "object" if "properties" in schema else "array" if "items" in schema else "string")
        if not isinstance(kinds, str):
            return self.first_of([{**schema, "type": kind} for kind in kinds], name, index, depth)
        match kinds:
            case "object":
                return self.object(schema, depth)
            case "array":
                return self.array(schema, name, depth)
            case "string":
                return self.string(schema, name, index)
            case "integer" | "number":
                return number(schema, kinds == "integer", index, name)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                raise Unfillable(f"{name}: there is no type {kinds!r}")

    def first_of(self, options: list[Any], name: str, index: int, depth: int) -> Any:
        """The first alternative that is not null and can be filled; far down, one that goes no deeper comes before."""

        def last(option: Any) -> tuple[bool, bool]:
            kinds = self.types(option, 0)
            return depth > DEEP and not kinds.isdisjoint(("object", "array")), kinds == {"null"}

        refused: list[str] = []
        for option in sorted(options, key=last):
            try:
                return self.value(option, name, index, depth + 1)
            except Unfillable as error:
                refused.append(str(error))
        raise Unfillable("; ".join(dict.fromkeys(refused)) or f"{name}: no alternative")

    def object(self, schema: Schema, depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        return {
            key: self.value(inner, key, 1, depth + 1)
            for key, inner in schema.get("properties", {}).items()
            if depth <= DEEP or key in required
        }

    def array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        wanted = max(least, 0 if depth > DEEP else 1)
        if most is not None:
            wanted = math.ceil(most * self.stretch) if self.stretch > 1 else min(wanted, most)
        first = schema.get("prefixItems", [])
        items = [*first, *[schema.get("items", {})] * max(0, wanted - len(first))]
        return [self.value(item, name, index, depth + 1) for index, item in enumerate(items, 1)]

    def string(self, schema: Schema, name: str, index: int) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if (pattern := schema.get("pattern")) is not None:
            for shape in (f"{name} {index}", *SHAPES, *SAMPLES.values()):
                if least <= len(shape) <= (most or len(shape)) and re.search(pattern, shape):
                    return shape
            raise Unfillable(f"{name}: no sample matches the pattern {pattern!r}; script the answer")
        text = SAMPLES.get(schema.get("format", ""), f"{name} {index}")
        if most is not None and self.stretch > 1:
            least, most = math.ceil(most * self.stretch), None
        text += " and more"[: max(0, least - len(text))]
        return text.ljust(least, ".")[:most]


def number(schema: Schema, whole: bool, index: int, name: str) -> float:
    """The index, else what is nearest to a bound, else the middle: the first that all bounds allow."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    ends = [end for end in (low, above, high, below) if end is not None]
    near = [index, *ends, sum(ends) / max(1, len(ends))]
    step = schema.get("multipleOf") or (1 if whole else None)
    for start in near:
        for away in (0, 1, -1):
            found = start + away if step is None else (math.floor(start / step) + away) * step
            if (
                (low is None or found >= low)
                and (above is None or found > above)
                and (high is None or found <= high)
                and (below is None or found < below)
            ):
                return int(found) if whole else found
    raise Unfillable(f"{name}: no number lies within the bounds")


def json_type(value: Any) -> str:
    """The JSON type of a Python value; integers are numbers."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def lengthen(value: Any, extra: int) -> tuple[Any, bool]:
    """The value with its first string so many characters longer, and whether it has a string."""
    if isinstance(value, str):
        return value + (" and so on" * (extra // 10 + 1))[:extra], True
    if isinstance(value, list | dict):
        keys: Iterator[Any] = iter(value if isinstance(value, dict) else range(len(value)))
        for key in keys:
            changed, found = lengthen(value[key], extra)
            if found:
                copy = value.copy()
                copy[key] = changed
                return copy, True
    return value, False
