"""Errors: what a fake server is told to raise, what OpenAI would refuse, and a test function that fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai
import pytest
from minutes import Ask, format_of, plain, thing
from openai import OpenAI

from mina_pipeline.testing.openai_server import OpenAIServer, Refusal, Request, Status, insufficient_quota

ERRORS: list[tuple[Status, type[openai.APIStatusError], str | None]] = [
    (Status(400), openai.BadRequestError, None),
    (Status(400, code="context_length_exceeded"), openai.BadRequestError, "context_length_exceeded"),
    (Status(401), openai.AuthenticationError, "invalid_api_key"),
    (Status(403), openai.PermissionDeniedError, "unsupported_country_region_territory"),
    (Status(404), openai.NotFoundError, "model_not_found"),
    (Status(408), openai.APIStatusError, None),
    (Status(409), openai.ConflictError, None),
    (Status(422), openai.UnprocessableEntityError, None),
    (Status(429), openai.RateLimitError, "rate_limit_exceeded"),
    (insufficient_quota(), openai.RateLimitError, "insufficient_quota"),
    (Status(500), openai.InternalServerError, None),
    (Status(503, "busy", code="c", type="t", param="p"), openai.InternalServerError, "c"),
]


@pytest.mark.parametrize(("status", "error", "code"), ERRORS, ids=[f"{e[0].status} {e[2]}" for e in ERRORS])
def test_errors_raise_the_clients_own_class(
    server: OpenAIServer, client: OpenAI, ask: Ask, status: Status, error: type[openai.APIStatusError], code: str
) -> None:
    """Each status raises the class that the real one does, with OpenAI's code, type and message, and costs nothing."""
    server.script(status)
    with pytest.raises(error) as raised:
        ask(client)
    assert type(raised.value) is error
    assert (raised.value.status_code, raised.value.code) == (status.status, code)
    assert raised.value.type == (status.type or raised.value.type)
    assert raised.value.type
    assert raised.value.param == status.param
    assert (status.message or "") in raised.value.message
    assert raised.value.request_id == "req_1"
    assert (server.counts().tokens_in, server.counts().tokens_out) == (0, 0)
    assert server.counts().by_reply == {f"Status {status.status}": 1}


def test_retry_after(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """Retry-After is seconds, many seconds, a date, a date from now or any text; other headers go with it."""

    def header(reply: Status, name: str = "retry-after") -> str | None:
        server.script(reply)
        with pytest.raises(openai.RateLimitError) as raised:
            ask(client)
        return raised.value.response.headers.get(name)

    assert header(Status(429, retry_after=2)) == "2"
    assert header(Status(429, retry_after=0.5)) == "0.5"
    assert header(Status(429, retry_after=600)) == "600"
    assert header(Status(429, retry_after="soon")) == "soon"
    assert header(Status(429)) is None
    then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert header(Status(429, retry_after=then)) == "Fri, 02 Jan 2026 03:04:05 GMT"
    before = datetime.now(UTC)
    later = parsedate_to_datetime(header(Status(429, retry_after=timedelta(minutes=3))) or "")
    assert timedelta(0) <= later - before - timedelta(minutes=3) < timedelta(seconds=11)
    limits = {"x-ratelimit-reset-requests": "6m0s"}
    assert header(Status(429, headers=limits), "x-ratelimit-reset-requests") == "6m0s"


def test_what_openai_refuses_is_refused(ask: Ask) -> None:
    """A wrong key, an unknown model and too long a prompt get OpenAI's errors, and the script waits for a good one."""
    with OpenAIServer(models=["m"], api_key="right", context=10) as server:
        server.script(Refusal())
        with OpenAI(base_url=server.base_url, api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                ask(client)
            client.api_key = "right"
            with pytest.raises(openai.NotFoundError) as unknown:
                ask(client, model="other")
            with pytest.raises(openai.BadRequestError) as long:
                ask(client, "word " * 20)
            assert (unknown.value.code, long.value.code) == ("model_not_found", "context_length_exceeded")
            assert [model.id for model in client.models.list()] == ["m"]
            assert client.models.retrieve("m").id == "m"
            with pytest.raises(openai.NotFoundError):
                client.models.retrieve("other")
        assert server.counts().left == 1


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array", "items": {}}, "type 'object'"),
        ({"type": "object", "properties": {}}, "'additionalProperties' is required"),
        ({**thing(a={"type": "string"}), "required": []}, "Missing 'a'"),
        (thing(a={"type": "array", "items": {"type": "object"}}), r"\('properties', 'a', 'items'\)"),
        (thing(a={"anyOf": [{"type": "string"}, {"oneOf": []}]}), "'oneOf' is not permitted"),
        (thing(a={"type": "string", "default": "x"}), "'default' is not permitted"),
        ({**thing(a={"$ref": "#/$defs/b", "title": "A"}), "$defs": {"b": {"type": "string"}}}, r"\$ref cannot have"),
        ({**thing(), "$defs": {"b": {"type": "object"}}}, r"\('\$defs', 'b'\)"),
    ],
)
def test_schemas_that_are_not_strict_are_refused(client: OpenAI, schema: dict[str, Any], why: str) -> None:
    """A schema marked strict that breaks a rule of structured outputs is a 400 that says where; unmarked it is not."""
    asked: Any = format_of(schema)
    with pytest.raises(openai.BadRequestError, match=why):
        plain(client, response_format=asked)
    text: Any = {"format": {"type": "json_schema", "name": "it", "strict": True, "schema": schema}}
    with pytest.raises(openai.BadRequestError, match=why) as raised:
        client.responses.create(model="m", input="hello", text=text)
    assert (raised.value.code, raised.value.param) == ("invalid_json_schema", "text.format.schema")
    if "oneOf" not in why:
        plain(client, response_format=format_of(schema, strict=False))


def test_malformed_requests_are_refused(server: OpenAIServer, client: OpenAI) -> None:
    """What is no request of the API gets a 400 or 404 in the API's shape, and is counted; so is what came of it."""
    for options, why in (({"model": ""}, "model"), ({"messages": []}, "messages"), ({"n": 2}, "one choice")):
        with pytest.raises(openai.BadRequestError, match=why):
            plain(client, **options)
    with pytest.raises(openai.BadRequestError, match="name"):
        plain(client, response_format=format_of(thing(), name="no good"))
    with pytest.raises(openai.BadRequestError, match="streams"):
        client.responses.create(model="m", input="hello", stream=True)
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        client.embeddings.create(model="m", input="hello")
    assert httpx2.post(f"{server.base_url}/responses", content=b"not JSON").status_code == 400
    assert httpx2.post(f"{server.base_url}/responses", content=iter([b"{}"])).status_code == 411
    assert server.counts().by_reply == {"Status 400": 6, "Status 404": 1}


def test_a_failing_test_function_is_heard() -> None:
    """An exception in a test's own function is a 500 for the client, and leaving the server raises it."""

    def answer(request: Request) -> Any:
        raise AssertionError("not this prompt")

    with pytest.raises(AssertionError, match="not this prompt"), OpenAIServer(answer) as server:  # noqa: SIM117
        with OpenAI(base_url=server.base_url, api_key="test", max_retries=0) as client:
            with pytest.raises(openai.InternalServerError, match="not this prompt"):
                plain(client)
