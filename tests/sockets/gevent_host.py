"""A Flask-SocketIO server on gevent, in a process of its own: the database's URL in, its port out."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

import gevent  # noqa: E402
from flask import Flask, request  # noqa: E402
from flask_socketio import SocketIO  # noqa: E402
from gevent import pywsgi  # noqa: E402
from gevent.fileobject import FileObjectThread  # noqa: E402
from mina_adapters.sockets.flask import attach  # noqa: E402
from mina_adapters.web.doors import Doors  # noqa: E402
from mina_adapters.web.settings import WebSettings  # noqa: E402

from mina_pipeline import Pipeline, Settings  # noqa: E402


class User:
    def __init__(self, named: str) -> None:
        self.id, _, self.tenant = named.partition("@")


def websockets() -> dict[str, object]:
    """What engineio wants of the server where gevent-websocket is installed, as Flask-SocketIO's `run` gives it."""
    try:
        from geventwebsocket.handler import WebSocketHandler
    except ImportError:
        return {}
    return {"handler_class": WebSocketHandler}


def main() -> None:
    app, settings = Flask("host"), WebSettings(max_watches=0)
    sio = SocketIO(app, async_mode="gevent", cors_allowed_origins="*")
    with Pipeline.open(sys.argv[1], settings=Settings(poll=0.05)) as pipeline:
        doors = Doors(pipeline, lambda principal, session, action: True, settings)
        attach(app, sio, doors, lambda: User(request.headers["X-User"]), settings)
        server = pywsgi.WSGIServer(("127.0.0.1", 0), app, log=None, **websockets())
        server.start()
        print(server.server_port, flush=True)
        worker = gevent.spawn(pipeline.work)
        FileObjectThread(sys.stdin).read()
        server.stop(0.1)
        worker.kill(block=False)


main()
