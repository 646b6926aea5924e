"""What the doors do and answer, for those who may."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asking import ANN, PLAIN_ROUTES, Host, Person, ask, reply_of, revealed, told
from mina_adapters.web.doors import Doors
from mina_adapters.web.settings import WebSettings

from mina_pipeline import ConcurrencyError, Pipeline, Segment, Session
from mina_pipeline.wire import thin, wire_view

START = {
    "title": "Weekly",
    "session_id": "s",
    "meeting_id": 42,
    "started_at": "2025-03-14T09:30:00+01:00",
    "timezone": "Europe/Berlin",
    "locale": "de",
    "metadata": {"room": "3"},
}


def test_a_start_answers_201_and_then_200(doors: Doors, memory: Pipeline) -> None:
    """With the session as JSON; the second changes nothing."""
    status, made = ask(doors, "start", body=START)
    assert status == 201
    assert made == json.loads(json.dumps(memory.get("s").as_dict()))
    assert (made["title"], made["meeting_id"], made["timezone"], made["metadata"]) == (
        "Weekly", "42", "Europe/Berlin", {"room": "3"},
    )  # fmt: skip
    assert made["started_at"] == 1_741_941_000_000_000
    status, again = ask(doors, "start", body={**START, "title": "Other"})
    assert (status, again) == (200, made)
    status, other = ask(doors, "start")
    assert status == 201 and other["session_id"] != "s"


def test_a_start_is_repeatable_by_its_command_id(doors: Doors) -> None:
    """The same id with other content is refused."""
    body = {"session_id": "s", "command_id": "c", "title": "t"}
    assert [ask(doors, "start", body=body)[0] for _ in range(2)] == [201, 200]
    assert ask(doors, "start", body={**body, "title": "u"})[0] == 409


def test_a_command_id_alone_makes_a_start_repeatable(doors: Doors, memory: Pipeline) -> None:
    """Sent again, at once or later, it finds its session; other content is refused; each tenant has its own."""
    body = {"command_id": "c", "title": "t"}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(doors, "start", body=body), range(4)))
    assert sorted(status for status, _ in answers) == [200, 200, 200, 201]
    assert len({made["session_id"] for _, made in answers}) == 1 == len(memory.sessions())
    status, refused = ask(doors, "start", body={**body, "title": "u"})
    assert (status, refused["error_type"]) == (409, "CommandIdReused")
    for person in (Person("bob", "blue"), Person("eve", None)):
        assert ask(doors, "start", body=body, by=person)[0] == 201
    assert ask(doors, "start", body={"title": "t"})[0] == ask(doors, "start", body={"title": "t"})[0] == 201
    assert len(memory.sessions()) == 5


def test_every_answer_is_plain_json(doors: Doors, memory: Pipeline) -> None:
    """Any encoder takes it; it is not to be kept, nor to be taken for another type."""
    revealed(memory)
    task = memory.result("meeting").tasks
    assert task
    for route in PLAIN_ROUTES:
        reply = reply_of(doors, route.door, "meeting", task_id=str(task.tasks[0].task_id))
        assert json.loads(json.dumps(reply.body)) == json.loads(reply.content)
        assert reply.headers == {
            "Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
        }  # fmt: skip


SPOKEN = [{"text": "hello", "start_ms": 0, "end_ms": 900, "speaker": "Ann", "confidence": 0.5, "segment_id": "a"}]


def test_segments_by_id_are_recorded_once(doors: Doors, memory: Pipeline) -> None:
    """Sent again they change nothing, also after the end; other words under their id are refused."""
    memory.start_session("t", "s", tenant="red")
    assert ask(doors, "segments", "s", {"segments": SPOKEN})[1]["total_segments"] == 1
    memory.finalize("s")
    status, again = ask(doors, "segments", "s", {"segments": SPOKEN})
    assert (status, again["total_segments"]) == (200, 1)
    status, body = ask(doors, "segments", "s", {"segments": [{**SPOKEN[0], "text": "secret words"}]})
    assert (status, body["error_type"], body["segment_id"]) == (409, "SegmentIdReused", "a")
    assert "secret" not in json.dumps(body)
    status, body = ask(doors, "segments", "s", {"segments": [{**SPOKEN[0], "segment_id": "b"}]})
    assert (status, body["error_type"], body["state"], body["command"]) == (
        409, "IllegalTransition", "finalized", "record",
    )  # fmt: skip


def test_a_command_may_name_the_version_it_expects(doors: Doors, memory: Pipeline) -> None:
    """Then another one is a conflict, with both numbers."""
    told(memory)
    status, body = ask(doors, "complete", "meeting", {"expected": 1})
    assert (status, body["error_type"], body["expected"], body["actual"]) == (409, "ConcurrencyError", 1, 2)
    assert ask(doors, "complete", "meeting", {"expected": 2})[0] == 200


def test_complete_and_finalize_answer_their_numbers_twice(doors: Doors, memory: Pipeline) -> None:
    """As old front ends read them; the second call and the other door say the same numbers."""
    session = told(memory)
    numbers = {"total_segments": 3, "average_confidence": 0.8, "total_duration": 7.0}
    ids = {"session_id": session.id, "external_id": "meeting"}
    status, body = ask(doors, "complete", "meeting", {"force": True})
    assert (status, body) == (200, {"message": body["message"], **ids, **numbers, "status": "finalized"})
    status, body = ask(doors, "finalize", str(session.id))
    ended = {"finalized_segments": 3, "status": "finalized", "external_id": "meeting"}
    assert (status, body) == (200, {"message": body["message"], **ended})
    memory.run_until_idle()
    status, body = ask(doors, "complete", "meeting")
    assert (status, body) == (200, {"message": body["message"], **ids, **numbers, "status": "revealed"})
    assert [event.type for event in memory.events("meeting")].count("session_finalized") == 1


def test_a_cancelled_session_is_not_finalized(doors: Doors, memory: Pipeline) -> None:
    """409 with its state; cancelling again is no fault."""
    told(memory)
    assert [ask(doors, "cancel", "meeting", {"why": "no need"})[1]["state"] for _ in range(2)] == ["cancelled"] * 2
    status, body = ask(doors, "complete", "meeting")
    assert (status, body["error_type"], body["state"]) == (409, "IllegalTransition", "cancelled")
    assert memory.events("meeting")[-1].data["why"] == "no need"


def test_the_whole_text_is_recorded_where_nothing_is(doors: Doors, memory: Pipeline) -> None:
    """final_text becomes segments, once; with segments there already it is left alone."""
    memory.start_session("t", "s", tenant="red")
    for text in ("Ann: hello there\nBob: hi", "other words\nmore\nand more"):
        assert ask(doors, "finalize", "s", {"final_text": text})[1]["finalized_segments"] == 2
    told(memory)
    assert ask(doors, "finalize", "meeting", {"final_text": "other words"})[1]["finalized_segments"] == 3
    memory.run_until_idle()
    assert [line["speaker"] for line in ask(doors, "transcript", "s")[1]["transcript"]["lines"]] == ["Ann", "Bob"]
    for empty in ("", " \n", None):
        memory.start_session("t", f"e{empty}".strip(), tenant="red")
        assert ask(doors, "finalize", f"e{empty}".strip(), {"final_text": empty})[1]["finalized_segments"] == 0
    assert ask(doors, "finalize", "s", {"final_text": 5})[0] == 422


@pytest.mark.parametrize(("command_id", "status"), [("begin", 409), ("", 422), ("a\nb", 422)])
def test_a_finalize_that_is_refused_records_nothing(
    command_id: str, status: int, doors: Doors, memory: Pipeline
) -> None:
    """Where its command id was used for something else, or cannot be one, the whole text is not recorded either."""
    memory.start_session("t", "s", tenant="red", command_id="begin")
    before = memory.events("s")
    body = {"final_text": "the words of all", "command_id": command_id}
    assert ask(doors, "finalize", "s", body)[0] == status
    assert memory.events("s") == before
    for _ in range(2):
        assert ask(doors, "finalize", "s", {**body, "command_id": "end"})[1]["finalized_segments"] == 1


def test_whole_texts_at_once_are_recorded_once(pipeline: Pipeline) -> None:
    """Of many callers with different texts, through both doors, one is recorded whole, and one event finalizes."""
    doors = Doors(pipeline, Host().authorize, WebSettings(burst=1000))
    session = pipeline.start_session("t", tenant="red")
    texts = [[f"line {n} of {caller}" for n in range(caller + 1)] for caller in range(8)]

    def end(caller: int) -> tuple[int, Any]:
        if caller % 4 == 3:
            return ask(doors, "complete", session.session_id)
        return ask(doors, "finalize", str(session.id), {"final_text": "\n".join(texts[caller])})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(end, range(8)))
    assert {status for status, _ in answers} == {200}
    counts = {body.get("finalized_segments", body.get("total_segments")) for _, body in answers}
    events = pipeline.events(session.session_id)
    assert [event.type for event in events].count("session_finalized") == 1
    recorded = [list(event.data["texts"]) for event in events if event.type == "segments_recorded"]
    assert counts == {len(recorded[0]) if recorded else 0}
    assert recorded in [[], *([text] for text in texts)]


def test_a_segment_that_comes_first_wins_over_the_whole_text(memory: Pipeline) -> None:
    """Also between the look and the record: the rights are asked in between."""
    memory.start_session("t", "s", tenant="red")

    def authorize(principal: Any, session: Session | None, action: str) -> bool:
        if action == "record":
            memory.record("s", [Segment("live words", 0, 5, segment_id="live")])
        return True

    status, body = ask(Doors(memory, authorize), "finalize", "s", {"final_text": "the words\nof all"})
    assert (status, body["finalized_segments"]) == (200, 1)


def test_touch_is_a_sign_of_life(doors: Doors, memory: Pipeline) -> None:
    """It answers the session, and appends nothing."""
    told(memory)
    status, body = ask(doors, "touch", "meeting")
    assert (status, body["version"]) == (200, 2)


def test_a_stage_is_run_again(doors: Doors, memory: Pipeline) -> None:
    """A named run makes it repeatable; a stage that is none is refused by name."""
    revealed(memory)
    for _ in range(2):
        status, body = ask(doors, "retry", "meeting", {"stage": "summary", "run": 1})
        assert (status, body["stages"]["summary"]["run"]) == (200, 2)
    assert ask(doors, "retry", "meeting", {"stage": "summary", "drop": True})[0] == 200
    for wrong, field in (({}, "stage"), ({"stage": "x"}, "stage"), ({"stage": "summary", "run": 9}, "run"),
                         ({"stage": "summary", "drop": "yes"}, "drop")):  # fmt: skip
        status, body = ask(doors, "retry", "meeting", wrong)
        assert (status, body["field"]) == (422, field)


def test_a_task_is_changed(doors: Doors, memory: Pipeline) -> None:
    """The task as it is then; unknown fields are ignored, wrong ones and none refused, an unknown task is 404."""
    revealed(memory)
    task_id = ask(doors, "page_tasks", "meeting")[1]["tasks"][0]["id"]
    body = {"completed": True, "title": "Send it", "id": task_id, "color": "red"}
    status, told_back = ask(doors, "change_task", "meeting", body, task_id=task_id)
    assert (status, told_back["task"]["completed"], told_back["task"]["title"]) == (200, True, "Send it")
    assert told_back["version"] == memory.get("meeting").version
    last = memory.events("meeting")[-1]
    assert (last.type, last.actor) == ("task_changed", "ann")
    for wrong in ({}, {"color": "red"}, {"completed": "yes"}, {"due_date": "soon"}):
        assert ask(doors, "change_task", "meeting", wrong, task_id=task_id)[0] == 422
    for unknown in ("absent", "", "a\x00", "x" * 300):
        status, told_back = ask(doors, "change_task", "meeting", {"completed": True}, task_id=unknown)
        assert (status, told_back["error_type"]) == (404, "TaskNotFound")


def test_events_are_the_wire_view_page_by_page(make_doors: Callable[..., Doors], memory: Pipeline) -> None:
    """Every version once and in order, as streams send them, with the whole refined text."""
    revealed(memory)
    doors = make_doors()
    stored = memory.events("meeting")
    for limit in (1, 2, 7, 500):
        got: list[Any] = []
        after = 0
        while True:
            status, page = ask(doors, "events", "meeting", after=str(after), limit=str(limit))
            assert status == 200 and len(page["events"]) <= limit and page["session_id"] == "meeting"
            got += page["events"]
            assert page["version"] == got[-1]["data"]["version"]
            after = page["version"]
            if not page["more"]:
                break
        assert [one["data"]["version"] for one in got] == [event.version for event in stored]
        assert [one["event"] for one in got] == [wire_view(event)[0] for event in stored]
    ready = next(one for one in got if one["event"] == "refinement_ready")
    assert "budget" in ready["data"]["refined_transcript"]
    assert not memory.live.rooms


def test_events_of_a_long_session_come_500_at_a_time(doors: Doors, memory: Pipeline) -> None:
    """Whatever is asked for; past what a room keeps, too."""
    memory.start_session("t", "s", tenant="red")
    for n in range(620):
        memory.record("s", [Segment("w", n, n)])
    _, page = ask(doors, "events", "s", limit="100000")
    assert (len(page["events"]), page["version"], page["more"]) == (500, 500, True)
    _, page = ask(doors, "events", "s", after="500")
    assert (len(page["events"]), page["version"], page["more"]) == (121, 621, False)
    _, page = ask(doors, "events", "s", after="621")
    assert (page["events"], page["version"], page["more"]) == ([], 621, False)
    _, page = ask(doors, "events", "s", after="9999")  # a version that there is not: go on from the one that there is
    assert (page["events"], page["version"], page["more"]) == ([], 621, False)


def test_events_come_by_weight(doors: Doors, memory: Pipeline) -> None:
    """Some 2 MB in one answer, whole, one event at least; one alone can be asked for, as a thin event's href does."""
    memory.start_session("t", "s", tenant="red")
    for words in (900_000, 900_000, 900_000, 2_500_000, 1):
        memory.record("s", [Segment("w" * words, 0, 1)])
    page, pages = {"version": 0, "more": True}, list[list[int]]()
    while page["more"]:
        _, page = ask(doors, "events", "s", after=str(page["version"]))
        pages.append([len(one["data"].get("segments", [{}])[0].get("text", "")) for one in page["events"]])
    assert pages == [[0, 900_000, 900_000], [900_000], [2_500_000], [1]]
    frame = next(frame for frame in memory.live.log.page("s", 1)[0] if frame.version == 2)
    href = thin(frame.name, frame.payload, 256_000)["href"]
    query = {name: values[0] for name, values in parse_qs(urlsplit(href).query).items()}
    _, page = ask(doors, "events", "s", **query)
    assert [one["data"]["version"] for one in page["events"]] == [2]


def test_the_list_by_state_and_page(doors: Doors, memory: Pipeline) -> None:
    """Newest first; a state that no session has is an empty list, one that no state could be is refused."""
    for n in range(5):
        memory.start_session(None, f"s{n}", tenant="red")
    memory.finalize("s3")
    _, body = ask(doors, "sessions", limit="2")
    assert [one["session_id"] for one in body["sessions"]] == ["s4", "s3"]
    _, body = ask(doors, "sessions", limit="2", before=str(body["before"]))
    assert [one["session_id"] for one in body["sessions"]] == ["s2", "s1"]
    _, body = ask(doors, "sessions", state="finalized")
    assert [one["session_id"] for one in body["sessions"]] == ["s3"]
    assert ask(doors, "sessions", state="dreaming")[1] == {"sessions": [], "before": None}
    for state in ("a\x00", "x" * 300):
        assert ask(doors, "sessions", state=state)[0] == 422


@pytest.mark.parametrize("name", ["transcript", "analytics", "tasks", "summary"])
def test_artefacts_are_null_until_they_are_made(name: str, doors: Doors, memory: Pipeline) -> None:
    """Each under its name, with the version from which on events may say more; together in the result."""
    told(memory)
    assert ask(doors, name, "meeting")[1] == {
        "session_id": "meeting", "state": "recording", "version": 2, name: None,
    }  # fmt: skip
    memory.finalize("meeting")
    memory.run_until_idle()
    made = ask(doors, name, "meeting")[1][name]
    assert (made["outcome"], made["run"]) == ("ok", 1)
    assert set(made) == set(getattr(memory.result("meeting"), name).__dataclass_fields__)
    whole = ask(doors, "result", "meeting")[1]
    assert (whole[name], whole["state"], whole["others"]) == (made, "revealed", {})


def test_a_start_that_others_keep_making_is_given_to_the_one_who_may_read_it(memory: Pipeline) -> None:
    """Two of one tenant at once: both get the same session, one of them as new."""
    doors = Doors(memory, Host().authorize, WebSettings(burst=1000))

    def start(n: int) -> tuple[int, Any]:
        return ask(doors, "start", body={"session_id": "s", "title": str(n)}, by=Person(f"p{n}"))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(start, range(16)))
    assert sorted(status for status, _ in answers) == [200] * 15 + [201]
    assert len({body["id"] for _, body in answers}) == 1


def test_a_database_that_is_away_is_said_so(tmp_path: Any) -> None:
    """503 with Retry-After, and nothing of its address."""
    from mina_pipeline import StoreBusy, StoreUnreachable

    with Pipeline.open("memory://") as pipeline:

        def authorize(principal: Any, session: Session | None, action: str) -> bool:
            return True

        doors = Doors(pipeline, authorize)
        for error in (StoreUnreachable("postgresql://db.internal/x", "secret"), StoreBusy("a connection", 5)):

            def find(number: int, error: Exception = error) -> str:
                raise error

            away = Doors(pipeline, authorize, WebSettings(find_session=find))
            reply = reply_of(away, "page_tasks", "5")
            assert reply.status == 503 and int(reply.headers["Retry-After"]) >= 1
            assert b"internal" not in reply.content and b"secret" not in reply.content
        with pytest.raises(ConcurrencyError):
            pipeline.start_session(session_id=doors.start(ANN, {}).session_id, expected=0)
