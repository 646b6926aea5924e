"""On the thread of a running event loop, calls that wait for the database warn once, longer ones are refused.

asyncio is looked for, never imported: a host without it pays for one look into a dict.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

from .errors import MinaError

C = TypeVar("C", bound=type)

told = False
"""Whether this process has been warned: one call says what the rest would."""


class BlockingCall(RuntimeWarning):
    """A call that waits for the database was made on an event loop's thread, and held up everything else there."""


def greenlets() -> bool:
    """Whether gevent's are this process's threads: one that waits holds up nobody, a loop in another one neither."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def guarded(waiting: Iterable[str], long: Iterable[str]) -> Callable[[C], C]:
    """A class whose methods of these names look where they are called. Those of `long` are refused on a loop's thread.

    Inside a host's transaction nothing is looked for: it is the host's connection that waits, and SQLAlchemy's
    `AsyncConnection.run_sync` waits for it without holding up the loop.
    """

    def guard(cls: C) -> C:
        for name in waiting:
            setattr(cls, name, watched(getattr(cls, name), warn))
        for name in long:
            setattr(cls, name, watched(getattr(cls, name), refuse))
        return cls

    return guard


def watched(method: Callable[..., Any], found: Callable[[str], None]) -> Callable[..., Any]:
    name, modules = method.__name__, sys.modules

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:  # `self` among them: the tuple is handed on as it is
        asyncio = modules.get("asyncio")
        try:
            looping = asyncio is not None and asyncio._get_running_loop() is not None
        except AttributeError:  # another thread is just importing it, or was at the fork that made this process
            looping = False
        if looping and not (args[0].store.inside or greenlets()):
            found(name)
        return method(*args, **kwargs)

    return call


def warn(name: str) -> None:
    global told
    if told:
        return
    warnings.warn(
        f"{name} waits for the database and holds up this thread's event loop: `await p.aio.{name}(…)`"
        " (said once in a process)",
        BlockingCall,
        stacklevel=3,
    )
    told = True  # only now: where warnings are errors, each call is one


def refuse(name: str) -> None:
    instead = "async with p.aio.workers(n)" if name == "work" else f"await p.aio.{name}(…)"
    raise MinaError(f"{name} would hold up this thread's event loop for long: `{instead}`")
