"""One server: `python -m benchmarks.fanout.server WHO [URL]`. It says its port, then is asked in lines."""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
import sys
import threading
from collections.abc import Coroutine
from typing import Any

from .child import answer


def in_a_loop(main: Coroutine[Any, Any, None]) -> asyncio.AbstractEventLoop:
    """The loop of a new thread that runs it: plain asyncio's."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_until_complete, args=(main,), daemon=True).start()
    return loop


def on_uvicorn(app: Any) -> tuple[int, asyncio.AbstractEventLoop]:
    """Serve it, the same way for all: httptools, websockets-sansio, without compression and pings."""
    import uvicorn

    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        access_log=False,
        log_level="critical",
    )
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    return listening.getsockname()[1], in_a_loop(uvicorn.Server(config).serve(sockets=[listening]))


def on_werkzeug(app: Any) -> int:
    """A thread a request; HTTP/1.1, as streams need."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def main(room: str, who: str, *url: str) -> None:
    port, speaker = getattr(importlib.import_module(f"{__package__}.{room}"), who)(*url)
    answer(speaker, port)


if __name__ == "__main__":
    main(*sys.argv[1].split("."), *sys.argv[2:])
