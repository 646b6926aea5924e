"""What OpenAI refuses before any model is asked."""

from __future__ import annotations

from dataclasses import dataclass

from .replies import Status, context_length_exceeded, unknown_model
from .requests import Request
from .strict import complaint


@dataclass(frozen=True)
class Limits:
    """What this server knows and admits; None: everything.

    models: names. api_key: the only one. context: tokens of the longest prompt. strict: whether schemas marked strict
    must keep the rules of structured outputs.
    """

    models: tuple[str, ...] | None = None
    api_key: str | None = None
    context: int | None = None
    strict: bool = True

    def wrong_key(self, headers: dict[str, str]) -> Status | None:
        """The 401 for another key."""
        if self.api_key is None or headers.get("authorization") == f"Bearer {self.api_key}":
            return None
        return Status(401)

    def refusal(self, request: Request) -> Status | None:
        """The 400 or 404 for a request that cannot be answered."""
        if not request.model:
            return Status(400, "you must provide a model parameter", param="model")
        if self.models is not None and request.model not in self.models:
            return unknown_model(request.model)
        what = "messages" if request.chat else "input"
        if not request.body.get(what):
            return Status(400, f"Missing required parameter: '{what}'.", code="missing_required_parameter", param=what)
        if request.stream and not request.chat:
            return Status(400, "This server streams chat completions only.", param="stream")
        if request.body.get("n", 1) != 1:
            return Status(400, "This server makes one choice only.", param="n")
        if request.schema is not None and request.format.get("strict") and self.strict:
            why = complaint(str(request.format.get("name", "")), request.schema)
            if why is not None:
                param, code = (
                    ("response_format", None) if request.chat else ("text.format.schema", "invalid_json_schema")
                )
                return Status(400, why, code=code, param=param)
        if self.context is not None and request.tokens > self.context:
            return context_length_exceeded(self.context, request.tokens)
        return None
