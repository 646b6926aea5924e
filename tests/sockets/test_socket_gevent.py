"""The same on gevent's server, with its workers as greenlets of the same process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from socket_hosts import NINE, SPEECH, Listener, until

from mina_pipeline import Pipeline


def test_gevent_serves_the_whole_way(tmp_path: Path) -> None:
    """Start, record, end; both rooms hear all of it once, and who comes later reads it from the log."""
    url = f"sqlite:///{tmp_path}/gevent.db"
    Pipeline.open(url).close()
    child = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("gevent_host.py"), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        at, recorder = f"http://127.0.0.1:{int(child.stdout.readline())}", "/live-transcription"
        with Listener(at) as ann, Listener(at, transport="polling") as bob, Listener(at, "joe@other") as joe:
            session_id = ann.ask("start_session", recorder, title="Call")["session_id"]
            bob.ask("join_session", session_id=session_id, after=0)
            assert joe.ask("join_session", "/live", session_id=session_id)["error_type"] == "SessionNotFound"
            ann.ask("record", recorder, segments=SPEECH)
            assert ann.ask("end_session", recorder)["status"] == "finalized"
            until(lambda: "dashboard_refresh" in ann.names(recorder))
            last = ann.versions(session_id, recorder)[-1]
            until(lambda: len(bob.versions(session_id)) >= last)
            with Listener(at) as late:
                late.ask("join_session", "/live", session_id=session_id, after=0)
                until(lambda: len(late.versions(session_id, "/live")) >= last)
                for heard in (
                    ann.versions(session_id, recorder),
                    bob.versions(session_id),
                    late.versions(session_id, "/live"),
                ):
                    assert heard == list(range(1, last + 1))
            assert [name for name in ann.names(recorder) if name in NINE] == NINE
            assert set(joe.names("/live")) == {"error"}
    finally:
        child.stdin.close()
        try:
            child.wait(20)
        finally:
            child.kill()
            child.stdout.close()
    assert child.returncode == 0
