"""A short meeting, and what tests do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mina_pipeline import (
    Pipeline,
    Segment,
    StageContext,
)
from mina_pipeline.stages.offline import OfflineProvider

Open = Callable[..., Pipeline]
SAID = [
    Segment("okay so let's start", 0, 2000, "Ann", 0.9),
    Segment("bob can you send the figures by friday", 2100, 5000, "Ann", 0.8),
    Segment("yeah i'll send them tomorrow", 5100, 8000, "Bob", 0.7),
]


class Raising(OfflineProvider):
    """A provider whose analytics stage raises."""

    name = "raising"

    def analyze(self, ctx: StageContext) -> Any:
        raise RuntimeError("no figures today")


def finished(pipeline: Pipeline, said: list[Segment] = SAID, **options: Any) -> str:
    session_id = pipeline.start_session("Figures", **options).session_id
    pipeline.record(session_id, said)
    pipeline.finalize(session_id)
    pipeline.run_until_idle()
    return session_id


def types(pipeline: Pipeline, session_id: str) -> list[str]:
    return [event.type for event in pipeline.events(session_id)]
