"""The thin form of a payload: within the limit, nothing that is no content missing, and where to fetch the rest."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoken import SAID, finished
from test_wire import TABLE, stored

from mina_pipeline import Pipeline, Segment
from mina_pipeline import events as did
from mina_pipeline.wire import thin, wire_view

STAYS = frozenset(
    "session_id trace_id event_id version run outcome status timestamp task_type type count stats done total "
    "redirect_url message outcomes action provider reason duration_ms error_type retry_at task_id id "
    "through_version".split()
)
"""What no limit takes away."""
LONG = "what was said ü" * 200
ENDED: dict[str, Any] = {"input_version": 3, "duration_ms": 12, "provider": "offline", "outcome": "ok"}
CITED = [{"text": LONG, "evidence": ["1"]}] * 3
REST = "/api/sessions/room/events?after=3&limit=1"
LARGE: list[tuple[did.Event, set[str], str]] = [
    (did.SessionStarted(id=7, definition="d", definition_version=1, stages=(), started_at=0, title=LONG),
     {"title"}, REST),
    (did.SegmentsRecorded(first_ordinal=1, segment_ids=("1",), starts_ms=(0,), ends_ms=(1,), confidences=(None,),
                          texts=(LONG,), speakers=(None,)), {"segments"}, REST),
    (did.StageReady(stage="refinement", run=1, artefact={"improvements": {"a": LONG}}, **ENDED),
     {"refined_transcript", "improvements"}, "/sessions/room/refined"),
    (did.StageReady(stage="analytics", run=1, artefact={"keywords": LONG}, **ENDED),
     {"analytics"}, "/sessions/room/analytics"),
    (did.StageReady(stage="tasks", run=1, artefact={"tasks": [{"title": LONG}]}, **ENDED),
     {"tasks"}, "/sessions/room/tasks"),
    (did.StageReady(stage="summary", run=1, artefact={"brief": LONG, "detailed": LONG * 2, "key_points": CITED,
                                                      "topics": CITED}, **ENDED),
     {"summary", "detailed", "key_points", "topics"}, "/sessions/room/insights"),
    (did.StageReady(stage="summary", run=2, artefact={"brief": LONG}, **ENDED), {"summary"}, "/sessions/room/insights"),
    (did.StageReady(stage="translation", run=1, artefact=[LONG], **ENDED), {"artefact"}, REST),
    (did.StageFailed(stage="tasks", run=1, reason="error", error_type="KeyError", error=LONG, input_version=1,
                     duration_ms=1), {"error"}, REST),
    (did.DashboardRefreshed(action="a", status="completed", completed_at=0, title=LONG), {"session_data.title"}, REST),
    (did.TaskChanged(task_id="t", fields=("description",), changes={"description": LONG}), {"changes"}, REST),
    (did.SessionCancelled(why=LONG), {"why"}, REST),
]  # fmt: skip


def length(payload: Any) -> int:
    return len(msgspec.json.encode(payload))


@pytest.mark.parametrize(("event", "left_out", "href"), LARGE, ids=[one.type for one, _, _ in LARGE])
def test_what_is_long_is_left_out_and_to_be_found(event: did.Event, left_out: set[str], href: str) -> None:
    """Of each event that can be long: its content, and the address that has it."""
    name, payload = wire_view(stored(event), LONG)
    before = msgspec.json.encode(payload)
    out = thin(name, payload, 2_000)
    assert (set(out["left_out"]), out["href"]) == (left_out, href)
    assert length(out) <= 2_000
    assert msgspec.json.encode(payload) == before  # others have it too
    assert not left_out & out.keys()
    assert {key: value for key, value in out.items() if key in STAYS} == {
        key: value for key, value in payload.items() if key in STAYS
    }


def test_only_as_much_as_has_to_be() -> None:
    """The longest goes first, and what has room stays."""
    artefact = {"brief": "b" * 500, "detailed": "d" * 5_000, "key_points": [{"text": "k" * 1_000}], "topics": []}
    name, payload = wire_view(stored(did.StageReady(stage="summary", run=1, artefact=artefact, **ENDED)))
    assert thin(name, payload, 2_500)["left_out"] == ["detailed"]
    assert thin(name, payload, 1_500)["left_out"] == ["detailed", "key_points"]
    assert thin(name, payload, 1_500)["summary"] == "b" * 500


def test_a_hint_keeps_what_a_dashboard_shows_but_a_long_title() -> None:
    """action, status and completed_at are still where front ends read them."""
    hint = did.DashboardRefreshed(action="session_completed", status="completed", completed_at=0, title=LONG)
    out = thin(*wire_view(stored(hint)), 2_000)
    assert out["action"] == "session_completed"
    assert out["session_data"] == {"status": "completed", "completed_at": "1970-01-01T00:00:00.000Z"}


@pytest.mark.parametrize("event", [event for event, _, _ in TABLE], ids=[name for _, name, _ in TABLE])
def test_within_the_limit_it_is_the_same(event: did.Event) -> None:
    """A payload that fits is the very one, to the byte; one byte less, and something is left out if anything can be."""
    name, payload = wire_view(stored(event), "Hello.")
    assert thin(name, payload, length(payload)) is payload
    assert (
        thin(name, payload, length(payload) - 1).items()
        >= {key: value for key, value in payload.items() if key in STAYS}.items()
    )


def test_an_id_that_is_no_path() -> None:
    """A client may have chosen the id: in an address it stays one segment."""
    odd = "../admin?x=1#ü"
    events = [
        did.StageReady(stage="tasks", run=1, artefact={"tasks": [{"title": LONG}]}, **ENDED),
        did.SessionCancelled(why=LONG),
    ]
    for event, ending in zip(events, ("tasks", "events?after=3&limit=1"), strict=True):
        recorded = did.RecordedEvent(**{**vars(stored(event)), "session_id": odd})
        href = thin(*wire_view(recorded), 2_000)["href"]
        found = href.removesuffix(ending).rstrip("/").rpartition("/")[2]
        assert unquote(found) == odd
    reveal = did.RecordedEvent(**{**vars(stored(did.Revealed(outcomes={}))), "session_id": odd})
    assert wire_view(reveal)[1]["redirect_url"].count("/") == 3


texts = st.text(max_size=300) | st.integers(0, 20_000).map(lambda n: 'ж"' * n)
values = st.recursive(
    texts | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
stage = st.sampled_from(["refinement", "analytics", "tasks", "summary", "translation"])
cited = st.lists(st.fixed_dictionaries({"text": texts}), max_size=3)
artefacts = values.filter(lambda made: not isinstance(made, dict)) | st.fixed_dictionaries(
    {},
    optional={
        "improvements": values, "confidence": values, "tasks": st.lists(values, max_size=3), "brief": texts,
        "detailed": texts, "key_points": cited, "topics": cited, "word_count": values,
    },
)  # fmt: skip
long_events: st.SearchStrategy[did.Event] = st.one_of(
    st.builds(did.StageReady, stage=stage, run=st.integers(1, 3), artefact=artefacts, outcome=st.just("ok"),
              input_version=st.just(1), duration_ms=st.just(1)),
    st.builds(did.StageFailed, stage=stage, run=st.integers(1, 3), error=texts, reason=st.just("error"),
              error_type=st.just("KeyError"), input_version=st.just(1), duration_ms=st.just(1)),
    st.builds(did.TaskChanged, task_id=st.just("t"), fields=st.just(("title",)),
              changes=st.dictionaries(st.text(max_size=9), values, max_size=3)),
    st.builds(did.SessionCancelled, why=texts),
    st.builds(did.DashboardRefreshed, action=st.just("a"), status=st.just("s"), completed_at=st.just(0), title=texts),
    st.lists(texts, min_size=1, max_size=5).map(lambda said: did.SegmentsRecorded(
        first_ordinal=1, segment_ids=tuple(map(str, range(len(said)))), starts_ms=(0,) * len(said),
        ends_ms=(1,) * len(said), confidences=(None,) * len(said), texts=tuple(said), speakers=tuple(said))),
)  # fmt: skip


@pytest.mark.laws
@given(long_events, st.none() | texts, st.integers(2_000, 40_000))
def test_the_laws_of_thin(event: did.Event, refined: str | None, limit: int) -> None:
    """For any event and limit: it fits; unchanged where it fitted; what is no content, and what is not named as left
    out, is as it was; thin of thin is thin."""
    name, payload = wire_view(stored(event), refined)
    out = thin(name, payload, limit)
    assert length(out) <= limit
    assert thin(name, out, limit) is out
    if length(payload) <= limit:
        assert out is payload
        return
    whole = {one for one in out["left_out"] if "." not in one}
    assert whole.isdisjoint(STAYS)
    assert out.keys() == (payload.keys() - whole) | {"left_out", "href"}
    changed = {key for key in payload.keys() & out.keys() if out[key] != payload[key]} - {"href"}
    assert changed == {one.partition(".")[0] for one in out["left_out"] if "." in one}


def test_real_events_of_a_real_meeting() -> None:
    """Every payload of a log goes out within 4,000 bytes, and is all there with room enough."""
    said = [Segment(f"{n} {SAID[n % 3].text}", n * 3_000, n * 3_000 + 2_900, SAID[n % 3].speaker) for n in range(120)]
    with Pipeline.open("memory://") as pipeline:
        session_id = finished(pipeline, said)
        tasks = pipeline.result(session_id).tasks
        assert tasks
        pipeline.change_task(session_id, next(iter(tasks)).task_id or "", {"description": "word " * 999})
        events = pipeline.events(session_id)
    thinned = set()
    for event in events:
        name, payload = wire_view(event, "\n".join(one.text for one in said))
        out = thin(name, payload, 4_000)
        assert length(out) <= 4_000
        assert thin(name, payload, 10_000_000) is payload
        if out is not payload:
            thinned.add(name)
    assert thinned >= {"segments_recorded", "refinement_ready", "task_changed"}
