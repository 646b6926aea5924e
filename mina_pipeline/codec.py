"""Events to stored text and back: the registry of types and versions, the hash chain, cleaned strings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast, get_type_hints

import msgspec

from .definition import RESERVED
from .errors import MinaError, UpgradeNeeded
from .events import KEPT, SESSION_EVENTS, STAGE_EVENTS, Event, Position, RecordedEvent, StageEvent, Unread
from .text import clean_text, has_late_controls

GENESIS = bytes(32)
"""What the first event of every session has for its previous hash."""

Fields = dict[str, Any]
Upcaster = Callable[[Fields], Fields]
"""The stored fields of version n, kept and content together, to those of version n + 1. The dict is the upcaster's
to change. Content fields are absent where they were erased."""


class RegistryError(MinaError, ValueError):
    """Event classes and upcasters do not fit together; raised where the registry is built."""


@dataclass(frozen=True)
class Reading:
    """How the events of one class are read: today's version, and the steps that lead up to it, oldest first."""

    cls: type[Event]
    version: int
    steps: tuple[Upcaster, ...]
    decode: Callable[[str], Event]

    def upcast(self, version: int, text: str) -> Event:
        """Today's event out of the stored fields of an older version, step by step."""
        fields: Fields = msgspec.json.decode(text)
        for step in self.steps[version - 1 :]:
            fields = step(fields)
        return msgspec.convert(fields, self.cls)


class Registry:
    """Which event types a process reads, and how older versions of them become today's.

    Add an event class to SESSION_EVENTS or STAGE_EVENTS. A field with a default may be added to a class as it is, where
    older releases may ignore it; for any other change raise the class's `schema_version` from n to n + 1 and add an
    upcaster under (kind, n). Either way see FOLD_VERSION. RegistryError tells what is missing.
    """

    def __init__(
        self,
        session_events: Sequence[type[Event]],
        stage_events: Sequence[type[StageEvent]],
        upcasters: Mapping[tuple[str, int], Upcaster],
    ) -> None:
        classes = [*session_events, *stage_events]
        wanted = {(cls.kind, n) for cls in classes for n in range(1, cls.schema_version)}
        if len({cls.kind for cls in classes}) < len(classes):
            raise RegistryError("two event classes have one kind")
        if wanted != upcasters.keys():
            missing, idle = sorted(wanted - upcasters.keys()), sorted(upcasters.keys() - wanted)
            raise RegistryError(f"upcasters that are missing: {missing}; that lead to no class's version: {idle}")
        readings = {cls.kind: reading(cls, upcasters) for cls in classes}
        self.by_type: dict[str, Reading] = {}
        self.by_ending = {cls.kind.removeprefix("stage"): readings[cls.kind] for cls in stage_events}
        for cls in session_events:
            # Releases that do not know such a type would take it for the event of a stage.
            if self.find(cls.kind) is not None:
                raise RegistryError(f"{cls.kind} reads like the event of a stage")
        self.by_type = {cls.kind: readings[cls.kind] for cls in session_events}

    def find(self, type: str) -> Reading | None:
        """How a stored type is read, None where it is unknown. A host's stages are known by their endings."""
        known = self.by_type.get(type)
        if known is None:
            stage, _, ending = type.rpartition("_")
            if stage and stage not in RESERVED:
                known = self.by_ending.get("_" + ending)
        return known


def reading(cls: type[Event], upcasters: Mapping[tuple[str, int], Upcaster]) -> Reading:
    steps = tuple(upcasters[cls.kind, n] for n in range(1, cls.schema_version))
    return Reading(cls, cls.schema_version, steps, msgspec.json.Decoder(cls).decode)


UPCASTERS: dict[tuple[str, int], Upcaster] = {}

REGISTRY = Registry(SESSION_EVENTS, STAGE_EVENTS, UPCASTERS)
"""What this release reads."""


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


def encode(event: Event) -> Encoded:
    """The two stored texts of an event; strings are cleaned on the way, so that every database holds the same."""
    cls = type(event)
    if cls is Unread:
        raise TypeError("an event that was not read cannot be written")
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
    escaped = "\\u00" in text or "\\n" in text or "\\t" in text or "\\r" in text
    if text and not escaped and not has_late_controls(text):
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


def decode(recorded: RecordedEvent, registry: Registry = REGISTRY) -> Event:
    """The event of a recorded one, as today's class.

    For a type or a version that only a later release knows: `Unread` where its writer called it skippable, else
    UpgradeNeeded. ValueError where the stored text is not of its type's shape.
    """
    known, version = registry.find(recorded.type), recorded.schema_version
    if known is None or version > known.version:
        if recorded.skippable:
            return Unread(stored_type=recorded.type)
        if known is None:
            raise UpgradeNeeded("event type", recorded.type, "the types of its own release")
        raise UpgradeNeeded(f"version of {recorded.type}", str(version), f"version {known.version} and older")
    text = joined(recorded.data_text, recorded.content_text)
    return known.decode(text) if version == known.version else known.upcast(version, text)


def stored_as(text: Encoded, registry: Registry = REGISTRY) -> Event:
    """The event as it will be read from its stored texts: what was cleaned on the way is clean in it."""
    known = registry.find(text.type)
    if known is None:
        if text.skippable:
            return Unread(stored_type=text.type)
        raise UpgradeNeeded("event type", text.type, "the types of its own release")
    return known.decode(joined(text.data, text.content))


def joined(data: str, content: str | None) -> str:
    """The two stored objects as one. They are the compact texts that `encode` made, so no parsing is needed."""
    if content is None or content == "{}":
        return data
    return content if data == "{}" else f"{data[:-1]},{content[1:]}"


def digest(salt: bytes, content: str | None) -> bytes | None:
    """The salted digest that stands for content in the chain, also after the content is erased."""
    return None if content is None else hashlib.sha256(salt + content.encode()).digest()


def chain(previous: bytes, row: dict[str, Any]) -> bytes:
    """The hash of an event row: previous hash, canonical envelope, data, digest of content, each length-prefixed."""
    envelope = msgspec.json.encode([
        row["event_id"], row["session_id"], row["version"], row["type"], row["schema_version"], bool(row["skippable"]),
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
