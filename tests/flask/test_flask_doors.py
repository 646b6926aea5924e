"""The routes of a Flask app: what is mapped, who is asked, and what stays the host's own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from flask import Flask, Request, abort, g
from flask_host import Somebody, host
from mina_adapters.flask import MinaFlask
from mina_adapters.web.routes import ROUTES
from mina_adapters.web.settings import WebSettings

from mina_pipeline import Pipeline

ANN = {"X-User": "ann"}


@pytest.fixture
def memory() -> Iterator[Pipeline]:
    with Pipeline.open("memory://") as pipeline:
        yield pipeline


def test_the_whole_way_over_http(memory: Pipeline) -> None:
    """Start, record, stop twice, read, tick a task off: each door answers as its route says."""
    client = host(memory).test_client()
    made = client.post("/api/sessions", json={"title": "Weekly", "session_id": "a b+c"}, headers=ANN)
    assert (made.status_code, made.json and made.json["session_id"]) == (201, "a b+c")
    one = "/api/sessions/a%20b+c"
    said = "Ann: bob can you send the budget by friday\nBob: sure"
    assert client.post(f"{one}/transcript", data=said, headers=ANN).json["total_segments"] == 2  # type: ignore[index]
    stopped = client.post(f"{one}/complete", headers=ANN).json or {}
    assert stopped["external_id"] == "a b+c" and stopped["total_segments"] == 2
    again = client.post(f"/sessions/{stopped['session_id']}/finalize", headers=ANN)
    assert (again.status_code, (again.json or {})["finalized_segments"]) == (200, 2)
    memory.run_until_idle()
    task = (client.get(f"{one}/result", headers=ANN).json or {})["tasks"]["tasks"][0]
    changed = client.patch(f"{one}/tasks/{task['task_id']}", json={"completed": True}, headers=ANN)
    assert changed.status_code == 200
    page = client.get("/sessions/a b+c/tasks", headers=ANN)
    assert (page.json or {})["tasks"][0]["completed"] is True
    assert page.headers["X-Content-Type-Options"] == "nosniff" and "no-store" in page.headers["Cache-Control"]
    events = client.get(f"{one}/events?after=2", headers=ANN).json or {}
    assert [event["data"]["version"] for event in events["events"]] == list(range(3, memory.get("a b+c").version + 1))


def test_every_route_is_mapped(memory: Pipeline) -> None:
    """All but the WebSocket, with its method, under the prefix; twice in one app under two prefixes."""
    app = host(memory, prefix="/meetings")
    MinaFlask(
        memory, principal=lambda: None, authorize=lambda *_: True, settings=WebSettings(prefix="/v2/m.x")
    ).init_app(app)
    found = {(method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods or ()}
    for route in ROUTES:
        rule = route.template.replace("{", "<").replace("}", ">")
        for prefix in ("/meetings", "/v2/m.x"):
            assert ((route.method, prefix + rule) in found) is (route.stream != "websocket")
    assert app.test_client().get("/meetings/api/sessions", headers=ANN).status_code == 200


def test_who_asks_is_asked_each_time(memory: Pipeline) -> None:
    """Within the request's context, with the request where it takes one; what it raises is the host's own."""
    asked: list[str] = []

    def by_request(request: Request) -> Somebody | None:
        asked.append(g.user)
        if request.args.get("teapot"):
            abort(418)
        return Somebody(g.user, None) if g.user != "nobody" else None

    app = Flask(__name__)

    @app.before_request
    def log_in() -> None:
        from flask import request

        g.user = request.headers["X-User"]

    MinaFlask(memory, principal=by_request, authorize=lambda *_: True).init_app(app)
    client = app.test_client()
    assert client.get("/api/sessions", headers=ANN).status_code == 200
    refused = client.get("/api/sessions", headers={"X-User": "nobody"})
    assert (refused.status_code, (refused.json or {})["error_type"]) == (401, "Unauthenticated")
    assert client.get("/api/sessions?teapot=1", headers=ANN).status_code == 418
    assert asked == ["ann", "nobody", "ann"]


def test_the_actor_and_the_tenant_are_the_principals(memory: Pipeline) -> None:
    """A session that is started through a door takes both; another tenant finds nothing there."""
    client = host(memory).test_client()
    acme = {**ANN, "X-Tenant": "acme"}
    one = (client.post("/api/sessions", headers=acme).json or {})["session_id"]
    assert memory.get(one).tenant == "acme"
    assert memory.events(one)[0].actor == "ann"
    assert client.get(f"/api/sessions/{one}", headers=ANN).status_code == 404
    assert client.post(f"/api/sessions/{one}/cancel", headers={**acme, "X-User": "reader"}).status_code == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost", 200), ("https://evil.example", 403), ("null", 403), ("http://localhost:81", 403)],
)
def test_foreign_pages_are_refused(memory: Pipeline, origin: str, status: int) -> None:
    """A browser's request is let in from the app's own origin, and nobody is asked about any other."""
    answer = host(memory).test_client().get("/api/sessions", headers={**ANN, "Origin": origin})
    assert answer.status_code == status


def test_listed_origins_are_let_in(memory: Pipeline) -> None:
    """What the settings list comes in, and with same_origin off the own host does not."""
    client = host(memory, origins=["https://app.example"], same_origin=False).test_client()
    for origin, status in {"https://app.example": 200, "http://localhost": 403}.items():
        assert client.get("/api/sessions", headers={**ANN, "Origin": origin}).status_code == status


def test_a_large_body_is_refused(memory: Pipeline) -> None:
    """By its length, before it is read; one of just the bound is taken."""
    client = host(memory, max_body=1_000).test_client()
    body = json.dumps({"title": "x"}).encode()
    assert client.post("/api/sessions", data=body.ljust(1_000), headers=ANN).status_code == 201
    for length in (1_001, 1_002, 100_000):
        refused = client.post("/api/sessions", data=body.ljust(length), headers=ANN)
        assert (refused.status_code, (refused.json or {})["error_type"]) == (413, "BodyTooLarge")


@pytest.mark.parametrize(
    ("given", "status"),
    [({}, 401), ({**ANN, "Origin": "https://evil.example"}, 403), ({**ANN, "X-Often": "yes"}, 429), (ANN, 200)],
    ids=["nobody", "a foreign page", "too often", "somebody"],
)
def test_a_body_is_read_of_those_who_may_send_one(memory: Pipeline, given: dict[str, str], status: int) -> None:
    """Who is refused whatever they send is refused before it is read."""
    app = host(memory, rate=0.001, burst=2)
    client = app.test_client()
    one = (client.post("/api/sessions", headers=ANN).json or {})["session_id"]
    if "X-Often" in given:
        client.get("/api/sessions", headers=ANN)
    body = io.BytesIO(b"Ann: good morning")
    answer = client.post(f"/api/sessions/{one}/transcript", input_stream=body, content_length=17, headers=given)
    assert (answer.status_code, body.tell()) == (status, 17 if status == 200 else 0)


def test_what_matches_no_route_is_the_hosts(memory: Pipeline) -> None:
    """Its own words for a 404, and Flask's for a method that a URL does not have."""
    client = host(memory).test_client()
    assert client.get("/api/nothing", headers=ANN).text == "the host's own words"
    assert client.delete("/api/sessions", headers=ANN).mimetype == "text/html"


def test_nothing_is_started(memory: Pipeline) -> None:
    """init_app and requests start no worker and no thread; only a watch starts the live one."""
    before = set(threading.enumerate())
    client = host(memory).test_client()
    client.post("/api/sessions", headers=ANN)
    assert set(threading.enumerate()) == before


def test_head_of_a_stream_holds_nothing(memory: Pipeline) -> None:
    """A response whose body never begins lets go of its watch and its place all the same."""
    client = host(memory, max_watches=1).test_client()
    one = (client.post("/api/sessions", headers=ANN).json or {})["session_id"]
    for _ in range(3):
        with client.head(f"/api/sessions/{one}/stream", headers=ANN) as answer:
            assert answer.status_code == 200
    assert not memory.live.rooms


def test_without_flask_the_error_names_the_extra() -> None:
    """The file can be imported; making a MinaFlask says what to install."""
    code = (
        "import sys; sys.modules['flask'] = None\n"
        "from mina_adapters.flask import MinaFlask\n"
        "from mina_pipeline import MissingExtra\n"
        "try: MinaFlask(None, principal=lambda: None, authorize=lambda *_: True)\n"
        "except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mina-pipeline[flask]" in done.stdout
