"""The web doors as Starlette routes. `mina_routes` is all that a host needs; `AsgiDoors` is what FastAPI shares.

A request is one hop to a worker thread, where the host is asked who it is (unless that is a coroutine function, which
runs on the loop) and the door answers. The loop itself waits for nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mina_pipeline import MissingExtra, Pipeline, Session
from mina_pipeline.aio import Aio

try:
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, HTTPConnection, Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute, WebSocketRoute
    from starlette.routing import Route as HttpRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect
except ImportError:
    raise MissingExtra("mina_adapters.starlette", "fastapi") from None

from .streams.asgi import HEADERS, TOO_MANY, Events, Hints, Receive, Send, Socket, Stream, Streams
from .web.doors import Asked, Doors, Reply
from .web.errors import error_reply, refusal
from .web.hosts import Asking, in_thread
from .web.routes import ROUTES, Route
from .web.settings import WebSettings

if TYPE_CHECKING:
    from mina_pipeline.live import Wake, Watch

GetPrincipal = Callable[..., Any]
"""principal() or principal(connection), plain or async, -> who asks, or None. See web.replies.Principal."""
GetLeave = Callable[[Any, Session | None, str], Any]
"""authorize(principal, session, action), plain or async, -> bool."""


def mina_routes(
    pipeline: Pipeline, *, principal: GetPrincipal, authorize: GetLeave, settings: WebSettings | None = None
) -> list[BaseRoute]:
    """The doors, for `Starlette(routes=[…, *mina_routes(…)])` or below a Mount. See web/routes.py for the table.

    principal: who sends this Starlette HTTPConnection; takes it, or nothing. None: 401. A plain function is called in
    a worker thread, with the request's context variables; an async one on the loop.
    authorize: whether they may; called in a worker thread, or where it is async, on the loop.
    """
    doors = AsgiDoors(pipeline, principal, authorize, settings)
    return [doors.route(route) for route in ROUTES]


class AsgiDoors:
    """The doors of a pipeline, for frameworks on Starlette."""

    def __init__(
        self, pipeline: Pipeline, principal: GetPrincipal, authorize: GetLeave, settings: WebSettings | None = None
    ) -> None:
        self.settings = settings or WebSettings()
        # places of their own: a door that waits for an async `authorize` must not hold one that this needs of p.aio
        self.run = Aio(pipeline).run
        self.doors = Doors(pipeline, in_thread(authorize), self.settings)
        self.streams = Streams(self.run, self.settings)
        self.ask = Asking(principal).ask

    def path(self, route: Route) -> str:
        return self.settings.prefix + route.template

    def route(self, route: Route) -> BaseRoute:
        if route.stream == "websocket":
            return WebSocketRoute(self.path(route), self.socket, name=f"mina_{route.door}")
        return HttpRoute(self.path(route), self.endpoint(route), methods=[route.method], name=f"mina_{route.door}")

    def endpoint(self, route: Route) -> Callable[[Request], Awaitable[Response]]:
        """What answers a route's requests."""

        async def answer(request: Request) -> Response:
            return await self.answer(route, request)

        async def stream(request: Request) -> Response:
            return EventResponse(self, route, request)

        return stream if route.stream else answer

    # --- requests

    async def answer(self, route: Route, request: Request) -> Response:
        try:
            self.check_origin(request)
            body = b"" if route.method == "GET" else await self.read_body(request)
            who = await self.ask(request)
        except HTTPException:  # the host's own answer to somebody it does not know
            raise
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:
            return respond(error_reply(error))

        def reply() -> Reply:
            try:
                principal = who()
            except HTTPException:
                raise
            except Exception as error:
                return error_reply(error)
            asked = Asked(
                principal, request.path_params, dict(request.query_params), body, request.headers.get("content-type")
            )
            return self.doors.answer(route.door, asked)

        return respond(await self.run(reply))

    def check_origin(self, connection: HTTPConnection) -> None:
        origins = connection.headers.getlist("origin")
        self.doors.rights.check_origin(", ".join(origins) if origins else None, connection.headers.get("host"))

    async def read_body(self, request: Request) -> bytes:
        """The body, refused as soon as it is known to be too large."""
        most = self.settings.max_body
        too_large = refusal("BodyTooLarge", limit=most)
        too_large.headers["Connection"] = "close"  # what is still to come is not read
        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared[:20]) > most:
            raise too_large
        read = bytearray()
        async for chunk in request.stream():
            read += chunk
            if len(read) > most:
                raise too_large
        return bytes(read)

    # --- streams

    async def serve(
        self, stream: Stream, route: Route, connection: HTTPConnection, receive: Receive, send: Send
    ) -> None:
        """Open a stream and serve it to its end. Raises what is in the way, before anything was sent."""
        who = await self.ask(connection)
        after: str | None = connection.query_params.get("after")
        if route.stream == "sse":
            after = connection.headers.get("last-event-id") or after

        def watch(wake: Wake) -> Watch:
            principal = self.doors.admit(who())
            self.doors.watches.acquire(principal)
            stream.at_the_end(lambda: self.doors.watches.release(principal))
            if route.door == "dashboard":
                return self.doors.watch_dashboard(principal, wake)
            return self.doors.watch(principal, connection.path_params["session_id"], after, wake)

        await stream.open(watch)
        if connection.scope.get("method") == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await send({"type": "http.response.body", "body": b""})
            return
        await stream.serve(receive, send)

    async def socket(self, websocket: WebSocket) -> None:
        """A session's events by WebSocket: refused before it is accepted, or served."""
        route = next(route for route in ROUTES if route.stream == "websocket")
        await websocket.receive()  # websocket.connect
        stream: Stream | None = None
        try:
            self.check_origin(websocket)
            stream = Socket(self.streams, websocket.path_params["session_id"])
            with suppress(WebSocketDisconnect):
                await self.serve(stream, route, websocket, websocket.receive, websocket.send)
        except HTTPException:
            raise
        except Exception as error:
            if stream is not None and stream.begun:
                raise
            await deny(websocket, error_reply(error))
        finally:
            if stream is not None:
                stream.leave()


class EventResponse(Response):
    """A stream of server-sent events, or the refusal of one."""

    def __init__(self, doors: AsgiDoors, route: Route, request: Request) -> None:
        super().__init__(media_type="text/event-stream")
        self.doors = doors
        self.route = route
        self.request = request

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        stream: Stream | None = None
        try:
            self.doors.check_origin(self.request)
            form = Hints if self.route.door == "dashboard" else Events
            stream = form(self.doors.streams, self.request.path_params.get("session_id"))
            await self.doors.serve(stream, self.route, self.request, receive, send)
        except HTTPException:
            raise
        except Exception as error:
            if stream is not None and stream.begun:
                raise
            await respond(error_reply(error))(scope, receive, send)
        finally:
            if stream is not None:
                stream.leave()


def respond(reply: Reply) -> Response:
    return Response(reply.content, reply.status, dict(reply.headers))


async def deny(websocket: WebSocket, reply: Reply) -> None:
    """Refuse a WebSocket: with the reply's status where the server can, else by closing it, which is a 403."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(respond(reply))
    else:
        await websocket.close(TOO_MANY)
