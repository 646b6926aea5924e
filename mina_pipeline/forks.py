"""After a fork: whoever holds threads, locks or connections begins anew in the child."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Holder(Protocol):
    def forget(self) -> None:
        """In the child: threads are gone, locks may be held for ever, connections are the parent's."""
        ...


HOLDERS: WeakSet[Holder] = WeakSet()


def forget_at_fork(holder: Holder) -> None:
    """Call `holder.forget()` in every child that this process forks, as long as the holder lives."""
    HOLDERS.add(holder)


def after_fork() -> None:
    for holder in list(HOLDERS):
        holder.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=after_fork)
