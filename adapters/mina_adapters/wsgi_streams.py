"""Server-sent events from a WSGI server: a generator that waits in the request's own thread, or greenlet.

A slow client holds up its own thread and nobody else: what it has not taken lies in the log, and it goes on by version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from mina_pipeline import StoreBusy, StoreUnreachable
from mina_pipeline.live import ENCODER, Frame, Watch

from .asgi_streams import KEEP_ALIVE, RETRY, cut, sse_event

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-store",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
AGAIN = 1.0  # s between two tries to read from a database that does not answer


def event_stream(watch: Watch, *, resumable: bool, keep_alive: float, thin_over: int) -> Iterator[bytes]:
    """The body of a response, until the watch is closed or the server closes the generator.

    resumable: events carry their version as id, which Last-Event-ID brings back. Closing the watch is the caller's: a
    response whose client has gone may never begin. A database that is away ends no stream, since a browser comes back
    from a lost connection, and not from a refusal.
    """

    def encoded(frame: Frame) -> bytes:
        made: bytes = frame.encoded(f"sse {resumable} {thin_over}", lambda it: sse_event(it, thin_over, resumable))
        return made

    first = RETRY
    if watch.reset:
        first += b"event: reset\ndata: " + ENCODER.encode({"version": watch.version}) + b"\n\n"
    yield first
    idle = 0.0
    while not watch.closed:
        patience = keep_alive
        try:
            frames = watch.take()
        except (StoreUnreachable, StoreBusy):
            frames, patience = (), min(AGAIN, keep_alive)
        if frames:
            yield from cut(map(encoded, frames))
            idle = 0.0
        elif not watch.wait(patience):
            idle += patience
            if idle >= keep_alive:
                yield KEEP_ALIVE
                idle = 0.0


def bound_writes(environ: Mapping[str, Any], stalled: float) -> None:
    """Let a write to this request's client fail after so many seconds, where the server shows its socket.

    Werkzeug and gunicorn do, also under gevent; with others it is the server's own setting.
    """
    for server in ("werkzeug", "gunicorn"):
        connection = environ.get(f"{server}.socket")
        if connection is not None:
            with suppress(OSError):
                connection.settimeout(stalled)
