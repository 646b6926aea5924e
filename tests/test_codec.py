"""Events to text and back, the hash chain, cleaned strings."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mina_pipeline import UpgradeNeeded
from mina_pipeline.codec import GENESIS, REGISTRY, chain, clean, decode, digest, encode, recorded, split_fields
from mina_pipeline.events import (
    SESSION_EVENTS,
    STAGE_EVENTS,
    Event,
    Position,
    SegmentsRecorded,
    StageReady,
    StageStarted,
)
from mina_pipeline.testing.strategies import events


def row_of(event: Event, **changes: Any) -> dict[str, Any]:
    text = encode(event)
    row: dict[str, Any] = {
        "event_id": "e", "session_id": "s", "version": 1, "type": text.type, "schema_version": text.schema_version,
        "skippable": text.skippable, "recorded_at": 1, "trace_id": "t", "causation_id": None, "command_id": None,
        "actor": None, "data": text.data, "content": text.content, "era": 1, "feed_xid": 0, "seq": 1,
        "digest": digest(b"salt", text.content),
    }  # fmt: skip
    return {**row, **changes}


def cleaned(value: Any) -> Any:
    return clean(msgspec.to_builtins(value))


@pytest.mark.laws
@given(events())
def test_every_event_comes_back(event: Event) -> None:
    """An event encoded and decoded is the event, but for text that no database would keep, which is cleaned."""
    back = decode(recorded(row_of(event)))
    assert type(back) is type(event)
    assert cleaned(back) == cleaned(event)


@given(events())
def test_an_event_reads_without_its_content(event: Event) -> None:
    """After an erasure an event still decodes, with its kept fields as they were."""
    back = decode(recorded(row_of(event, content=None)))
    for field in split_fields(type(event))[0]:
        assert cleaned(getattr(back, field)) == cleaned(getattr(event, field))


def test_content_is_the_default() -> None:
    """Free text, artefacts and errors are content; what counts, names outcomes or times is kept."""
    kept, content = split_fields(StageReady)
    assert content == ("artefact",)
    assert "outcome" in kept
    assert "title" in split_fields(SESSION_EVENTS[0])[1]
    assert {"texts", "speakers"} == set(split_fields(SESSION_EVENTS[1])[1])


def test_types_are_found_by_name_and_by_ending() -> None:
    """Every class is found by its wire type, for a host's own stages too; other types are unknown."""
    found = {cls.kind: REGISTRY.find(cls.kind) for cls in SESSION_EVENTS}
    found |= {cls.kind: REGISTRY.find("translation" + cls.kind.removeprefix("stage")) for cls in STAGE_EVENTS}
    for cls in (*SESSION_EVENTS, *STAGE_EVENTS):
        reading = found[cls.kind]
        assert reading is not None
        assert reading.cls is cls
    assert REGISTRY.find("something_else") is None


def test_a_newer_version_needs_an_upgrade() -> None:
    """An event that a later release wrote is refused by name, not misread."""
    with pytest.raises(UpgradeNeeded):
        decode(recorded(row_of(StageStarted(stage="tasks", run=1), schema_version=2)))


@pytest.mark.parametrize("field", ["session_id", "version", "type", "recorded_at", "actor", "data", "digest"])
def test_the_chain_covers_every_field(field: str) -> None:
    """Changing any hashed field changes the hash."""
    row = row_of(StageStarted(stage="tasks", run=1), digest=b"d")
    other = {"version": 2, "recorded_at": 2, "digest": b"x"}.get(field, "other")
    assert chain(GENESIS, row) != chain(GENESIS, {**row, field: other})
    assert chain(GENESIS, row) != chain(b"1" * 32, row)


@given(st.text())
def test_clean_text_is_clean(text: str) -> None:
    """Cleaned text has no control character and no lone surrogate, and cleaning it again changes nothing."""
    once = clean(text)
    assert clean(once) == once
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in once)
    once.encode()


@pytest.mark.parametrize("text", ["שלום עולם", "e\u0301a\u0308", "\u202eabc\u202c", "👩‍👩‍👧 family", "naïve"])
def test_other_scripts_stay_as_they_are(text: str) -> None:
    """Right-to-left and combining text, emoji and joiners are not touched."""
    assert clean(text) == text


@given(st.integers(0, 9), st.integers(0, 2**60), st.integers(-1, 2**60))
def test_positions_round_trip(era: int, xid: int, seq: int) -> None:
    """A position survives its text."""
    if seq >= 0:
        assert Position.parse(str(Position(era, xid, seq))) == Position(era, xid, seq)


def test_controls_of_eight_bits_are_stored_nowhere() -> None:
    """DEL and U+0080…U+009F, which JSON does not escape and some terminals obey, are gone from what is stored; the one
    that ends a line is a space."""
    event = SegmentsRecorded(
        first_ordinal=1, segment_ids=("a",), starts_ms=(0,), ends_ms=(1,), confidences=(None,),
        texts=("red \x9b31m\x7f text\x85next",), speakers=("B\x9dob",),
    )  # fmt: skip
    text = encode(event)
    assert text.content is not None
    stored = msgspec.json.decode(text.content)
    assert (stored["texts"], stored["speakers"]) == (["red 31m text next"], ["Bob"])
