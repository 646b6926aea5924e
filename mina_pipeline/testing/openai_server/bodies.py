"""The bodies of both APIs, of the list of models, and of a stream of chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .replies import Answer, Garbage, Listed, Reply, Spoken, Status, error_body, retry_after
from .requests import Request, tokens

CREATED = 1_767_225_600
"""Seconds: when all answers and models were made, for no answer depends on a clock."""


@dataclass(frozen=True)
class Made:
    """A response, ready to be sent; tokens: (in, out) that it costs."""

    status: int
    headers: dict[str, str]
    body: bytes
    tokens: tuple[int, int] = (0, 0)


def make(reply: Reply, request: Request) -> Made:
    """The response of a reply that has a whole one."""
    match reply:
        case Answer():
            return answer(reply.say(request), request)
        case Status():
            return error(reply)
        case Garbage():
            return Made(reply.status, {"content-type": reply.content_type}, reply.body.encode())
        case Listed():
            return json_body(200, reply.value)
        case _:
            raise TypeError(f"{reply.name} cannot be within another reply")


def answer(spoken: Spoken, request: Request) -> Made:
    """What the model said, as the request's API puts it."""
    cost = request.tokens, tokens(spoken.text)
    if request.stream:
        events = "".join(f"data: {line}\n\n" for line in chunks(spoken, request))
        return Made(200, {"content-type": "text/event-stream; charset=utf-8"}, events.encode(), cost)
    body = completion(spoken, request) if request.chat else response(spoken, request)
    return json_body(200, body, cost)


def error(status: Status) -> Made:
    """OpenAI's error shape and the headers that say when to come again."""
    made = json_body(status.status, error_body(status))
    if status.retry_after is not None:
        made.headers["retry-after"] = retry_after(status.retry_after)
    made.headers.update(status.headers)
    return made


def json_body(status: int, body: Any, cost: tuple[int, int] = (0, 0)) -> Made:
    # ASCII only: also a lone surrogate can be sent
    return Made(status, {"content-type": "application/json"}, json.dumps(body).encode(), cost)


def usage(spoken: Spoken, request: Request) -> dict[str, Any]:
    """Of chat completions."""
    asked, said = request.tokens, tokens(spoken.text)
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def completion(spoken: Spoken, request: Request) -> dict[str, Any]:
    """A chat completion of one choice."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if spoken.refusal else spoken.text,
        "refusal": spoken.text if spoken.refusal else None,
        "annotations": [],
    }
    return {
        "id": f"chatcmpl-{request.number}",
        "object": "chat.completion",
        "created": CREATED,
        "model": request.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": spoken.finish}],
        "usage": usage(spoken, request),
        "service_tier": "default",
        "system_fingerprint": None,
    }


def chunks(spoken: Spoken, request: Request) -> Iterator[str]:
    """The same as a stream's events: a piece for every four words, the usage at the end where it is asked for."""
    base = {
        "id": f"chatcmpl-{request.number}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": request.model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        return json.dumps(
            {**base, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}
        )

    kind = "refusal" if spoken.refusal else "content"
    yield chunk({"role": "assistant", kind: ""})
    for start in range(0, len(spoken.text), 20):
        yield chunk({kind: spoken.text[start : start + 20]})
    yield chunk({}, spoken.finish)
    if (request.body.get("stream_options") or {}).get("include_usage"):
        yield json.dumps({**base, "choices": [], "usage": usage(spoken, request)})
    yield "[DONE]"


def response(spoken: Spoken, request: Request) -> dict[str, Any]:
    """A response whose output is one message."""
    asked, said = request.tokens, tokens(spoken.text)
    status = "completed" if spoken.finish == "stop" else "incomplete"
    reason = {"length": "max_output_tokens", "content_filter": "content_filter", "stop": None}[spoken.finish]
    part: dict[str, Any] = {"type": "output_text", "text": spoken.text, "annotations": [], "logprobs": []}
    if spoken.refusal:
        part = {"type": "refusal", "refusal": spoken.text}
    message = {
        "id": f"msg_{request.number}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }
    body = request.body
    return {
        "id": f"resp_{request.number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": request.model,
        "output": [message],
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + said,
        },
        "user": body.get("user"),
    }


def model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "mina-pipeline"}


def models(names: list[str]) -> dict[str, Any]:
    return {"object": "list", "data": [model(name) for name in names]}
