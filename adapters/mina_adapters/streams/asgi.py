"""Server-sent events and WebSockets as plain ASGI on asyncio: a session's events, encoded once, to many clients.

Each stream takes what it has not sent yet and waits while its client takes it, so a slow one holds up nobody, and
misses nothing. One that takes nothing for too long is dropped, and resumes by version.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Iterable, MutableMapping
from contextlib import ExitStack, suppress
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from mina_pipeline import StoreBusy, StoreUnreachable
from mina_pipeline.frames import ENCODER, Frame
from mina_pipeline.live import Wake, Watch
from mina_pipeline.log import logger

from ..web.rates import Bucket
from ..web.settings import WebSettings
from ..web.telling import KEEP_ALIVE, SSE_HEADERS, WRITE, cut, sse_beginning, sse_event, told
from .bells import Hub, Write
from .uvicorn import Lane, chunk, lane_below, text_frame, transport_below, untaken

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Run = Callable[..., Awaitable[Any]]

AGAIN = 1.0  # s between two tries to read from a database that does not answer
GONE, TOO_MANY, TOO_BIG, LEAVING = 1000, 1008, 1009, 1012  # close codes
HEADERS = [(name.lower().encode(), value.encode()) for name, value in SSE_HEADERS.items()]


class Streams:
    """The streams of one pipeline. run: `await run(function)` calls what waits, in a worker thread."""

    def __init__(self, run: Run, settings: WebSettings) -> None:
        self.run = run
        self.settings = settings
        self.hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()

    def hub(self) -> Hub:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        hub = self.hubs.get(loop)
        if hub is None:
            beat = min(self.settings.keep_alive, self.settings.stalled) / 2
            hub = self.hubs[loop] = Hub(beat)
        return hub


class Stream(ABC):
    """One client: `open`, then `serve` until it goes, or is dropped; and `leave` in any case.

    key: what it asked to watch; streams of equal keys and the same form share one bell.
    """

    template: ClassVar[Message]
    content: ClassVar[str]

    def __init__(self, streams: Streams, key: Hashable) -> None:
        self.streams = streams
        self.settings = streams.settings
        self.hub = streams.hub()
        self.loop = asyncio.get_running_loop()
        self.bell = self.hub.enter(self, (type(self), key))
        self.watch: Watch
        self.lock = threading.Lock()
        self.left = False
        self.begun = False  # something was sent
        self.duties = ExitStack()
        self.ending: int | None = None  # a close code, once there is a reason to end
        self.lost = False  # the client has gone, or was dropped: nothing more is sent
        self.sleep: asyncio.Future[None] | None = None
        self.task: asyncio.Task[Any] | None = None
        self.send: Send
        self.lane: Lane | None = None  # a shorter way than `send`
        self.transport: asyncio.WriteTransport | None = None  # the connection, where it is known
        self.behind = False  # it reads from the log, where there may be more
        self.busy = False  # a write is under way
        self.quiet = False  # nothing was written for a while
        self.turns = 0  # writes that were begun or done; and what the ticker saw of them, and when they last moved
        self.seen = -1
        self.since = 0.0
        self.untaken = 0  # bytes that waited for the client when the ticker looked

    # --- coming and going

    async def open(self, watch: Callable[[Wake], Watch]) -> None:
        """Take a place in the log, in a worker thread; raises what `watch` raises."""

        def seat() -> None:
            self.watch = watch(self.bell.ring)
            self.at_the_end(self.watch.close)

        await self.streams.run(seat)

    def at_the_end(self, do: Callable[[], object]) -> None:
        """Call this when the stream leaves; at once where it has left, cancelled while a worker thread opened it."""
        with self.lock:
            left = self.left
            if not left:
                self.duties.callback(do)
        if left:
            do()

    def leave(self) -> None:
        with self.lock:
            left, self.left = self.left, True
        if not left:
            self.hub.leave(self, self.bell)
            self.duties.close()  # all of them, whatever one raises

    # --- what differs between the forms

    @abstractmethod
    async def begin(self) -> None:
        """What comes before the first event."""

    @abstractmethod
    def pack(self, frames: Iterable[Frame]) -> tuple[Write, ...]:
        """Frames as few writes, made once for the clients that are at the same place."""

    @abstractmethod
    async def keep_alive(self) -> None:
        """What an idle client hears."""

    @abstractmethod
    async def listen(self, receive: Receive) -> None:
        """Return when the client has gone, or has said what it must not."""

    @abstractmethod
    async def finish(self) -> None: ...

    # --- what wakes it

    def nudge(self) -> None:
        if self.sleep is not None and not self.sleep.done():
            self.sleep.set_result(None)

    def end(self, code: int, lost: bool = False) -> None:
        self.ending = self.ending or code
        self.lost = self.lost or lost
        self.nudge()

    def look(self, now: float, leaving: bool) -> None:
        """From the ticker: is there something to do that no event brings?"""
        if leaving:
            self.end(LEAVING)
        if self.turns != self.seen:
            self.seen, self.since, self.untaken = self.turns, now, 0
        elif self.busy:
            if self.takes():
                self.since = now
            if leaving or now - self.since >= self.settings.stalled:
                self.drop()
        elif now - self.since >= self.settings.keep_alive:
            self.since, self.quiet = now, True
            self.nudge()

    def takes(self) -> bool:
        """Whether the client has taken a part of the write that waits, since the last look."""
        if self.transport is None:
            return False
        before, self.untaken = self.untaken, untaken(self.transport)
        return self.untaken < before

    def drop(self) -> None:
        """Let go of a client that takes nothing: it comes back, and asks by version for what it has not got."""
        if self.lost:
            return
        logger(__name__).info("a stalled client was dropped")
        self.end(GONE, lost=True)
        if self.transport is not None:
            self.transport.abort()  # the write that waits returns, since the connection is lost
        elif self.task is not None:
            self.task.cancel()

    def deaf(self, listener: asyncio.Task[None]) -> None:
        if not listener.cancelled() and listener.exception() is not None:
            self.end(GONE, lost=True)

    # --- what it does

    async def serve(self, receive: Receive, send: Send) -> None:
        """Send what comes until there is a reason to end."""
        self.send, self.task, self.begun = send, asyncio.current_task(), True
        self.transport = transport_below(send, receive)
        listener = asyncio.create_task(self.listen(receive))
        listener.add_done_callback(self.deaf)
        try:
            await self.writing(self.begin())
            self.lane = lane_below(send)
            await self.feed()
            if not self.lost:
                await self.writing(self.finish())
        except asyncio.CancelledError:
            if not self.lost or self.task is None:
                raise
            self.task.uncancel()
        except OSError:
            self.lost = True  # the connection is gone
        finally:
            listener.cancel()
            self.leave()

    async def writing(self, write: Awaitable[None]) -> None:
        self.turns += 1
        self.busy = True
        await write
        self.busy = False

    async def feed(self) -> None:
        """Write what has come, and sleep until there is more."""
        watch, bell = self.watch, self.bell
        while self.ending is None:
            wakes = bell.wakes
            writes = self.next_writes()
            self.behind = writes is None
            if writes is None:
                writes = self.pack(await self.read())
            if writes:
                self.busy = True
                for write in writes:
                    self.turns += 1
                    await self.put(write)
                self.busy = False
            elif watch.closed:
                return
            elif self.quiet:
                self.quiet = False
                await self.writing(self.keep_alive())
            if self.behind or bell.wakes != wakes or self.ending is not None:
                continue
            self.sleep = self.loop.create_future()
            bell.asleep.add(self)
            await self.sleep
            bell.asleep.discard(self)  # whatever woke it: nothing may be poured before what it takes now

    def next_writes(self) -> tuple[Write, ...] | None:
        """What is there without waiting, as the bell knows it from another client, or will; None: ask the log."""
        watch, bell = self.watch, self.bell
        before = watch.version
        step = bell.steps.get((watch.room, before))
        if step is not None:
            watch.version, writes = step
            return writes
        frames = watch.ready()
        if not frames:
            return None if frames is None else ()
        writes = self.pack(frames)
        bell.remember(watch.room, before, (watch.version, writes))
        return writes

    async def put(self, write: Write) -> None:
        if self.lane is not None and self.lane.free():
            self.lane.transport.write(write.framed)
            return
        for content in write.contents:
            await self.send({**self.template, self.content: content})

    def pour(self) -> bool:
        """From the bell, while the task sleeps: one write to a client that takes it at once needs no task."""
        if self.lane is None or self.ending is not None or not self.lane.free():
            return False
        watch, before = self.watch, self.watch.version
        writes = self.next_writes()
        if writes is None or len(writes) != 1:
            watch.version = before
            return False
        self.turns += 1
        self.lane.transport.write(writes[0].framed)
        return True

    async def read(self) -> tuple[Frame, ...]:
        """From the log. A database that is away ends no stream: a browser would meet a refusal when it comes back."""
        frames: tuple[Frame, ...] = ()
        with suppress(StoreUnreachable, StoreBusy):
            frames = await self.streams.run(self.watch.read)
        if not frames and not self.watch.closed:
            await asyncio.sleep(AGAIN)
        return frames


class Events(Stream):
    """Server-sent events, with the versions as ids, which Last-Event-ID brings back."""

    template: ClassVar[Message] = {"type": "http.response.body", "more_body": True}
    content = "body"
    resumable: ClassVar[bool] = True

    async def begin(self) -> None:
        await self.send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await self.body(sse_beginning(self.watch.version, self.watch.reset))

    async def body(self, body: bytes, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    def pack(self, frames: Iterable[Frame]) -> tuple[Write, ...]:
        settings, resumable = self.settings, self.resumable
        form = (type(self), settings.thin_over, settings.prefix)

        def encode(frame: Frame) -> bytes:
            return sse_event(frame, settings, resumable)

        return tuple(Write((body,), chunk(body)) for body in cut(frame.encoded(form, encode) for frame in frames))

    async def keep_alive(self) -> None:
        await self.body(KEEP_ALIVE)

    async def listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end(GONE, lost=True)

    async def finish(self) -> None:
        await self.body(b"", more=False)


class Hints(Events):
    """Server-sent events of a dashboard, whose versions count in this process alone: no ids."""

    resumable = False


class Socket(Stream):
    """A WebSocket that only tells: what it hears is bounded, and left unread."""

    template: ClassVar[Message] = {"type": "websocket.send"}
    content = "text"

    async def keep_alive(self) -> None:
        """The server's pings are that."""

    async def begin(self) -> None:
        await self.send({"type": "websocket.accept"})
        if self.watch.reset:
            text = ENCODER.encode({"event": "reset", "data": {"version": self.watch.version}})
            await self.send({"type": "websocket.send", "text": text.decode()})

    def pack(self, frames: Iterable[Frame]) -> tuple[Write, ...]:
        form = (type(self), self.settings.thin_over, self.settings.prefix)
        texts: list[tuple[str, bytes]] = [frame.encoded(form, self.encode) for frame in frames]
        writes, start, size = list[Write](), 0, 0
        for n, (_, framed) in enumerate(texts, 1):
            size += len(framed)
            if size >= WRITE or n == len(texts):
                run = texts[start:n]
                writes.append(Write([text for text, _ in run], b"".join([framed for _, framed in run])))
                start, size = n, 0
        return tuple(writes)

    def encode(self, frame: Frame) -> tuple[str, bytes]:
        event = told(frame, self.settings)
        text = b'{"event":%s,"data":%s}' % (ENCODER.encode(event.name), event.text)
        return text.decode(), text_frame(text)

    async def listen(self, receive: Receive) -> None:
        bucket = Bucket(self.settings.message_rate, self.settings.message_burst, self.loop.time)
        while True:
            heard = await receive()
            if heard["type"] == "websocket.disconnect":
                return self.end(GONE, lost=True)
            said = (heard.get("text") or "").encode() or heard.get("bytes") or b""
            if len(said) > self.settings.max_message:
                return self.end(TOO_BIG)
            if bucket.take():
                return self.end(TOO_MANY)

    async def finish(self) -> None:
        await self.send({"type": "websocket.close", "code": self.ending or LEAVING})
