"""Events to stored text and back: the registry of types and versions, the hash chain, cleaned strings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any, cast, get_type_hints

import msgspec

from .errors import UpgradeNeeded
from .events import KEPT, SESSION_EVENTS, STAGE_EVENTS, Event, Position, RecordedEvent
from .text import clean_text

GENESIS = bytes(32)
"""What the first event of every session has for its previous hash."""

BY_TYPE: dict[str, type[Event]] = {cls.kind: cls for cls in SESSION_EVENTS}
BY_ENDING: dict[str, type[Event]] = {cls.kind.removeprefix("stage"): cls for cls in STAGE_EVENTS}


@dataclass(frozen=True)
class Encoded:
    """One event as it is stored: `content` is None where the event's class has none."""

    type: str
    schema_version: int
    skippable: bool
    data: str
    content: str | None


@cache
def split_fields(cls: type[Event]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(kept, content) field names of an event class, in declared order."""
    hints = get_type_hints(cls, include_extras=True)
    kept = [f for f in cls.__struct_fields__ if KEPT in getattr(hints[f], "__metadata__", ())]
    return tuple(kept), tuple(f for f in cls.__struct_fields__ if f not in kept)


def event_class(type: str) -> type[Event]:
    """The class for a stored type; UpgradeNeeded for one that this release does not know."""
    cls = BY_TYPE.get(type) or BY_ENDING.get(type[type.rfind("_") :])
    if cls is None:
        raise UpgradeNeeded("event type", type, "the types of its own release")
    return cls


def encode(event: Event) -> Encoded:
    """The two stored texts of an event; strings are cleaned on the way, so that every database holds the same."""
    cls = type(event)
    kept, content = split_fields(cls)
    texts = (dump({field: getattr(event, field) for field in fields}) for fields in (kept, content))
    data, rest = texts
    return Encoded(event.type, cls.schema_version, cls.skippable, data, rest if content else None)


def dump(value: Any) -> str:
    """Compact JSON. Text that no database would take back unchanged is cleaned first, where there is any."""
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        text = ""
    if text and "\\u00" not in text and "\\n" not in text and "\\t" not in text and "\\r" not in text:
        return text
    return msgspec.json.encode(clean(msgspec.to_builtins(value))).decode()


def clean(value: Any) -> Any:
    """Strings without control characters (whitespace ones become a space) and without lone surrogates, deeply."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value


def decode(recorded: RecordedEvent) -> Event:
    """The event of a recorded one; UpgradeNeeded for a type or a version that a later release wrote."""
    cls = event_class(recorded.type)
    if recorded.schema_version > cls.schema_version:
        known = f"version {cls.schema_version} and older"
        raise UpgradeNeeded("version of " + recorded.type, str(recorded.schema_version), known)
    return msgspec.convert(recorded.data, cls)


def digest(salt: bytes, content: str | None) -> bytes | None:
    """The salted digest that stands for content in the chain, also after the content is erased."""
    return None if content is None else hashlib.sha256(salt + content.encode()).digest()


def chain(previous: bytes, row: dict[str, Any]) -> bytes:
    """The hash of an event row: previous hash, canonical envelope, data, digest of content, each length-prefixed."""
    envelope = msgspec.json.encode([
        row["event_id"], row["session_id"], row["version"], row["type"], row["schema_version"], row["skippable"],
        row["recorded_at"], row["trace_id"], row["causation_id"], row["command_id"], row["actor"],
    ])  # fmt: skip
    hasher = hashlib.sha256(previous)
    for part in (envelope, row["data"].encode(), row["digest"] or b""):
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.digest()


def recorded(row: dict[str, Any]) -> RecordedEvent:
    """An event row of a store as the envelope that callers see."""
    return RecordedEvent(
        event_id=row["event_id"],
        session_id=row["session_id"],
        version=row["version"],
        position=Position(row["era"], row["feed_xid"], row["seq"]),
        type=row["type"],
        schema_version=row["schema_version"],
        skippable=bool(row["skippable"]),
        recorded_at=row["recorded_at"],
        trace_id=row["trace_id"],
        causation_id=row["causation_id"],
        command_id=row["command_id"],
        actor=row["actor"],
        data_text=row["data"],
        content_text=row["content"],
    )


def builtins(value: Any) -> Any:
    """Dataclasses and tuples as JSON knows them: dicts, lists, strings, numbers."""
    return msgspec.to_builtins(value)


def typed(value: Any, shape: type[Any]) -> Any:
    """JSON values as the dataclass `shape`; absent and unknown fields take their defaults or are left out."""
    return cast("Any", msgspec.convert(value, shape, strict=False))
