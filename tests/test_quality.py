"""The quality benchmark counts what it says it counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quality import __main__ as bench
from benchmarks.quality import baselines
from benchmarks.quality.measures import count_hits
from benchmarks.quality.meetings import meetings
from mina_pipeline.meeting import Segment, Task

ORDINALS = {f"c{n}": n for n in range(100)}


def task(*evidence: str) -> Task:
    return Task(title="t", evidence=evidence)


@pytest.mark.parametrize(
    ("tasks", "actions", "hits"),
    [
        ([task("c13")], [{10}], 1),
        ([task("c14")], [{10}], 0),
        ([task("c50", "c60", "c10")], [{10}], 1),
        ([task("c50", "c60", "c70", "c10")], [{10}], 0),
        ([task("c10"), task("c11")], [{10}], 1),
        ([task("c10"), task("c11")], [{10}, {12}], 2),
        ([task("gone"), task()], [{10}, set()], 0),
    ],
)
def test_a_task_is_right_near_an_action_item_that_no_other_hit(
    tasks: list[Task], actions: list[set[int]], hits: int
) -> None:
    """Within three cues, by one of the first three citations, each action item once."""
    assert count_hits(tasks, [frozenset(action) for action in actions], ORDINALS) == hits


def folder(path: Path) -> Path:
    """A folder with one meeting of three cues."""
    cues = [("m.1", 1, "Ann", "i'll send the report"), ("m.3", 5, "Bob", "okay"), ("m.2", 3, "Ann", "the fence um")]
    blocks = [f"{i}\n00:00:0{at}.000 --> 00:00:0{at + 1}.500\n<v {who}>{text}</v>\n" for i, at, who, text in cues]
    path.joinpath("m.vtt").write_text("WEBVTT\n\n" + "\n".join(blocks), "utf-8")
    rows = [("m.1", 1.0, "Ann", "I'll send the report."), ("m.4", 4.0, "Bob", "Do."), ("m.3", 5.0, "Bob", "Okay.")]
    reference = {
        "summary": [{"text": "Ann will send", "evidence": []}, "the report."],
        "actions": [{"text": "a", "evidence": ["m.1", "m.4", "gone"]}, {"text": "b", "evidence": []}],
        "human_transcript": [{"id": i, "start": at, "speaker": who, "text": text} for i, at, who, text in rows],
    }
    path.joinpath("m.reference.json").write_text(json.dumps(reference), "utf-8")
    return path


def test_a_meeting_is_read_with_its_reference(tmp_path: Path) -> None:
    """Segments come by start; an utterance without a cue counts as the next cue."""
    (meeting,) = meetings(folder(tmp_path))
    assert [segment.segment_id for segment in meeting.segments] == ["m.1", "m.2", "m.3"]
    assert meeting.segments[1] == Segment("the fence um", 3000, 4500, "Ann", None, "m.2")
    assert meeting.abstract == "Ann will send the report."
    assert meeting.actions == (frozenset({0, 2}), frozenset())


def test_baselines_stay_within_the_words_that_are_scored() -> None:
    """350 words at most, in the meeting's order, and a task a keyword."""
    said = [Segment(f"w{n} the fence " * (1 + n % 40), n, n + 1, "AB"[n % 2], None, str(n)) for n in range(120)]
    for make in (baselines.lead, baselines.longest_turns, baselines.textrank):
        words = make(said).split()
        assert 250 < len(words) <= 350
        order = [int(word[1:]) for word in words if word[0] == "w"]
        assert order == sorted(order)
    (found,) = baselines.keyword_tasks([Segment("we should go", 0, 1, None, None, "a"), Segment("hello", 1, 2)])
    assert found.evidence == ("a",)


def test_the_table_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder comes from MINA_AMI_DIR; conditions, every meeting and the means are shown."""
    pytest.importorskip("rouge_score")
    monkeypatch.setenv("MINA_AMI_DIR", str(folder(tmp_path)))
    monkeypatch.setattr("sys.argv", ["quality"])
    bench.main()
    shown = capsys.readouterr().out
    assert "1 meetings, 3 cues" in shown
    assert "rouge-score" in shown
    assert shown.count("\nm  ") == 3
    assert [line.split()[0] for line in shown.splitlines() if line.startswith(("mean", "pooled"))] == [
        "mean", "pooled", "mean", "mean",
    ]  # fmt: skip


def test_without_a_folder_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No MINA_AMI_DIR is told at once."""
    monkeypatch.delenv("MINA_AMI_DIR", raising=False)
    monkeypatch.setattr("sys.argv", ["quality"])
    with pytest.raises(SystemExit, match="MINA_AMI_DIR"):
        bench.main()
