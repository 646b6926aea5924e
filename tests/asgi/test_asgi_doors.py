"""The doors through Starlette and FastAPI: the same answers, rights asked in either colour, the loop never held up."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgi_serving import Host, Person, eventually
from fastapi import Depends, HTTPException

from mina_pipeline import Pipeline

Serve = Callable[..., Host]
SEGMENT = {"text": "bob can you send it to the board by friday", "start_ms": 0, "end_ms": 2000, "speaker": "Ann"}


@pytest.fixture(params=["starlette", "fastapi"])
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_meeting_goes_through_the_doors(serve: Serve, rooms: Pipeline, framework: str) -> None:
    """Start, record, finalize, read: by HTTP alone, the same in both frameworks; the actor is who asked."""
    host = serve(framework=framework)
    status, session, headers = host.ask("POST", "/api/sessions", {"title": "Weekly", "session_id": "s1"})
    assert (status, session["session_id"], session["state"]) == (201, "s1", "recording")
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert host.ask("POST", "/api/sessions", {"session_id": "s1"})[0] == 200
    assert host.ask("POST", "/api/sessions/s1/segments", {"segments": [SEGMENT]})[0] == 200
    assert host.ask("POST", "/api/sessions/s1/complete")[1]["total_segments"] == 1
    assert host.ask("POST", "/api/sessions/s1/complete")[0] == 200
    rooms.run_until_idle()
    assert host.ask("GET", "/api/sessions/s1")[1]["state"] == "revealed"
    assert host.ask("GET", "/sessions/s1/refined")[0] == 200
    events = host.ask("GET", "/api/sessions/s1/events?after=1")[1]["events"]
    assert [event["data"]["version"] for event in events] == list(range(2, events[-1]["data"]["version"] + 1))
    assert {event.actor for event in rooms.events("s1")[:3]} == {"ann"}
    task = host.ask("GET", "/api/sessions/s1/tasks")[1]["tasks"]["tasks"][0]
    changed = host.ask("PATCH", f"/api/sessions/s1/tasks/{task['task_id']}", {"completed": True})
    assert changed[0] == 200 and changed[1]["task"]["completed"] is True


def test_refusals_are_documented_json(serve: Serve, framework: str) -> None:
    """404, 409 and 422 with words and a type; a path that is not ours is the host's 404."""
    host = serve(framework=framework)
    for method, path, body, status, kind in (
        ("GET", "/api/sessions/none", None, 404, "SessionNotFound"),
        ("POST", "/api/sessions", "[1", 422, "InvalidInput"),
        ("POST", "/api/sessions/none/complete", None, 404, "SessionNotFound"),
    ):
        got = host.ask(method, path, body)
        assert (got[0], got[1]["error_type"]) == (status, kind)
    assert host.ask("GET", "/elsewhere")[0] == 404
    assert host.ask("DELETE", "/api/sessions")[0] == 405


def test_below_a_prefix_and_a_root_path(serve: Serve, rooms: Pipeline, framework: str) -> None:
    """The settings' prefix, a mount and a proxy's root_path add up, for requests and streams."""
    rooms.start_session(session_id="s1")
    host = serve(framework=framework, mount="/app", prefix="/meetings", config={"root_path": "/proxied"})
    assert host.ask("GET", "/app/meetings/api/sessions/s1")[1]["session_id"] == "s1"
    with host.stream("/app/meetings/api/sessions/s1/stream?after=0") as reader:
        event = reader.event()
        assert event is not None and event[1] == "session_started"
    assert host.ask("GET", "/api/sessions/s1")[0] == 404


def test_a_body_that_is_too_large_is_refused_while_it_comes(serve: Serve, framework: str) -> None:
    """413 by its Content-Length alone, and for a chunked body before its end."""
    host = serve(framework=framework, max_body=1000)
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=20)
    connection.putrequest("POST", "/api/sessions")
    connection.putheader("Content-Length", "1001")
    connection.endheaders()
    response = connection.getresponse()  # nothing of the body was sent
    assert response.status == 413 and json.loads(response.read())["error_type"] == "BodyTooLarge"
    connection.close()
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=20)
    connection.putrequest("POST", "/api/sessions")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(b"400\r\n" + b" " * 1024 + b"\r\n")  # and the last chunk never comes
    assert connection.getresponse().status == 413
    connection.close()


async def async_ann(connection: Any) -> Person:
    await asyncio.sleep(0)
    return Person(connection.headers["x-name"])


def sync_ann(connection: Any) -> Person:
    assert threading.current_thread() is not threading.main_thread()
    return Person(connection.headers["x-name"])


async def async_yes(principal: Any, session: Any, action: str) -> bool:
    await asyncio.sleep(0)
    return bool(principal.id == "ann")


def sync_yes(principal: Any, session: Any, action: str) -> bool:
    return bool(principal.id == "ann")


@pytest.mark.parametrize("principal", [async_ann, sync_ann, lambda connection: async_ann(connection)])
@pytest.mark.parametrize("authorize", [async_yes, sync_yes, lambda *given: async_yes(*given)])
def test_rights_may_be_async(serve: Serve, rooms: Pipeline, principal: Any, authorize: Any) -> None:
    """principal and authorize in either colour say yes and no alike; a coroutine is no yes."""
    rooms.start_session(session_id="s1")
    host = serve(principal=principal, authorize=authorize)
    for name, status in (("ann", 200), ("eve", 404)):
        assert host.ask("GET", "/api/sessions/s1", headers={"x-name": name})[0] == status
        with host.stream("/api/sessions/s1/stream?after=0", {"x-name": name}) as reader:
            assert reader.status == status


def test_nobody_is_401(serve: Serve, rooms: Pipeline, framework: str) -> None:
    """principal() None: refused at every door, streams too; a host's own HTTPException goes out as it is."""
    rooms.start_session(session_id="s1")
    host = serve(framework=framework, principal=lambda: None)
    for path in ("/api/sessions/s1", "/api/sessions/s1/stream", "/api/dashboard/stream"):
        assert host.ask("GET", path)[1]["error_type"] == "Unauthenticated"

    def teapot() -> None:
        raise HTTPException(418)

    async def async_teapot() -> None:
        raise HTTPException(418)

    for principal in (teapot, async_teapot):
        other = serve(framework=framework, principal=principal)
        assert [other.ask("GET", f"/api/sessions/s1{end}")[0] for end in ("", "/stream")] == [418, 418]


def test_a_principal_that_fails_tells_nothing(serve: Serve) -> None:
    """500 without the error's text."""

    def broken() -> None:
        raise RuntimeError("secret words")

    status, told, _ = serve(principal=broken).ask("GET", "/api/sessions/s1")
    assert status == 500 and "secret" not in json.dumps(told)


def test_foreign_origins_are_refused(serve: Serve, rooms: Pipeline, framework: str) -> None:
    """A browser's page from elsewhere reads and writes nothing, unless it is listed; several are none."""
    rooms.start_session(session_id="s1")
    host = serve(framework=framework, origins=["https://app.example"])
    for path in ("/api/sessions/s1", "/api/sessions/s1/stream"):
        for origin in ("https://evil.example", "null", "https://app.example, https://evil.example"):
            assert host.ask("GET", path, headers={"Origin": origin})[0] == 403
    for origin in ("https://app.example", f"http://127.0.0.1:{host.port}"):
        assert host.ask("GET", "/api/sessions/s1", headers={"Origin": origin})[0] == 200


def test_fastapi_dependencies_hold_for_all_doors(serve: Serve, rooms: Pipeline) -> None:
    """What a host gives include_router also guards our streams."""
    rooms.start_session(session_id="s1")

    def closed() -> None:
        raise HTTPException(423)

    host = serve(framework="fastapi", include={"dependencies": [Depends(closed)]})
    assert [host.ask("GET", f"/api/sessions/s1{end}")[0] for end in ("", "/stream")] == [423, 423]


def test_fastapi_lists_the_doors(serve: Serve) -> None:
    """They are in the host's OpenAPI schema, once each, with their ids."""
    schema = serve(framework="fastapi").ask("GET", "/openapi.json")[1]
    assert schema["paths"]["/api/sessions/{session_id}/complete"]["post"]["parameters"][0]["name"] == "session_id"
    assert set(schema["paths"]["/api/sessions/{session_id}"]) == {"get"}


def test_the_loop_goes_on_while_doors_wait(serve: Serve, rooms: Pipeline, framework: str) -> None:
    """Doors that wait in authorize, many at once, hold up no coroutine of the host's."""
    rooms.start_session(session_id="s1")
    loops: list[asyncio.AbstractEventLoop] = []
    free, waiting = threading.Event(), threading.Semaphore(0)

    async def principal() -> Person:
        loops.append(asyncio.get_running_loop())
        return Person()

    def slow(principal: Any, session: Any, action: str) -> bool:
        waiting.release()
        return free.wait(20)

    async def heartbeat() -> int:
        ticks = 0
        while ticks < 50:
            await asyncio.sleep(0.001)
            ticks += 1
        return ticks

    host = serve(framework=framework, principal=principal, authorize=slow)
    with ThreadPoolExecutor(4) as pool:
        paths = ["/api/sessions/s1", "/api/sessions/s1/events", "/api/sessions/s1/result", "/api/sessions"]
        answers = [pool.submit(host.ask, "GET", path) for path in paths]
        for _ in paths:
            assert waiting.acquire(timeout=20)
        try:
            beats = asyncio.run_coroutine_threadsafe(heartbeat(), loops[0]).result(20)
            assert beats == 50 and not any(answer.done() for answer in answers)
        finally:
            free.set()
        assert [answer.result()[0] for answer in answers] == [200] * 4


def test_a_client_that_goes_while_its_stream_opens_leaves_nothing(serve: Serve, rooms: Pipeline) -> None:
    """Its watch is closed and its place is free, though the door was still waiting."""
    rooms.start_session(session_id="s1")
    free, waiting = threading.Event(), threading.Event()

    def slow(principal: Any, session: Any, action: str) -> bool:
        waiting.set()
        return free.wait(20)

    host = serve(authorize=slow, max_watches=1)
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=20)
    connection.request("GET", "/api/sessions/s1/stream")
    assert waiting.wait(20)
    connection.close()
    free.set()

    def has_a_place() -> bool:
        with host.stream("/api/sessions/s1/stream?after=0") as reader:
            return reader.status == 200

    eventually(has_a_place)  # the door that waited may still be on its way
    eventually(lambda: not rooms.live.rooms and not host.open)


@pytest.mark.parametrize("missing", ["fastapi"])
def test_without_the_framework_the_extra_is_named(missing: str) -> None:
    """Importing the adapter says what to install."""
    code = f"""
import sys
sys.modules[{missing!r}] = None
from mina_pipeline import MissingExtra
try:
    import mina_adapters.{missing}
except MissingExtra as error:
    print(error.extra)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "fastapi"
