"""Meetings on Flask and Flask-SocketIO: the pipeline, its doors and its workers inside a host app."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Flask
from flask_socketio import SocketIO
from mina_adapters.flask import MinaFlask
from werkzeug.serving import make_server

from mina_pipeline import Pipeline

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from local_host import arguments, bound, local, opened, page, ready

# --- the host app: all that the pipeline asks of it


def host_app(pipeline: Pipeline) -> Flask:
    app = Flask(__name__)
    socketio = SocketIO(app, async_mode="threading")  # browsers of the app's own origin only
    mina = MinaFlask(pipeline, principal=local, authorize=lambda principal, session, action: True)
    mina.init_app(app, socketio)
    return app


# --- and what makes it a program on this machine


class Pages:
    """Before the app: the pages, and whoever does not mean this machine."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        method, host = environ["REQUEST_METHOD"], environ.get("HTTP_HOST", "")
        found = page(method, path, host, environ.get("HTTP_ACCEPT", ""), '{"websocket": false}')
        if found is None:
            return self.app(environ, start_response)
        headers = {**found.headers, "Content-Length": str(len(found.body))}
        start_response(f"{found.status} {HTTPStatus(found.status).phrase}", list(headers.items()))
        return [] if method == "HEAD" else [found.body]


def main() -> None:
    given = arguments(__doc__, 5000)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line for each request
    with bound(given.port) as listening, opened(given.db) as pipeline, pipeline.workers(2):
        app = host_app(pipeline)
        app.wsgi_app = Pages(app.wsgi_app)  # type: ignore[method-assign]
        # Werkzeug's own server, on our socket: Flask-SocketIO's run() refuses it where stdin is no terminal.
        server = make_server("127.0.0.1", given.port, app, threaded=True, fd=listening.fileno())
        for told in (signal.SIGTERM, signal.SIGINT):
            signal.signal(told, lambda *_: threading.Thread(target=server.shutdown).start())
        ready(listening)
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
