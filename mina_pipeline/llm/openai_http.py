"""The one file that touches the openai package: a request out, a reply or a sorted failure back, nothing retried."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ..forks import forget_at_fork
from .connection import Connection
from .requests import Reply, Request
from .verdicts import CallFailed, GaveUp, Verdict, broken_off, judge, unreachable, unusable

if TYPE_CHECKING:
    import httpx2
    import openai

CONNECT = 10.0
"""Seconds for a connection to come about."""
LARGEST = 16 * 2**20
"""Bytes of a reply; a server that sends more is not one to listen to."""

MOST_TOKENS = 10**9
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}")

CONNECTION: ContextVar[Connection | None] = ContextVar("mina_model_connection", default=None)


class Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct):
    message: Message
    finish_reason: str | None = None


class ChatReply(msgspec.Struct):
    choices: list[Choice]
    model: Any = None
    usage: Any = None


class Content(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None


class Item(msgspec.Struct):
    type: str
    content: list[Content] | None = None


class Incomplete(msgspec.Struct):
    reason: str | None = None


class ResponsesReply(msgspec.Struct):
    output: list[Item]
    status: str | None = None
    incomplete_details: Incomplete | None = None
    model: Any = None
    usage: Any = None


class OpenAISender:
    """Asks one server. Made without importing openai, and without a request; safe to use from many threads.

    api: "chat" (completions, which every compatible server has) or "responses". A redirect is a failure: what was
    said in a meeting goes to the server that the host named, and to no other.
    """

    def __init__(self, *, api_key: str, base_url: str | None = None, api: str = "chat") -> None:
        self.api_key = api_key
        self.base_url = base_url
        self.api = api
        self.lock = threading.Lock()
        self.client: openai.OpenAI | None = None
        forget_at_fork(self)

    def forget(self) -> None:
        """In a forked child: connections and locks are the parent's."""
        self.lock, self.client = threading.Lock(), None

    def send(self, request: Request, connection: Connection, seconds: float) -> Reply:
        """The reply, unvalidated; CallFailed. seconds: for each read (the caller bounds the whole)."""
        import httpx2
        import openai

        CONNECTION.set(connection)
        timeout = httpx2.Timeout(seconds, connect=min(CONNECT, seconds))
        try:
            body = self.ask(request, timeout)
        except openai.APIStatusError as error:
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            raise judge(error.status_code, (error.code, error.type), error.message, headers, now()) from None
        except (openai.APIConnectionError, httpx2.HTTPError, httpx2.StreamError, OSError):
            raise (broken_off() if connection.asked else unreachable()) from None
        except CallFailed:
            raise
        except Exception as error:  # whose text may quote what was asked or answered
            raise GaveUp(Verdict.GIVE_UP, type(error).__name__, in_doubt=connection.asked) from None
        return read_chat(body) if self.api == "chat" else read_responses(body)

    def ask(self, request: Request, timeout: httpx2.Timeout) -> bytes:
        client = self.opened()
        if self.api == "chat":
            with client.chat.completions.with_streaming_response.create(
                **chat_body(request), timeout=timeout
            ) as response:
                return bounded(response.iter_bytes())
        with client.responses.with_streaming_response.create(**responses_body(request), timeout=timeout) as response:
            return bounded(response.iter_bytes())

    def opened(self) -> openai.OpenAI:
        import httpx2
        import openai

        with self.lock:
            if self.client is None:
                # A connection for each call: calls take seconds, and one that is its own can be cut.
                web = openai.DefaultHttpxClient(
                    limits=httpx2.Limits(max_keepalive_connections=0),
                    follow_redirects=False,
                    event_hooks={"request": [traced]},
                )
                self.client = openai.OpenAI(
                    api_key=self.api_key, base_url=self.base_url, max_retries=0, http_client=web
                )
            return self.client


def traced(request: httpx2.Request) -> None:
    connection = CONNECTION.get()
    if connection is not None:
        request.extensions["trace"] = connection.trace


def now() -> datetime:
    return datetime.now(UTC)


def chat_body(request: Request) -> dict[str, Any]:
    return given({
        "model": request.model,
        "messages": [{"role": "system", "content": request.system}, {"role": "user", "content": request.user}],
        "response_format": {"type": "json_schema", "json_schema": named_schema(request)},
        "max_completion_tokens": request.max_output,
        "temperature": request.temperature,
        "seed": request.seed,
        "extra_body": dict(request.extra) or None,
    })  # fmt: skip


def responses_body(request: Request) -> dict[str, Any]:
    """The responses API knows no seed; nothing is kept at the server."""
    return given({
        "model": request.model,
        "instructions": request.system,
        "input": request.user,
        "text": {"format": {"type": "json_schema", **named_schema(request)}},
        "max_output_tokens": request.max_output,
        "temperature": request.temperature,
        "store": False,
        "extra_body": dict(request.extra) or None,
    })  # fmt: skip


def named_schema(request: Request) -> dict[str, Any]:
    return {"name": request.name, "strict": True, "schema": request.schema}


def given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def bounded(parts: Iterable[bytes]) -> bytes:
    body = bytearray()
    for part in parts:
        body += part
        if len(body) > LARGEST:
            raise unusable()
    return bytes(body)


def read_chat(body: bytes) -> Reply:
    """The reply of chat completions; CallFailed (unusable) where it is none."""
    try:
        reply = msgspec.json.decode(body, type=ChatReply)
        choice = reply.choices[0]
    except (ValueError, IndexError, RecursionError):
        raise unusable() from None
    refused = choice.message.refusal or choice.finish_reason == "content_filter"
    finish = "refusal" if refused else "length" if choice.finish_reason == "length" else "stop"
    text, (tokens_in, tokens_out) = choice.message.content or "", used(reply.usage, "prompt", "completion")
    return Reply(text, finish, named(reply.model), tokens_in, tokens_out)


def read_responses(body: bytes) -> Reply:
    """The reply of the responses API; CallFailed where it is none, or one that failed."""
    try:
        reply = msgspec.json.decode(body, type=ResponsesReply)
    except (ValueError, RecursionError):
        raise unusable() from None
    if reply.status in ("failed", "cancelled"):
        raise CallFailed(Verdict.RETRY, "outage", in_doubt=True)
    contents = [content for item in reply.output if item.type == "message" for content in item.content or ()]
    why = reply.incomplete_details.reason if reply.incomplete_details else None
    refused = any(content.type == "refusal" for content in contents) or why == "content_filter"
    finish = "refusal" if refused else "length" if reply.status == "incomplete" else "stop"
    text = "".join(content.text or "" for content in contents if content.type == "output_text")
    return Reply(text, finish, named(reply.model), *used(reply.usage, "input", "output"))


def named(model: Any) -> str | None:
    """What the server says that answered, if that is a model's name at all: it is kept for ever, and shown."""
    return model if isinstance(model, str) and MODEL.fullmatch(model) else None


def used(usage: Any, *kinds: str) -> tuple[int | None, int | None]:
    """(in, out) tokens, None where the server says nothing that can be a count: no reason to lose the answer."""
    found = [usage.get(f"{kind}_tokens") if isinstance(usage, dict) else None for kind in kinds]
    into, out = (n if isinstance(n, int) and 0 <= n < MOST_TOKENS else None for n in found)
    return into, out
