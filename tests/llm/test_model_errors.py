"""The error matrix on a real server: for each thing that goes wrong the right class, number of requests and outcome."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from asked import Receipts, asking, context, long_meeting, meeting, truthful

from mina_pipeline.errors import ProviderUnavailable
from mina_pipeline.llm.verdicts import GaveUp
from mina_pipeline.stages.base import Degraded, Ok
from mina_pipeline.testing.openai_server import (
    Answer,
    Cut,
    Drip,
    Garbage,
    Hang,
    HangUp,
    Longer,
    Refusal,
    Reset,
    Status,
    WrongSchema,
    insufficient_quota,
)

SAID = meeting("um good morning everybody let us begin", "i will send the zebra report to the board by friday")
SECRET = "zebra"
STAGES = ("refine", "analyze", "extract_tasks", "summarize")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the pauses are is not told here."""
    monkeypatch.setattr("mina_pipeline.llm.client.FIRST_PAUSE", 0.01)


def run(stage: str, *replies: Any, then: Any = None, api: str = "chat", **given: Any) -> tuple[Any, int, float]:
    """(outcome or exception, requests, seconds) of a stage whose server gives these replies, and then one for ever."""
    with asking(api=api, **given) as (server, provider):
        if replies:
            server.script(*replies)
        if then is not None:
            server.always(then)
        began = time.monotonic()
        try:
            made = getattr(provider, stage)(context(SAID))
        except Exception as error:
            made = error
        return made, server.counts().requests, time.monotonic() - began


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    "blip", [Status(500), Status(502), Status(503), Status(408), Status(409), Status(429), Reset()]
)
def test_a_blip_is_tried_again(stage: str, blip: Any) -> None:
    made, requests, _ = run(stage, blip)
    assert isinstance(made, Ok)
    assert requests == 2


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Status(500), "outage"),
        (Status(503), "outage"),
        (Status(408), "timeout"),
        (Status(409), "outage"),
        (Status(429), "rate limit"),
        (Reset(), "outage"),
        (Reset(after=20), "outage"),
        (HangUp(), "outage"),
        (HangUp(after=20), "outage"),
    ],
)
def test_what_may_pass_is_tried_thrice_and_then_durably(api: str, reply: Any, reason: str) -> None:
    """retry_after 0: the attempt is not tried again at once on top of that, the run waits."""
    made, requests, _ = run("summarize", then=reply, api=api)
    assert isinstance(made, ProviderUnavailable)
    assert (made.reason, made.retry_after, made.provider) == (reason, 0.0, "openai")
    assert requests == 3


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("wanted", "least", "most"), [(7, 7, 7), (600, 600, 600), (timedelta(minutes=2), 110, 121)])
def test_a_wait_that_the_server_names_is_durable(
    stage: str, status: int, wanted: Any, least: float, most: float
) -> None:
    made, requests, _ = run(stage, then=Status(status, retry_after=wanted))
    assert isinstance(made, ProviderUnavailable)
    assert made.retry_after is not None
    assert least <= made.retry_after <= most
    assert made.reason == ("rate limit" if status == 429 else "outage")
    assert requests == 1


def test_a_short_wait_that_the_server_names_is_kept() -> None:
    made, requests, seconds = run("summarize", Status(429, retry_after=0.6))
    assert isinstance(made, Ok)
    assert requests == 2
    assert 0.6 <= seconds < 1.5


def test_retry_after_in_milliseconds_comes_first() -> None:
    reply = Status(429, retry_after=90, headers={"retry-after-ms": "300"})
    made, requests, seconds = run("summarize", reply)
    assert isinstance(made, Ok)
    assert requests == 2
    assert seconds >= 0.3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422, 302, 307])
def test_what_the_server_refuses_for_good_costs_one_request(stage: str, status: int) -> None:
    made, requests, _ = run(stage, then=Status(status, message=f"no {SECRET}"))
    assert isinstance(made, GaveUp)
    assert made.status == status
    assert requests == 1
    assert SECRET not in str(made)


def test_an_unknown_model_costs_one_request_though_there_are_many_chunks() -> None:
    with asking(models=["other"]) as (server, provider):
        with pytest.raises(GaveUp, match="model_not_found"):
            provider.refine(context(long_meeting(5)))
        assert server.counts().requests == 1


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("reply", "reason", "requests"),
    [
        (insufficient_quota(), "quota", 1),
        (Status(402), "quota", 1),
        (Refusal(), "refusal", 1),
        (Status(400, code="content_filter"), "refusal", 1),
        (Garbage(), "unusable answer", 2),
        (Garbage(body="[]"), "unusable answer", 2),
        (Garbage(body='{"choices": []}'), "unusable answer", 2),
        (WrongSchema(), "unusable answer", 2),
        (WrongSchema(content="no JSON"), "unusable answer", 2),
        (WrongSchema(content={}), "unusable answer", 2),
    ],
)
def test_what_no_waiting_cures_is_made_offline(api: str, reply: Any, reason: str, requests: int) -> None:
    for stage in STAGES:
        made, asked, _ = run(stage, then=reply, api=api)
        assert isinstance(made, Degraded), stage
        assert made.reason == reason
        assert asked == requests


def test_an_answer_that_cannot_be_used_once_is_asked_for_again(stage: str) -> None:
    for reply in (Garbage(), WrongSchema()):
        made, requests, _ = run(stage, reply)
        assert isinstance(made, Ok)
        assert requests == 2


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_cut_answer_is_asked_for_in_halves(api: str) -> None:
    made, requests, _ = run("refine", Cut(), api=api)
    assert isinstance(made, Ok)
    assert requests == 3


def test_what_is_cut_however_short_it_is_is_made_offline(stage: str) -> None:
    made, requests, _ = run(stage, then=Cut())
    assert isinstance(made, Degraded)
    assert made.reason == "cut off"
    assert requests == 3


def test_a_long_answer_that_is_of_the_schema_is_an_answer() -> None:
    made, requests, _ = run("extract_tasks", Longer(times=2), output_tokens=600)
    assert isinstance(made, Ok)
    assert requests == 1


@pytest.mark.parametrize("reply", [Hang(), Hang(after=10), Drip(every=0.05)])
def test_the_whole_call_has_a_deadline(reply: Any) -> None:
    """Slow drips included: each byte comes within any timeout of a read."""
    made, requests, seconds = run("summarize", then=reply, call_timeout=0.7)
    assert isinstance(made, ProviderUnavailable)
    assert (made.reason, made.retry_after) == ("timeout", 0.0)
    assert requests == 1
    assert 0.6 < seconds < 1.5


def test_no_server_at_all_is_an_outage() -> None:
    from mina_pipeline.stages.openai import provider

    for url in ("http://127.0.0.1:9/v1", "http://nowhere.invalid/v1"):
        with pytest.raises(ProviderUnavailable) as caught:
            provider(environ={}, base_url=url, api_key="k").summarize(context(SAID))
        assert caught.value.reason == "outage"


def test_no_word_of_the_meeting_is_in_an_error_or_a_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where the server sends it back."""
    import structlog
    from structlog.testing import capture_logs

    structlog.configure()
    with capture_logs() as logs:
        for reply in (
            Status(400, message=f"bad: {SECRET}", code=f"about {SECRET} and more"),
            Status(500, message=SECRET),
            Garbage(body=SECRET),
            WrongSchema(content={SECRET: SECRET}),
            Refusal(content=SECRET),
        ):
            made, _, _ = run("summarize", then=reply)
            seen = made.reason if isinstance(made, Degraded) else f"{made!r} {made} {vars(made)}"
            chain = made if isinstance(made, Exception) else None
            while chain is not None:
                assert SECRET not in str(chain)
                chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
            assert SECRET not in seen
    assert logs
    assert SECRET not in str(logs)
    assert SECRET not in caplog.text
    out, err = capfd.readouterr()
    assert SECRET not in out + err


def test_a_blip_of_one_chunk_loses_no_other_chunks_receipt() -> None:
    """The next attempt asks for the failed chunk only."""
    segments = long_meeting(2)
    bad = [True]

    def answer(request: Any) -> Any:
        return Status(500) if bad[0] and "hiring plan" in request.prompt else truthful(request)

    with asking(answer, concurrency=4, tries=2) as (server, provider):
        receipts = Receipts(context([]).deadline)
        with pytest.raises(ProviderUnavailable):
            provider.refine(context(segments, receipts=receipts))
        bought = len(receipts.made)
        assert bought > 0
        bad[0] = False
        server.clear()
        assert isinstance(provider.refine(context(segments, receipts=receipts)), Ok)
        assert server.counts().requests == len(receipts.made) - bought


def test_calls_that_are_out_when_one_fails_are_heard_to_their_end() -> None:
    """They are paid for: what they answer is recorded, nothing more is begun."""

    def answer(request: Any) -> Any:
        if request.number == 2:
            return Status(503, retry_after=60)
        return Answer(truthful(request), delay=0.4 if request.number > 2 else 0)

    with asking(answer, concurrency=4) as (server, provider):
        receipts = Receipts(context([]).deadline)
        with pytest.raises(ProviderUnavailable):
            provider.refine(context(long_meeting(2), receipts=receipts))
        assert server.counts().requests == 5
        assert len(receipts.made) == 4


def test_a_redirect_is_not_followed() -> None:
    """What was said goes to the server that the host named."""
    with asking() as (other, _), asking() as (server, provider):
        server.always(Status(307, headers={"location": other.base_url + "/chat/completions"}))
        with pytest.raises(GaveUp):
            provider.summarize(context(SAID))
        assert other.counts().requests == 0
