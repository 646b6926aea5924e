"""A host app is killed in the middle of a meeting, and started again: its clients come back, and miss nothing."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import httpx
import pytest
from doors_returning import AGAIN, Returning, all_have
from example_apps import App, started
from soak import dice, share
from socket_hosts import until
from web_processes import WorkerProcess, free_port

from mina_pipeline import Pipeline, Settings

ROUNDS = share(1, 10)
KILLS = share(1, 3)  # of the app, in a round
SEGMENTS = 6
LAST = SEGMENTS + 8  # versions, about, up to a stage that is running
PATIENCE = 60.0
PREFIXES = count(1)


class Mortal:
    """An example app on a port that stays its own."""

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url, self.port = name, url, free_port()
        self.app: App | None = None
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE)

    def start(self) -> None:
        self.app = App(started(self.name, "--port", str(self.port), "--db", self.url), self.url)

    def kill(self) -> None:
        if self.app is not None:
            self.app.process.kill()
            self.app.process.communicate()
            self.app.http.close()
        self.app = None

    def close(self) -> None:
        self.kill()
        self.http.close()

    def insist(self, path: str, **asked: object) -> None:
        """Post until it is answered: it takes effect once."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.http.post(path, json=asked).raise_for_status()
                return
            except httpx.TransportError:
                assert time.monotonic() < end
                time.sleep(AGAIN)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the app and the worker use; what a killed one had in hand is soon another's."""
    prefix = f"k{os.getpid()}_{next(PREFIXES)}_"
    for name, value in {"TABLE_PREFIX": prefix, "POLL": "0.05", "LEASE": "1.5", "RENEW": "0.4"}.items():
        monkeypatch.setenv(f"MINA_{name}", value)
    return Settings.from_env()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def meeting(mortal: Mortal, session_id: str, luck: random.Random) -> Callable[[], None]:
    """The front end's part: segments, and the end."""

    def talk() -> None:
        for n in range(SEGMENTS):
            said = {"text": "Bob will send it by Friday.", "start_ms": n, "end_ms": n + 900, "segment_id": f"s{n}"}
            mortal.insist(f"/api/sessions/{session_id}/segments", segments=[said])
            time.sleep(luck.uniform(0, 0.05))
        mortal.insist(f"/api/sessions/{session_id}/complete")

    return talk


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_a_killed_host_app(postgres_url: str, settings: Settings, stack: ExitStack) -> None:
    """Killed at any moment, while it records, finalizes, runs stages or sends, with `mina worker` beside it: each
    client sees each version once."""
    luck = dice()
    p = stack.enter_context(Pipeline.open(postgres_url, settings=settings))
    stack.enter_context(WorkerProcess(postgres_url, settings.table_prefix))
    for _ in range(ROUNDS):
        mortal = Mortal(luck.choice(("flask", "fastapi")), postgres_url)
        stack.callback(mortal.close)
        mortal.start()
        session_id = p.start_session("Call").session_id
        clients = [Returning(mortal.port, session_id, speaks) for speaks in ("sse", "socketio")]
        for client in clients:
            stack.callback(client.close)
        until(all_have(clients, 1), PATIENCE)
        talk = threading.Thread(target=meeting(mortal, session_id, random.Random(luck.random())), daemon=True)
        talk.start()
        for moment in sorted(luck.sample(range(1, LAST), KILLS)):
            until(lambda: p.get(session_id).version >= moment, PATIENCE)  # noqa: B023
            time.sleep(luck.uniform(0, 0.05))
            mortal.kill()
            mortal.start()
        talk.join()
        until(lambda: p.get(session_id).state == "revealed", PATIENCE)  # noqa: B023
        events = p.events(session_id)
        types = [event.type for event in events]
        assert types.count("segments_recorded") == SEGMENTS
        assert types.count("session_finalized") == types.count("post_transcription_reveal") == 1
        until(all_have(clients, len(events)), PATIENCE)
        for client in clients:
            assert client.seen == list(range(1, len(events) + 1)), (mortal.name, client.speaks)
            assert client.names[-1] == "dashboard_refresh" and client.came_back >= 1
            client.close()
        mortal.close()
