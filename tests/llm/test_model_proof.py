"""The model's edge as a whole, in real pipelines: every error at every stage, crashes, crowds, what is bought again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asked import asking, long_meeting, meeting, rows, truthful
from asked import opened as at_server
from click.testing import CliRunner

from mina_pipeline import Pipeline, Segment, Settings, define, stage
from mina_pipeline.cli.app import mina
from mina_pipeline.llm.breaker import Breaker
from mina_pipeline.stages.base import Outcome, StageContext
from mina_pipeline.testing.openai_server import (
    Answer,
    Cut,
    Drip,
    Garbage,
    Hang,
    HangUp,
    Longer,
    OpenAIServer,
    Refusal,
    Request,
    Reset,
    Status,
    WrongSchema,
    insufficient_quota,
)

ASKED = {"refinement": "refined", "analytics": "moods", "tasks": "foundtasks", "summary": "summarized"}
SAID = ("um good morning everybody let us begin", "i will send the report to the board by friday")
MOST = 400_000
"""Tokens of a session's budget, which none of these needs."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the client's pauses are is not told here."""
    monkeypatch.setattr("mina_pipeline.llm.client.FIRST_PAUSE", 0.01)


def said_by(who: str, texts: tuple[str, ...] = SAID) -> list[Segment]:
    return [replace(one, speaker=who) for one in meeting(*texts)]


def finalized(p: Pipeline, session_id: str, segments: list[Segment]) -> None:
    p.start_session("t", session_id=session_id)
    p.record(session_id, segments)
    p.finalize(session_id)


def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "not in time"
        time.sleep(0.02)


# --- every error at every stage


FAILED, OK = ("failed", "error"), ("ok", None)
FOR_GOOD: list[tuple[Any, tuple[str, str | None], int]] = [
    *((Status(code), FAILED, 1) for code in (400, 401, 403, 404, 405, 422, 302)),
    (insufficient_quota(), ("degraded", "quota"), 1),
    (Status(402), ("degraded", "quota"), 1),
    (Refusal(), ("degraded", "refusal"), 1),
    (Status(400, code="content_filter"), ("degraded", "refusal"), 1),
    (Garbage(), ("degraded", "unusable answer"), 2),
    (WrongSchema(), ("degraded", "unusable answer"), 2),
    (WrongSchema(content="no JSON"), ("degraded", "unusable answer"), 2),
    (Cut(), ("degraded", "cut off"), 3),  # the whole, and each half
    (Status(400, code="context_length_exceeded"), ("degraded", "too long"), 3),
    (Status(413), ("degraded", "too long"), 3),
]
PASSING: list[tuple[Any, tuple[str, str | None], int]] = [
    (Status(408), ("degraded", "timeout"), 3),
    (Status(409), ("degraded", "outage"), 3),
    (Status(429), ("degraded", "rate limit"), 3),
    (Status(429, retry_after=0), ("degraded", "rate limit"), 3),
    (Status(429, retry_after=600), ("degraded", "rate limit"), 1),
    (Status(429, retry_after=timedelta(minutes=5)), ("degraded", "rate limit"), 1),
    (Status(500), ("degraded", "outage"), 3),
    (Status(503), ("degraded", "outage"), 3),
    (Status(503, retry_after=600), ("degraded", "outage"), 1),
    (Reset(), ("degraded", "outage"), 3),
    (Reset(after=20), ("degraded", "outage"), 3),
    (HangUp(), ("degraded", "outage"), 3),
    (HangUp(after=20), ("degraded", "outage"), 3),
    (Hang(), ("degraded", "timeout"), 1),
    (Hang(after=20), ("degraded", "timeout"), 1),
    (Drip(every=0.05), ("degraded", "timeout"), 1),
]
ONCE: list[tuple[Any, tuple[str, str | None], int]] = [
    *((Status(code), OK, 2) for code in (408, 409, 429, 500, 503)),
    (Status(429, retry_after=0.2), OK, 2),
    (Reset(), OK, 2),
    (HangUp(after=20), OK, 2),
    (Garbage(), OK, 2),
    (WrongSchema(), OK, 2),
]
MATRIX = [
    *((one, True) for one in FOR_GOOD),
    *((one, True) for one in PASSING),
    *((one, False) for one in ONCE),
]


@pytest.mark.parametrize(
    ("reply", "expected", "requests", "always"),
    [(*one, always) for one, always in MATRIX],
    ids=[f"{n}-{type(one[0]).__name__}{getattr(one[0], 'status', '')}" for n, (one, _) in enumerate(MATRIX)],
)
def test_each_error_at_each_stage(
    tmp_path: Path, reply: Any, expected: tuple[str, str | None], requests: int, always: bool
) -> None:
    """Four sessions, each with one stage whose server goes wrong: that one's outcome, after so many requests; the other
    stages are well; all are revealed. The retry of what may pass comes at the reveal deadline: one attempt each."""
    gone_wrong = Counter[str]()
    lock = threading.Lock()

    def answer(request: Request) -> Any:
        who = rows(request)[0]["who"]
        with lock:
            gone_wrong[who] += ASKED[who] == request.format["name"]
            wrong = ASKED[who] == request.format["name"] and (always or gone_wrong[who] == 1)
        return reply if wrong else truthful(request)

    settings = Settings(reveal_deadline=1.5, retry_first=600, retry_longest=600, poll=0.05, breaker_failures=1000)
    with asking(answer, call_timeout=0.8, session_tokens=MOST) as (server, provider):
        if expected[1] != "timeout" or isinstance(reply, Status):
            provider.client.call_timeout = 20.0  # only what hangs is to be cut off
        with Pipeline.open(f"sqlite:///{tmp_path}/m.db", provider=provider, settings=settings) as p:
            for name in ASKED:
                finalized(p, name, said_by(name))
            with p.workers(4):
                until(lambda: all(p.get(name).state == "revealed" for name in ASKED), 25)  # what hangs is cut off
            for name in ASKED:
                found = p.get(name)
                seen = {one: (its.outcome, its.reason) for one, its in found.stages.items()}
                assert seen == {one: expected if one == name else OK for one in ASKED}
                mine = [one for one in server.exchanges if rows(one.request)[0]["who"] == name]
                by_stage = Counter(one.request.format["name"] for one in mine)
                assert by_stage == {ASKED[one]: requests if one == name else 1 for one in ASKED}
                assert sum(one.tokens_in + one.tokens_out for one in mine) <= MOST
                types = [event.type for event in p.events(name)]
                assert types[-2:] == ["post_transcription_reveal", "dashboard_refresh"]
                assert types.count(f"{name}_started") == 1
                assert p.verify(name) == []


def test_an_answer_twice_as_long_as_asked_is_within_the_budget(tmp_path: Path) -> None:
    """It is used where it is of the schema, and never paid for with more than there is."""
    most = 60_000
    with asking(session_tokens=most, output_tokens=4_000) as (server, provider):
        server.always(Longer(times=2))
        with Pipeline.open(f"sqlite:///{tmp_path}/m.db", provider=provider) as p:
            finalized(p, "s", said_by("Anna"))
            p.run_until_idle()
            assert p.get("s").state == "revealed"
            assert "failed" not in {one.outcome for one in p.get("s").stages.values()}
            counts = server.counts()
            usage = p.get("s").usage
            assert 0 < counts.tokens_in + counts.tokens_out <= most
            assert (usage["tokens_in"], usage["tokens_out"]) == (counts.tokens_in, counts.tokens_out)


@pytest.mark.parametrize("seed", range(4))
def test_never_above_a_days_budget_whatever_goes_wrong(tmp_path: Path, seed: int) -> None:
    """Two pipelines over one database, many sessions at once, an unlucky server: by the server's own count never more
    than is allowed, and everybody is revealed."""
    rng, lock = random.Random(seed), threading.Lock()
    most = (20_000, 40_000, 60_000, 80_000)[seed]
    bad: list[Any] = [one for one, _, _ in (*FOR_GOOD, *ONCE)] + [Longer(times=2), Drip(chunk=400)]
    bad += [Reset(after=30), HangUp(after=30)] * (len(bad) // 2)  # those are paid for, and no answer

    def answer(request: Request) -> Any:
        with lock:
            return rng.choice(bad) if rng.random() < 0.5 else truthful(request)

    url = f"sqlite:///{tmp_path}/m.db"
    settings = Settings(reveal_deadline=2.0, retry_first=0.1, poll=0.05, breaker_failures=1000)
    limits = {"day_tokens": most, "output_tokens": 400, "refine_tokens": 300, "chunk_tokens": 400, "tries": 2}
    with asking(answer, **limits) as (server, one), asking(**limits) as (_, other):
        other.client.sender = one.client.sender  # a client of its own, the same server
        with (
            Pipeline.open(url, provider=one, settings=settings) as p,
            Pipeline.open(url, provider=other, settings=settings) as q,
        ):
            ids = [f"s{n}" for n in range(6)]
            for name in ids:
                finalized(p, name, long_meeting(0.1))
            with p.workers(3), q.workers(3):
                until(lambda: all(p.get(name).state == "revealed" for name in ids))
            counts = server.counts()
            assert 0 < counts.tokens_in + counts.tokens_out <= most
            assert all(p.verify(name) == [] for name in ids)


# --- a crowd


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


# --- what is bought again


LENGTH = 0.3  # hours
PARTS = {"refine_tokens": 900, "chunk_tokens": 1_200}

CRASHING = """
import os, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
from mina_pipeline import Pipeline, Settings
from mina_pipeline.llm.client import ModelClient
from mina_pipeline.stages.openai import provider

url, prefix, server, stage, when, number, width = sys.argv[2:]
made = provider(environ={}, base_url=server, api_key="k", concurrency=int(width), refine_tokens=900, chunk_tokens=1200)
p = Pipeline.open(url, provider=made, settings=Settings(table_prefix=prefix, lease=2.0, renew=0.5))
record, left = p.handler.execute, [int(number)]

def execute(session_id, command, **named):
    mine = getattr(command, "usage", None) is not None and command.stage == stage
    left[0] -= mine
    if mine and left[0] == 0 and when == "before":
        os._exit(9)
    done = record(session_id, command, **named)
    if mine and left[0] == 0:
        os._exit(9)
    return done

object.__setattr__(p.handler, "execute", execute)
p.run_until_idle()
"""


class Crash:
    """What a process left that died at an answer of a stage, the so-manieth, before or after it was recorded."""

    def __init__(self, p: Pipeline, url: str, server: OpenAIServer) -> None:
        self.p, self.url, self.server = p, url, server

    def at(self, stage: str, when: str, number: int, width: int) -> None:
        finalized(self.p, "s", long_meeting(LENGTH))
        where = [os.pathsep.join(sys.path), self.url, self.p.settings.table_prefix, self.server.base_url]
        given = [*where, stage, when, str(number), str(width)]
        assert subprocess.run([sys.executable, "-c", CRASHING, *given], timeout=60).returncode == 9
        time.sleep(2.1)  # its lease

    def go_on(self) -> None:
        self.p.run_until_idle()
        found = self.p.get("s")
        assert (found.state, {one.outcome for one in found.stages.values()}) == ("revealed", {"ok"})
        assert self.p.verify("s") == []

    def show(self) -> str:
        env = {"MINA_TABLE_PREFIX": self.p.settings.table_prefix}
        done = CliRunner().invoke(mina, ["sessions", "show", "s", "--db", self.url], env=env)
        assert done.exit_code == 0
        return done.stdout


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What several processes can share."""
    sqlite = request.param == "sqlite"
    return f"sqlite:///{tmp_path}/test.db" if sqlite else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(lambda request: Answer(truthful(request), delay=0.02)) as server:
        yield server


@pytest.fixture
def crash(opened: Callable[..., Pipeline], url: str, server: OpenAIServer) -> Crash:
    return Crash(opened(provider=at_server(server, concurrency=1, **PARTS)), url, server)


def bought(server: OpenAIServer, name: str | None = None) -> Counter[str]:
    """How often each question reached the server."""
    return Counter(one.prompt for one in server.requests if name in (None, one.format["name"]))


@pytest.mark.parametrize(
    ("stage", "when", "number"),
    [
        ("refinement", "before", 1),
        ("refinement", "before", 4),
        ("refinement", "after", 1),
        ("refinement", "after", 4),
        ("summary", "after", 2),
    ],
)
def test_a_crash_buys_nothing_again_but_what_is_in_doubt(crash: Crash, stage: str, when: str, number: int) -> None:
    """One question at a time: what was recorded is not asked again. The one whose answer came and was not is, and that
    it may have been paid for twice is told."""
    crash.at(stage, when, number, 1)
    assert crash.server.wait(idle=True)
    before = bought(crash.server)
    crash.go_on()
    twice = [prompt for prompt, times in bought(crash.server).items() if times > 1]
    usage, counts = crash.p.get("s").usage, crash.server.counts()
    if when == "after":
        assert twice == []
        assert (usage["tokens_in"], usage["tokens_out"]) == (counts.tokens_in, counts.tokens_out)
    else:
        assert twice == list(before)[-1:]
        assert usage["tokens_in"] < counts.tokens_in
    assert usage["in_doubt"] == 1  # that one, or the one after it: nobody knows whether it had been asked
    assert usage["stages"][stage]["1"][0]["in_doubt"] == 1
    assert "1 answers may have been paid for twice" in crash.show()


@pytest.mark.parametrize("when", ["before", "after"])
def test_of_several_at_once_no_more_are_in_doubt_than_were_out(crash: Crash, when: str) -> None:
    """And no fewer: each that was bought twice is among those that are told."""
    width = 4
    crash.p.provider.client.concurrency = width
    crash.at("refinement", when, 3, width)
    assert crash.server.wait(idle=True)
    asked_before = len(crash.server.requests)
    recorded = sum(event.type == "refinement_progress" for event in crash.p.events("s"))
    crash.go_on()
    twice = [prompt for prompt, times in bought(crash.server).items() if times > 1]
    assert all(times <= 2 for times in bought(crash.server).values())
    assert 1 <= len(twice) == asked_before - recorded <= width
    usage = crash.p.get("s").usage
    assert len(twice) <= usage["in_doubt"] <= width
    assert f"{usage['in_doubt']} answers may have been paid for twice" in crash.show()
    assert usage["stages"]["refinement"]["1"][0]["answers"] == len(bought(crash.server, "refined"))


def test_what_makes_itself_again_reads_and_what_a_person_asks_for_buys(
    opened: Callable[..., Pipeline], server: OpenAIServer
) -> None:
    """A late segment: only the parts that it is in are asked about. A stage made stale: nothing is asked. A retry: all
    of that stage."""
    p = opened(provider=at_server(server, **PARTS), settings={"late_segments": True})
    said = long_meeting(LENGTH)
    finalized(p, "s", said)
    p.run_until_idle()
    first = Counter(one.format["name"] for one in server.requests)
    assert min(first[name] for name in ("refined", "foundtasks", "summarized", "moods")) >= 5

    last = said[-1].end_ms
    p.record(
        "s", [Segment("one more word on the budget after all of it", last + 1000, last + 4000, "Ben", 0.9, "late")]
    )
    p.run_until_idle()
    assert {one.run for one in p.get("s").stages.values()} == {2}
    assert set(bought(server).values()) == {1}
    again = Counter(one.format["name"] for one in server.requests) - first
    assert 0 < again["refined"] <= 2
    assert sum(again.values()) <= 9
    assert "late" in {line.segment_id for line in p.result("s").transcript.lines}  # type: ignore[union-attr]

    server.clear()
    p.retry("s", "refinement")
    p.run_until_idle()
    assert p.get("s").stages["refinement"].run == 3
    assert {one.format["name"] for one in server.requests} == {"refined"}
    assert first["refined"] - 1 <= server.counts().requests == len(bought(server))

    server.clear()
    p.retry("s", "tasks")
    p.run_until_idle()
    assert Counter(one.format["name"] for one in server.requests)["refined"] == 0
    assert server.counts().requests >= first["foundtasks"]
    assert {one.outcome for one in p.get("s").stages.values()} == {"ok"}
    assert p.verify("s") == []
