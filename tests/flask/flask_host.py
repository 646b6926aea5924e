"""The host app of these tests: who asks says so in headers, and reads its neighbours' state at /inside.

Run as a program it serves itself: `flask_host.py werkzeug|pywsgi PORT`; gunicorn loads `flask_host:app()`.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.argv[1] == "pywsgi":
    from gevent import monkey

    monkey.patch_all()  # before anything else is imported

import os
import threading
from dataclasses import dataclass
from typing import Any

from flask import Flask, request
from mina_adapters.flask import MinaFlask
from mina_adapters.web.settings import WebSettings

from mina_pipeline import Pipeline, Session, Settings


@dataclass(frozen=True)
class Somebody:
    id: str
    tenant: str | None


def principal() -> Somebody | None:
    name = request.headers.get("X-User")
    return Somebody(name, request.headers.get("X-Tenant")) if name else None


def authorize(principal: Somebody, session: Session | None, action: str) -> bool:
    return principal.id != "reader" or action in ("read", "watch_dashboard")


def host(pipeline: Pipeline, **settings: Any) -> Flask:
    app = Flask(__name__)
    mina = MinaFlask(pipeline, principal=principal, authorize=authorize, settings=WebSettings(**settings))
    mina.init_app(app)

    @app.get("/inside")
    def inside() -> dict[str, Any]:
        return {
            "open": sum(mina.doors.watches.open.values()),
            "rooms": len(pipeline.live.rooms) + len(pipeline.live.boards),
            "pid": os.getpid(),
        }

    @app.post("/close")
    def close() -> str:
        pipeline.close()
        return "closed"

    @app.errorhandler(404)
    def nothing(_: Exception) -> tuple[str, int]:
        return "the host's own words", 404

    return app


def app() -> Flask:
    pipeline = Pipeline.open(
        os.environ["HOST_DB"], settings=Settings(table_prefix=os.environ["HOST_PREFIX"], poll=0.05)
    )
    return host(pipeline, keep_alive=0.3, max_watches=3, max_body=20_000, thin_over=4_000)


def main(server: str, port: int) -> None:
    if server == "pywsgi":
        from gevent.pywsgi import WSGIServer

        WSGIServer(("127.0.0.1", port), app(), log=None).serve_forever()
    else:
        from werkzeug.serving import make_server

        serving = make_server("127.0.0.1", port, app(), threaded=True)
        threading.excepthook = lambda told: os._exit(70)  # a thread of the server's that fails is no warning
        serving.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
