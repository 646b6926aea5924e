"""Our transports in a host of each framework. Every event is durable before it is sent; clients can resume."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mina_pipeline import Pipeline

from .server import on_uvicorn, on_werkzeug
from .writer import Writer

Served = tuple[int, Writer]

PRINCIPAL = SimpleNamespace(id="somebody", tenant=None)


def host(url: str) -> tuple[Pipeline, Writer, dict[str, Any]]:
    """The pipeline, its writer, and what every adapter is told: one principal, who may do all, with 500 streams."""
    from mina_adapters.web.settings import WebSettings

    pipeline = Pipeline.open(url)
    writer = Writer(pipeline, url)
    writer.start()
    return pipeline, writer, {
        "principal": lambda: PRINCIPAL,
        "authorize": lambda *_: True,
        "settings": WebSettings(max_watches=0, rate=1e6, burst=1_000_000),
    }  # fmt: skip


def fastapi(url: str) -> Served:
    from fastapi import FastAPI
    from mina_adapters.fastapi import mina_router

    pipeline, writer, told = host(url)
    app = FastAPI()
    app.include_router(mina_router(pipeline, **told))
    return on_uvicorn(app)[0], writer


def socketio(url: str) -> Served:
    from mina_adapters.socketio import mina_socketio
    from socketio import ASGIApp, AsyncServer

    pipeline, writer, told = host(url)
    sio = AsyncServer(async_mode="asgi")
    mina_socketio(sio, pipeline, **told)
    return on_uvicorn(ASGIApp(sio))[0], writer


def flask(url: str) -> Served:
    from flask import Flask
    from mina_adapters.flask import MinaFlask

    pipeline, writer, told = host(url)
    app = Flask(__name__)
    MinaFlask(pipeline, **told).init_app(app)
    return on_werkzeug(app), writer


def flask_socketio(url: str) -> Served:
    from flask import Flask
    from flask_socketio import SocketIO
    from mina_adapters.flask import MinaFlask

    pipeline, writer, told = host(url)
    app = Flask(__name__)
    MinaFlask(pipeline, **told).init_app(app, socketio=SocketIO(app, async_mode="threading"))
    return on_werkzeug(app), writer
