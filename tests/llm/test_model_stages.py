"""The four stages by a model that does as it is told: what they make, cited and merged."""

from __future__ import annotations

import pytest
from asked import Receipts, asking, context, long_meeting, meeting, truthful

from mina_pipeline.meeting import Analytics, Refinement, Segment, Summary, TaskList
from mina_pipeline.stages.base import Degraded, Empty, Ok
from mina_pipeline.stages.openai.citations import Evidence
from mina_pipeline.stages.openai.notes import TOLD, Notes, Point, as_summary

SAID = meeting(
    "um good morning everybody let us begin",
    "i will send the report to the board by friday",
    "we decided to keep the old printer for now",
    "who orders the paper then?",
)


def test_each_stage_asks_once_and_is_ok() -> None:
    with asking() as (server, provider):
        ctx = context(SAID)
        for make in (provider.refine, provider.analyze, provider.extract_tasks, provider.summarize):
            assert isinstance(make(ctx), Ok)
        assert server.counts().requests == 4


def test_refinement_is_by_segment_and_counted() -> None:
    with asking() as (_, provider):
        made = provider.refine(context(SAID)).artefact
    assert isinstance(made, Refinement)
    texts = {change.segment_id: change.text for change in made.changes}
    assert texts["seg-1"] == "Good morning everybody let us begin."
    assert "seg-4" in texts
    assert made.improvements.fillers_removed == 1
    assert made.improvements.capitalization_fixes == 4
    assert made.improvements.punctuation_fixes == 3
    assert made.confidence == pytest.approx(0.9)


def test_a_task_cites_and_its_date_is_read_by_us() -> None:
    with asking() as (_, provider):
        made = provider.extract_tasks(context(SAID)).artefact
    assert isinstance(made, TaskList)
    (task,) = made.tasks
    assert (task.assigned_to, task.due_text, task.due_date) == ("Ben", "by friday", "2026-03-06")
    assert task.evidence == ("seg-2",)


def test_a_summary_cites_and_takes_its_next_steps_from_the_tasks() -> None:
    with asking() as (_, provider):
        tasks = provider.extract_tasks(context(SAID)).artefact
        made = provider.summarize(context(SAID, results={"tasks": tasks})).artefact
    assert isinstance(made, Summary)
    assert [one.evidence for one in made.decisions] == [("seg-3",)]
    assert made.questions[0].evidence == ("seg-4",)
    (step,) = made.next_steps
    assert (step.text, step.evidence) == (f"Ben: {tasks.tasks[0].title} (by friday)", ("seg-2",))
    assert made.sentiment == "neutral"
    assert made.model == "gpt-5.4-mini"
    assert set(made.evidence) <= {segment.segment_id for segment in SAID}


def test_analytics_are_counted_with_or_without_a_model() -> None:
    with asking() as (_, provider):
        made = provider.analyze(context(SAID)).artefact
    assert isinstance(made, Analytics)
    assert made.segment_count == 4


def test_no_words_no_request() -> None:
    blank = [Segment("  ", 0, 1, "Anna", None, "1")]
    with asking() as (server, provider):
        ctx = context(blank)
        for make in (provider.refine, provider.extract_tasks, provider.summarize):
            assert isinstance(make(ctx), Empty)
        assert isinstance(provider.analyze(ctx), Ok)
        assert server.counts().requests == 0


def test_one_word_is_a_meeting() -> None:
    with asking() as (_, provider):
        ctx = context(meeting("hello"))
        assert isinstance(provider.refine(ctx), Ok)
        assert isinstance(provider.extract_tasks(ctx), Ok)
        summary = provider.summarize(ctx)
        assert isinstance(summary, Ok)
        assert summary.artefact.key_points[0].evidence == ("seg-1",)


def test_ten_hours_are_cut_asked_and_merged() -> None:
    """Each segment is refined, each task found once, and one summary comes of all chunks."""
    segments = long_meeting(10)
    with asking() as (server, provider):
        refined = provider.refine(context(segments))
        assert isinstance(refined, Ok)
        assert len(refined.artefact.changes) == len(segments)
        assert server.counts().requests > 30
        server.clear()
        tasks = provider.extract_tasks(context(segments))
        assert isinstance(tasks, Ok)
        assert len(tasks.artefact) == sum("i will" in segment.text for segment in segments)
        server.clear()
        receipts = Receipts(context([]).deadline)
        summary = provider.summarize(context(segments, receipts=receipts))
        assert isinstance(summary, Ok)
        assert summary.artefact.brief == "All in all."
        assert len(summary.artefact.detailed.split()) <= 350
        assert receipts.made[-1] == "reduce 1.1"
        assert receipts.totals[-1] == len(receipts.made)


def test_a_small_model_reduces_in_levels() -> None:
    with asking(context_tokens=8_000, chunk_tokens=800) as (server, provider):
        receipts = Receipts(context([]).deadline)
        made = provider.summarize(context(long_meeting(2), receipts=receipts))
        assert isinstance(made, Ok)
        assert any(name.startswith("reduce 2.") for name in receipts.made)
        assert max(request.tokens for request in server.requests) < 8_000


def test_doubles_across_chunks_are_merged() -> None:
    """What the overlap shows to two chunks is one task, and keeps the evidence of both."""
    said = [*long_meeting(0.5), *meeting("i will call the landlord about the parking garage tomorrow")]
    said += [*meeting("i will call the landlord about the parking garage tomorrow")]
    said = [Segment(one.text, at * 6_000, at * 6_000 + 5_000, "Ben", None, f"x{at}") for at, one in enumerate(said)]
    with asking(chunk_tokens=1_500) as (server, provider):
        made = provider.extract_tasks(context(said))
        assert server.counts().requests > 3
        calls = [task for task in made.artefact if "landlord" in task.title]
        assert len(calls) == 1
        assert len(calls[0].evidence) == 2


def test_a_cut_answer_is_asked_for_in_halves() -> None:
    segments = long_meeting(0.3)
    with asking(output_tokens=500, refine_tokens=100_000) as (server, provider):
        provider.options = type(provider.options)(
            model="m", base_url=server.base_url, output_tokens=500, refine_tokens=100_000
        )
        receipts = Receipts(context([]).deadline)
        made = provider.refine(context(segments, receipts=receipts))
        assert isinstance(made, Ok)
        assert len(made.artefact.changes) == len(segments)


def test_a_prompt_that_is_too_long_for_the_server_is_split() -> None:
    """400 context_length_exceeded costs nothing and halves the chunk, until it fits."""
    segments = long_meeting(1)
    with asking(context=3_000) as (server, provider):
        made = provider.extract_tasks(context(segments))
        assert isinstance(made, Ok)
        assert len(made.artefact) == sum("i will" in segment.text for segment in segments)
        assert server.counts().by_reply["Status 400"] > 0


def test_one_line_that_is_too_long_is_made_offline() -> None:
    with asking(context=200) as (_, provider):
        made = provider.summarize(context(meeting("a word of it all " * 10)))
        assert isinstance(made, Degraded)
        assert made.reason == "too long"


def test_an_account_has_350_words_at_most() -> None:
    told = [Point(TOLD, f"the {n}th of many sentences", Evidence((f"seg-{n}",), ("q",))) for n in range(100)]
    made = as_summary(Notes("", tuple(told)), (), None)
    assert len(made.detailed.split()) == 350
    assert len(made.evidence) == 70


def test_what_was_recorded_is_not_bought_again() -> None:
    segments = long_meeting(1)
    with asking() as (server, provider):
        receipts = Receipts(context([]).deadline)
        first = provider.refine(context(segments, receipts=receipts))
        bought = server.counts().requests
        again = provider.refine(context(segments, receipts=receipts))
        assert server.counts().requests == bought
        assert again == first


def test_another_model_or_parameter_is_another_digest() -> None:
    digests = set()
    for given in ({}, {"model": "other"}, {"temperature": 0.2}, {"seed": 7}, {"extra": {"reasoning_effort": "low"}}):
        with asking(**given) as (server, provider):
            receipts = Receipts(context([]).deadline)
            provider.refine(context(SAID, receipts=receipts))
            ((key, answer),) = receipts.kept.items()
            digests.add(key[1])
            assert (answer.temperature, answer.seed) == (given.get("temperature"), given.get("seed"))
            body = server.requests[0].body
            assert (body.get("temperature"), body.get("seed")) == (given.get("temperature"), given.get("seed"))
            assert body.get("reasoning_effort") == given.get("extra", {}).get("reasoning_effort")
            assert "tools" not in body
    assert len(digests) == 5


def test_the_responses_api_gives_the_same() -> None:
    with asking() as (_, chat), asking(api="responses") as (server, responses):
        for name in ("refine", "extract_tasks", "summarize"):
            assert getattr(chat, name)(context(SAID)) == getattr(responses, name)(context(SAID))
        assert set(server.counts().by_path) == {"/v1/responses"}
        assert server.requests[0].body["store"] is False


def test_a_chunk_that_is_refused_is_made_offline_and_the_rest_by_the_model() -> None:
    from mina_pipeline.testing.openai_server import Refusal

    def choosy(request: object) -> object:
        return Refusal() if "hiring" in request.prompt else truthful(request)  # type: ignore[attr-defined, arg-type]

    segments = long_meeting(1)
    with asking(choosy) as (_, provider):
        refined = provider.refine(context(segments))
        assert isinstance(refined, Degraded)
        assert refined.reason == "refusal"
        assert 0 < len(refined.artefact.changes) <= len(segments)
        summary = provider.summarize(context(segments))
        assert isinstance(summary, Degraded)
        assert summary.artefact.detailed
