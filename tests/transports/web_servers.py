"""Real servers with the adapters' doors: in a thread of the test, or as a process (`KIND PORT URL PREFIX`)."""

from __future__ import annotations

import sys

if sys.argv[1:2] == ["gevent"]:
    from gevent import monkey

    monkey.patch_all()

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mina_adapters.web.settings import WebSettings

from mina_pipeline import Pipeline, Settings

PATIENCE = 20.0


@dataclass(frozen=True)
class Somebody:
    id: str = "somebody"
    tenant: str | None = None


FREELY = {"rate": 10_000, "burst": 100_000, "message_rate": 10_000, "message_burst": 100_000}
WEB = WebSettings(max_watches=0, keep_alive=1.0, stalled=3.0, **FREELY)
STREAM, SOCKETS = WEB.stream_guarantees, WEB.socket_guarantees
DOORS: dict[str, Any] = {"principal": Somebody, "authorize": lambda *_: True, "settings": WEB}


def flask_app(pipeline: Pipeline, mode: str | None = None) -> Any:
    """mode: the async mode of Flask-SocketIO, where it is there at all. The app, and the SocketIO."""
    from flask import Flask
    from mina_adapters.flask import MinaFlask

    app = Flask(__name__)
    sockets = None
    if mode is not None:
        from flask_socketio import SocketIO

        sockets = SocketIO(app, async_mode=mode)
    MinaFlask(pipeline, **DOORS).init_app(app, sockets)
    return app


def fastapi_app(pipeline: Pipeline) -> Any:
    from fastapi import FastAPI
    from mina_adapters.fastapi import mina_router

    app = FastAPI()
    app.include_router(mina_router(pipeline, **DOORS))
    return app


def socketio_app(pipeline: Pipeline) -> Any:
    import socketio
    from mina_adapters.socketio import mina_socketio

    sio = socketio.AsyncServer(async_mode="asgi")
    mina_socketio(sio, pipeline, **DOORS)
    return socketio.ASGIApp(sio, fastapi_app(pipeline))


def quiet() -> Any:
    """Werkzeug's request handler, without its log."""
    from werkzeug.serving import WSGIRequestHandler

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None: ...

    return Quiet


@contextmanager
def werkzeug(app: Any) -> Iterator[int]:
    """Werkzeug's server, a thread for each connection."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=quiet())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def uvicorn(app: Any) -> Iterator[int]:
    import uvicorn as server_of

    config = server_of.Config(
        app, host="127.0.0.1", port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
    )
    server = server_of.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + PATIENCE
    while not server.started:
        assert time.monotonic() < end and thread.is_alive(), "the server does not start"
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


# --- as a process


def serve_gevent(pipeline: Pipeline, port: int) -> None:
    from flask import Flask
    from flask_socketio import SocketIO
    from mina_adapters.flask import MinaFlask

    app = Flask(__name__)
    sockets = SocketIO(app, async_mode="gevent")
    MinaFlask(pipeline, **DOORS).init_app(app, sockets)
    sockets.run(app, host="127.0.0.1", port=port, log_output=False)


def serve_threads(pipeline: Pipeline, port: int) -> None:
    from werkzeug.serving import make_server

    make_server("127.0.0.1", port, flask_app(pipeline), threaded=True, request_handler=quiet()).serve_forever()


def serve_asgi(pipeline: Pipeline, port: int) -> None:
    import uvicorn as server_of

    server_of.run(socketio_app(pipeline), host="127.0.0.1", port=port, log_level="critical", lifespan="off")


SERVERS: dict[str, Callable[[Pipeline, int], None]] = {
    "gevent": serve_gevent,
    "threads": serve_threads,
    "asgi": serve_asgi,
}

if __name__ == "__main__":
    kind, port, url, prefix = sys.argv[1:]
    with Pipeline.open(url, settings=Settings(table_prefix=prefix, poll=0.05)) as p:
        SERVERS[kind](p, int(port))
