"""What leaves of an event is the same for every transport: its size, its links, one encoding."""

from __future__ import annotations

import msgspec
from mina_adapters.web.settings import WebSettings
from mina_adapters.web.telling import sse_event, told

from mina_pipeline.frames import Frame

LONG = {"session_id": "s", "version": 4, "task_type": "summary", "detailed": "x" * 5_000}


def test_an_event_is_encoded_once_and_within_the_size() -> None:
    """Over the bound the big fields are left out, and href says where they are; clients share what was made."""
    frame, settings = Frame(4, "summary_ready", LONG), WebSettings(thin_over=1_000)
    event = told(frame, settings)
    assert told(frame, WebSettings(thin_over=1_000)) is event
    assert len(event.text) <= 1_000 and msgspec.json.decode(event.text) == event.payload
    assert "detailed" not in event.payload and event.payload["href"] == "/sessions/s/insights"
    assert told(frame, WebSettings()).payload == LONG


def test_links_lead_to_where_the_routes_are() -> None:
    """A prefix comes before every link of an event, also before that of one that was made smaller."""
    prefixed = WebSettings(prefix="/meetings", thin_over=1_000)
    reveal = Frame(9, "post_transcription_reveal", {"redirect_url": "/sessions/s/refined", "version": 9})
    assert told(reveal, prefixed).payload["redirect_url"] == "/meetings/sessions/s/refined"
    assert told(reveal, WebSettings()).payload["redirect_url"] == "/sessions/s/refined"
    assert told(Frame(4, "summary_ready", LONG), prefixed).payload["href"] == "/meetings/sessions/s/insights"
    assert b'"/meetings/sessions/s/refined"' in sse_event(reveal, prefixed, True)
