"""An OpenAI-compatible HTTP server for tests, made of the standard library: chat completions and responses.

    with OpenAIServer() as server:
        server.script(Status(429, retry_after=2), Reset(), Answer({"summary": "short"}))
        client = OpenAI(base_url=server.base_url, api_key="test", max_retries=0)
        …
        assert server.counts().by_reply == {"Status 429": 1, "Reset": 1, "Answer": 1}

Without a script each request gets a valid answer to the JSON schema that it asks for, always the same one.
Tokens are counted by one rule: one for each four characters begun, of the prompt and of the answer.
`OpenAIServerProcess` is the same server in a process of its own.
"""

from .ledger import Counts, Exchange
from .remote import OpenAIServerProcess, RemoteServer
from .replies import (
    Answer,
    Cut,
    Drip,
    Garbage,
    Hang,
    HangUp,
    Longer,
    Refusal,
    Reply,
    Reset,
    Status,
    WrongSchema,
    context_length_exceeded,
    insufficient_quota,
    unknown_model,
)
from .requests import Request, tokens
from .schemas import Unfillable, fill
from .server import OpenAIServer

__all__ = [
    "Answer",
    "Counts",
    "Cut",
    "Drip",
    "Exchange",
    "Garbage",
    "Hang",
    "HangUp",
    "Longer",
    "OpenAIServer",
    "OpenAIServerProcess",
    "Refusal",
    "RemoteServer",
    "Reply",
    "Request",
    "Reset",
    "Status",
    "Unfillable",
    "WrongSchema",
    "context_length_exceeded",
    "fill",
    "insufficient_quota",
    "tokens",
    "unknown_model",
]
