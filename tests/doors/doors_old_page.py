"""The scripts of the app that came before, as clients: they listen by name, send without asking for an answer, and
read the fields that they always read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgi_serving import Host
from socket_hosts import NINE, Listener, until

Payload = dict[str, Any]

EVERYWHERE = ("session_id", "trace_id", "timestamp", "status")
STAGE = (*EVERYWHERE, "task_type")
IMPROVEMENTS = ("grammar_fixes", "punctuation_fixes", "capitalization_fixes", "fillers_removed")
ANALYTICS = ("total_duration_minutes", "word_count", "average_confidence", "segment_count", "words_per_minute",
             "participant_count")  # fmt: skip
FAILED = (*STAGE, "error", "error_type", "duration_ms")
READS: dict[str, tuple[str, ...]] = {
    "session_started": EVERYWHERE,
    "segments_recorded": EVERYWHERE,
    "session_finalized": (*EVERYWHERE, "stats.total_segments", "stats.total_duration", "stats.average_confidence"),
    "refinement_started": STAGE,
    "refinement_ready": (*STAGE, "refined_transcript", "confidence", "duration_ms",
                         *(f"improvements.{name}" for name in IMPROVEMENTS)),
    "analytics_started": STAGE,
    "analytics_ready": (*STAGE, "duration_ms", *(f"analytics.{name}" for name in ANALYTICS)),
    "tasks_started": STAGE,
    "tasks_ready": (*STAGE, "count", "tasks.0.title", "tasks.0.description", "tasks.0.priority", "tasks.0.task_type",
                    "tasks.0.completed", "tasks.0.confidence_score", "duration_ms"),
    "summary_started": STAGE,
    "summary_ready": (*STAGE, "summary", "key_points.0", "topics.0", "duration_ms"),
    "post_transcription_reveal": (*EVERYWHERE, "redirect_url", "message"),
    "dashboard_refresh": ("session_id", "trace_id", "timestamp", "action", "session_data.title", "session_data.status",
                          "session_data.completed_at"),
    **{f"{stage}_failed": FAILED for stage in ("refinement", "analytics", "tasks", "summary")},
}  # fmt: skip
"""By event, what its handler reads, each of which it takes to be there and to be something."""
DETAIL: dict[str, tuple[str, ...]] = {
    "refined": ("refined_text",),
    "insights": ("summary", "key_points.0", "action_items.0", "questions.0.question", "decisions.0"),
    "analytics": ("speaking_time.0", *ANALYTICS),
    "tasks": ("tasks.0.title", "count"),
}
"""By route of the detail page, what it reads; beside these `tasks[].completed`, which is true or false."""
MEETING = [
    ("Ann", "um okay so let's start with the release date."),
    ("Ann", "bob can you send the budget to the customer by friday?"),
    ("Bob", "yes i will send the budget by friday."),
    ("Bob", "we decided to ship the release on monday."),
    ("Ann", "how many customers are waiting for the release?"),
    ("Bob", "about forty customers are waiting for the release."),
]
SEGMENTS: list[dict[str, Any]] = [
    {"text": text, "start_ms": n * 5000, "end_ms": n * 5000 + 4500, "speaker": who, "confidence": 0.9}
    for n, (who, text) in enumerate(MEETING)
]


def read(payload: Any, path: str) -> Any:
    """What a script gets by `payload.a.b[0]`; LookupError or TypeError where it would be undefined."""
    for name in path.split("."):
        payload = payload[int(name)] if name.isdigit() else payload[name]
    return payload


def missing(payload: Any, paths: tuple[str, ...]) -> list[str]:
    """Those that are not there, or null."""
    gone = []
    for path in paths:
        try:
            found = read(payload, path)
        except (LookupError, TypeError):
            found = None
        if found is None:
            gone.append(path)
    return gone


class OldPage(Listener):
    """A page with one socket in one namespace. problems: what its handlers read and did not find."""

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = namespace
        self.problems: list[str] = []
        super().__init__(url, None, [namespace])

    def listen(self, namespace: str) -> Callable[..., None]:
        for name in READS:
            self.client.on(name, self.handler(name), namespace=namespace)
        return super().listen(namespace)  # what it has no handler for

    def handler(self, name: str) -> Callable[[Payload], None]:
        def handle(payload: Payload) -> None:
            self.problems += [f"{name}: {path}" for path in missing(payload, READS[name])]
            self.heard.append((self.namespace, name, payload))

        return handle

    def __enter__(self) -> OldPage:
        return self

    def send(self, name: str, payload: Payload | None = None) -> None:
        """Without asking for an answer."""
        self.client.emit(name, payload, namespace=self.namespace)

    def all(self) -> list[str]:
        return self.names(self.namespace)

    def nine(self) -> list[str]:
        """Of the nine, those that came; `_failed` where that stood in."""
        return [name for name in self.all() if name in NINE or name.endswith("_failed")]

    def wait_for(self, name: str) -> Payload:
        """The first event of this name."""
        return dict(until(lambda: next((payload for _, heard, payload in list(self.heard) if heard == name), None)))


def fetched(http: Host, reference: str | int) -> dict[str, Payload]:
    """The detail page's four routes; an AssertionError where one refuses."""
    found = {}
    for name in DETAIL:
        status, page, _ = http.ask("GET", f"/sessions/{reference}/{name}")
        assert status == 200, (name, status, page)
        found[name] = page
    return found
