"""What clients send until they are in the room."""

from __future__ import annotations

from .crowd import Step
from .event import FIRST, SESSION

UPGRADE = (
    "Host: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def sse(path: str = f"/api/sessions/{SESSION}/stream?after={FIRST}") -> list[Step]:
    asked = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
    return [(b"", asked.encode()), (b"200 OK", b"")]


def ws(path: str = f"/api/sessions/{SESSION}/ws?after={FIRST}") -> list[Step]:
    return [(b"", upgrade(path)), (b"HTTP/1.1 101", b"")]


def socketio(join: str = "", namespace: str = "") -> list[Step]:
    """join: the message by which it enters the room, after its type and namespace; it must be acknowledged."""
    at = f"{namespace}," if namespace else ""
    steps = [
        (b"", upgrade("/socket.io/?EIO=4&transport=websocket")),
        (b"0{", masked(f"40{at}")),
        (f"40{at}{{".encode(), masked(f"42{at}1{join}") if join else b""),
    ]
    return [*steps, (f"43{at}1".encode(), b"")] if join else steps


def upgrade(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\n{UPGRADE.format(host='127.0.0.1')}".encode()


def masked(text: str) -> bytes:
    """A text frame as a client sends it, with the mask 0."""
    data = text.encode()
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + data
