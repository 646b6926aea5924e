"""Errors, sorted: each answer of a server has one verdict."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mina_pipeline.llm.verdicts import GaveUp, Verdict, judge, retry_after

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "codes", "message", "verdict", "reason"),
    [
        (400, (None, "invalid_request_error"), "", Verdict.GIVE_UP, "bad request"),
        (400, ("context_length_exceeded", None), "", Verdict.SPLIT, "too long"),
        (400, (None, "exceed_context_size_error"), "", Verdict.SPLIT, "too long"),
        (400, (400, "BadRequestError"), "This model's maximum context length is 4096", Verdict.SPLIT, "too long"),
        (413, (), "", Verdict.SPLIT, "too long"),
        (400, ("content_filter",), "", Verdict.DEGRADE, "refusal"),
        (401, ("invalid_api_key",), "", Verdict.GIVE_UP, "key refused"),
        (402, (), "", Verdict.DEGRADE, "quota"),
        (403, (), "", Verdict.GIVE_UP, "not allowed"),
        (404, ("model_not_found",), "", Verdict.GIVE_UP, "not found"),
        (408, (), "", Verdict.RETRY, "timeout"),
        (409, (), "", Verdict.RETRY, "outage"),
        (418, (), "", Verdict.GIVE_UP, "bad request"),
        (429, ("rate_limit_exceeded", "requests"), "", Verdict.RETRY, "rate limit"),
        (429, ("insufficient_quota", "insufficient_quota"), "", Verdict.DEGRADE, "quota"),
        (429, (None, "insufficient_quota"), "", Verdict.DEGRADE, "quota"),
        (500, (), "", Verdict.RETRY, "outage"),
        (503, (), "", Verdict.RETRY, "outage"),
        (529, ("overloaded_error",), "", Verdict.RETRY, "outage"),
        (307, (), "", Verdict.GIVE_UP, "bad request"),
        (999, (), "", Verdict.GIVE_UP, "bad request"),
    ],
)
def test_each_answer_has_one_verdict(
    status: int, codes: tuple[object, ...], message: str, verdict: Verdict, reason: str
) -> None:
    found = judge(status, codes, message, {}, NOW)
    assert (found.verdict, found.reason, found.status) == (verdict, reason, status)
    assert isinstance(found, GaveUp) == (verdict is Verdict.GIVE_UP)
    assert not message or message not in str(found)


def test_only_what_passes_is_waited_for() -> None:
    after = {"retry-after": "30"}
    assert judge(429, (), "", after, NOW).retry_after == 30
    assert judge(503, (), "", after, NOW).verdict is Verdict.WAIT
    assert judge(401, (), "", after, NOW).retry_after is None
    assert judge(429, ("insufficient_quota",), "", after, NOW).verdict is Verdict.DEGRADE


def test_a_code_that_is_no_word_is_not_repeated() -> None:
    assert judge(400, ("what anna said", None), "", {}, NOW).code is None
    assert judge(400, ({"a": 1}, ["x"]), "", {}, NOW).code is None
    assert "model_not_found" in str(judge(404, ("model_not_found",), "", {}, NOW))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Mon, 02 Mar 2026 08:01:30 GMT"}, 90.0),
        ({"retry-after": "Mon, 02 Mar 2026 07:00:00 GMT"}, 0.0),
        ({"retry-after": "Monday, 02-Mar-26 08:01:30 GMT"}, 90.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds
