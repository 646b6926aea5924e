"""The host's own functions, `principal` and `authorize`: what they take, and where those that may be async run."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from anyio import from_thread


def takes_one(function: Callable[..., Any]) -> bool:
    """Whether it wants the connection, or the request: it has to be given something."""
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(
        one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty for one in given
    )


def is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def awaited(found: Awaitable[Any]) -> Any:
    return await found


def on_the_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """From a worker thread of anyio's: what a coroutine comes to, on the loop that the thread works for."""
    return from_thread.run(lambda: coroutine)


def in_thread(
    function: Callable[..., Any], wait: Callable[[Coroutine[Any, Any, Any]], Any] = on_the_loop
) -> Callable[..., Any]:
    """A function of either colour as a plain one, for threads. wait: what a coroutine comes to on the loop."""

    def call(*args: Any) -> Any:
        found = function(*args)
        return wait(awaited(found)) if inspect.isawaitable(found) else found

    return call


class Asking:
    """A host's `principal`, on ASGI: an async one runs on the loop, a plain one in a worker thread, where it may wait;
    either with the context variables of who awaits."""

    def __init__(self, principal: Callable[..., Any]) -> None:
        self.principal = principal
        self.takes_one = takes_one(principal)
        self.on_loop = is_async(principal)

    async def ask(self, connection: Any) -> Callable[[], Any]:
        """On the loop: who asks, or None, to be called in a worker thread."""
        args = (connection,) if self.takes_one else ()
        if self.on_loop:
            found = await self.principal(*args)
            return lambda: found
        return lambda: in_thread(self.principal)(*args)
