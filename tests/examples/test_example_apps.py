"""The host apps: the whole way from start to result by each door, on SQLite and PostgreSQL, for this machine alone."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from example_apps import EXAMPLES, SAID, App, failed, running, until

from mina_pipeline import Pipeline


def check_the_way(app: App, events: list[dict[str, Any]], session_id: str) -> None:
    """Every version once, one stop, one reveal; and the result is there to be read."""
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    names = [event["event"] for event in events]
    assert names.count("session_finalized") == names.count("post_transcription_reveal") == 1
    result = app.http.get(f"/api/sessions/{session_id}/result").json()
    assert result["summary"]["outcome"] == "ok" and result["transcript"]["lines"][0]["speaker"] == "Ann"
    assert result["tasks"]["tasks"][0]["assigned_to"] == "Bob"
    reveal = next(event for event in events if event["event"] == "post_transcription_reveal")
    page = app.http.get(reveal["redirect_url"], headers={"Accept": "text/html"}, follow_redirects=True)
    assert page.url.path == f"/meetings/{session_id}/result" and "result.js" in page.text
    assert "budget" in app.http.get(reveal["redirect_url"]).json()["refined_text"]


@pytest.mark.parametrize("door", ["/api/sessions/{session_id}/complete", "/sessions/{id}/finalize"])
def test_the_way_over_http(app: App, door: str) -> None:
    """Start, paste, stop, watch to the reveal, read."""
    made = app.start("http")
    with app.watching(made["session_id"]) as to_the_end:
        for _ in range(2):
            app.http.post(door.format(**made)).raise_for_status()
        check_the_way(app, to_the_end(), made["session_id"])


def test_the_way_over_sockets(app: App) -> None:
    """finalize_session in the page's namespace stops a session; who has joined in /live hears it all."""
    made = app.start("socket")
    heard: list[tuple[str, Any]] = []
    with app.socket("/live", lambda *told: heard.append(told[:2])) as live, app.socket("/", print) as page:
        live.emit("join_session", {"session_id": made["session_id"], "after": 0}, namespace="/live")
        page.emit("finalize_session", {"session_id": made["session_id"], "settings": {}}, namespace="/")
        until(lambda: any(name == "dashboard_refresh" for name, _ in heard))
    events = [{"event": name, **told} for name, told in heard if "version" in told]
    check_the_way(app, events, made["session_id"])


def test_the_recorders_socket(app: App) -> None:
    """start_session and end_session, without a word of which session: it is the socket's own."""
    heard: list[tuple[str, Any]] = []
    with app.socket("/live-transcription", lambda *told: heard.append(told[:2])) as recorder:
        recorder.emit("start_session", {"title": "recorder", "locale": "en"}, namespace="/live-transcription")
        until(lambda: heard)
        session_id = heard[0][1]["session_id"]
        app.record(session_id)
        with app.watching(session_id) as to_the_end:
            recorder.emit("end_session", namespace="/live-transcription")
            check_the_way(app, to_the_end(), session_id)


def test_a_session_of_another_process(app: App, tmp_path: Path) -> None:
    """What `mina run` made in the same database is listed, watched and read here."""
    (tmp_path / "said.vtt").write_text(SAID)
    mina = [
        sys.executable,
        "-c",
        "from mina_pipeline.cli import main; main()",
        "run",
        "said.vtt",
        "--title",
        "elsewhere",
        "--db",
        app.database,
    ]
    with app.http.stream("GET", "/api/dashboard/stream") as dashboard:
        subprocess.run(mina, check=True, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        assert "event: dashboard_refresh" in (line for line in dashboard.iter_lines())
    listed = app.http.get("/api/sessions").json()["sessions"]
    session_id = next(session["session_id"] for session in listed if session["title"] == "elsewhere")
    with app.watching(session_id) as to_the_end:
        check_the_way(app, to_the_end(), session_id)


@pytest.mark.parametrize("path", ["/", "/host.json", "/api/sessions", "/socket.io/?EIO=4&transport=polling"])
def test_this_machine_alone(app: App, path: str) -> None:
    """Another name than this machine's is refused, and so is another site's page, whatever it asks for."""
    assert app.http.get(path).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost:80@evil.example", ""):
        assert app.http.get(path, headers={"Host": host}).status_code == 400
    foreign = app.http.get(path, headers={"Origin": "http://evil.example"})
    if path.startswith("/api"):
        assert foreign.status_code == 403
    assert foreign.headers.get("Access-Control-Allow-Origin") is None


def test_pages_run_no_script_but_their_own(app: App) -> None:
    """A policy without inline script, nothing inline, nothing from elsewhere, nothing put in as HTML."""
    for path in ("/", "/meetings/x", "/meetings/x/result"):
        page = app.http.get(path)
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        assert "https://" not in page.text and "<script>" not in page.text and " style=" not in page.text
        for script in re.findall(r'src="([^"]+)"', page.text):
            assert app.http.get(script).headers["Content-Type"].startswith("text/javascript")
    for script in (EXAMPLES / "pages").glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script.read_text())
    assert app.http.get("/pages/../local_host.py").status_code == 404
    assert app.http.get("/pages/%2e%2e%2flocal_host.py").status_code == 404


@pytest.mark.parametrize("name", ["flask", "fastapi"])
def test_ends_in_order(name: str, tmp_path: Path) -> None:
    """By Ctrl-C, with a browser watching, without a terminal: exit code 0, and what a session said is kept."""
    database = f"sqlite:///{tmp_path}/meetings.db"
    with running(name, database) as app:
        session_id = app.start("kept")["session_id"]
        with app.watching(session_id):
            assert app.end(signal.SIGINT) == 0
    with Pipeline.open(database) as pipeline:
        assert pipeline.get(session_id).total_segments == 2


@pytest.mark.parametrize("path", ["/", "/new", "/meetings/x", "/meetings/x/result", "/pages/common.js", "/host.json"])
def test_pages_can_only_be_read(app: App, path: str) -> None:
    """HEAD tells what GET would; any other method is refused with those that are not."""
    shown, head = app.http.get(path), app.http.head(path)
    assert (head.status_code, head.content) == (shown.status_code, b"") == (200, b"")
    assert head.headers["Content-Length"] == shown.headers["Content-Length"]
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = app.http.request(method, path, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("name", "code", "words"), [("flask", 2, "choose another with --port"), ("fastapi", 3, "cannot reach")]
)
def test_says_why_it_cannot_start(name: str, code: int, words: str, tmp_path: Path) -> None:
    """A port that is taken: 2; a database that is not there: 3; in a sentence, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if code == 2 else 0
        folder = tmp_path if code == 2 else tmp_path / "nowhere"
        ended, said = failed(name, ["--port", str(port), "--db", f"sqlite:///{folder}/a.db"])
    assert (ended, words in said, "Traceback" in said) == (code, True, False)
