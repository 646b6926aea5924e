"""A pipeline inside a Flask app: its doors as routes and server-sent events, and over Flask-SocketIO.

Nothing is started here. Workers are `mina worker` beside the app, or in it `threading.Thread(target=p.work)`, or
`socketio.start_background_task(p.work)`. A server that forks after loading the app (`gunicorn --preload`) is fine: what
the pipeline holds begins anew in each child; start such a task after the fork, in gunicorn's `post_fork` say.
Each open stream takes a thread of the server's, or under gevent a greenlet; a worker that serves one request at a time
(gunicorn's `sync`) is no server for streams. With threads, set `max_watches` well below their number: one principal's
streams could take all of them. Streams end when gunicorn is told to stop; with another server that waits for open
responses, close the pipeline first: `p.close()` ends them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mina_pipeline import MissingExtra, Pipeline
from mina_pipeline.live import Watch

from .streams.wsgi import bound_writes, event_stream
from .web.doors import Asked, Doors, Principal, Reply
from .web.errors import WebError, as_web_error, error_reply, refusal
from .web.hosts import takes_one
from .web.rights import Authorize
from .web.routes import ROUTES, Route
from .web.settings import WebSettings
from .web.telling import SSE_HEADERS

if TYPE_CHECKING:
    from flask import Flask, Response

AskPrincipal = Callable[..., Principal | None]
"""() or (request): who asks, within the request's context; None: nobody known, 401."""


class MinaFlask:
    """The doors of one pipeline, for any number of Flask apps: `init_app`.

    principal is asked at each HTTP request and socket connect, authorize for each thing that is asked: see
    `web.rights`. What `principal` raises is the host's own, and goes to Flask. MissingExtra without Flask.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        principal: AskPrincipal,
        authorize: Authorize,
        settings: WebSettings | None = None,
    ) -> None:
        try:
            import flask  # noqa: F401
        except ImportError:
            raise MissingExtra("mina_adapters.flask", "flask") from None
        self.settings = settings or WebSettings()
        self.doors = Doors(pipeline, authorize, self.settings)
        self.principal = principal
        self.takes_request = takes_one(principal)

    def init_app(self, app: Flask, socketio: Any = None) -> None:
        """Give an app the routes of `web.routes` under the settings' prefix, and its flask_socketio.SocketIO the doors.

        The routes are a blueprint named `mina…` (a host that checks form tokens exempts it: JSON is sent, and foreign
        origins are refused). What matches no route is the app's own 404 or 405.
        """
        from flask import Blueprint

        name = "".join(letter if letter.isalnum() else "_" for letter in f"mina{self.settings.prefix}")
        blueprint = Blueprint(name, __name__, url_prefix=self.settings.prefix or None)
        for route in ROUTES:
            if route.stream != "websocket":  # WSGI has none; sockets are Socket.IO's
                rule = route.template.replace("{", "<").replace("}", ">")
                blueprint.add_url_rule(rule, route.door, self.view(route), methods=[route.method])
        app.register_blueprint(blueprint)
        if socketio is not None:
            from .sockets.flask import attach

            attach(app, socketio, self.doors, self.ask, self.settings)

    def view(self, route: Route) -> Callable[..., Response]:
        serve = self.stream if route.stream else self.answer
        return lambda **path: serve(route.door, path)

    def ask(self) -> Principal | None:
        """Who asks, within a request's context; None: nobody known."""
        from flask import request

        return self.principal(request) if self.takes_request else self.principal()

    def asked(self, path: dict[str, str]) -> Asked:
        """The request as values, of somebody whom the doors admit: 403 for a foreign origin, 401, 429; then its body is
        read, 413 where it is too large, also if it is chunked."""
        from flask import request
        from werkzeug.exceptions import RequestEntityTooLarge

        self.doors.rights.check_origin(request.headers.get("Origin"), request.headers.get("Host"))
        principal = self.doors.admit(self.ask())
        request.max_content_length = self.settings.max_body + 1  # a chunked body is cut off there without a word
        try:
            body = request.get_data(cache=False)
        except RequestEntityTooLarge:
            raise refusal("BodyTooLarge", limit=self.settings.max_body) from None
        return Asked(principal, path, request.args.to_dict(), body, request.headers.get("Content-Type"))

    def answer(self, door: str, path: dict[str, str]) -> Response:
        try:
            asked = self.asked(path)
        except WebError as error:
            return response(error_reply(error))
        return response(self.doors.answer(door, asked, admitted=True))

    def stream(self, door: str, path: dict[str, str]) -> Response:
        """The events of a session, or the hints of a dashboard. A stream that the client closes ends at its next write,
        a keep-alive at the latest."""
        from flask import Response, request

        try:
            asked = self.asked(path)
            principal = self.doors.rights.known(asked.principal)
            self.doors.watches.acquire(principal)
        except WebError as error:
            return response(error_reply(error))
        try:
            watch = self.watch(door, principal, asked, request.headers.get("Last-Event-ID"))
        except BaseException as error:
            self.doors.watches.release(principal)
            if not isinstance(error, Exception):
                raise
            return response(error_reply(as_web_error(error)))
        bound_writes(request.environ, self.settings.stalled)
        made = Response(event_stream(watch, self.settings, resumable=door == "stream"), headers=SSE_HEADERS)
        made.call_on_close(watch.close)  # also where the body never began
        made.call_on_close(lambda: self.doors.watches.release(principal))
        return made

    def watch(self, door: str, principal: Principal, asked: Asked, last: str | None) -> Watch:
        """last: the Last-Event-ID, which a browser sends when it comes back, and is later than the URL's `after`."""
        if door == "dashboard":
            return self.doors.watch_dashboard(principal)
        return self.doors.watch(principal, asked.path["session_id"], last or asked.query.get("after"))


def response(reply: Reply) -> Response:
    from flask import Response

    return Response(reply.content, reply.status, dict(reply.headers))
