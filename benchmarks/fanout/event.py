"""The event that everybody sends: a small segment, word for word as `segments_recorded` goes out on the wire."""

from __future__ import annotations

import json
from typing import Any

SESSION = "weekly-planning-of-the-north-team"
NAME = "segments_recorded"
FIRST = 1
"""The session's version before anything is measured: that of session_started."""

TEXT = "We will send the revised budget to the board on Friday."
START, END, SPEAKER, CONFIDENCE = 61_000, 64_500, "Ana Petrova", 0.93


def payload(version: int) -> dict[str, Any]:
    return {
        "session_id": SESSION,
        "trace_id": "01a218ae-23ed-731d-8910-fe61f7e684a7",
        "event_id": "01a218ae-252b-7419-a2fd-fd3ee7919cd7",
        "version": version,
        "timestamp": "2026-12-01T09:01:05.690Z",
        "status": "recording",
        "segments": [
            {
                "segment_id": str(version),
                "start_ms": START,
                "end_ms": END,
                "confidence": CONFIDENCE,
                "speaker": SPEAKER,
                "text": TEXT,
            }
        ],
    }


def text(version: int) -> str:
    return json.dumps(payload(version), separators=(",", ":"))


def message(version: int) -> str:
    """The event as one WebSocket message."""
    return f'{{"event":"{NAME}","data":{text(version)}}}'


def sse(version: int) -> bytes:
    return f"id: {version}\nevent: {NAME}\ndata: {text(version)}\n\n".encode()
