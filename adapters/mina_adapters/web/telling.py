"""A frame as it leaves: name, payload and JSON, within the size that was set, made once for all clients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mina_pipeline.frames import ENCODER, Frame
from mina_pipeline.wire import LATER, Payload, thin

from .settings import WebSettings

RETRY = b"retry: 1000\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-store",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
WRITE = 65_536  # bytes after which a run of events is cut into another write
LINKS = ("redirect_url", "href")


class Told(NamedTuple):
    """What is told of an event. text: the payload as JSON."""

    name: str
    payload: Payload
    text: bytes


def told(frame: Frame, settings: WebSettings) -> Told:
    """A frame's name and payload: without its big fields where it is larger than `thin_over`, links under `prefix`."""
    found: Told = frame.encoded(("told", settings.thin_over, settings.prefix), lambda it: tell(it, settings))
    return found


def tell(frame: Frame, settings: WebSettings) -> Told:
    name = frame.name if frame.name.isprintable() else LATER  # in SSE a line's end would begin another field
    payload = placed(frame.payload, settings.prefix)
    text = frame.json if payload is frame.payload else ENCODER.encode(payload)
    if len(text) > settings.thin_over:
        payload = placed(thin(frame.name, frame.payload, settings.thin_over), settings.prefix)
        text = ENCODER.encode(payload)
    return Told(name, payload, text)


def placed(payload: Payload, prefix: str) -> Payload:
    """The payload with its links where the routes are."""
    if not prefix:
        return payload
    links = {link: prefix + payload[link] for link in LINKS if isinstance(payload.get(link), str)}
    return {**payload, **links} if links else payload


# --- server-sent events


def sse_event(frame: Frame, settings: WebSettings, resumable: bool) -> bytes:
    """resumable: with the version as id, which Last-Event-ID brings back."""
    event = told(frame, settings)
    number = f"id: {frame.version}\n" if resumable else ""
    return b"%sevent: %s\ndata: %s\n\n" % (number.encode(), event.name.encode(), event.text)


def sse_beginning(version: int, reset: bool) -> bytes:
    """What a stream begins with; reset: the version that was asked for is unknown, it goes on after this one."""
    return RETRY + (b"event: reset\ndata: " + ENCODER.encode({"version": version}) + b"\n\n" if reset else b"")


def cut(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Join parts, and begin anew where that is long enough for one write."""
    run, size = list[bytes](), 0
    for part in parts:
        run.append(part)
        size += len(part)
        if size >= WRITE:
            yield b"".join(run)
            run, size = [], 0
    if run:
        yield b"".join(run)
