"""The table of HTTP routes that every framework maps. Templates come after the settings' prefix.

An id in a path is percent-decoded by the framework, and is one segment: an id with a slash cannot be named here.
"""

from __future__ import annotations

from typing import NamedTuple


class Route(NamedTuple):
    """method and template to a door of `Doors.answer`. action: the right that it asks for; does: what it is for.

    stream: "sse" | "websocket": not answered at once, but served by the framework's file over `Doors.watch` or
    `Doors.watch_dashboard`; "" for all others. page: what the detail page fetches, escaped for HTML. Under
    /sessions/ an id of digits is an integer id first, under /api/sessions/ last.
    """

    method: str
    template: str
    door: str
    action: str
    does: str
    stream: str = ""
    page: bool = False


ONE = "/api/sessions/{session_id}"
PAGE = "/sessions/{session_id}"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/api/sessions", "start", "start", "Begin a session: 201; 200 where its id is known."),
    Route("GET", "/api/sessions", "sessions", "watch_dashboard", "The tenant's sessions that may be read."),
    Route("GET", ONE, "session", "read", "The session as it is, with its version."),
    Route("GET", f"{ONE}/events", "events", "read", "Its events after a version."),
    Route("GET", f"{ONE}/stream", "stream", "read", "Its events as they come, by SSE.", "sse"),
    Route("GET", f"{ONE}/ws", "socket", "read", "Its events as they come, by WebSocket.", "websocket"),
    Route("GET", "/api/dashboard/stream", "dashboard", "watch_dashboard", "Hints that the list has changed.", "sse"),
    Route("POST", f"{ONE}/segments", "segments", "record", "Record segments, all or none."),
    Route("POST", f"{ONE}/transcript", "upload", "record", "Record a transcript file or plain text."),
    Route("POST", f"{ONE}/complete", "complete", "finalize", "End the recording; answers its numbers."),
    Route("POST", f"{PAGE}/finalize", "finalize", "finalize", "The same, as the session's page asks it."),
    Route("POST", f"{ONE}/cancel", "cancel", "cancel", "Stop for good, before the reveal."),
    Route("POST", f"{ONE}/touch", "touch", "record", "A sign of life of the recorder."),
    Route("POST", f"{ONE}/retry", "retry", "retry", "Run a stage again, or drop what it waits for."),
    Route("PATCH", f"{ONE}/tasks/{{task_id}}", "change_task", "change_task", "Change a task."),
    Route("GET", f"{ONE}/result", "result", "read", "All that the stages have made."),
    Route("GET", f"{ONE}/transcript", "transcript", "read", "The transcript, refined."),
    Route("GET", f"{ONE}/analytics", "analytics", "read", "The analytics."),
    Route("GET", f"{ONE}/tasks", "tasks", "read", "The tasks."),
    Route("GET", f"{ONE}/summary", "summary", "read", "The summary."),
    Route("GET", f"{PAGE}/refined", "page_refined", "read", "For the detail page: the refined text.", page=True),
    Route("GET", f"{PAGE}/insights", "page_insights", "read", "For the detail page: the summary.", page=True),
    Route("GET", f"{PAGE}/analytics", "page_analytics", "read", "For the detail page: the analytics.", page=True),
    Route("GET", f"{PAGE}/tasks", "page_tasks", "read", "For the detail page: the tasks.", page=True),
)

BY_DOOR: dict[str, Route] = {route.door: route for route in ROUTES}
