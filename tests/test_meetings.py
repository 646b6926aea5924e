"""Real meetings, found through MINA_AMI_DIR: every one is revealed, and ten hours of talk stay within bounds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mina_pipeline import Pipeline
from mina_pipeline.transcripts import read_transcript

FOLDER = os.environ.get("MINA_AMI_DIR")
MEETINGS = sorted(Path(FOLDER).glob("*.vtt")) if FOLDER else []


@pytest.mark.skipif(not FOLDER, reason="MINA_AMI_DIR is not set: no real meetings to read")
@pytest.mark.parametrize("file", MEETINGS, ids=[file.stem for file in MEETINGS])
def test_a_real_meeting_is_revealed(file: Path, tmp_path: Path) -> None:
    """Raw recognition output of a real meeting reaches revealed with four ok outcomes and cited results."""
    transcript = read_transcript(file)
    with Pipeline.open(f"sqlite:///{tmp_path}/m.db") as pipeline:
        session_id = pipeline.start_session(file.stem).session_id
        pipeline.record(session_id, transcript.segments)
        pipeline.finalize(session_id)
        pipeline.run_until_idle()
        session, result = pipeline.get(session_id), pipeline.result(session_id)
        assert session.state == "revealed"
        assert {stage.outcome for stage in session.stages.values()} == {"ok"}
        assert result.summary is not None
        assert result.tasks is not None
        assert 100 <= len(result.summary.detailed.split()) <= 350
        known = {segment.segment_id for segment in transcript.segments}
        assert all(set(task.evidence) <= known and task.evidence for task in result.tasks)
        assert pipeline.verify(session_id) == []


TEN_HOURS = """
import sys
from mina_pipeline import Pipeline, Segment

words = "so the next thing is uh the budget for the garden and i think we should ask priya to send it by friday".split()
segments = [
    Segment(" ".join(words[(n + k) % len(words)] for k in range(10)), n * 3600, n * 3600 + 3500, "ABCD"[n % 4])
    for n in range(10_000)
]
with Pipeline.open(sys.argv[1]) as pipeline:
    session_id = pipeline.start_session("long").session_id
    pipeline.record(session_id, segments)
    pipeline.finalize(session_id)
    pipeline.run_until_idle()
    assert {stage.outcome for stage in pipeline.get(session_id).stages.values()} == {"ok"}
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its peak of memory")
def test_ten_hours_of_talk(tmp_path: Path) -> None:
    """A transcript of 100,000 words runs through offline, below 500 MB."""
    command = [sys.executable, "-c", TEN_HOURS, f"sqlite:///{tmp_path}/long.db"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500 * 1024
