"""Every error at every stage of real pipelines: what becomes of it, and that a budget is kept whatever goes wrong."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asked import asking, long_meeting, rows, truthful
from proving import finalized, said_by, until

from mina_pipeline import Pipeline, Settings
from mina_pipeline.testing.openai_server import (
    Cut,
    Drip,
    Garbage,
    Hang,
    HangUp,
    Longer,
    Refusal,
    Request,
    Reset,
    Status,
    WrongSchema,
    insufficient_quota,
)

pytestmark = pytest.mark.usefixtures("quick")

ASKED = {"refinement": "refined", "analytics": "moods", "tasks": "foundtasks", "summary": "summarized"}
MOST = 400_000
"""Tokens of a session's budget, which none of these needs."""

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
