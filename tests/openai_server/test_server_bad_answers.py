"""Answers that are no good: garbage, another schema's, refused, cut off, longer than asked for."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pydantic
import pytest
from minutes import Ask, Minutes, chat, parsed, plain, responses, thing
from openai import OpenAI

from mina_pipeline.testing.openai_server import (
    Answer,
    Cut,
    Garbage,
    Longer,
    OpenAIServer,
    Refusal,
    Reply,
    WrongSchema,
    fill,
)


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
