"""Bodies and queries of every odd kind: a documented refusal, never a fault of the server's, nothing half stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from asking import ANN, BODIES, OF_A_SESSION, PLAIN_ROUTES, Host, ask, reply_of, revealed, told
from hypothesis import given
from hypothesis import strategies as st
from mina_adapters.web.doors import Doors
from mina_adapters.web.settings import WebSettings

from mina_pipeline import Pipeline

CHANGING = [route.door for route in PLAIN_ROUTES if route.method != "GET"]
WITH_OBJECTS = [door for door in CHANGING if door not in ("upload", "touch")]

TRICKS: dict[str, bytes] = {
    "no JSON": b"title=x",
    "a list": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "a number": b"1",
    "cut": b'{"title": "x"',
    "two": b"{}{}",
    "not UTF-8": b'{"title": "\xff"}',
    "overlong UTF-8": b'{"title": "\xc0\xaf"}',
    "UTF-16": '{"title": "x"}'.encode("utf-16"),
    "UTF-8 surrogates": b'{"title": "\xed\xa0\x80"}',
    "escaped surrogate": b'{"title": "\\ud800"}',
    "surrogate as a name": b'{"metadata": {"\\udfff": 1}}',
    "NaN": b'{"metadata": {"a": NaN}}',
    "Infinity": b'{"metadata": {"a": -Infinity}}',
    "past the range": b'{"metadata": {"a": 1e999}}',
    "many digits": b'{"a": ' + b"9" * 10_000 + b"}",
    "a name twice": b'{"title": "a", "title": "b"}',
    "a name twice, deep": b'{"metadata": {"a": {"b": 1, "b": 2}}}',
    "deep": b'{"metadata": ' + b'{"a": ' * 40 + b"1" + b"}" * 41,
    "very deep": b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "only opened": b"[" * 1_000_000,
    "control characters": b'{"title": "a\x00b"}',
    "comments": b'{"title": "a" /* b */}',
    "single quotes": b"{'title': 'a'}",
}


@pytest.mark.parametrize("body", TRICKS.values(), ids=TRICKS)
@pytest.mark.parametrize("door", WITH_OBJECTS)
def test_what_is_no_object_of_json_is_refused(door: str, body: bytes, doors: Doors, memory: Pipeline) -> None:
    """422 {"error", "error_type", "field"}, and the log is as it was."""
    told(memory)
    before = memory.events("meeting")
    status, told_back = ask(doors, door, "meeting", body)
    assert (status, told_back["error_type"], told_back["field"]) == (422, "InvalidInput", "body")
    assert set(told_back) == {"error", "error_type", "field", "problem"}
    assert memory.events("meeting") == before and len(memory.sessions()) == 1


@pytest.mark.parametrize("door", CHANGING)
def test_a_body_past_the_bound_is_refused(door: str, make_doors: Callable[..., Doors], memory: Pipeline) -> None:
    """413, whatever is in it; at the bound it is read."""
    told(memory)
    status, told_back = ask(make_doors(max_body=100), door, "meeting", b" " * 101)
    assert (status, told_back["limit"]) == (413, 100)
    assert ask(make_doors(max_body=101), door, "meeting", b" " * 101)[0] != 413


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b"\xef\xbb\xbf{}"])
def test_a_body_may_be_absent(body: bytes, doors: Doors, memory: Pipeline) -> None:
    """For all that need nothing said."""
    assert ask(doors, "start", body=body)[0] == 201
    told(memory)
    for door in ("touch", "complete", "finalize", "cancel"):
        assert ask(doors, door, "meeting", body)[0] == 200


def test_what_old_front_ends_send_besides_is_ignored(doors: Doors, memory: Pipeline) -> None:
    """force, settings, device_info, and whatever else."""
    extra = {"force": True, "settings": {"a": [1]}, "device_info": {"os": "x"}, "anything": None}
    assert ask(doors, "start", body={**extra, "title": "t", "session_id": "s"})[0] == 201
    assert memory.get("s").metadata == {}
    assert ask(doors, "complete", "s", extra)[0] == 200
    assert ask(doors, "finalize", "s", extra)[0] == 200


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"title": 1}, "title"),
        ({"title": "x" * 1001}, "title"),
        ({"session_id": 5}, "session_id"),
        ({"session_id": ""}, "session_id"),
        ({"session_id": " a"}, "session_id"),
        ({"session_id": "a\nb"}, "session_id"),
        ({"session_id": "x" * 201}, "session_id"),
        ({"session_id": "a/b"}, "session_id"),
        ({"session_id": "a\\b"}, "session_id"),
        ({"session_id": ".."}, "session_id"),
        ({"meeting_id": True}, "meeting_id"),
        ({"meeting_id": []}, "meeting_id"),
        ({"started_at": "yesterday"}, "started_at"),
        ({"started_at": 1700000000}, "started_at"),
        ({"started_at": "0001-01-01T00:00:00"}, "started_at"),
        ({"started_at": "9999-12-31T23:59:59-14:00"}, "started_at"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": "Europe"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"locale": {}}, "locale"),
        ({"metadata": []}, "metadata"),
        ({"metadata": "x"}, "metadata"),
        ({"command_id": 5}, "command_id"),
        ({"command_id": ""}, "command_id"),
    ],
)
def test_fields_of_a_start_are_checked(fields: dict[str, Any], field: str, doors: Doors, memory: Pipeline) -> None:
    """422 that names the field; no session comes of it."""
    status, told_back = ask(doors, "start", body=fields)
    assert (status, told_back["field"]) == (422, field)
    assert not memory.sessions()


FINE = {"text": "well said", "start_ms": 0, "end_ms": 10}


@pytest.mark.parametrize(
    ("segments", "field"),
    [
        (None, "segments"),
        ("text", "segments"),
        ({"text": "x"}, "segments"),
        ([FINE, "text"], "segments[1]"),
        ([FINE, None], "segments[1]"),
        ([{**FINE, "text": None}], "segments[0].text"),
        ([{**FINE, "text": 5}], "segments[0].text"),
        ([FINE, {**FINE, "start_ms": "0"}], "segments[1].start_ms"),
        ([{**FINE, "start_ms": 0.5}], "segments[0].start_ms"),
        ([{**FINE, "start_ms": True}], "segments[0].start_ms"),
        ([{**FINE, "end_ms": -1}], "segments[0].end_ms"),
        ([{**FINE, "end_ms": 2**31}], "segments[0].end_ms"),
        ([{**FINE, "end_ms": 10**40}], "segments[0].end_ms"),
        ([{**FINE, "start_ms": 11}], "segments[0].end_ms"),
        ([{**FINE, "confidence": 1.1}], "segments[0].confidence"),
        ([{**FINE, "confidence": "0.5"}], "segments[0].confidence"),
        ([{**FINE, "confidence": True}], "segments[0].confidence"),
        ([{**FINE, "speaker": []}], "segments[0].speaker"),
        ([{**FINE, "speaker": 0}], "segments[0].speaker"),
        ([{**FINE, "segment_id": 7}], "segments[0].segment_id"),
        ([{**FINE, "segment_id": "a\x00"}], "segments[0].segment_id"),
    ],
)
def test_segments_are_checked_all_or_none(segments: Any, field: str, doors: Doors, memory: Pipeline) -> None:
    """422 that names the place, without the words; the good ones beside it are not recorded either."""
    told(memory)
    reply = reply_of(doors, "segments", "meeting", {"segments": segments})
    body = json.loads(reply.content)
    assert (reply.status, body["field"]) == (422, field)
    assert b"well said" not in reply.content
    assert memory.get("meeting").total_segments == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    "title session_id meeting_id started_at timezone locale metadata command_id expected segments text start_ms end_ms"
    " speaker confidence segment_id final_text force why stage run drop completed due_date priority".split()
)
SEGMENT = st.dictionaries(
    st.sampled_from(["text", "start_ms", "end_ms", "speaker", "confidence", "segment_id"]),
    st.sampled_from([0, 1, 5, "a", "", None]) | JSON,
)
OBJECTS = st.dictionaries(NAMES, JSON | st.lists(SEGMENT, max_size=3), max_size=6)


@given(door=st.sampled_from(WITH_OBJECTS), body=OBJECTS)
def test_no_json_object_is_a_fault_of_the_servers(door: str, body: dict[str, Any]) -> None:
    """Whatever is in the fields: done, or refused with the documented statuses; then the log is as it was."""
    with Pipeline.open("memory://") as pipeline:
        doors = Doors(pipeline, Host().authorize)
        revealed(pipeline) if door in ("retry", "change_task") else told(pipeline)
        before = pipeline.events("meeting")
        status, told_back = ask(doors, door, "meeting", json.dumps(body).encode())
        assert status in (200, 201, 404, 409, 422), told_back
        if status >= 400:
            assert pipeline.events("meeting") == before and len(pipeline.sessions()) == 1
            assert set(told_back) >= {"error", "error_type"}


@given(door=st.sampled_from([route.door for route in PLAIN_ROUTES]), body=st.binary(max_size=60))
def test_no_bytes_are_a_fault_of_the_servers(door: str, body: bytes) -> None:
    """Neither as a body nor, as text, as ids and query."""
    text = body.decode("utf-8", "surrogateescape")
    with Pipeline.open("memory://") as pipeline:
        doors = Doors(pipeline, Host().authorize)
        told(pipeline)
        assert ask(doors, door, "meeting", body)[0] < 500
        queries = dict.fromkeys(("after", "limit", "before", "state"), text)
        assert ask(doors, door, text, None, ANN, text, **queries)[0] in (200, 201, 404, 409, 422)


@pytest.mark.parametrize("route", OF_A_SESSION, ids=lambda route: route.door)
@pytest.mark.parametrize(
    "session_id",
    ["", " ", ".", "..", "../../etc/passwd", "meeting/", "meeting\x00", "meeting\n", "\r\nX-Evil: 1", "MEETING",
     "meeting ", "%6deeting", "meeting'--", "*", "\u202emeeting", "\ud800", "x" * 100_000, "<script>"],
)  # fmt: skip
def test_path_tricks_find_nothing(route: Any, session_id: str, doors: Doors, memory: Pipeline) -> None:
    """404, with headers that hold nothing of it; as HTML it would be no markup on the page's routes."""
    told(memory)
    reply = reply_of(doors, route.door, session_id, BODIES.get(route.door))
    assert reply.status == 404
    assert set(reply.headers) == {"Content-Type", "X-Content-Type-Options", "Cache-Control"}
    assert reply.headers["X-Content-Type-Options"] == "nosniff" and reply.headers["Cache-Control"] == "no-store"
    assert len(reply.content) < 2_000
    assert not (route.page and b"<script>" in reply.content)


@pytest.mark.parametrize("after", ["-1", "1.5", "", "x", "+1", " 1", "1e3", "٣", "9" * 30, "0x1", "1,2", "null"])
def test_versions_of_a_query_are_digits(after: str, doors: Doors, memory: Pipeline) -> None:
    """422 that names the field, for each number of a query."""
    told(memory)
    for door, name in (("events", "after"), ("events", "limit"), ("sessions", "before"), ("sessions", "limit")):
        status, body = ask(doors, door, "meeting", **{name: after})
        assert (status, body["field"]) == (422, name)


@pytest.mark.parametrize("after", [-1, 1.0, True, [], {}, "x", 2**53])
def test_versions_of_a_join_are_numbers(after: Any, doors: Doors, memory: Pipeline) -> None:
    """As sockets send them; no watch stays behind."""
    told(memory)
    with pytest.raises(ValueError, match="after"):
        doors.watch(ANN, "meeting", after)
    assert not memory.live.rooms
    with doors.watch(ANN, "meeting", "1") as watch:
        assert watch.version == 1


def test_a_flood_is_told_when_to_come_again(memory: Pipeline) -> None:
    """429 with Retry-After in whole seconds; another principal is not held up."""
    doors = Doors(memory, Host().authorize, WebSettings(rate=0.001, burst=2))
    assert [ask(doors, "sessions")[0] for _ in range(4)] == [200, 200, 429, 429]
    reply = reply_of(doors, "sessions")
    assert int(reply.headers["Retry-After"]) >= 1
    told(memory)
    assert ask(doors, "sessions", by=type(ANN)("carl"))[0] == 200
