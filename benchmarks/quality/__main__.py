"""The offline provider on real meetings beside what needs no thought: summary, tasks, refinement.

    python -m benchmarks.quality [DIR]

DIR (else MINA_AMI_DIR) holds NAME.vtt, raw recognition output with speaker voice tags, and NAME.reference.json with
`summary`, `actions` and `human_transcript`.

- Summary: ROUGE F1 of the first 350 words of `summary.detailed` against the human abstract, with stemming.
- Tasks: right when one of the first three citations is within three cues of one that supports a human action item that
  no earlier task hit. `mean` is the meetings' mean, `pooled` counts all meetings' tasks together.
- Refinement: against the human transcript, fillers left out on both sides for the word error rate.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from mina_pipeline.meeting import Segment, Summary, TaskList
from mina_pipeline.stages.offline.refinement import refine
from mina_pipeline.stages.offline.summary import summarize
from mina_pipeline.stages.offline.tasks import extract_tasks

from . import baselines, refinement
from .measures import count_hits, f1, rouge
from .meetings import Meeting, meetings

DAY = date(2026, 1, 5)
SUMMARIES: dict[str, Callable[[Sequence[Segment]], str]] = {
    "lead": baselines.lead,
    "longest turns": baselines.longest_turns,
    "TextRank": baselines.textrank,
}


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MINA_AMI_DIR")
    if not folder:
        sys.exit("set MINA_AMI_DIR to a folder of NAME.vtt and NAME.reference.json")
    found = list(meetings(Path(folder)))
    if not found:
        sys.exit(f"no meetings in {folder}")
    cues = sum(len(meeting.segments) for meeting in found)
    print(f"- {len(found)} meetings, {cues} cues; Python {platform.python_version()}, {version_of('rouge-score')}")
    made = {meeting.name: offline(meeting) for meeting in found}
    print_summaries(found, made)
    print_tasks(found, made)
    print_refinement(found)


def version_of(package: str) -> str:
    return f"{package} {version(package)}"


def offline(meeting: Meeting) -> tuple[TaskList, Summary, float]:
    """What the provider makes of a meeting, as the pipeline would ask for it, and the seconds that takes."""
    began = time.perf_counter()
    texts = {segment.segment_id or "": segment.text for segment in meeting.segments}
    texts.update((change.segment_id, change.text) for change in refine(meeting.segments).changes)
    tasks = extract_tasks(meeting.segments, meeting_date=DAY, refined=texts)
    summary = summarize(meeting.segments, refined=texts, tasks=tasks)
    return tasks, summary, time.perf_counter() - began


def print_summaries(found: Sequence[Meeting], made: dict[str, tuple[TaskList, Summary, float]]) -> None:
    names = ["offline", *SUMMARIES]
    print(f"\n{'Summary':10}" + "".join(f"{name + ' R1/R2/RL':>26}" for name in names) + f"{'words':>7}{'seconds':>9}")
    rows: list[list[float]] = []
    for meeting in found:
        _, summary, seconds = made[meeting.name]
        texts = [summary.detailed, *(make(meeting.segments) for make in SUMMARIES.values())]
        rows.append([score for text in texts for score in rouge(text, meeting.abstract)])
        tail = f"{len(summary.detailed.split()):7}{seconds:9.2f}"
        print(f"{meeting.name:10}" + _triples(rows[-1]) + tail)
    print(f"{'mean':10}" + _triples([sum(column) / len(rows) for column in zip(*rows, strict=True)]))


def _triples(scores: Sequence[float]) -> str:
    return "".join(f"{'/'.join(f'{s:.1f}' for s in scores[at : at + 3]):>26}" for at in range(0, len(scores), 3))


def print_tasks(found: Sequence[Meeting], made: dict[str, tuple[TaskList, Summary, float]]) -> None:
    print(
        f"\n{'Tasks':10}{'human':>6}" + "".join(f"{f'{name} found/hit P/R/F1':>34}" for name in ("offline", "keyword"))
    )
    sums = [[0] * 3, [0] * 3]
    means = [0.0, 0.0]
    for meeting in found:
        ordinals = {segment.segment_id or str(n): n for n, segment in enumerate(meeting.segments)}
        line = f"{meeting.name:10}{len(meeting.actions):6}"
        for at, tasks in enumerate((made[meeting.name][0], baselines.keyword_tasks(meeting.segments))):
            counts = (count_hits(tasks, meeting.actions, ordinals), len(tasks), len(meeting.actions))
            sums[at] = [one + two for one, two in zip(sums[at], counts, strict=True)]
            means[at] += f1(*counts) / len(found)
            line += f"{_scores(*counts):>34}"
        print(line)
    print(f"{'pooled':16}" + "".join(f"{_scores(*row):>34}" for row in sums))
    print(f"{'mean F1':16}" + "".join(f"{mean:34.3f}" for mean in means))


def _scores(hits: int, ours: int, theirs: int) -> str:
    precision, recall = hits / ours if ours else 0.0, hits / theirs if theirs else 0.0
    return f"{ours}/{hits}  {precision:.3f}/{recall:.3f}/{f1(hits, ours, theirs):.3f}"


def print_refinement(found: Sequence[Meeting]) -> None:
    head = f"{'endF1':>8}{'prec':>8}{'rec':>8}{'caseF1':>8}{'WER':>8}{'fill':>8}"
    print(f"\n{'Refinement':10}{'raw:':>6}{head}{'refined:':>10}{head}")
    rows: list[tuple[float, ...]] = []
    for meeting in found:
        raw, ours = refinement.figures(meeting)
        rows.append((*raw, *ours))
        print(f"{meeting.name:10}" + _halves(rows[-1]))
    print(f"{'mean':10}" + _halves([sum(column) / len(rows) for column in zip(*rows, strict=True)]))


def _halves(row: Sequence[float]) -> str:
    half = len(row) // 2
    return " " * 6 + "".join(f"{x:8.3f}" for x in row[:half]) + " " * 10 + "".join(f"{x:8.3f}" for x in row[half:])


if __name__ == "__main__":
    main()
