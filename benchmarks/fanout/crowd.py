"""The clients of one server: lean asyncio protocols that look for nothing but versions in the bytes.

Each client must get every version once and in order, or the run fails.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence

from . import event

VERSION = re.compile(rb'"version": ?(\d+),')
LONGEST = 24  # bytes that a version, with its name, takes at most
PATIENCE = 30.0  # s until all must have come
TOGETHER = 20  # clients that connect at a time

Step = tuple[bytes, bytes]
"""What a client waits for, and what it then sends. The first waits for nothing."""


class Client(asyncio.Protocol):
    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.version = crowd.version
        self.steps = list(crowd.steps)
        self.rest = b""
        self.in_room = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.step(b"")

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self.in_room.done():  # nothing is sent before all are in the room
            self.step(self.rest + data)
            return
        crowd = self.crowd
        crowd.bytes += len(data)
        data = self.rest + data
        found = VERSION.findall(data)
        if found:
            first, self.version = self.version, self.version + len(found)
            if found != crowd.numbers[first + 1 : self.version + 1]:
                crowd.fail(f"after version {first} came {b', '.join(found[:10]).decode()}")
            crowd.heard(now, first + 1, self.version)
        tail = data[-LONGEST:]
        seen = VERSION.search(tail)
        self.rest = tail[seen.end() :] if seen else tail

    def step(self, data: bytes) -> None:
        self.rest = data
        while self.steps and self.steps[0][0] in self.rest:
            _, said = self.steps.pop(0)
            self.rest = b""
            self.transport.write(said)
        if not self.steps:
            self.in_room.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.crowd.leaving:
            self.crowd.fail("the server closed a connection")


class Crowd:
    """So many clients of one port: `arrive`; for some events `expect`, then `all`; `leave`."""

    def __init__(self, port: int, clients: int, steps: Sequence[Step]) -> None:
        self.port, self.clients, self.steps = port, clients, steps
        self.version = event.FIRST
        self.numbers = [b"%d" % n for n in range(100_000)]
        self.everybody: list[Client] = []
        self.leaving = False
        self.bytes = 0
        self.log: list[tuple[float, int, int]] = []
        self.missing = 0
        self.failed: str | None = None
        self.all_heard = asyncio.Event()

    async def arrive(self) -> None:
        loop = asyncio.get_running_loop()
        for n in range(self.clients):
            _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self.port)
            self.everybody.append(client)
            if n % TOGETHER == TOGETHER - 1:
                await self.in_room()
        await self.in_room()

    async def in_room(self) -> None:
        await asyncio.wait_for(asyncio.gather(*(client.in_room for client in self.everybody[-TOGETHER:])), PATIENCE)

    def expect(self, events: int) -> None:
        """Before they are sent."""
        self.log, self.bytes = [], 0
        self.missing = events * self.clients
        self.version += events
        if not self.failed:
            self.all_heard.clear()

    def heard(self, now: float, first: int, last: int) -> None:
        self.log.append((now, first, last))
        self.missing -= last - first + 1
        if self.missing <= 0:
            self.all_heard.set()

    def fail(self, why: str) -> None:
        self.failed = self.failed or why
        self.all_heard.set()

    async def all(self) -> None:
        """Return when each client has all that was expected."""
        try:
            await asyncio.wait_for(self.all_heard.wait(), PATIENCE)
        except TimeoutError:
            self.fail(f"{self.missing} deliveries are missing")
        if self.failed:
            raise RuntimeError(self.failed)
        behind = [client.version for client in self.everybody if client.version != self.version]
        assert not behind, f"{len(behind)} clients are not at version {self.version}"

    def leave(self) -> None:
        self.leaving = True
        for client in self.everybody:
            client.transport.abort()
