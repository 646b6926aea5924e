"""What a fake server answers: with no script, by script, by a function, to whom it fits, as a stream."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from minutes import Ask, Minutes, Mood, chat, format_of, parsed, plain, thing
from openai import OpenAI
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from mina_pipeline.testing.openai_server import (
    Answer,
    Cut,
    Drip,
    HangUp,
    OpenAIServer,
    Refusal,
    RemoteServer,
    Reply,
    Request,
    Status,
    fill,
    insufficient_quota,
    tokens,
)


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
