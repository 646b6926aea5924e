"""A request in a thread of its own: whoever waits for it can cut its connection and go, wherever it stands."""

from __future__ import annotations

import contextvars
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

from .verdicts import Cancelled, overdue

T = TypeVar("T")
TICK = 0.05
"""Seconds: how often somebody who waits looks whether the answer is still wanted."""
OPENED = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")


class Connection:
    """The socket of one request. asked: the request has begun to go out, so that the server may work on it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.socket: Any = None
        self.is_cut = False
        self.asked = False

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Hears of the steps of a request, as httpx's `trace` extension tells them."""
        if event.endswith(OPENED):
            stream = info.get("return_value")
            self.hold(stream.get_extra_info("socket") if stream is not None else None)
        elif event.endswith("send_request_headers.started"):
            self.asked = True

    def hold(self, opened: Any) -> None:
        with self.lock:
            self.socket = opened
            late = self.is_cut
        if late:
            self.cut()

    def cut(self) -> None:
        """End it, from any thread, once or more: what reads from it wakes up with an error."""
        with self.lock:
            self.is_cut = True
            opened = self.socket
        if isinstance(opened, socket.socket):
            # Closing wakes no thread that reads. Past TLS's own shutdown, which would drop what that thread holds.
            with suppress(OSError):
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


def within(connection: Connection, work: Callable[[], T], seconds: float, remaining: Callable[[], float]) -> T:
    """What `work` gives or raises, if it does so in time.

    It runs in another thread, since no thread can be stopped that looks up a name, or waits for a byte that
    does not come. Raises Cancelled within a TICK of `remaining()` having fallen to 0, CallFailed (timeout) after
    `seconds`; either way the connection is cut.
    """
    if remaining() <= 0:
        raise Cancelled
    made: list[T] = []
    failed: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            made.append(work())
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="mina-model-call", daemon=True).start()
    ends = monotonic() + seconds
    try:
        while not done.wait(max(0.0, min(TICK, ends - monotonic()))):
            if done.is_set():
                break
            if remaining() <= 0:
                raise Cancelled
            if monotonic() >= ends:
                raise overdue()
    except BaseException:
        connection.cut()
        raise
    if failed:
        raise failed[0]
    return made[0]
