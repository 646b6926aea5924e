"""Socket.IO on ASGI: the events of the three namespaces on python-socketio's AsyncServer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from typing import Any

from mina_pipeline import MissingExtra, Pipeline, Session
from mina_pipeline.aio import Aio

try:
    from engineio.packet import Packet
    from socketio import AsyncServer
except ImportError:
    raise MissingExtra("mina_adapters.socketio", "socketio") from None

from .sockets.doors import SocketDoors, refused
from .sockets.members import Client
from .sockets.outlet import Outlet
from .web.doors import Doors
from .web.hosts import Asking, in_thread
from .web.settings import WebSettings

CHUNK = 2_000
"""Packets that are handed out before others on the loop have their turn."""
LOOK = 1.0
"""s between looks, of a thread that waits for the loop, whether the pipeline was closed."""


def mina_socketio(
    sio: AsyncServer,
    pipeline: Pipeline,
    *,
    principal: Callable[..., Any],
    authorize: Callable[[Any, Session | None, str], bool | Awaitable[bool]],
    settings: WebSettings | None = None,
) -> None:
    """Handle the events of the settings' three namespaces on a server of yours.

    principal: `principal()` or `principal(connection)`, asked once for each connection; None refuses. A plain function
    is called in a worker thread, with the request's context variables; an async one on the loop.
    connection: starlette's HTTPConnection, whose scope has what the client sent as `auth` under "socketio.auth".
    authorize: `(principal, session, action) -> bool`, async or not. Their `connect` and `disconnect` are ours.
    """
    outlet = LoopOutlet(sio, pipeline)
    doors = Doors(pipeline, in_thread(authorize, outlet.wait), settings)
    sockets = SocketDoors(doors, outlet, nullcontext, ordered=True)
    run = Aio(pipeline).run  # in places of their own: an async `authorize` that awaits p.aio waits for none of ours
    asking = Asking(principal)
    turns: dict[tuple[str, str], asyncio.Lock] = {}

    def listen(namespace: str) -> None:
        async def connect(sid: str, environ: dict[str, Any], auth: Any = None) -> None:
            outlet.on_loop()
            try:
                who = await asking.ask(connection(environ, auth) if asking.takes_one else None)
                await run(lambda: sockets.connect(namespace, sid, environ, who()))
            except Exception as error:
                raise refused(error) from None
            turns[namespace, sid] = asyncio.Lock()

        async def disconnect(sid: str, *_: Any) -> None:
            turns.pop((namespace, sid), None)
            await run(sockets.disconnect, namespace, sid)

        def handler(event: str) -> Callable[..., Awaitable[Any]]:
            async def handle(sid: str, *given: Any) -> Any:
                client = sockets.admit(namespace, sid)
                if not isinstance(client, Client):
                    return client
                # One after another, as they came: no end overtakes its start, and no socket takes all the threads.
                async with turns.get((namespace, sid)) or asyncio.Lock():
                    return await run(sockets.answer, client, event, *given)

            return handle

        sio.on("connect", connect, namespace)
        sio.on("disconnect", disconnect, namespace)
        for event in sockets.events[namespace]:
            sio.on(event, handler(event), namespace)

    for namespace in sockets.events:
        listen(namespace)


def connection(environ: dict[str, Any], auth: Any) -> Any:
    """A socket's request, for a `principal` that takes it."""
    try:
        from starlette.requests import HTTPConnection
    except ImportError as error:
        raise MissingExtra("principal(connection)", "fastapi") from error
    return HTTPConnection({**environ["asgi.scope"], "socketio.auth": auth})


class LoopOutlet(Outlet):
    """The sockets of a server on an event loop: what our threads send is put into the queues by the loop."""

    def __init__(self, sio: AsyncServer, pipeline: Pipeline) -> None:
        self.sio = sio
        self.pipeline = pipeline
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread = 0
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def server(self) -> Any:
        return self.sio

    def on_loop(self) -> None:
        """Called on the loop, before anything else."""
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()

    def wait(self, coroutine: Any) -> Any:
        """Run on the loop, from a thread of ours; RuntimeError where it does not run any more."""
        if self.loop is None or self.loop.is_closed():
            coroutine.close()
            raise RuntimeError("the event loop is closed")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        while True:
            try:
                return future.result(LOOK)
            except TimeoutError:
                if future.done():
                    return future.result()
                if self.pipeline.live.stopped or not self.loop.is_running():
                    future.cancel()
                    raise RuntimeError("the event loop has ended") from None

    def put(self, sockets: Sequence[Any], packets: Sequence[Packet]) -> list[Any]:
        full: list[Any] = []
        large = self.large(packets)
        if threading.get_ident() == self.thread:  # a few words, of a handler's
            for socket in sockets:
                self.hand(socket, packets, large, full)
            return full

        async def hand_out() -> None:
            handed = 0
            for socket in sockets:
                self.hand(socket, packets, large, full)
                handed += len(packets)
                if handed > CHUNK:
                    handed = 0
                    await asyncio.sleep(0)

        self.wait(hand_out())
        return full

    def enter(self, sid: str, namespace: str, room: str) -> None:
        async def enter() -> None:
            self.enter_here(sid, namespace, room)

        self.wait(enter())

    def leave(self, sid: str, namespace: str, room: str) -> None:
        async def leave() -> None:
            self.leave_here(sid, namespace, room)

        with suppress(RuntimeError):  # the server has ended
            self.wait(leave())

    def cut(self, socket: Any, last: Sequence[Packet]) -> None:
        async def close() -> None:
            for packet in last:
                socket.queue.put_nowait(packet)
            await socket.close(wait=False, abort=True)
            socket.queue.put_nowait(None)  # what ends the writer, which engineio leaves out here

        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.begin, close)

    def begin(self, close: Callable[[], Any]) -> None:
        task = asyncio.ensure_future(close())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
