"""`mina tail`: events as they are committed, of one session or of all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import click

from ..errors import InvalidInput
from ..events import Position, RecordedEvent
from ..pipeline import Pipeline
from ..wire import iso
from .app import mina, open_pipeline, print_json, shared
from .signals import Ending, ending

PAGE = 500
STALLED = 10.0
"""Seconds without an event, after which it is asked whether something holds the feed back."""


@mina.command()
@click.argument("session_id", metavar="[ID]", required=False)
@click.option("--after", metavar="N|POSITION", help="A session's version, or (without ID) a position in the feed.")
@click.option("--once", "--no-follow", "once", is_flag=True, help="Print what is there, and end.")
@shared
def tail(session_id: str | None, after: str | None, once: bool, db: str | None, app: str | None, as_json: bool) -> None:
    """Follow a session's events, or the feed of all sessions, until SIGINT or SIGTERM; one line an event.

    With ID from its first event on, or after version N. Without, what is committed from now on, or after a position:
    that of any event, as --json shows it. With --once and no position, the whole feed.
    """
    with ending() as asked, open_pipeline(db, app) as pipeline:
        woken = threading.Event()
        pipeline.store.on_commit(lambda *_: woken.set())
        if not once:
            pipeline.store.listen()
        following = of_session(pipeline, session_id, after) if session_id else of_all(pipeline, after, once)
        for event in until_ended(pipeline, following, woken, asked, once, session_id is None):
            if as_json:
                print_json(event.as_dict())
            else:
                whose = "" if session_id else f"{event.session_id}  "
                click.echo(f"{whose}{event.version:>4}  {iso(event.recorded_at)}  {event.type:<26} {event.event_id}")


def of_session(pipeline: Pipeline, session_id: str, after: str | None) -> Iterator[list[RecordedEvent]]:
    """The session's events past what was given out before, as often as it is asked."""
    if after is not None and not after.isdecimal():
        raise InvalidInput("--after", f"{after!r} is no version of a session: a whole number")
    version = int(after or 0)
    while True:
        events = pipeline.events(session_id, version)
        version = events[-1].version if events else version
        yield events


def of_all(pipeline: Pipeline, after: str | None, everything: bool) -> Iterator[list[RecordedEvent]]:
    """The feed, likewise, a page at a time."""
    cursor: Position | str | None = after
    head = None
    if after is None and not everything:
        head = pipeline.store.head()
        cursor = head.position
    while True:
        events = pipeline.feed(cursor, PAGE)
        cursor = events[-1].position if events else cursor
        yield [event for event in events if head is None or not head.covers(event)]


def until_ended(
    pipeline: Pipeline,
    following: Iterator[list[RecordedEvent]],
    woken: threading.Event,
    asked: Ending,
    once: bool,
    feed: bool,
) -> Iterator[RecordedEvent]:
    """Each event, as long as nobody asks to end."""
    quiet_since, told = time.monotonic(), False
    while not asked.asked:
        woken.clear()
        events = next(following)
        for event in events:
            if asked.asked:
                return
            yield event
        if events:
            quiet_since, told = time.monotonic(), False
            continue
        if once:
            return
        if feed and not told and time.monotonic() - quiet_since > STALLED:
            stall = pipeline.feed_stall()
            quiet_since, told = time.monotonic(), stall is not None
            if stall is not None:
                click.echo(f"mina: {stall.events} event(s) are held back: see `mina doctor`", err=True)
        woken.wait(pipeline.settings.poll)
