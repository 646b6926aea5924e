"""A request as it came in, and what was asked for in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .schemas import fill

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"


def tokens(text: str) -> int:
    """The one rule by which this server counts: a token for each four characters begun."""
    return math.ceil(len(text) / 4)


@dataclass(frozen=True)
class Request:
    """One POST of either API.

    number: in the order of arrival, from 1. headers: names in lower case. arrived: seconds of the server's monotonic
    clock, when the whole body was there.
    """

    number: int
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    arrived: float

    @property
    def chat(self) -> bool:
        """Whether this is chat completions, else it is responses."""
        return self.path == CHAT

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    @cached_property
    def prompt(self) -> str:
        """All text that the model is shown, system and instructions first, parts joined by newlines."""
        if self.chat:
            return "\n".join(texts(self.body.get("messages")))
        return "\n".join([*texts(self.body.get("instructions")), *texts(self.body.get("input"))])

    @property
    def tokens(self) -> int:
        """Of the prompt; a schema costs nothing."""
        return tokens(self.prompt)

    @property
    def limit(self) -> int | None:
        """The most tokens that the answer may have, where one was named."""
        names = ("max_completion_tokens", "max_tokens") if self.chat else ("max_output_tokens",)
        return next((value for name in names if isinstance(value := self.body.get(name), int)), None)

    @property
    def format(self) -> Mapping[str, Any]:
        """{"type": "text" | "json_object" | "json_schema", "name", "strict", "schema"}, alike for both APIs."""
        if self.chat:
            asked = mapping(self.body.get("response_format"))
            return {**asked, **mapping(asked.get("json_schema"))} or {"type": "text"}
        return mapping(mapping(self.body.get("text")).get("format")) or {"type": "text"}

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema of structured outputs, where one was asked."""
        return mapping(self.format.get("schema")) if self.format.get("type") == "json_schema" else None

    def filled(self, **values: Any) -> Any:
        """What the server would answer by itself, with some of its properties replaced."""
        if self.schema is not None:
            made = fill(self.schema)
            return {**made, **values} if values else made
        if self.format.get("type") == "json_object":
            return {"answer": self.prompt[:60], **values}
        return f"An answer to: {self.prompt[:60]}"


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def texts(value: Any) -> Iterator[str]:
    """Every text in messages, in an input or in a part of one."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        yield from texts(value.get("content", value.get("text")))
