"""Which reply a request gets: from what was scripted, by the first that fits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .replies import Answer, Reply, from_json
from .requests import CHAT, RESPONSES, Request

Answering = Callable[[Request], Any]
"""A request to its reply, or to the content of an Answer; None: not mine."""
Scripted = Reply | Answering


@dataclass
class Rule:
    """Replies for the requests that fit; forever: the last one is never used up."""

    replies: deque[Scripted]
    model: str | None = None
    path: str | None = None
    contains: str | None = None
    when: Callable[[Request], bool] | None = None
    forever: bool = False

    def fits(self, request: Request) -> bool:
        """Whether the request is of this model and path (its end), has the text in its prompt and passes `when`.

        Without a path the rule is for the two APIs only.
        """
        return (
            (self.model is None or self.model == request.model)
            and (request.path in (CHAT, RESPONSES) if self.path is None else request.path.endswith(self.path))
            and (self.contains is None or self.contains in request.prompt)
            and (self.when is None or self.when(request))
        )


@dataclass
class Script:
    """Rules in the order in which they were added. Safe to use from many threads."""

    rules: list[Rule] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, rule: Rule) -> None:
        if not rule.replies:
            raise ValueError("a script needs a reply")
        with self.lock:
            # what is used up comes before what is not, and a newer standing rule before an older one
            standing = next((at for at, other in enumerate(self.rules) if other.forever), len(self.rules))
            self.rules.insert(standing, rule)

    def add_json(self, written: Any) -> int:
        """Add {"replies": […], "model", "path", "contains", "forever"} or a list of those; how many replies it had."""
        added = 0
        rules = [rule_from_json(each) for each in (written if isinstance(written, list) else [written])]
        for rule in rules:
            self.add(rule)
            added += len(rule.replies)
        return added

    def take(self, request: Request) -> Scripted | None:
        """The reply of the first rule that fits, and it is used up."""
        with self.lock:
            for rule in self.rules:
                if rule.fits(request):
                    if rule.forever and len(rule.replies) == 1:
                        return rule.replies[0]
                    found = rule.replies.popleft()
                    if not rule.replies:
                        self.rules.remove(rule)
                    return found
        return None

    def left(self) -> int:
        """How many scripted replies nobody has taken yet."""
        with self.lock:
            return sum(len(rule.replies) for rule in self.rules if not rule.forever)

    def clear(self) -> None:
        with self.lock:
            self.rules.clear()


def rule_from_json(written: Any) -> Rule:
    """A rule without `when`. Raises ValueError for what is none."""
    known = {"replies", "model", "path", "contains", "forever"}
    if not isinstance(written, dict) or not isinstance(written.get("replies"), list) or set(written) - known:
        raise ValueError(f"no script: {written!r}; it is an object of {', '.join(sorted(known))}")
    if not written["replies"]:
        raise ValueError("a script needs a reply")
    values = {key: value for key, value in written.items() if key != "replies"}
    return Rule(deque(map(from_json, written["replies"])), **values)


def resolve(scripted: Any, request: Request) -> Reply | None:
    """Call what is a function; what is no reply then is the content of an Answer."""
    found = scripted if isinstance(scripted, Reply) or not callable(scripted) else scripted(request)
    return found if found is None or isinstance(found, Reply) else Answer(found)
