"""Clients that come back with their last version whenever they are cut off or refused, as browsers do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from web_clients import SocketIoClient, SseClient, WsClient, hang_up
from websockets.exceptions import WebSocketException

from mina_pipeline import StoreBusy, StoreUnreachable
from mina_pipeline.testing.clients import PATIENCE, Client

AGAIN = 0.1  # s until a client that was refused comes back
T = TypeVar("T")


class Patient(SocketIoClient):
    """By Socket.IO; told of an error it goes on, and waits for no answer that cannot come any more."""

    def __init__(self, port: int) -> None:
        try:
            super().__init__(port)
        except BaseException:
            if hasattr(self, "socket"):
                hang_up(self.connection)
                self.connection.close()
            raise

    def said(self, kind: str, text: str) -> None:
        if not text.startswith('["error"'):
            super().said(kind, text)

    def wait_for(self, what: int | Callable[[], bool], timeout: float | None = None) -> None:
        super().wait_for(what if isinstance(what, int) else lambda: self.gone or what(), timeout)


class Returning:
    """speaks: sse, ws or socketio. seen: the versions in the order that they came; came_back: how often it has had to;
    refusals: what it met while it tried."""

    def __init__(self, port: int, session_id: str, speaks: str) -> None:
        self.port = port
        self.session_id = session_id
        self.speaks = speaks
        self.seen: list[int] = []
        self.names: list[str] = []
        self.refusals: list[str] = []
        self.came_back = -1
        self.ended = False
        self.client: Client | None = None
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def dial(self) -> Client:
        path, last = f"/api/sessions/{self.session_id}", self.seen[-1] if self.seen else 0
        if self.speaks == "sse":  # Last-Event-ID, once there is one
            return SseClient(self.port, f"{path}/stream?after=0", last or None)
        if self.speaks == "ws":
            return WsClient(self.port, f"{path}/ws?after={last}")
        client = Patient(self.port)
        try:
            client.join(self.session_id, last)
        except BaseException:
            client.close()
            raise
        return client

    def follow(self) -> None:
        while not self.ended:
            try:
                client = self.dial()
            except (OSError, KeyError, AssertionError, WebSocketException) as error:
                self.refusals.append(str(error))
                time.sleep(AGAIN)
                continue
            self.came_back += 1
            self.client = client
            taken = 0
            while not self.ended and not (client.gone and taken == len(client.received)):
                new = client.received[taken:]
                taken += len(new)
                own = [one for one in new if one.payload["session_id"] == self.session_id]
                self.seen += [one.version for one in own]
                self.names += [one.name for one in own]
                time.sleep(0.01)
            client.close()

    def drop(self) -> None:
        """Cut it off, as a lost network does."""
        assert self.client is not None
        hang_up(self.client.connection)  # type: ignore[attr-defined]

    def close(self) -> None:
        self.ended = True
        self.thread.join(PATIENCE)


def insist(command: Callable[[], T]) -> T:
    """Send a command until it is answered: it takes effect once."""
    end = time.monotonic() + 4 * PATIENCE
    while True:
        try:
            return command()
        except (StoreUnreachable, StoreBusy):
            assert time.monotonic() < end
            time.sleep(AGAIN)


def all_have(clients: list[Returning], version: int) -> Callable[[], bool]:
    return lambda: all(client.seen and client.seen[-1] >= version for client in clients)
