"""What the proofs of the model's edge have in common: sessions of a speaker, and waiting for what becomes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from asked import meeting

from mina_pipeline import Pipeline, Segment

SAID = ("um good morning everybody let us begin", "i will send the report to the board by friday")


def said_by(who: str, texts: tuple[str, ...] = SAID) -> list[Segment]:
    return [replace(one, speaker=who) for one in meeting(*texts)]


def finalized(p: Pipeline, session_id: str, segments: list[Segment]) -> None:
    p.start_session("t", session_id=session_id)
    p.record(session_id, segments)
    p.finalize(session_id)


def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "not in time"
        time.sleep(0.02)
