"""The transports inside one process: a watch, and JSON lines through a pipe."""

from __future__ import annotations

import os
import select
import threading
from contextlib import ExitStack, suppress

import msgspec
from mina_adapters.jsonlines import JsonLines

from mina_pipeline import Pipeline, RecordedEvent
from mina_pipeline.live import Watch
from mina_pipeline.testing.clients import Client


class WatchClient(Client):
    """A thread that takes what its watch brings."""

    def __init__(self, pipeline: Pipeline, session_id: str, after: int | None) -> None:
        super().__init__()
        self.watch = pipeline.watch(session_id, after)
        if self.watch.reset:
            self.put_reset()
        self.reading = threading.Event()
        self.reading.set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self) -> None:
        while not self.ended.is_set():
            while frames := self.watch.take():
                for frame in frames:
                    self.reading.wait()
                    if self.ended.is_set():
                        return
                    self.put(frame.version, frame.name, msgspec.json.decode(frame.json))
            self.watch.wait(1.0)
        self.put_end()

    def stall(self) -> None:
        self.reading.clear()

    def resume(self) -> None:
        self.reading.set()

    def drop(self) -> None:
        self.ended.set()
        self.reading.set()
        self.watch.bell.set()
        self.thread.join()
        self.watch.close()

    def close(self) -> None:
        self.drop()


class WatchHarness:
    guarantees = Watch.guarantees

    def __init__(self, pipeline: Pipeline, stack: ExitStack) -> None:
        self.pipeline = pipeline
        self.stack = stack

    def connect(self, session_id: str, after: int | None = None) -> Client:
        client = WatchClient(self.pipeline, session_id, after)
        self.stack.callback(client.close)
        return client


class PipeClient(Client):
    """Reads the lines of one session from the far end of a pipe."""

    def __init__(self, pipeline: Pipeline, session_id: str) -> None:
        super().__init__()
        self.near, far = os.pipe()
        self.stream = os.fdopen(far, "w")
        self.ended = False
        adapter = JsonLines(self.stream)

        def publish(event: RecordedEvent) -> None:
            if event.session_id == session_id:
                adapter.publish(event)

        self.subscription = pipeline.subscribe(publish)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self) -> None:
        rest = b""
        while not self.ended:
            if not select.select([self.near], [], [], 0.05)[0]:
                continue
            read = os.read(self.near, 65_536)
            if not read:
                break
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                found = msgspec.json.decode(line)
                self.put(found["data"]["version"], found["event"], found["data"])
        os.close(self.near)
        self.put_end()

    def stall(self) -> None:
        raise NotImplementedError

    def resume(self) -> None:
        raise NotImplementedError

    def drop(self) -> None:
        """The reading end is closed; the subscription goes on, and its writes fail."""
        self.ended = True
        self.thread.join()

    def close(self) -> None:
        self.subscription.close()
        with suppress(OSError):
            self.stream.close()
        self.thread.join()


class JsonLinesHarness:
    guarantees = JsonLines.guarantees

    def __init__(self, pipeline: Pipeline, stack: ExitStack) -> None:
        self.pipeline = pipeline
        self.stack = stack

    def connect(self, session_id: str, after: int | None = None) -> Client:
        assert after is None
        client = PipeClient(self.pipeline, session_id)
        self.stack.callback(client.close)
        return client
