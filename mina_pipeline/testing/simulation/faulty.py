"""A process' way to the store: each call may be slow, fail, take effect unheard, or be the process' last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import StoreBusy, StoreUnreachable
from ...ports import Append, Wake
from ...work_shapes import Claimed
from .schedule import START

if TYPE_CHECKING:
    from .process import Process

Method = Callable[..., Any]

WRITES = frozenset(
    "append claim renew give_back postpone release spread touch trip_breaker take_probe close_breaker worker_seen"
    " worker_gone correct draw_id".split()
)
HEARD = frozenset("append claim renew give_back postpone release spread touch".split())
"""What the ledger is told of."""
QUIET = frozenset(
    "breakers worker_seen next_due oldest_due load events rows feed head headers known_segments command"
    " versions headers_after".split()
)
"""What the trace would only be longer for."""
FAULTS = ("crash", "lost", "ghost", "refused", "freeze", "slow")


class FaultyStore:
    """Every method of the real store, with a switch before its effect, and now and then one after it."""

    inside = False

    def __init__(self, process: Process, store: Any) -> None:
        self.process = process
        self.world = process.world
        self.store = store

    def __getattr__(self, name: str) -> Any:
        call = partial(self.call, name, getattr(self.store, name))
        setattr(self, name, call)
        return call

    def on_commit(self, callback: Wake) -> None:
        self.process.callbacks.append(callback)

    def listen(self) -> None:
        """The world tells what other processes commit."""

    def call(self, name: str, method: Method, *args: Any, **named: Any) -> Any:
        result = self.attempt(name, partial(method, **named) if named else method, args)
        if name == "claim" and result is not None:
            self.process.watch()
        return result

    def attempt(self, name: str, method: Method, args: tuple[Any, ...]) -> Any:
        world, rng = self.world, self.world.rng
        world.schedule.pause(world.latency())
        if not world.chaos:
            return self.effect(name, method, args)
        if world.schedule.now < max(world.down_until, self.process.cut_until):
            return self.refuse(name, unwritten=True)
        drawn = rng.random() * (0.2 if name == "append" else 1.0)  # where it matters most
        for fault in FAULTS:
            rate = getattr(world.plan, fault)
            if drawn < rate:
                return self.fail(fault, name, method, args)
            drawn -= rate
        result = self.effect(name, method, args)
        if rng.random() < 0.3:
            world.schedule.pause(world.latency())
        return result

    def fail(self, fault: str, name: str, method: Method, args: tuple[Any, ...]) -> Any:
        world, write = self.world, name in WRITES
        match fault:
            case "freeze":
                world.freeze(self.process)
                return self.effect(name, method, args)
            case "slow":
                world.schedule.note(f"slow {name}")
                world.schedule.pause(self.some_time())
                result = self.effect(name, method, args)
                world.schedule.pause(self.some_time())
                return result
            case "crash":
                if write and world.rng.random() < 0.5:
                    self.effect(name, method, args, unheard="crash after")
                world.crash(self.process)
            case "lost" if write:
                self.effect(name, method, args, unheard="lost")
            case "ghost" if write:
                delay = self.some_time()
                world.schedule.note(f"ghost {name} in {delay / 1e6:.3f} s")
                world.schedule.later(delay, lambda: self.haunt(name, method, args))
        return self.refuse(name, unwritten=not write or fault == "refused")

    def some_time(self) -> int:
        """Anything from a moment to far beyond a lease (µs)."""
        return int(10 ** self.world.rng.uniform(3, 7.5))

    def refuse(self, name: str, unwritten: bool) -> Any:
        self.world.schedule.note(f"{name}: the store does not answer")
        if unwritten and self.world.rng.random() < 0.2:
            raise StoreBusy("the store", 0)
        raise StoreUnreachable("simulated", "it does not answer")

    def haunt(self, name: str, method: Method, args: tuple[Any, ...]) -> None:
        try:
            self.effect(name, method, args, unheard="ghost")
        except Exception as error:  # nobody hears of it
            self.world.schedule.note(f"ghost {name} raised {type(error).__name__}")

    def effect(self, name: str, method: Method, args: tuple[Any, ...], unheard: str | None = None) -> Any:
        """The real call. unheard: its caller will not get the answer, nor is its process told of the commit."""
        world = self.world
        world.committing = None if unheard else self.process
        try:
            result = method(*args)
        except Exception as error:
            world.schedule.note(f"{name} raises {type(error).__name__}")
            raise
        finally:
            world.committing = None
        if name not in QUIET and not (name == "claim" and result is None):
            world.schedule.note(f"{name} {shown(args)} -> {shown(result)}{f' ({unheard})' if unheard else ''}")
        world.ledger.called(name)
        if name in HEARD:
            getattr(world.ledger, name)(result, *args, **getattr(method, "keywords", {}))
        if unheard:
            return result
        if name == "append" and result:
            world.ledger.acknowledge(args[0])
        if name == "head":
            self.process.headed = dict(world.ledger.versions)
        return result


def shown(value: Any) -> str:
    """Arguments and answers as the trace has them."""
    match value:
        case Append():
            types = ",".join(row["type"] for row in value.events)
            guard = f" by {value.guard.token[-6:]}" if value.guard else ""
            return f"{value.session_id} v{value.expected + 1}+ {types}{guard}"
        case Claimed():
            where = f"{value.session_id}/{value.kind}/{value.stage} run {value.run}"
            return f"{where} {value.token[-6:]} n{value.attempts}"
        case list() | tuple():
            return " ".join(map(shown, value))
        case set() | frozenset():
            return " ".join(sorted(map(shown, value)))
        case str() if len(value) == 36:
            return value[-6:]
        case bool() | None:
            return str(value)
        case int() if value > START // 2:
            return f"@{(value - START) / 1e6:.3f}"
        case str() | int() | float():
            return str(value)
        case _:
            return type(value).__name__
