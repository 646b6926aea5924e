"""Streams of a real server: no gap, no double, resumed by version; slow clients hold up nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from asgi_serving import STREAM, Host, Person, Reader, eventually, say
from mina_adapters.streams import asgi
from mina_adapters.streams.uvicorn import lane_below, text_frame
from mina_adapters.web.settings import WebSettings
from mina_adapters.web.telling import sse_event
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.sync.client import ClientConnection, connect

from mina_pipeline import Pipeline, Segment
from mina_pipeline.frames import Frame

Serve = Callable[..., Host]
pytestmark = pytest.mark.usefixtures("session")


@contextmanager
def sockets(host: Host, path: str = "/api/sessions/s1/ws", **options: Any) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{host.port}{path}", open_timeout=20, close_timeout=1, **options) as socket:
        yield socket


def heard(client: ClientConnection, through: int) -> list[int]:
    versions: list[int] = []
    while not versions or versions[-1] < through:
        told = json.loads(client.recv(20))
        assert set(told) == {"event", "data"}
        versions.append(told["data"]["version"])
    return versions


SHORT = {"http": "httptools", "ws": "websockets-sansio", "ws_per_message_deflate": False}
LONG = [
    {"http": "h11", "ws": "wsproto"},
    {"http": "httptools", "ws": "websockets-sansio", "ws_per_message_deflate": True},
]


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
@pytest.mark.parametrize("config", [SHORT, *LONG])
def test_catch_up_then_live_without_gap_or_double(
    serve: Serve, rooms: Pipeline, framework: str, config: dict[str, Any]
) -> None:
    """Clients of both forms that join at any place, while the session goes on, hear each later version once."""
    host = serve(framework=framework, config=config)
    last = say(rooms, 30)
    through = last + 120
    writer = threading.Thread(target=say, args=(rooms, 120))
    with ExitStack() as stack:
        readers = [stack.enter_context(host.stream(f"{STREAM}?after={n}")) for n in (0, 7, last)]
        clients = [stack.enter_context(sockets(host, f"/api/sessions/s1/ws?after={n}")) for n in (0, 7, last)]
        writer.start()
        readers.append(stack.enter_context(host.stream(f"{STREAM}?after=3")))
        clients.append(stack.enter_context(sockets(host, "/api/sessions/s1/ws?after=3")))
        for n, reader, client in zip((0, 7, last, 3), readers, clients, strict=True):
            assert reader.versions(through) == list(range(n + 1, through + 1))
            assert heard(client, through) == list(range(n + 1, through + 1))
        writer.join()


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
@pytest.mark.parametrize(("config", "short"), [(SHORT, 2), (LONG[0], 0), (LONG[1], 1)])
def test_the_shorter_way_is_taken(
    serve: Serve, rooms: Pipeline, framework: str, config: dict[str, Any], short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On uvicorn with httptools and websockets, bytes framed once for all go straight to the connections.

    A release of uvicorn in which this is not so any more costs speed, and must be looked at.
    """
    found: list[Any] = []
    monkeypatch.setattr(asgi, "lane_below", lambda send: found.append(lane_below(send)) or found[-1])
    host = serve(framework=framework, config=config)
    with host.stream(STREAM) as reader, sockets(host) as client:
        version = say(rooms)
        assert reader.versions(version) == [version] == heard(client, version)
    assert sum(lane is not None for lane in found) == short


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536])
def test_a_frame_is_what_websockets_would_write(size: int) -> None:
    """For each way to write a length."""
    assert text_frame(b"x" * size) == WebSocketFrame(Opcode.TEXT, b"x" * size).serialize(mask=False)


def test_what_lies_further_back_than_the_room_comes_from_the_log(serve: Serve, rooms: Pipeline) -> None:
    """A client more than a page and a room behind gets everything, in order."""
    rooms.record("s1", [Segment("x", 0, 1)])
    host = serve()
    with host.stream(STREAM) as first:
        assert first.status == 200
        through = say(rooms, 600)
        with host.stream(f"{STREAM}?after=0") as reader, sockets(host, "/api/sessions/s1/ws?after=0") as client:
            assert reader.versions(through) == list(range(1, through + 1))
            assert heard(client, through) == list(range(1, through + 1))


def test_the_form_of_the_stream(serve: Serve, rooms: Pipeline) -> None:
    """Headers against caches and buffers, `retry` first, then id, event and data; from now on without `after`."""
    host = serve()
    with host.stream(STREAM) as reader:
        assert reader.headers["content-type"].startswith("text/event-stream")
        assert "no-store" in reader.headers["cache-control"] and reader.headers["x-accel-buffering"] == "no"
        assert reader.headers["x-content-type-options"] == "nosniff"
        assert reader.block() == {"retry": "1000"}
        version = say(rooms)
        block = reader.block()
        assert (block["id"], block["event"]) == (str(version), "segments_recorded")
        assert json.loads(block["data"])["segments"][0]["text"] == "hello"
    assert host.ask("HEAD", STREAM)[0] == 200


def test_last_event_id_wins(serve: Serve, rooms: Pipeline) -> None:
    """A browser that comes back goes on where it was, whatever its URL says."""
    last = say(rooms, 5)
    with serve().stream(f"{STREAM}?after=0", {"Last-Event-ID": str(last - 1)}) as reader:
        assert reader.versions(last) == [last]


def test_an_unknown_version_is_reset(serve: Serve, rooms: Pipeline) -> None:
    """`reset` without an id says where it goes on; a version that is none is refused."""
    last, host = say(rooms, 2), serve()
    with host.stream(STREAM, {"Last-Event-ID": "999"}) as reader, sockets(host, "/api/sessions/s1/ws?after=999") as ws:
        assert reader.event() == (None, "reset", {"version": last})
        assert json.loads(ws.recv(20)) == {"event": "reset", "data": {"version": last}}
        say(rooms)
        assert reader.versions(last + 1) == [last + 1]
        assert heard(ws, last + 1) == [last + 1]
    assert host.ask("GET", f"{STREAM}?after=-1")[0] == 422


def test_an_idle_stream_is_kept_alive(serve: Serve, rooms: Pipeline) -> None:
    """Comments come while nothing happens, and events after them."""
    with serve(keep_alive=0.05).stream(STREAM) as reader:
        reader.block()
        assert [reader.block() for _ in range(3)] == [{"": "keep-alive"}] * 3
        version = say(rooms)
        assert reader.versions(version) == [version]


def test_a_session_that_is_not_there(serve: Serve) -> None:
    """404 for a stream, and before a WebSocket is accepted."""
    host = serve()
    assert host.ask("GET", "/api/sessions/none/stream")[1]["error_type"] == "SessionNotFound"
    with pytest.raises(InvalidStatus) as refused, sockets(host, "/api/sessions/none/ws"):
        pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["error_type"] == "SessionNotFound"


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_a_websocket_from_a_foreign_origin_is_refused(serve: Serve, framework: str) -> None:
    """403 before it is accepted; its own origin is let in."""
    host = serve(framework=framework)
    for origin in ("https://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused, sockets(host, origin=origin):
            pass
        assert refused.value.response.status_code == 403
    with sockets(host, origin=f"http://127.0.0.1:{host.port}"):
        pass


@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
@pytest.mark.parametrize(("message", "count", "code"), [("x" * 2001, 1, 1009), ("é" * 1001, 1, 1009), ("x", 50, 1008)])
def test_oversized_and_too_many_messages_end_a_websocket(
    serve: Serve, rooms: Pipeline, ws: str, message: str, count: int, code: int
) -> None:
    """What a client says is bounded, in bytes and in number; other clients hear on."""
    host = serve(max_message=2000, message_rate=0.001, message_burst=10, config={"ws": ws}, principal=unlike())
    with sockets(host) as client, sockets(host) as other:
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(count):
                client.send(message)
            client.recv(20)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == code
        assert heard(other, say(rooms))


def unlike() -> Callable[[], Person]:
    """Each time another person, so that rates by person say nothing."""
    numbers = iter(range(10_000))
    return lambda: Person(f"p{next(numbers)}")


def test_streams_of_one_principal_are_bounded(serve: Serve, rooms: Pipeline) -> None:
    """429 with Retry-After for one too many, of either form; a closed one makes room."""
    host = serve(max_watches=2)
    with host.stream(STREAM), sockets(host):
        status, told, headers = host.ask("GET", STREAM)
        assert (status, told["error_type"]) == (429, "TooManyWatches") and int(headers["retry-after"]) > 0
        with pytest.raises(InvalidStatus) as refused, sockets(host):
            pass
        assert refused.value.response.status_code == 429
    eventually(lambda: not rooms.live.rooms)
    with host.stream(STREAM) as reader:
        assert reader.status == 200


def test_large_fields_are_left_out_of_events(serve: Serve, rooms: Pipeline) -> None:
    """Over thin_over, of either form: the event comes with its version, and says where its content is."""
    host = serve(thin_over=1000)
    with host.stream(STREAM) as reader, sockets(host) as client:
        version = say(rooms, text="x" * 5000)
        event, told = reader.event(), json.loads(client.recv(20))
        assert event is not None and event[0] == version == told["data"]["version"]
        assert event[2]["href"] and "x" * 100 not in json.dumps([event, told])


def test_a_dashboard_hears_its_own_tenant_only(serve: Serve, rooms: Pipeline) -> None:
    """Hints without ids, to the tenant of the session alone, though both streams share a loop."""
    tenants = iter(["a", "b"])
    host = serve(principal=lambda: Person("ann", next(tenants)))
    with host.stream("/api/dashboard/stream") as a, host.stream("/api/dashboard/stream") as b:
        for tenant in "ab":
            rooms.start_session(f"of {tenant}", session_id=f"in-{tenant}", tenant=tenant)
            rooms.record(f"in-{tenant}", [Segment("hello", 0, 1000)])
            rooms.finalize(f"in-{tenant}")
            rooms.run_until_idle()
        for tenant, reader in (("a", a), ("b", b)):
            told = reader.event()
            while told is not None and told[2].get("session_data", {}).get("status") != "completed":
                assert told[0] is None and tenant in json.dumps(told[2])
                told = reader.event()
            assert told is not None and told[2]["session_data"]["title"] == f"of {tenant}"


def test_the_same_id_of_two_tenants_is_two_streams(serve: Serve, rooms: Pipeline) -> None:
    """Clients that ask by the same words, and mean other sessions, hear their own."""
    own = rooms.start_session(session_id="other", tenant="b").id
    rooms.start_session(session_id=str(own), tenant="a")
    tenants = iter("ab")
    host = serve(principal=lambda: Person("ann", next(tenants)))
    path = f"/api/sessions/{own}/stream?after=0"
    with host.stream(path) as a, host.stream(path) as b:
        assert [whose(reader) for reader in (a, b)] == [str(own), "other"]
        rooms.record("other", [Segment("b's", 0, 1)])
        rooms.record(str(own), [Segment("a's", 0, 1)])
        assert [whose(reader) for reader in (a, b)] == [str(own), "other"]


def whose(reader: Reader) -> Any:
    event = reader.event()
    assert event is not None
    return event[2]["session_id"]


def test_streams_end_with_the_pipeline(serve: Serve, rooms: Pipeline) -> None:
    """Closing it ends the streams, so that clients look elsewhere."""
    host = serve()
    with host.stream(STREAM) as reader, sockets(host) as client:
        rooms.close()
        assert reader.event() is None
        with pytest.raises(ConnectionClosed):
            client.recv(20)


def test_a_name_makes_no_second_field() -> None:
    """A name with a line's end in it goes out under the name for what cannot be read."""
    assert sse_event(Frame(1, "x\ndata: y", {}), WebSettings(), True) == b"id: 1\nevent: session_event\ndata: {}\n\n"


SERVER = """
import sys, uvicorn
sys.path[:0] = sys.argv[1:]
from asgi_serving import Person
from mina_adapters.starlette import mina_routes
from mina_pipeline import Pipeline
from starlette.applications import Starlette

p = Pipeline.open("memory://")
p.start_session(session_id="s1")
app = Starlette(routes=mina_routes(p, principal=lambda: Person(), authorize=lambda *_: True))
uvicorn.Server(uvicorn.Config(app, port=0, log_level="info")).run()
print("left")
"""


def test_a_server_that_is_told_to_stop_stops(tmp_path: Any) -> None:
    """Open streams do not keep uvicorn from leaving, without a timeout of its own: they end, and clients come back."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, os.path.dirname(__file__)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None and server.stderr is not None
        try:
            line = next(line for line in server.stderr if "running on" in line)
            host = Host(int(line.split("127.0.0.1:")[1].split()[0]), None)
            with host.stream(f"{STREAM}?after=0") as reader, sockets(host) as client:
                assert reader.event() is not None
                server.send_signal(signal.SIGTERM)
                assert reader.event() is None
                with pytest.raises(ConnectionClosed) as closed:
                    client.recv(20)
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
                server.wait(20)
            assert server.returncode in (0, -signal.SIGTERM)
        finally:
            server.kill()
