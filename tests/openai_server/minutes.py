"""What the fake server's tests ask for: Minutes, everything that a structured output may hold, over each API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from enum import Enum
from typing import Any, Literal

from openai import OpenAI
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, Field


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


def chat(client: OpenAI, prompt: str = "What was said?", **options: Any) -> Any:
    """Ask for Minutes over chat completions; the message, with `parsed` and `refusal`."""
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
    options = {"model": "m", "messages": messages, "response_format": Minutes, **options}
    return client.chat.completions.parse(**options).choices[0].message


def responses(client: OpenAI, prompt: str = "What was said?", **options: Any) -> Any:
    """The same over responses; the response, with `output_parsed`."""
    options = {"model": "m", "instructions": "Be brief.", "input": prompt, "text_format": Minutes, **options}
    return client.responses.parse(**options)


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
