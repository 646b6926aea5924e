"""The server itself: what was scripted, what came in, and the port."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import TracebackType

from .bodies import Made, error, json_body, make, model, models
from .checks import Limits
from .connection import Listener
from .ledger import Counts, Exchange, Ledger, exchange_to_json
from .replies import Answer, Broken, Drip, Listed, Reply, Status, unknown_model
from .requests import CHAT, RESPONSES, Request
from .schemas import Unfillable
from .script import Answering, Rule, Script, Scripted, resolve

LISTED = ("test-model",)
"""The models that are listed where none were named."""


class OpenAIServer:
    """An OpenAI-compatible server on 127.0.0.1, in threads of this process.

    A request gets, in this order: OpenAI's own error where it breaks a rule (and takes nothing from the script), the
    next scripted reply that fits, the newest standing reply that fits, what `answer` makes of it, else a small valid
    answer to the schema that it asks for. `answer` returns a reply, or the content of an Answer, or None, and is called
    from many threads at once.

    port: 0 takes a free one. models, api_key, context (tokens), strict: what is refused, see Limits.
    """

    def __init__(
        self,
        answer: Answering | None = None,
        *,
        port: int = 0,
        models: Sequence[str] | None = None,
        api_key: str | None = None,
        context: int | None = None,
        strict: bool = True,
    ) -> None:
        self.answer = answer
        self.port = port
        self.limits = Limits(None if models is None else tuple(models), api_key, context, strict)
        self.rules = Script()
        self.ledger = Ledger()
        self.errors: list[Exception] = []
        """What test code raised while a request was answered: the client gets a 500, and leaving the context raises."""
        self.listener: Listener | None = None

    def start(self) -> OpenAIServer:
        """Listen. Closed again by close()."""
        self.listener = Listener(("127.0.0.1", self.port), self)
        self.port = self.listener.server_address[1]
        return self

    def close(self) -> None:
        """Stop listening and close every connection, also those that hang; may be called twice."""
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.stop()

    def __enter__(self) -> OpenAIServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self.errors and error is None:
            raise self.errors[0]

    @property
    def base_url(self) -> str:
        """What the client's base_url is: http://127.0.0.1:PORT/v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    def script(
        self,
        *replies: Scripted,
        model: str | None = None,
        path: str | None = None,
        contains: str | None = None,
        when: Callable[[Request], bool] | None = None,
    ) -> None:
        """Give these replies, each once and in this order, to the requests that fit.

        model: its name. path: how it ends; without one the rule is for chat completions and responses. contains: a text
        in the prompt. A function in place of a reply is as `answer`.
        """
        self.rules.add(Rule(deque(replies), model, path, contains, when))

    def always(
        self,
        reply: Scripted,
        *,
        model: str | None = None,
        path: str | None = None,
        contains: str | None = None,
        when: Callable[[Request], bool] | None = None,
    ) -> None:
        """Give this reply to every such request that no scripted one is left for. The newest that fits counts."""
        self.rules.add(Rule(deque([reply]), model, path, contains, when, forever=True))

    @property
    def requests(self) -> list[Request]:
        """All that came in, in the order of arrival."""
        return [exchange.request for exchange in self.ledger.history()]

    @property
    def exchanges(self) -> list[Exchange]:
        """The same with how each ended."""
        return self.ledger.history()

    def counts(self) -> Counts:
        """Totals by now; whoever has a whole reply finds it counted."""
        return self.ledger.counts(self.rules.left())

    def wait(self, requests: int = 0, *, idle: bool = False, timeout: float = 10.0) -> bool:
        """Until so many requests have come in and, if idle, none is going on; False after so many seconds."""
        return self.ledger.wait(requests, idle, timeout)

    def clear(self) -> None:
        """Forget scripts and counts; connections stay."""
        self.rules.clear()
        self.ledger.clear()

    def choose(self, method: str, request: Request, readable: bool) -> tuple[Reply, Made | None]:
        """The reply for a request, and the response that it is or breaks off. Runs the tests' own functions."""
        try:
            reply = self.reply(method, request, readable)
            if isinstance(reply, Drip | Broken):
                whole = None if isinstance(reply, Broken) and reply.after is None else make(reply.reply, request)
            else:
                whole = make(reply, request)
        except Unfillable as refused:
            reply = Status(400, f"No answer can be made to this schema: {refused}", code="unfillable_schema")
        except Exception as failure:
            self.errors.append(failure)
            reply = Status(500, f"The test's own code failed: {failure!r}", code="test_failed")
        else:
            return reply, whole
        return reply, error(reply)

    def reply(self, method: str, request: Request, readable: bool) -> Reply:
        refused = self.limits.wrong_key(dict(request.headers))
        if refused is not None:
            return refused
        if method == "POST" and request.path in (CHAT, RESPONSES):
            if not readable:
                return Status(400, "We could not parse the JSON body of your request.")
            refused = self.limits.refusal(request)
            if refused is not None:
                return refused
            for scripted in (self.rules.take(request), self.answer):
                found = None if scripted is None else resolve(scripted, request)
                if found is not None:
                    return found
            return Answer()
        scripted = self.rules.take(request)
        found = None if scripted is None else resolve(scripted, request)
        return found or self.listing(method, request)

    def listing(self, method: str, request: Request) -> Reply:
        """GET /v1/models and one of them."""
        names = list(self.limits.models or LISTED)
        head, _, name = request.path.removeprefix("/v1/").partition("/")
        if method != "GET" or head != "models":
            return Status(404, f"Invalid URL ({method} {request.path})", code="unknown_url")
        if not name:
            return Listed(value=models(names))
        return Listed(value=model(name)) if name in names else unknown_model(name)

    def control(self, method: str, path: str, body: bytes) -> Made:
        """What other processes ask: POST /script, POST /clear, GET /counts, GET /requests. None of it is counted."""
        try:
            match method, path:
                case "POST", "/script":
                    return json_body(200, {"added": self.rules.add_json(json.loads(body))})
                case "POST", "/clear":
                    self.clear()
                    return json_body(200, {})
                case "GET", "/counts":
                    return json_body(200, asdict(self.counts()))
                case "GET", "/requests":
                    return json_body(200, [exchange_to_json(exchange) for exchange in self.exchanges])
                case _:
                    return error(Status(404, f"Invalid URL ({method} {path})", code="unknown_url"))
        except ValueError as wrong:
            return error(Status(400, str(wrong)))
