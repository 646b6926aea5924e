"""Who races whom, and one run: a fresh server process, this process for its clients."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.store.places import Place
from benchmarks.store.race import Contest, Figures, Run

from . import hello
from .child import Child
from .crowd import Crowd, Step
from .event import SESSION

BURST, BATCH, CPU, P50, P99 = "burst/s", "batch/s", "CPU µs", "p50 ms", "p99 ms"
MEMORY, BYTES = "KiB a client", "bytes"

DELIVERIES = 40_000  # in a burst
BATCHED = 200  # events in a transaction, at most
PACE = 2_000  # deliveries a second
SECONDS = 2.0  # at that pace
WARM = 5  # events before the clock runs
SETTLED = 0.3  # s

JOIN = json.dumps(["join_session", {"session_id": SESSION}])


@dataclass(frozen=True)
class Server:
    """place: where its database is; none for those that store nothing. apart: the writer is a process of its own."""

    who: str
    steps: list[Step]
    place: Place | None = None
    apart: bool = False


def servers(sqlite: Place, apart: Place | None) -> dict[str, dict[str, Server]]:
    """By contest and contestant; the first of a contest is the one whom the shares are of. apart: PostgreSQL."""
    sse, ws, live = hello.sse(), hello.ws(), hello.socketio(JOIN, "/live")
    found = {
        "SSE": {
            "floor": Server("floor.sse", sse),
            "sse-starlette": Server("peers.sse_starlette", hello.sse("/sse")),
            "ours, FastAPI": Server("ours.fastapi", sse, sqlite),
        },
        "WebSocket": {
            "floor": Server("floor.ws", ws),
            "websockets.broadcast": Server("floor.broadcast", ws),
            "bare Starlette": Server("peers.starlette_ws", hello.ws("/ws")),
            "ours, FastAPI": Server("ours.fastapi", ws, sqlite),
        },
        "Socket.IO": {
            "bare python-socketio": Server("peers.socketio", hello.socketio()),
            "ours": Server("ours.socketio", live, sqlite),
        },
        "SSE, Flask threads": {
            "bare Flask": Server("peers.flask", hello.sse("/sse")),
            "ours": Server("ours.flask", sse, sqlite),
        },
        "Socket.IO, Flask threads": {
            "bare Flask-SocketIO": Server("peers.flask_socketio", hello.socketio()),
            "ours": Server("ours.flask_socketio", live, sqlite),
        },
    }
    if apart is not None:
        found["SSE"][APART] = Server("ours.fastapi", sse, apart, True)
        found["WebSocket"][APART] = Server("ours.fastapi", ws, apart, True)
        found["Socket.IO"][APART] = Server("ours.socketio", live, apart, True)
    return found


APART = "ours, another process writes (PostgreSQL)"


def contests(sqlite: Place, apart: Place | None, clients: int, scale: float) -> Iterator[Contest]:
    for transport, found in servers(sqlite, apart).items():
        runs: dict[str, Run] = {who: partial(run, server, clients, scale) for who, server in found.items()}
        yield Contest(transport, f"{clients} clients", next(iter(runs)), runs)


def run(server: Server, clients: int, scale: float) -> Figures:
    if server.place is None:
        return asyncio.run(measured(server, [], clients, scale))
    url = server.place.new()
    try:
        return asyncio.run(measured(server, [url], clients, scale))
    finally:
        server.place.drop(url)


async def measured(server: Server, url: list[str], clients: int, scale: float) -> Figures:
    child = await Child.begin("benchmarks.fanout.server", server.who, *url)
    writer = child
    try:
        if server.apart:
            writer = await Child.begin("benchmarks.fanout.writer", *url)
        first = Crowd(child.said, WARM, server.steps)
        await first.arrive()  # what the first clients make the server load is no client's memory
        first.leave()
        await asyncio.sleep(SETTLED)
        before = child.memory()
        crowd = Crowd(child.said, clients, server.steps)
        await crowd.arrive()
        await asyncio.sleep(SETTLED)
        memory = (child.memory() - before) / clients / 1024
        figures = await figures_of(crowd, child, writer, clients, scale)
        await asyncio.sleep(SETTLED)
        await crowd.all()  # nothing more has come
        crowd.leave()
        return {**figures, MEMORY: memory}
    finally:
        if writer is not child:
            await writer.kill()
        await child.kill()


async def figures_of(crowd: Crowd, server: Child, writer: Child, clients: int, scale: float) -> dict[str, float]:
    await delivered(crowd, writer, "burst", WARM)
    many = max(2, int(DELIVERIES * scale / clients))
    ran = server.processor_time()
    began, _ = await delivered(crowd, writer, "burst", many)
    cpu = (server.processor_time() - ran) * 1e6 / many / clients
    burst = many * clients / (crowd.log[-1][0] - began)
    size = crowd.bytes / many / clients
    some = min(many, BATCHED)
    began, _ = await delivered(crowd, writer, "batch", some)
    batch = some * clients / (crowd.log[-1][0] - began)
    hz = PACE / clients
    paced = max(2, int(hz * SECONDS * scale))
    _, times = await delivered(crowd, writer, "pace", paced, hz)
    last = crowd.version
    took = sorted(
        (at - times[version - last - 1]) * 1e3
        for at, low, high in crowd.log
        for version in range(low, high + 1)
    )  # fmt: skip
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    return {BURST: burst, BATCH: batch, CPU: cpu, P50: statistics.median(took), P99: p99, BYTES: size}


async def delivered(crowd: Crowd, writer: Child, *command: object) -> tuple[float, list[float]]:
    """Ask for events, and return when everybody has them: the time before the first, and that of each."""
    count = command[1]
    assert isinstance(count, int)
    crowd.expect(count)
    answered = asyncio.ensure_future(writer.ask(*command))
    try:
        await crowd.all()
        began, times = await answered
    finally:
        answered.cancel()
    return began, times
