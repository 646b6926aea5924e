"""Server-sent events from a WSGI server: a generator that waits in the request's own thread, or greenlet.

A slow client holds up its own thread and nobody else: what it has not taken lies in the log, and it goes on by version.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from mina_pipeline import StoreBusy, StoreUnreachable
from mina_pipeline.frames import Frame
from mina_pipeline.live import Watch

from ..web.settings import WebSettings
from ..web.telling import KEEP_ALIVE, cut, sse_beginning, sse_event

BEAT = 1.0  # s between looks at whether the server is to stop, and between reads of a database that does not answer
PACE = 0.01  # s between two looks of one stream: a hundred threads that all woke for each event of many would be in
# each other's way, and in the writer's


def event_stream(watch: Watch, settings: WebSettings, *, resumable: bool) -> Iterator[bytes]:
    """The body of a response, until the watch is closed, the server closes the generator, or gunicorn is to stop.

    resumable: events carry their version as id, which Last-Event-ID brings back. Closing the watch is the caller's: a
    response whose client has gone may never begin. A database that is away ends no stream, since a browser comes back
    from a lost connection, and not from a refusal.
    """

    def encoded(frame: Frame) -> bytes:
        made: bytes = frame.encoded(form, lambda it: sse_event(it, settings, resumable))
        return made

    form, keep_alive = ("wsgi", resumable, settings.thin_over, settings.prefix), settings.keep_alive
    yield sse_beginning(watch.version, watch.reset)
    idle, looked = 0.0, float("-inf")
    while not watch.closed and not server_is_leaving():
        early = looked + PACE - time.monotonic()
        if early > 0:
            time.sleep(early)
        looked = time.monotonic()
        patience = min(BEAT, keep_alive - idle)
        try:
            frames = watch.take()
        except (StoreUnreachable, StoreBusy):
            frames = ()
        if frames:
            yield from cut(map(encoded, frames))
            idle = 0.0
        elif not watch.wait(patience):
            idle += patience
            if idle >= keep_alive:
                yield KEEP_ALIVE
                idle = 0.0


def server_is_leaving() -> bool:
    """Whether gunicorn was told to stop: its workers wait until open responses end, and say nothing of it to them."""
    handler = signal.getsignal(signal.SIGTERM)
    return getattr(getattr(handler, "__self__", None), "alive", True) is False


def bound_writes(environ: Mapping[str, Any], stalled: float) -> None:
    """Let a write to this request's client fail after so many seconds, where the server shows its socket.

    Werkzeug and gunicorn do, also under gevent; with others it is the server's own setting.
    """
    for server in ("werkzeug", "gunicorn"):
        connection = environ.get(f"{server}.socket")
        if connection is not None:
            with suppress(OSError):
                connection.settimeout(stalled)
