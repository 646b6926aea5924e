"""A hundred threads that ask one provider: a slow one, and one that was out."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from asked import asking, truthful
from proving import finalized, said_by, until

from mina_pipeline import Pipeline, Settings, define, stage
from mina_pipeline.llm.breaker import Breaker
from mina_pipeline.stages.base import Outcome, StageContext
from mina_pipeline.testing.openai_server import OpenAIServer, Request, Status

pytestmark = pytest.mark.usefixtures("quick")


@stage("note", running="noting", provider="openai", policy="wait")
def note(ctx: StageContext) -> Outcome:
    """One question."""
    made: Outcome = ctx.provider.summarize(ctx)
    return made


CROWD = 100


def crowd(p: Pipeline) -> list[str]:
    ids = [f"s{n}" for n in range(CROWD)]
    for name in ids:
        finalized(p, name, said_by("Anna"))
    return ids


def test_a_hundred_threads_ask_a_slow_provider_at_once(tmp_path: Path) -> None:
    """No lock is held while the provider works: its answers come only when most of them have been asked for."""
    together = threading.Event()

    def answer(request: Request) -> Any:
        if servers[0].counts().in_flight >= CROWD * 3 // 4:
            together.set()
        if not together.wait(25):
            together.set()  # serialized: let the test end
        return truthful(request)

    servers: list[OpenAIServer] = []
    settings = Settings(poll=0.05, lease=60, stage_deadline=100)
    with asking(answer, concurrency=CROWD) as (server, provider):
        servers.append(server)
        with Pipeline.open("memory://", definition=define("notes", note), provider=provider, settings=settings) as p:
            ids = crowd(p)
            with p.workers(CROWD):
                until(lambda: all(p.get(name).state == "revealed" for name in ids), 100)
            assert {p.get(name).stages["note"].outcome for name in ids} == {"ok"}
        counts = server.counts()
        assert counts.requests == CROWD
        assert counts.most_in_flight >= CROWD * 3 // 4


def test_after_an_outage_exactly_one_probe_asks_for_a_hundred_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is out nobody else reaches the server, however often they ask; its answer lets all of them in."""
    refused = Counter[str]()
    real = Breaker.admit

    def admit(breaker: Breaker) -> Any:
        admission = real(breaker)
        if not admission.allowed:
            refused[breaker.seen.state] += 1
        return admission

    monkeypatch.setattr(Breaker, "admit", admit)
    settings = Settings(poll=0.05, lease=60, retry_tries=1, retry_first=0.2, retry_longest=0.2, breaker_pause=1.0)
    back, let_go, probes = threading.Event(), threading.Event(), list[int]()

    def answer(request: Request) -> Any:
        if not back.is_set():
            return Status(503)
        probes.append(request.number)
        let_go.wait(60)
        return truthful(request)

    with asking(answer, concurrency=CROWD, tries=1) as (server, provider):
        url = f"sqlite:///{tmp_path}/m.db"
        with Pipeline.open(url, definition=define("notes", note), provider=provider, settings=settings) as p:
            ids = crowd(p)
            try:
                with p.workers(CROWD):
                    until(lambda: p.breakers.of("openai").state().state != "closed")
                    assert server.wait(idle=True)
                    back.set()
                    until(lambda: probes)
                    before = refused["half_open"]
                    until(lambda: refused["half_open"] >= before + 3 * CROWD)
                    assert len(probes) == 1
                    assert server.counts().in_flight == 1
                    let_go.set()
                    until(lambda: all(p.get(name).state == "revealed" for name in ids))
            finally:
                let_go.set()
            assert {p.get(name).stages["note"].outcome for name in ids} == {"ok"}
            assert p.breakers.of("openai").state().state == "closed"
            assert len(probes) == CROWD
