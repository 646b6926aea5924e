"""What the detail page fetches: shapes that its scripts read, honest before there is anything, and no markup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asking import ask, revealed, told
from hypothesis import given
from hypothesis import strategies as st
from mina_adapters.web.doors import Doors
from mina_adapters.web.pages import escaped

from mina_pipeline import Pipeline, Segment
from mina_pipeline.meeting import AnalyticsResult
from mina_pipeline.wire import wire_view

PAGES = ("page_refined", "page_insights", "page_analytics", "page_tasks")
EMPTY = {
    "page_refined": {"refined_text": "", "segments": []},
    "page_insights": {"summary": "", "key_points": [], "action_items": [], "questions": [], "decisions": []},
    "page_analytics": {"speaking_time": []},
    "page_tasks": {"tasks": [], "count": 0},
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_that_it_is_to_ask_again(page: str, doors: Doors, memory: Pipeline) -> None:
    """Before there is an outcome: 200, the fields empty, pending; of a cancelled session: failed."""
    told(memory)
    for status in ("pending", "failed"):
        answered, body = ask(doors, page, "meeting")
        assert (answered, body["status"], body["outcome"]) == (200, status, None)
        assert EMPTY[page].items() <= body.items()
        memory.cancel("meeting")


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in strings(one)]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_its_fields_and_no_markup(page: str, make_doors: Callable[..., Doors], memory: Pipeline) -> None:
    """By integer id and by name; escaped unless the host says otherwise."""
    session = revealed(memory)
    safe, raw = make_doors(), make_doors(html_safe=False)
    _, body = ask(safe, page, str(session.id))
    assert body == ask(safe, page, "meeting")[1]
    assert (body["status"], body["outcome"], body["run"], body["version"]) == ("completed", "ok", 1, session.version)
    assert not any(mark in text for text in strings(body) for mark in '<>"')
    plain = ask(raw, page, "meeting")[1]
    assert escaped(plain) == body != plain
    assert "<b>" in plain["title"]


def test_the_refined_text_is_that_of_the_event(make_doors: Callable[..., Doors], memory: Pipeline) -> None:
    """A page that heard refinement_ready and one that asks later show the same."""
    revealed(memory)
    _, events = ask(make_doors(), "events", "meeting")
    heard = next(one["data"] for one in events["events"] if one["event"] == "refinement_ready")
    body = ask(make_doors(html_safe=False), "page_refined", "meeting")[1]
    assert body["refined_text"] == heard["refined_transcript"]
    assert body["improvements"] == heard["improvements"]
    assert [line["segment_id"] for line in body["segments"]] == ["1", "2", "3"]


def test_the_insights_are_texts_and_questions(doors: Doors, memory: Pipeline) -> None:
    """key_points, decisions and action_items are strings; a question says whether and how it was answered."""
    revealed(memory)
    body = ask(doors, "page_insights", "meeting")[1]
    for name in ("key_points", "action_items", "decisions", "risks", "topics", "next_steps"):
        assert all(isinstance(one, str) for one in body[name])
    assert body["action_items"] and body["summary"]
    assert all(set(one) == {"question", "answered", "answer"} for one in body["questions"])


def test_tasks_have_id_title_and_completed(doors: Doors, memory: Pipeline) -> None:
    """A change is seen at once."""
    revealed(memory)
    (task, *_) = ask(doors, "page_tasks", "meeting")[1]["tasks"]
    assert task["title"] and task["completed"] is False
    assert ask(doors, "change_task", "meeting", {"completed": True}, task_id=task["id"])[0] == 200
    assert ask(doors, "page_tasks", "meeting")[1]["tasks"][0]["completed"] is True


def test_speaking_time_is_by_speaker(doors: Doors, memory: Pipeline) -> None:
    """Every number is there by its name, also one that is null."""
    memory.start_session("t", "s", tenant="red")
    memory.record("s", [Segment("well then", 0, 900, "Ann"), Segment("yes", 900, 1000, "Bob")])
    memory.finalize("s")
    memory.run_until_idle()
    body = ask(doors, "page_analytics", "s")[1]
    assert set(AnalyticsResult.__dataclass_fields__) < set(body)
    assert [one["speaker"] for one in body["speaking_time"]] == ["Ann", "Bob"]
    assert body["participant_count"] == 2 and body["average_confidence"] is None


def test_a_failed_stage_says_so(doors: Doors) -> None:
    """The page stops asking, and shows why there is nothing."""
    from mina_pipeline import STANDARD_STAGES, Pipeline, define, stage

    @stage("summary", after="tasks", running="summarizing")
    def broken(ctx: Any) -> Any:
        raise RuntimeError("no")

    workflow = define("broken", *STANDARD_STAGES[:3], broken)
    with Pipeline.open("memory://", definition=workflow) as pipeline:
        revealed(pipeline)
        of = Doors(pipeline, lambda *_: True)
        body = ask(of, "page_insights", "meeting")[1]
        assert (body["status"], body["outcome"], body["summary"]) == ("failed", "failed", "")
        assert ask(of, "page_refined", "meeting")[1]["status"] == "completed"


def test_hostile_words_are_no_markup_anywhere(doors: Doors, memory: Pipeline) -> None:
    """In the title, in what is said, in names; also in the refusal to an id that is markup."""
    evil = '"><img src=x onerror=alert(1)>&amp;'
    memory.start_session(evil, evil.replace("/", ""), tenant="red")
    memory.record(evil, [Segment(f"Bob please send {evil} to me by friday", 0, 900, evil)])
    memory.finalize(evil)
    memory.run_until_idle()
    for page in PAGES:
        status, body = ask(doors, page, evil)
        assert status == 200
        assert not any(mark in text for text in strings(body) for mark in '<>"')
        _, refused = ask(doors, page, evil + "?")
        assert refused["session_id"].startswith("&quot;&gt;&lt;img")


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet="<>&\"'aé;"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
)


@given(TREES)
def test_escaping_loses_nothing(tree: Any) -> None:
    """Reading it as HTML gives the tree back; names of fields are left alone."""
    from html import unescape

    def back(value: Any) -> Any:
        if isinstance(value, str):
            return unescape(value)
        if isinstance(value, dict):
            return {name: back(one) for name, one in value.items()}
        return [back(one) for one in value] if isinstance(value, list) else value

    safe = escaped(tree)
    assert back(safe) == tree
    assert not any(mark in text for text in strings(safe) for mark in '<>"')


def test_an_event_names_no_more_than_the_wire_does(doors: Doors, memory: Pipeline) -> None:
    """No stored field reaches a client that the wire view leaves out."""
    revealed(memory)
    _, page = ask(doors, "events", "meeting")
    for one, stored in zip(page["events"], memory.events("meeting"), strict=True):
        assert set(one["data"]) <= {*wire_view(stored)[1], "refined_transcript"}
