"""The pages on a host that refuses for a while: they say so, and are live again without a hand."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from example_apps import EXAMPLES
from example_browser import Page
from flask import Flask
from flask_socketio import SocketIO
from mina_adapters.flask import MinaFlask
from werkzeug.serving import make_server

from mina_pipeline import Pipeline, Session

REFUSED = "There is no such session."


def example() -> Any:
    """The module examples/flask_app/app.py, as it is run."""
    spec = importlib.util.spec_from_file_location("example_flask_app", EXAMPLES / "flask_app" / "app.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Host:
    """The example's pages before a host of our own. refused: actions that are not allowed now."""

    pipeline: Pipeline
    url: str = ""
    refused: set[str] = field(default_factory=set)

    def authorize(self, principal: Any, session: Session | None, action: str) -> bool:
        return action not in self.refused


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    flask_app = example()
    with Pipeline.open("memory://") as pipeline:
        host, app = Host(pipeline), Flask("host")
        socketio = SocketIO(app, async_mode="threading")
        MinaFlask(pipeline, principal=flask_app.local, authorize=host.authorize).init_app(app, socketio)
        app.wsgi_app = flask_app.Pages(app.wsgi_app)  # type: ignore[method-assign]
        server = make_server("127.0.0.1", 0, app, threaded=True)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        host.url = f"http://127.0.0.1:{server.server_port}"
        yield host
        server.shutdown()
        thread.join()
        server.server_close()
        for socket in list(socketio.server.eio.sockets.values()):
            socket.close(wait=False, abort=True)


def text(of: str, words: str) -> str:
    return f"document.getElementById('{of}')?.textContent === {json.dumps(words)}"


def choose(transport: str) -> str:
    return (
        f"document.getElementById('transport').value = '{transport}';"
        "document.getElementById('transport').dispatchEvent(new Event('change'))"
    )


def test_an_id_that_is_new(host: Host, page: Page) -> None:
    """A meeting may have any id: to open it starts no other."""
    host.pipeline.start_session("the one", session_id="new")
    count = len(host.pipeline.sessions())
    page.open(f"{host.url}/meetings/new")
    page.until(text("title", "the one"))
    page.until(text("line", "live"))
    assert len(host.pipeline.sessions()) == count


@pytest.mark.parametrize("transport", ["sse", "socketio"])
def test_a_refusal_is_no_end(host: Host, page: Page, transport: str) -> None:
    """Refused, the page does not say that it is live; let in again, it is, and has what happened meanwhile."""
    session_id = host.pipeline.start_session("refused").session_id
    page.open(f"{host.url}/meetings/{session_id}")
    page.until(text("line", "live"))
    host.refused.add("read")
    page.run(choose(transport))
    page.until(text("line", REFUSED if transport == "socketio" else "reconnecting…"))
    host.pipeline.finalize(session_id)
    host.refused.clear()
    page.until(text("line", "live"))
    page.until("document.querySelector('[data-event=session_finalized]') !== null")


def test_a_result_is_shown_once_it_may_be_read(host: Host, page: Page) -> None:
    """Without a reload; and what changes then is shown as well."""
    session_id = host.pipeline.start_session("of a while ago").session_id
    host.refused.add("read")
    page.open(f"{host.url}/meetings/{session_id}/result")
    page.until(text("problem", REFUSED))
    host.refused.clear()
    page.until(text("title", "of a while ago"))
    page.until(text("problem", ""))


def test_an_unknown_version_is_told(host: Host, page: Page) -> None:
    """By each transport as a `reset` with the version to go on after."""
    session_id = host.pipeline.start_session("restored").session_id
    page.open(f"{host.url}/meetings/{session_id}")
    page.until(text("line", "live"))
    for transport in ("sse", "socketio"):
        page.run(
            "heard = ''; import('/pages/watching.js').then(({ transports }) => {"
            f"transports.{transport}((...told) => {{ heard = JSON.stringify(told); }}, () => {{}}, () => 99) }})"
        )
        page.until("heard === " + json.dumps('["reset",{"version":1}]'))


def test_the_list_goes_on(host: Host, page: Page) -> None:
    """Older meetings are asked for by what the answer says, also where a page is full."""
    for _ in range(len(host.pipeline.sessions(limit=200)), 80):
        host.pipeline.start_session("one of many")
    rows = "document.querySelectorAll('#sessions tr').length"
    page.open(host.url)
    page.until(f"{rows} === 50")
    assert page.run("document.getElementById('more').hidden") is False
    page.run("document.getElementById('more').click()")
    page.until(f"{rows} === 80 && document.getElementById('more').hidden")
