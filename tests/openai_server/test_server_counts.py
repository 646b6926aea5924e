"""What is counted: requests, tokens, connections, and how many are in flight at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
from minutes import Ask, parsed, plain
from openai import OpenAI

from mina_pipeline.testing.openai_server import Answer, OpenAIServer, Request, Status


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
