"""Events as JSON lines on a stream: for logs, pipes and files."""

from __future__ import annotations

from typing import TextIO

import msgspec

from mina_pipeline import RecordedEvent
from mina_pipeline.guarantees import Guarantees
from mina_pipeline.wire import wire_view


class JsonLines:
    """A transport: `pipeline.subscribe(JsonLines(sys.stdout).publish)`.

    Each event from now on is one line {"event": wire name, "data": wire payload}, flushed as it comes.
    """

    guarantees = Guarantees(resumes=False, resets=False, whole=False, slow="holds up")

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def publish(self, event: RecordedEvent) -> None:
        name, payload = wire_view(event)
        self.stream.write(msgspec.json.encode({"event": name, "data": payload}).decode() + "\n")
        self.stream.flush()
