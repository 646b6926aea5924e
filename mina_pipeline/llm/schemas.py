"""Answers as structs: their strict JSON schema for the wire, and what comes back, validated by ourselves."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)
WORDS = frozenset({"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf"})
"""What every server with strict schemas takes. Bounds of numbers and lengths are checked here, not there."""


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    """The root of what a model may answer: every field is there, and no other."""


@cache
def strict_schema(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of a struct without references, titles or defaults; every field required, none added."""
    whole = msgspec.json.schema(shape)
    found: dict[str, Any] = plain(whole, whole.get("$defs", {}))
    return found


def plain(schema: Any, named: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return plain(named[schema["$ref"].rsplit("/", 1)[1]], named)
    out = {key: value for key, value in schema.items() if key in WORDS}
    if "properties" in out:
        out["properties"] = {name: plain(one, named) for name, one in out["properties"].items()}
    if isinstance(out.get("items"), dict):
        out["items"] = plain(out["items"], named)
    if "anyOf" in out:
        out["anyOf"] = [plain(one, named) for one in out["anyOf"]]
    if "enum" in out:
        out["type"] = "string"
    return out


def read(text: str, shape: type[T]) -> T:
    """The answer; ValueError where it is not exactly of the shape. The error's text may quote it: show it nobody."""
    return msgspec.json.decode(text.strip().encode("utf-8", "replace"), type=shape)


def reread(value: Any, shape: type[T]) -> T:
    """An answer that was recorded as JSON; ValueError where it was of another shape."""
    return msgspec.convert(value, shape)
