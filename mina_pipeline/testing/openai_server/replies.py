"""What the server can do with a request, as values: well, badly, late, in part or not at all."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal

from .requests import Request, tokens
from .schemas import fill, lengthen, wrong

Finish = Literal["stop", "length", "content_filter"]


@dataclass(frozen=True)
class Spoken:
    """What the model said: its text, why it stopped, and whether the text is a refusal."""

    text: str
    finish: Finish = "stop"
    refusal: bool = False


@dataclass(frozen=True)
class Reply:
    """One reply. delay: seconds before its first byte."""

    delay: float = field(default=0.0, kw_only=True)

    @property
    def name(self) -> str:
        """How counts and exchanges call it."""
        return type(self).__name__


@dataclass(frozen=True)
class Answer(Reply):
    """The model answers. content: text as it is, any other JSON value as its JSON, None: the asked schema filled.

    As OpenAI does it, the text ends (finish "length") where the request's own limit of tokens does.
    """

    content: Any = None
    finish: Finish = "stop"

    def whole(self, request: Request) -> str:
        """The text before anything shortens it."""
        return text(request.filled() if self.content is None else self.content)

    def say(self, request: Request) -> Spoken:
        """What the model says to this request."""
        whole, limit = self.whole(request), request.limit
        if limit is not None and tokens(whole) > limit:
            return Spoken(whole[: limit * 4], "length")
        return Spoken(whole, self.finish)


@dataclass(frozen=True)
class Cut(Answer):
    """The answer stops too early, and says so: finish "length". at: the share of its characters that is there."""

    at: float = 0.5

    def say(self, request: Request) -> Spoken:
        whole = self.whole(request)
        return Spoken(whole[: math.floor(len(whole) * self.at)], "length")


@dataclass(frozen=True)
class Longer(Answer):
    """An answer that keeps no limit: so many times as long as was asked, finish "stop".

    Asked is the request's limit of tokens, else what the answer would be by itself. Of a filled schema strings and
    arrays with a maxLength or maxItems are so many times as long as those, too. JSON stays valid JSON.
    """

    times: float = 2.0

    def say(self, request: Request) -> Spoken:
        content = self.content
        if content is None:
            content = request.filled() if request.schema is None else fill(request.schema, stretch=self.times)
        asked = len(self.whole(request)) if request.limit is None else request.limit * 4
        extra = math.ceil(asked * self.times) - len(text(content))
        if extra > 0:
            content, lengthened = lengthen(content, extra)
            return Spoken(text(content) if lengthened else text(content) + " " * extra)
        return Spoken(text(content))


@dataclass(frozen=True)
class WrongSchema(Answer):
    """Valid JSON, but not of the asked schema. content: None for the schema's own value with one type wrong."""

    def whole(self, request: Request) -> str:
        if self.content is not None:
            return text(self.content)
        return json.dumps(wrong(request.schema or {"type": "object"}))


@dataclass(frozen=True)
class Refusal(Answer):
    """The model refuses, in these words."""

    content: Any = "I'm sorry, I can't assist with that request."

    def say(self, request: Request) -> Spoken:
        return Spoken(self.whole(request), "stop", refusal=True)


@dataclass(frozen=True)
class Status(Reply):
    """An error of the API, in OpenAI's error shape; message, type and code default to what OpenAI says.

    retry_after: seconds; a datetime or a text is sent as it is, a timedelta as the date so far from now.
    headers: more headers, such as x-ratelimit-reset-requests or x-should-retry.
    """

    status: int = 500
    message: str | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None
    retry_after: float | str | datetime | timedelta | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"Status {self.status}"


@dataclass(frozen=True)
class Garbage(Reply):
    """A body that is no answer of this API: by default not even JSON."""

    body: str = '<html>\n  not JSON \ufffd \x00 {"choices": ['
    status: int = 200
    content_type: str = "application/json"


@dataclass(frozen=True)
class Listed(Reply):
    """The models, or one of them, as JSON."""

    value: Any = None


@dataclass(frozen=True)
class Drip(Reply):
    """A reply whose body comes in pieces. chunk: bytes of one, every: seconds before each."""

    reply: Reply = Answer()
    chunk: int = 1
    every: float = 0.05

    def __post_init__(self) -> None:
        must_be_whole(self.reply)
        if self.chunk < 1:
            raise ValueError(f"a chunk of {self.chunk} bytes")


@dataclass(frozen=True)
class Broken(Reply):
    """A reply that does not end. after: bytes of its body that are sent; None: not even its headers."""

    after: int | None = None
    reply: Reply = Answer()

    def __post_init__(self) -> None:
        must_be_whole(self.reply)


@dataclass(frozen=True)
class Reset(Broken):
    """The connection is reset (TCP RST)."""


@dataclass(frozen=True)
class HangUp(Broken):
    """The connection is closed in an orderly way, too early."""


@dataclass(frozen=True)
class Hang(Broken):
    """Nothing more comes and the connection stays open until the client or the server goes, or for so many seconds."""

    seconds: float | None = None


def must_be_whole(reply: Reply) -> None:
    """Only what has a whole body can be dripped or broken."""
    if isinstance(reply, Drip | Broken):
        raise TypeError(f"{reply.name} cannot be within another reply")


KINDS: dict[str, type[Reply]] = {
    kind.__name__: kind
    for kind in (Answer, Cut, Longer, WrongSchema, Refusal, Status, Garbage, Drip, Reset, HangUp, Hang)
}

MESSAGES = {
    400: ("invalid_request_error", None, "Invalid request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: (
        "invalid_request_error",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported.",
    ),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    408: ("timeout", None, "Request timed out."),
    409: ("invalid_request_error", None, "The resource was changed by another request."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}
"""Status: (type, code, message)."""


def insufficient_quota(*, delay: float = 0.0) -> Status:
    """The 429 that no waiting cures."""
    said = "You exceeded your current quota, please check your plan and billing details."
    return Status(429, said, code="insufficient_quota", type="insufficient_quota", delay=delay)


def context_length_exceeded(limit: int, found: int) -> Status:
    """The 400 for a prompt of more tokens than the model reads."""
    said = f"This model's maximum context length is {limit} tokens. However, your messages resulted in {found} tokens."
    return Status(400, said, code="context_length_exceeded", param="messages")


def unknown_model(model: str) -> Status:
    """The 404 for a model that is not there."""
    return Status(404, f"The model `{model}` does not exist or you do not have access to it.")


def error_body(status: Status) -> dict[str, Any]:
    """{"error": {"message", "type", "param", "code"}}."""
    kind, code, message = MESSAGES.get(status.status, MESSAGES[500 if status.status >= 500 else 400])
    return {
        "error": {
            "message": status.message or message,
            "type": status.type or kind,
            "param": status.param,
            "code": status.code or (code if status.message is None or status.status != 400 else None),
        }
    }


def retry_after(wanted: float | str | datetime | timedelta) -> str:
    """The header's value. Dates have whole seconds: those from now on are rounded up."""
    if isinstance(wanted, timedelta):
        wanted = datetime.now(UTC) + wanted
        wanted += timedelta(microseconds=-wanted.microsecond % 1_000_000)
    if isinstance(wanted, datetime):
        return format_datetime(wanted.astimezone(UTC), usegmt=True)
    return str(wanted)


def text(content: Any) -> str:
    """A text as it is, anything else as JSON."""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def to_json(reply: Reply) -> dict[str, Any]:
    """{"kind": "Status", "status": 429, …}: what is not as by default. A timedelta becomes {"in": seconds}."""
    found: dict[str, Any] = {"kind": type(reply).__name__}
    for each in fields(reply):
        value = getattr(reply, each.name)
        if isinstance(value, Reply):
            value = to_json(value)
        elif isinstance(value, timedelta):
            value = {"in": value.total_seconds()}
        elif isinstance(value, datetime):
            value = retry_after(value)
        if value != each.default and value != {}:
            found[each.name] = value
    return found


def from_json(written: Any) -> Reply:
    """The reply that to_json wrote. Raises ValueError for what is none."""
    if not isinstance(written, dict) or written.get("kind") not in KINDS:
        raise ValueError(f"no reply: {written!r}; its kind is one of {', '.join(KINDS)}")
    values = {key: value for key, value in written.items() if key != "kind"}
    if "reply" in values:
        values["reply"] = from_json(values["reply"])
    if isinstance(values.get("retry_after"), dict):
        values["retry_after"] = timedelta(seconds=values["retry_after"]["in"])
    try:
        return KINDS[written["kind"]](**values)
    except TypeError as error:
        raise ValueError(f"no {written['kind']}: {error}") from None
