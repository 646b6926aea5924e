"""Message queues that several servers share, as Redis is: what is published is written down."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import socketio
from socketio.async_pubsub_manager import AsyncPubSubManager


class Bus(socketio.PubSubManager):
    def __init__(self, published: list[object]) -> None:
        super().__init__()
        self.published = published
        self.arrived: queue.Queue[Any] = queue.Queue()

    def _publish(self, data: Any) -> None:
        self.published.append(data)

    def _listen(self) -> Iterator[Any]:
        while True:
            yield self.arrived.get()


class AsyncBus(AsyncPubSubManager):
    def __init__(self, published: list[object]) -> None:
        super().__init__()
        self.published = published

    async def _publish(self, data: Any) -> None:
        self.published.append(data)

    async def _listen(self) -> AsyncIterator[Any]:
        while True:
            await asyncio.sleep(3600)
            yield {}


def bus(kind: str, published: list[object]) -> Any:
    return Bus(published) if kind == "threading" else AsyncBus(published)
