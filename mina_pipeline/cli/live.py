"""A session's transitions as they happen: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from typing import TextIO

from msgspec.structs import replace
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..codec import decode
from ..errors import MinaError
from ..events import Event, RecordedEvent, SegmentsRecorded, StageFailed, StageReady, Unread
from ..states import INITIAL, State, evolve
from ..views import Session
from .plain import said

COLOURS = {"ok": "green", "degraded": "yellow", "empty": "cyan", "failed": "red"}


class Watch:
    """Shows events as they come; each version once, whoever tells it. A context manager."""

    def __init__(self, session: Session, out: TextIO, source: str) -> None:
        self.console = Console(file=out, highlight=False, markup=False, soft_wrap=True)
        self.session = session
        self.source = source
        self.state: State = INITIAL
        self.began: int | None = None
        self.lock = threading.Lock()
        self.live = Live(console=self.console, refresh_per_second=12) if self.console.is_terminal else None

    def __enter__(self) -> Watch:
        self.console.print(said(f"{self.source} → session {self.session.session_id}", style="bold"))
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.update(self.table(), refresh=True)
            self.live.stop()

    def event(self, recorded: RecordedEvent) -> None:
        with self.lock:
            if recorded.version != self.state.version + 1:
                return
            before, event = self.state.public, self.follow(recorded)
            self.began = self.began or recorded.recorded_at
            if self.live:
                self.live.update(self.table())
                return
            seconds = (recorded.recorded_at - self.began) / 1e6
            moved = f"{before} → {self.state.public}" if before != self.state.public else self.state.public
            note = ""
            if isinstance(event, StageReady):
                note = f"{event.outcome}, {event.duration_ms} ms"
            elif isinstance(event, StageFailed):
                note = f"failed: {event.error_type}"
            elif isinstance(event, SegmentsRecorded):
                note = f"{len(event.segment_ids)} segments"
            elif isinstance(event, Unread):
                note = "unknown to this release"
            self.console.print(f"{seconds:8.3f} s  {recorded.version:>3}  {recorded.type:<26} {moved}  {note}".rstrip())

    def follow(self, recorded: RecordedEvent) -> Event:
        """Evolve by an event. After one that only a later release can read, the state is the last that was known."""
        try:
            event = decode(recorded)
            self.state = evolve(self.state, event)
        except (MinaError, ValueError):
            event = Unread(stored_type=recorded.type)
            self.state = replace(self.state, version=recorded.version)
        return event

    def table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row(Text("state", style="dim"), Text(self.state.public, style="bold"))
        for stage in self.state.stages:
            style = COLOURS.get(stage.outcome or "", "blue" if stage.status == "running" else "dim")
            took = "" if stage.duration_ms is None else f"{stage.duration_ms} ms"
            table.add_row(stage.name, Text(stage.outcome or stage.status, style=style), Text(took, style="dim"))
        return table
