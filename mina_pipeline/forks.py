"""Around a fork: files are let go of before it, and in the child threads, locks and connections begin anew."""

from __future__ import annotations

import os
import threading
from typing import Protocol, runtime_checkable
from weakref import WeakSet


class Holder(Protocol):
    def forget(self) -> None:
        """In the child: threads are gone, locks may be held for ever, connections are the parent's."""
        ...


@runtime_checkable
class Pausing(Protocol):
    """A holder of what a child must not even inherit, or not in the middle of a change."""

    def pause(self) -> None:
        """Before the fork: wait for what is under way, a bounded time, and let nothing begin."""
        ...

    def resume(self) -> None:
        """In the parent, after it."""
        ...


HOLDERS: WeakSet[Holder] = WeakSet()
PAUSED: list[Pausing] = []
FORKING = threading.RLock()


def forget_at_fork(holder: Holder) -> None:
    """Call `holder.forget()` in every child that this process forks, as long as the holder lives."""
    HOLDERS.add(holder)


def before_fork() -> None:
    FORKING.acquire()
    for holder in list(HOLDERS):
        if isinstance(holder, Pausing):
            PAUSED.append(holder)
            holder.pause()


def after_in_parent() -> None:
    while PAUSED:
        PAUSED.pop().resume()
    FORKING.release()


def after_in_child() -> None:
    global FORKING
    FORKING = threading.RLock()
    PAUSED.clear()
    for holder in list(HOLDERS):
        holder.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=before_fork, after_in_parent=after_in_parent, after_in_child=after_in_child)
