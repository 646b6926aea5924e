"""The fake OpenAI server: what the real client makes of every kind of reply, over both APIs, and what is counted."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import httpx2
import openai
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel, Field

from mina_pipeline.testing.openai_server import (
    Answer,
    Cut,
    Drip,
    Garbage,
    Hang,
    HangUp,
    Longer,
    OpenAIServer,
    OpenAIServerProcess,
    Refusal,
    RemoteServer,
    Reply,
    Request,
    Reset,
    Status,
    Unfillable,
    WrongSchema,
    fill,
    insufficient_quota,
    tokens,
)
from mina_pipeline.testing.openai_server.replies import KINDS, from_json, to_json
from mina_pipeline.testing.openai_server.schemas import wrong


class Mood(Enum):
    CALM = "calm"
    LOUD = "loud"


class Point(BaseModel):
    text: str
    segment_ids: list[str] = Field(min_length=1)
    confidence: float = Field(ge=0, le=1)


class Minutes(BaseModel):
    """Everything that a structured output may hold."""

    title: str
    points: list[Point]
    mood: Mood
    kind: Literal["weekly", "daily"]
    owner: Point | None
    either: int | str
    due: date
    count: int = Field(gt=3, multiple_of=5)
    final: bool
    nothing: None
    follow_ups: list[Minutes]


Ask = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def client(server: OpenAIServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.base_url, api_key="test", max_retries=0, timeout=10) as client:
        yield client


def chat(client: OpenAI, prompt: str = "What was said?", **options: Any) -> Any:
    """Ask for Minutes over chat completions; the message, with `parsed` and `refusal`."""
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
    options = {"model": "m", "messages": messages, "response_format": Minutes, **options}
    return client.chat.completions.parse(**options).choices[0].message


def responses(client: OpenAI, prompt: str = "What was said?", **options: Any) -> Any:
    """The same over responses; the response, with `output_parsed`."""
    options = {"model": "m", "instructions": "Be brief.", "input": prompt, "text_format": Minutes, **options}
    return client.responses.parse(**options)


@pytest.fixture(params=[chat, responses])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Each API in turn."""
    return request.param


def parsed(found: Any) -> Any:
    return found.parsed if hasattr(found, "parsed") else found.output_parsed


def plain(client: OpenAI, prompt: str = "hello", **options: Any) -> ChatCompletion:
    messages: Any = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(**{"model": "m", "messages": messages, **options})


def format_of(schema: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": schema, **options}}


def thing(**properties: Any) -> dict[str, Any]:
    """A strict object schema."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


# Answers


def test_unscripted_answers_are_of_the_asked_schema(client: OpenAI, ask: Ask) -> None:
    """With no script the client's own parsing accepts the answer, and two answers are the same."""
    first, second = parsed(ask(client)), parsed(ask(client))
    assert isinstance(first, Minutes)
    assert first == second
    assert (first.title, first.mood, first.count, first.points[0].text) == ("title 1", Mood.CALM, 5, "text 1")
    assert first.follow_ups[0].title == "title 1"


def test_a_raw_schema_is_filled(client: OpenAI) -> None:
    """A JSON schema that no class made is filled as well, over both APIs; other formats get what they ask for."""
    schema = thing(a={"enum": ["x", "y"]}, b={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/n"}]})
    schema["$defs"] = {"n": {"type": ["null", "integer"], "minimum": 7}}
    asked: Any = format_of(schema)
    assert json.loads(plain(client, response_format=asked).choices[0].message.content or "") == {"a": "x", "b": 7}
    text: Any = {"format": {"type": "json_schema", "name": "it", "strict": True, "schema": schema}}
    assert json.loads(client.responses.create(model="m", input="hello", text=text).output_text) == {"a": "x", "b": 7}
    assert plain(client).choices[0].message.content == "An answer to: hello"
    content = plain(client, response_format={"type": "json_object"}).choices[0].message.content
    assert json.loads(content or "") == {"answer": "hello"}


def test_bodies_are_openais(client: OpenAI) -> None:
    """Bodies pass the client's own types strictly, where the client itself is lenient."""
    for reply in (Answer("text"), Cut("text"), Refusal()):
        ChatCompletion.model_validate_json(raw(client, "/chat/completions", reply, messages=[{"content": "hi"}]))
        Response.model_validate_json(raw(client, "/responses", reply, input="hi"))


def raw(client: OpenAI, path: str, reply: Reply, **body: Any) -> bytes:
    """The bytes of a scripted answer."""
    RemoteServer(str(client.base_url)).script(reply)
    return httpx2.post(f"{str(client.base_url).rstrip('/')}{path}", json={"model": "m", **body}).content


def test_scripted_answers_come_in_order(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """Text comes as it is, anything else as JSON; when the script is used up the server fills again."""
    minutes = fill(Minutes.model_json_schema())
    server.script(Answer({**minutes, "title": "one"}), Answer(json.dumps({**minutes, "title": "two ü"})))
    assert [parsed(ask(client)).title for _ in range(3)] == ["one", "two ü", "title 1"]


def test_a_function_makes_the_content_from_the_prompt(client: OpenAI, server: OpenAIServer, ask: Ask) -> None:
    """A function sees the whole prompt and gives content or any reply; None leaves it to the server."""

    def answer(request: Request) -> Any:
        if "quota" in request.prompt:
            return insufficient_quota()
        return request.filled(title=request.prompt) if "said" in request.prompt else None

    server.answer = answer
    assert parsed(ask(client)).title == "Be brief.\nWhat was said?"
    assert parsed(ask(client, "?")).title == "title 1"
    with pytest.raises(openai.RateLimitError):
        ask(client, "quota")


def test_scripts_wait_for_whom_they_fit(server: OpenAIServer, client: OpenAI) -> None:
    """A script for a model, a path, a text or a predicate leaves other requests alone; always() is never used up."""

    def said(prompt: str = "hello", model: str = "m") -> str:
        return plain(client, prompt, model=model).choices[0].message.content or ""

    server.always(Answer("old standing"), model="b")
    server.always(Answer("standing"), model="b")
    server.script(Answer("for b"), model="b")
    server.script(Answer("for responses"), path="responses")
    server.script(Answer("for words"), contains="words")
    server.script(Answer("for long"), lambda request: f"{len(request.prompt)} long", when=lambda r: len(r.prompt) > 20)
    assert [said(), said("some words"), said("words")] == ["An answer to: hello", "for words", "An answer to: words"]
    assert [said(model="b"), said(model="b"), said(model="b")] == ["for b", "standing", "standing"]
    assert [said("x" * 30), said("x" * 30)] == ["for long", "30 long"]
    assert server.counts().left == 1
    assert client.responses.create(model="m", input="hello").output_text == "for responses"
    assert client.models.list().data[0].id == "test-model"


# Errors


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


# Bad answers


def test_garbage(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """What is no JSON and what is another JSON come through as they were sent."""
    server.script(Garbage(), Garbage('{"hello": 1}'), Garbage("<html>", status=502, content_type="text/html"))
    with pytest.raises(json.JSONDecodeError):
        ask(client)
    if ask is chat:
        with pytest.raises(TypeError):
            ask(client)
    else:
        assert parsed(ask(client)) is None  # the client raises nothing here
    with pytest.raises(openai.InternalServerError):
        ask(client)


def test_json_of_a_wrong_schema(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """The answer is JSON, has the right keys, and does not pass the schema."""
    server.script(WrongSchema(), WrongSchema({"other": 1}), Answer("no JSON"))
    for _ in range(3):
        with pytest.raises(pydantic.ValidationError):
            ask(client)
    body = server_says(server, WrongSchema())
    assert set(body) == set(Minutes.model_fields)


def server_says(server: OpenAIServer, reply: Reply) -> Any:
    """The JSON of an answer to a request for Minutes, unparsed."""
    server.script(reply)
    schema = openai.lib._pydantic.to_strict_json_schema(Minutes)
    body = {"model": "m", "input": "hello", "text": {"format": {"type": "json_schema", "name": "it", "schema": schema}}}
    found = httpx2.post(f"{server.base_url}/responses", json=body).json()
    return json.loads(found["output"][0]["content"][0]["text"])


def test_a_refusal(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """A refusal raises nothing: there is no parsed answer, and the words are where the API has them."""
    server.script(Refusal("I would rather not."))
    found = ask(client)
    assert parsed(found) is None
    refusal = found.refusal if ask is chat else found.output[0].content[0].refusal
    assert refusal == "I would rather not."


def test_a_cut_answer(server: OpenAIServer, client: OpenAI) -> None:
    """A cut answer stops half-way and says so: finish_reason length, or incomplete with max_output_tokens."""
    server.script(Cut(), Cut("abcdefgh", at=0.25), Cut("abcdefgh"), Answer("x", finish="content_filter"))
    with pytest.raises(openai.LengthFinishReasonError):
        chat(client)
    choice = plain(client).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("ab", "length")
    found = client.responses.create(model="m", input="hello")
    assert (found.output_text, found.status) == ("abcd", "incomplete")
    assert found.incomplete_details is not None
    assert found.incomplete_details.reason == "max_output_tokens"
    with pytest.raises(openai.ContentFilterFinishReasonError):
        chat(client)


def test_the_limit_of_tokens_is_kept_except_by_the_longer(server: OpenAIServer, client: OpenAI) -> None:
    """An answer over the request's limit is cut there; Longer is twice the limit, or twice the answer, and is valid."""
    server.script(Answer("x" * 100), Answer("x" * 100), Longer("x" * 10), Longer("y"))
    choice = plain(client, max_completion_tokens=5).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("x" * 20, "length")
    assert client.responses.create(model="m", input="hello", max_output_tokens=16).output_text == "x" * 64
    found = plain(client, max_tokens=20)
    assert (found.choices[0].finish_reason, found.usage and found.usage.completion_tokens) == ("stop", 40)
    assert plain(client).choices[0].message.content == "y "
    for ask in (chat, responses):
        server.script(Answer(), Longer(), Longer(times=3))
        found = [ask(client) for _ in range(3)]
        assert all(isinstance(parsed(answer), Minutes) for answer in found)
        once, twice, thrice = [len(answer.content if ask is chat else answer.output_text) for answer in found]
        assert (twice, thrice) == (2 * once, 3 * once)


def test_longer_is_over_the_schemas_own_bounds() -> None:
    """A stretched value is twice as long as maxLength and maxItems allow."""
    schema = thing(a={"type": "string", "maxLength": 30}, b={"type": "array", "maxItems": 3, "items": {"type": "null"}})
    assert {key: len(value) for key, value in fill(schema, stretch=2).items()} == {"a": 60, "b": 6}
    assert {key: len(value) for key, value in fill(schema).items()} == {"a": 3, "b": 1}


# Bad connections


def test_a_reset_connection(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """A connection is reset before the first byte, after the headers or amid the body; the next request is served."""
    server.script(Reset(), Reset(after=0), Reset(after=20))
    for _ in range(3):
        with pytest.raises(openai.APIConnectionError) as raised:
            ask(client)
        assert not isinstance(raised.value, openai.APITimeoutError)
    assert parsed(ask(client)).title == "title 1"
    assert [exchange.outcome for exchange in server.exchanges] == ["broken"] * 3 + ["sent"]
    assert [exchange.status for exchange in server.exchanges] == [None, 200, 200, 200]
    assert [exchange.tokens_in > 0 for exchange in server.exchanges] == [False, True, True, True]


def test_resets_and_hang_ups_on_the_wire(server: OpenAIServer) -> None:
    """A reset is a TCP RST; an early hang-up is an orderly end before the promised length."""

    def read(reply: Reply) -> bytes:
        server.script(reply)
        body = b'{"model": "m", "input": "hello"}'
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            head = f"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            found = b""
            while piece := connection.recv(65536):
                found += piece
            return found

    with pytest.raises(ConnectionResetError):
        read(Reset())
    assert read(HangUp()) == b""
    head, _, body = read(HangUp(after=7)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b'{"id": '


def test_a_hanging_reply_ends_by_the_clients_timeout(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """Before or amid the answer nothing comes; the client times out, and the server sees that it left."""
    server.script(Hang(), Hang(after=5), Answer(delay=60), Hang(seconds=0.01))
    for _ in range(3):
        with pytest.raises(openai.APITimeoutError):
            ask(client, timeout=0.2)
    with pytest.raises(openai.APIConnectionError, match="Connection error"):
        ask(client)
    assert server.wait(4, idle=True)
    assert [exchange.outcome for exchange in server.exchanges] == ["broken", "broken", "gone", "broken"]
    assert server.counts().in_flight == 0


def test_a_slow_drip_outlives_the_clients_timeout(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """A reply that drips takes as long as it takes, for each piece is within the client's timeout; errors drip too."""
    server.script(Drip(chunk=40, every=0.05), Drip(Status(429, "slowly"), chunk=1, every=0))
    patient = client.with_options(timeout=0.5)
    began = time.monotonic()
    if ask is chat:
        assert plain(patient).choices[0].message.content == "An answer to: hello"
    else:
        assert patient.responses.create(model="m", input="hello").output_text == "An answer to: hello"
    assert time.monotonic() - began > 0.6
    with pytest.raises(openai.RateLimitError, match="slowly"):
        ask(client)
    assert [exchange.outcome for exchange in server.exchanges] == ["sent", "sent"]


@pytest.mark.parametrize("reply", [Hang(), Hang(after=3), Drip(every=0.01), Drip(every=60), Answer(delay=60)])
def test_closing_ends_every_reply_at_once(reply: Reply) -> None:
    """The server closes within a second whatever its replies are doing, and its clients hear of it."""
    with OpenAIServer() as server, OpenAI(base_url=server.base_url, api_key="test", max_retries=0) as client:
        server.always(reply)
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(plain, client, "long " * 500) for _ in range(4)]
            assert server.wait(4)
            began = time.monotonic()
            server.close()
            assert time.monotonic() - began < 0.9
            for call in calls:
                assert isinstance(call.exception(5), openai.APIConnectionError)
        assert threads() == 0
        server.close()


def threads() -> int:
    return sum("openai-server" in thread.name for thread in threading.enumerate())


def test_a_port_can_be_taken_again(client: OpenAI, server: OpenAIServer) -> None:
    """A provider that was away comes back under its old address: close, and start on the same port."""
    plain(client)
    server.close()
    with pytest.raises(openai.APIConnectionError):
        plain(client)
    server.start()
    assert plain(client).id == "chatcmpl-2"


def test_a_closed_port_is_closed_in_every_process(server: OpenAIServer, client: OpenAI) -> None:
    """A descriptor of the port that a forked process has inherited does not keep clients waiting at it."""
    assert server.listener is not None
    inherited = os.dup(server.listener.fileno())
    try:
        server.close()
        with pytest.raises(openai.APIConnectionError, match="Connection error"):
            plain(client, timeout=5)
    finally:
        os.close(inherited)


# Streams


def test_a_stream_of_chat_completions(server: OpenAIServer, client: OpenAI) -> None:
    """A stream has the same text in pieces, and the usage where it is asked for; it drips, breaks and errs as any."""
    messages: Any = [{"role": "user", "content": "hello"}]
    options: Any = {"model": "m", "messages": messages, "stream": True}
    server.script(Answer("a text of more than one piece"), Cut("abcd"), Drip(Answer("abcd"), chunk=50, every=0))
    server.script(HangUp(after=300), Status(503))
    chunks = list(client.chat.completions.create(**options, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "a text of more than one piece"
    assert len(chunks) == 5
    assert chunks[-1].usage.total_tokens == tokens("hello") + tokens("a text of more than one piece")
    assert list(client.chat.completions.create(**options))[-1].choices[0].finish_reason == "length"
    assert list(client.chat.completions.create(**options))[-1].choices[0].finish_reason == "stop"
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        list(client.chat.completions.create(**options))
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**options)
    with client.chat.completions.stream(model="m", messages=messages, response_format=Minutes) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed(chat(client))


# Counts


def test_requests_and_tokens_are_counted(server: OpenAIServer, client: OpenAI) -> None:
    """Usage follows the one rule, in both APIs' words; totals are their sums; bodies, headers and times are kept."""
    server.script(Answer("x" * 9), Answer("y" * 10), Status(500))
    began = time.monotonic()
    chat_usage = plain(client, "z" * 5).usage
    usage = client.responses.create(model="n", instructions="i" * 4, input="j" * 4).usage
    assert chat_usage is not None
    assert usage is not None
    assert (chat_usage.prompt_tokens, chat_usage.completion_tokens, chat_usage.total_tokens) == (2, 3, 5)
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, 3, 6)
    with pytest.raises(openai.InternalServerError):
        plain(client)
    counts = server.counts()
    assert (counts.requests, counts.tokens_in, counts.tokens_out) == (3, 5, 6)
    assert counts.by_path == {"/v1/chat/completions": 2, "/v1/responses": 1}
    assert counts.by_model == {"m": 2, "n": 1}
    assert counts.by_reply == {"Answer": 2, "Status 500": 1}
    first, second, _ = server.requests
    assert first.body == {"model": "m", "messages": [{"role": "user", "content": "zzzzz"}]}
    assert (first.number, second.prompt) == (1, "iiii\njjjj")
    assert first.headers["authorization"] == "Bearer test"
    assert began <= first.arrived <= second.arrived <= time.monotonic()
    server.clear()
    assert (server.counts().requests, server.requests) == (0, [])


def test_prompts_of_parts_are_read(server: OpenAIServer, client: OpenAI) -> None:
    """Messages and inputs whose content is a list of parts are one prompt as well."""
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    plain(client, messages=parts)
    given: Any = [{"role": "user", "content": [{"type": "input_text", "text": "c"}]}, {"role": "user", "content": "d"}]
    client.responses.create(model="m", input=given)
    assert [request.prompt for request in server.requests] == ["a\nb", "c\nd"]


def test_nobody_is_serialised(client: OpenAI, server: OpenAIServer, ask: Ask) -> None:
    """Sixteen requests are answered only once all are there: in flight at once, each over its own connection."""
    together = threading.Barrier(16)

    def answer(request: Request) -> Any:
        together.wait(10)

    server.answer = answer
    with ThreadPoolExecutor(16) as pool:
        titles = [parsed(found).title for found in pool.map(lambda n: ask(client, f"{n}"), range(16))]
    assert titles == ["title 1"] * 16
    counts = server.counts()
    assert (counts.most_in_flight, counts.in_flight, counts.connections, counts.most_connections) == (16, 0, 16, 16)


def test_one_after_another_is_counted_as_that(server: OpenAIServer, client: OpenAI) -> None:
    """Requests in a row are never counted as two at once, over a kept connection or over new ones."""
    for _ in range(100):
        plain(client)
    counts = server.counts()
    assert (counts.requests, counts.most_in_flight, counts.connections) == (100, 1, 1)
    for _ in range(50):
        httpx2.post(f"{server.base_url}/responses", json={"model": "m", "input": "hello"})
    assert (server.counts().most_in_flight, server.counts().connections) == (1, 51)


# A process of its own


def test_a_server_in_its_own_process(tmp_path: Path) -> None:
    """Scripts, counts and requests cross the processes, and killing it is seen by a client."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"replies": [{"kind": "Answer", "content": "first"}]}]))
    answer = "test_openai_server:in_the_other_process"
    with OpenAIServerProcess(script=script, answer=answer) as server:  # noqa: SIM117
        with OpenAI(base_url=server.base_url, api_key="secret", max_retries=0) as client:
            assert plain(client).choices[0].message.content == "first"
            assert plain(client).choices[0].message.content == "HELLO"
            server.script(Status(429, retry_after=timedelta(seconds=9)), Drip(Answer({"a": 1}), chunk=9, every=0))
            server.script(Reset(), model="m")
            server.always(Refusal(), contains="bomb")
            with pytest.raises(openai.RateLimitError) as raised:
                plain(client)
            assert raised.value.response.headers["retry-after"].endswith("GMT")
            assert plain(client).choices[0].message.content == '{"a": 1}'
            with pytest.raises(openai.APIConnectionError):
                plain(client)
            assert plain(client, "peace").choices[0].message.content == "PEACE"
            assert plain(client, "a bomb").choices[0].message.refusal
            counts = server.counts()
            assert (counts.requests, counts.left, counts.most_in_flight) == (7, 0, 1)
            assert counts.by_reply == {"Answer": 3, "Status 429": 1, "Drip": 1, "Reset": 1, "Refusal": 1}
            assert server.requests[-1].prompt == "a bomb"
            assert "secret" not in repr(server.exchanges)
            assert server.wait(7, idle=True)
            assert not server.wait(8, timeout=0)
            with pytest.raises(ValueError, match="no reply"):
                server.ask("POST", "/script", {"replies": [{"kind": "Nonsense"}]})
            with pytest.raises(ValueError, match="no script"):
                server.ask("POST", "/script", {"answers": []})
            server.clear()
            assert server.counts().requests == 0
            server.close()
            with pytest.raises(openai.APIConnectionError):
                plain(client)


def test_the_command_line(tmp_path: Path) -> None:
    """It prints the base URL and ends well on SIGTERM; a script that is none is a usage error that says why."""
    command = [sys.executable, "-m", "mina_pipeline.testing.openai_server"]
    with subprocess.Popen([*command, "--model", "m"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        assert httpx2.get(f"{base_url}/models").json()["data"][0]["id"] == "m"
        process.terminate()
        assert process.wait(10) == 0
    (tmp_path / "bad.json").write_text('{"replies": [{"kind": "Status", "statos": 1}]}')
    refused = subprocess.run([*command, "--script", tmp_path / "bad.json"], stderr=subprocess.PIPE, text=True)
    assert refused.returncode == 2
    assert "statos" in refused.stderr


def in_the_other_process(request: Request) -> Any:
    """The answer function of the test above."""
    return request.prompt.upper()


@pytest.mark.parametrize("reply", [kind() for kind in KINDS.values()], ids=list(KINDS))
def test_every_reply_crosses_processes(reply: Reply) -> None:
    """A reply read back from its JSON is the same."""
    assert from_json(json.loads(json.dumps(to_json(reply)))) == reply


@pytest.mark.parametrize(
    "reply",
    [
        Drip(Status(429, retry_after=timedelta(minutes=2), headers={"a": "b"}), chunk=3, every=0.5, delay=1),
        Hang(after=3, reply=Cut({"a": [1]}, at=0.1), seconds=2),
        Longer("x", times=3),
    ],
)
def test_its_fields_cross_processes(reply: Reply) -> None:
    """So it does with every field set."""
    assert from_json(json.loads(json.dumps(to_json(reply)))) == reply


def test_a_reply_within_a_reply_has_a_body() -> None:
    """What drips or breaks has a whole reply inside, and a drop has at least a byte."""
    for wrong_one in (lambda: Drip(Hang()), lambda: Reset(reply=Drip()), lambda: Hang(0, Reset())):
        with pytest.raises(TypeError):
            wrong_one()
    with pytest.raises(ValueError, match="chunk"):
        Drip(chunk=0)


# Schemas


names = st.sampled_from("abcd")
low, more = st.integers(-9, 9), st.integers(0, 9)
length = st.integers(0, 40)
leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string"}, {"type": ["null", "integer"]}]),
    st.sampled_from([{"type": "string", "format": "date"}, {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}]),
    st.builds(lambda a, b: {"type": "string", "minLength": a, "maxLength": a + b}, length, length),
    st.builds(lambda a, b: {"type": "integer", "minimum": a, "maximum": a + b}, low, more),
    st.builds(lambda a, b: {"type": "number", "exclusiveMinimum": a, "maximum": a + b + 0.5}, low, more),
    st.builds(lambda a: {"type": "number", "exclusiveMaximum": a}, st.floats(-9, 9)),
    st.builds(lambda a, b: {"type": "integer", "multipleOf": b + 1, "minimum": a}, low, more),
    st.builds(lambda values: {"enum": values}, st.lists(st.none() | st.integers() | names, min_size=1)),
    st.sampled_from([{"anyOf": [{"$ref": "#"}, {"type": "null"}]}, {"type": "array", "items": {"$ref": "#"}}]),
    st.just({"const": 3}),
)
schemas = st.dictionaries(
    names,
    st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(lambda properties: thing(**properties), st.dictionaries(names, inner, max_size=3)),
            st.builds(
                lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 3)
            ),
            st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        ),
        max_leaves=8,
    ),
).map(lambda properties: thing(**properties))


def admits(schema: Any, value: Any, root: Any) -> bool:
    """Whether a schema of the above admits a value: written apart from the generator."""
    if "$ref" in schema:
        return admits(root, value, root)
    if "anyOf" in schema:
        return any(admits(option, value, root) for option in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema:
        return bool(value == schema["const"])
    match schema["type"]:
        case "object":
            inner = schema["properties"]
            return (
                isinstance(value, dict)
                and set(value) == set(inner)
                and all(admits(inner[key], value[key], root) for key in inner)
            )
        case "array":
            fits = isinstance(value, list) and len(value) >= schema.get("minItems", 0)
            return fits and all(admits(schema["items"], item, root) for item in value)
        case "string":
            if schema.get("format") or schema.get("pattern"):
                return isinstance(value, str) and bool(date.fromisoformat(value))
            return isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 99)
        case "integer" | "number" as kind:
            return (
                isinstance(value, int if kind == "integer" else int | float)
                and not isinstance(value, bool)
                and schema.get("minimum", value) <= value <= schema.get("maximum", value)
                and value < schema.get("exclusiveMaximum", value + 1)
                and value > schema.get("exclusiveMinimum", value - 1)
                and not value % schema.get("multipleOf", 1 if kind == "integer" else value or 1)
            )
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case kinds:
            return any(admits({**schema, "type": kind}, value, root) for kind in kinds)


@given(schemas)
def test_what_fills_a_schema_is_admitted_by_it(schema: dict[str, Any]) -> None:
    """Every strict schema is filled with a value that it admits, the same each time; a wrong one is not admitted."""
    value = fill(schema)
    assert admits(schema, value, schema), value
    assert value == fill(schema)
    assert not admits(schema, wrong(schema), schema), wrong(schema)


@pytest.mark.parametrize("end", [{"type": "null"}, {"type": "string"}])
def test_a_schema_that_refers_to_itself_stays_small(end: dict[str, Any]) -> None:
    """A tree ends after a few levels, by null or by what else has no branches."""
    side = {"anyOf": [{"$ref": "#"}, end]}
    assert len(json.dumps(fill(thing(left=side, right=side, more={"type": "array", "items": {"$ref": "#"}})))) < 4000
    assert len(json.dumps(fill({"type": "object", "properties": {"optional": {"$ref": "#"}}}))) < 200


def test_a_wrong_value_is_wrong_in_one_type() -> None:
    """The first property that admits not everything gets another type; where there is none, the whole does."""
    words = {"type": "array", "items": {"type": "string"}}
    assert wrong(thing(a={}, b=words, c=words)) == {"a": "a 1", "b": "wrong", "c": ["c 1"]}
    assert wrong(thing(a={"anyOf": [words, {"type": ["string", "null"]}]})) == {"a": 0.5}
    assert wrong(thing(a={})) == ["wrong"]
    assert wrong(words) == "wrong"


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (thing(a={"type": "string", "pattern": "^[A-Z]{17}$"}), "pattern"),
        (thing(a={"$ref": "#"}), "never ends"),
        (thing(a={"$ref": "#/$defs/b"}), "not in the schema"),
        (thing(a={"type": "integer", "minimum": 3, "maximum": 2}), "bounds"),
        (thing(a={"type": "strnig"}), "no type"),
    ],
)
def test_what_cannot_be_filled_says_why(client: OpenAI, schema: dict[str, Any], why: str) -> None:
    """A schema that the generator cannot fill is a 400 that says so, not a wrong answer; a script still answers it."""
    with pytest.raises(Unfillable, match=why):
        fill(schema)
    with pytest.raises(openai.BadRequestError, match=why):
        plain(client, response_format=format_of(schema))


def test_importing_is_light() -> None:
    """The package of test helpers pulls in no server, and the server neither the client nor anything to install."""
    code = """if True:
        import sys, mina_pipeline.testing
        assert not {"http.server", "openai"} & set(sys.modules)
        before = {name.partition(".")[0] for name in sys.modules}
        import mina_pipeline.testing.openai_server
        new = {name.partition(".")[0] for name in sys.modules} - before
        assert new <= set(sys.stdlib_module_names), new"""
    subprocess.run([sys.executable, "-c", code], check=True)
