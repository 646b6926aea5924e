"""Whoever no longer wants an answer is not made to wait for it, and the server is told so."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from asked import Interrupted, Receipts, asking, context, long_meeting, meeting, truthful

from mina_pipeline.errors import ProviderUnavailable
from mina_pipeline.llm.answers import Answer
from mina_pipeline.stages.base import Deadline, Ok
from mina_pipeline.testing.openai_server import Answer as Spoken
from mina_pipeline.testing.openai_server import Drip, Hang, Status

SAID = meeting("i will send the report by friday")
PROMPT = 0.5
"""Seconds in which a stage that is no longer wanted has come back, on a busy machine too."""


@pytest.fixture(autouse=True, scope="module")
def imported() -> None:
    """Not while the clock runs."""
    import openai  # noqa: F401


def later(seconds: float, act: Callable[[], None]) -> None:
    threading.Timer(seconds, act).start()


@pytest.mark.parametrize("reply", [Hang(), Hang(after=10), Drip(every=0.05)])
def test_a_lost_lease_cancels_the_request(reply: Any) -> None:
    with asking() as (server, provider):
        server.always(reply)
        ctx, ended = context(SAID), []

        def lose() -> None:
            assert server.wait(1)
            time.sleep(0.2)
            ended.append(time.monotonic())
            ctx.deadline.end()

        later(0, lose)
        with pytest.raises(Interrupted):  # what the receipt raises, not an error of the provider's
            provider.summarize(ctx)
        assert 0 <= time.monotonic() - ended[0] < PROMPT
        assert server.wait(idle=True, timeout=2)
        assert [exchange.outcome for exchange in server.exchanges] in (["gone"], ["broken"])


def test_the_deadline_cancels_the_request_and_is_named() -> None:
    with asking() as (server, provider):
        server.always(Hang())
        began = time.monotonic()
        with pytest.raises(ProviderUnavailable) as caught:
            provider.summarize(context(SAID, seconds=0.5))
        assert caught.value.reason == "deadline"
        assert time.monotonic() - began < 0.5 + PROMPT
        assert server.wait(idle=True, timeout=2)


def test_a_lease_that_could_not_be_renewed_cancels_the_request() -> None:
    with asking() as (server, provider):
        server.always(Hang())
        ctx = context(SAID)
        ctx.deadline.held_until = time.monotonic() + 0.3
        with pytest.raises(ProviderUnavailable) as caught:
            provider.summarize(ctx)
        assert caught.value.reason == "lease"


def test_nothing_is_asked_when_no_time_is_left() -> None:
    with asking() as (server, provider):
        with pytest.raises(ProviderUnavailable):
            provider.summarize(context(SAID, seconds=-1))
        ctx = context(SAID)
        ctx.deadline.end()
        with pytest.raises(Interrupted):
            provider.summarize(ctx)
        assert server.counts().requests == 0


def test_a_pause_between_two_tries_is_cut_short_as_well() -> None:
    with asking() as (server, provider):
        server.always(Status(429, retry_after=1.9))
        ctx = context(SAID)
        later(0.6, ctx.deadline.end)
        began = time.monotonic()
        with pytest.raises(Interrupted):
            provider.summarize(ctx)
        assert time.monotonic() - began < 0.6 + PROMPT
        assert server.counts().requests == 1


def test_all_chunks_stop_when_the_lease_is_lost() -> None:
    held = threading.Event()

    def answer(request: Any) -> Any:
        return Hang() if held.is_set() else truthful(request)

    with asking(answer, concurrency=6) as (server, provider):
        provider.extract_tasks(context(SAID))
        held.set()
        ctx = context(long_meeting(3))
        later(0.5, ctx.deadline.end)
        began = time.monotonic()
        with pytest.raises(Interrupted):
            provider.refine(ctx)
        assert time.monotonic() - began < 0.5 + PROMPT
        assert server.wait(idle=True, timeout=2)
        assert server.counts().most_in_flight == 6


def test_one_chunk_that_is_interrupted_stops_the_others() -> None:
    """A receipt that cannot be written ends the stage; what is out then is cut off."""
    deadline = Deadline(time.monotonic() + 60, time.monotonic)

    class Failing(Receipts):
        def __call__(self, *given: Any) -> Answer:
            answer = super().__call__(*given)
            if len(self.made) == 3:
                raise Interrupted
            return answer

    def answer(request: Any) -> Any:
        return truthful(request) if request.number <= 3 else Hang()

    with asking(answer, concurrency=4) as (server, provider):
        began = time.monotonic()
        with pytest.raises(Interrupted):
            provider.refine(context(long_meeting(3), receipts=Failing(deadline)))
        assert time.monotonic() - began < 1 + PROMPT
        assert server.wait(idle=True, timeout=2)


def test_no_more_than_so_many_requests_are_out_at_once() -> None:
    """Over all sessions of a process."""

    def slow(request: Any) -> Any:
        return Spoken(truthful(request), delay=0.05)

    segments = long_meeting(2)
    with asking(slow, concurrency=3) as (server, provider):
        made: list[Any] = []
        threads = [threading.Thread(target=lambda: made.append(provider.refine(context(segments)))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(isinstance(one, Ok) for one in made)
        assert server.counts().most_in_flight == 3


def test_chunks_are_asked_at_once() -> None:
    def slow(request: Any) -> Any:
        return Spoken(truthful(request), delay=0.2)

    with asking(slow, concurrency=16) as (server, provider):
        began = time.monotonic()
        provider.refine(context(long_meeting(2)))
        assert time.monotonic() - began < 0.2 * server.counts().requests / 2
        assert server.counts().most_in_flight > 4


def test_a_forked_child_asks_anew() -> None:
    """Locks and connections that the parent's threads hold are not the child's."""
    with asking() as (server, provider):
        server.script(Hang())
        ctx = context(SAID)

        def hang() -> None:
            with suppress(Interrupted):
                provider.summarize(ctx)

        out = threading.Thread(target=hang)
        out.start()
        server.wait(1)
        holding, forked = threading.Event(), threading.Event()

        def hold() -> None:
            with provider.client.settled, provider.client.sender.lock, provider.client.budget.lock:
                holding.set()
                forked.wait(30)

        holder = threading.Thread(target=hold)
        holder.start()
        holding.wait(10)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            try:
                os._exit(0 if isinstance(provider.extract_tasks(context(SAID)), Ok) else 1)
            finally:
                os._exit(2)
        forked.set()
        holder.join()
        _, status = os.waitpid(child, 0)
        ctx.deadline.end()
        out.join()
        assert os.waitstatus_to_exitcode(status) == 0
