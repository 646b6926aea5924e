"""What a provider cites is in the transcript, whoever the provider is."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from mina_pipeline import Pipeline, Segment
from mina_pipeline.meeting import Cited, Question, Summary, Task, TaskList
from mina_pipeline.stages.base import Ok, Outcome, StageContext
from mina_pipeline.stages.offline import OfflineProvider


class Inventive(OfflineProvider):
    """Cites what it likes."""

    name = "inventive"

    def extract_tasks(self, ctx: StageContext) -> Outcome:
        return Ok(
            TaskList(
                tasks=(
                    Task(title="Half true", evidence=("gone", "1"), quotes=("never said", "buy paint")),
                    Task(title="Invented", evidence=("gone", "nowhere")),
                    Task(title="Cites nothing"),
                )
            )
        )

    def summarize(self, ctx: StageContext) -> Outcome:
        point = Cited(text="A point", evidence=("2", "gone"), quotes=("yes", "no"))
        question = Question(question="Why?", evidence=("gone",), quotes=("why",))
        return Ok(Summary(brief="b", key_points=(point,), questions=(question,), evidence=("1", "gone")))


def test_what_is_not_in_the_transcript_is_dropped_and_counted() -> None:
    """Ids that the transcript does not have, the quotes beside them, and a task that cited nothing else."""
    with Pipeline.open("memory://", provider=Inventive()) as p, capture_logs() as logs:
        session_id = p.start_session().session_id
        p.record(session_id, [Segment("buy paint", 0, 1000, "Ann"), Segment("yes", 1000, 2000, "Bob")])
        p.finalize(session_id)
        p.run_until_idle()
        made: Any = p.result(session_id)
        found = [(task.title, task.evidence, task.quotes) for task in made.tasks]
        assert found == [("Half true", ("1",), ("buy paint",)), ("Cites nothing", (), ())]
        summary = made.summary
        assert (summary.key_points[0].evidence, summary.key_points[0].quotes) == (("2",), ("yes",))
        assert (summary.questions[0].evidence, summary.questions[0].quotes, summary.evidence) == ((), (), ("1",))
        assert [log["citations"] for log in logs if log["event"] == "citations dropped"] == [3, 3]
        assert "paint" not in str(logs)
        assert p.verify(session_id) == []


def test_offline_quotes_what_it_cites() -> None:
    """A quote for each citation, in parallel, the words of that segment."""
    with Pipeline.open("memory://") as p:
        session_id = p.start_session().session_id
        said = ["bob will you send the report to the board by friday", "yes i will send the report on thursday"]
        p.record(session_id, [Segment(text, n * 4000, n * 4000 + 3900, "AB"[n]) for n, text in enumerate(said)])
        p.finalize(session_id)
        p.run_until_idle()
        made: Any = p.result(session_id)
        texts = {str(n): text for n, text in enumerate(said, 1)}
        cited = [*made.tasks, *made.summary.key_points]
        assert made.tasks.tasks
        assert all(one.evidence for one in cited)
        assert all([texts[i] for i in one.evidence] == list(one.quotes) for one in cited)
