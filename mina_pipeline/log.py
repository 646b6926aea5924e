"""Loggers: the host's structlog where it has configured one; else quiet below WARNING, on stderr, never stdout."""

from __future__ import annotations

import logging
import os
import sys
from functools import cache
from typing import Any


def logger(name: str) -> Any:
    """A structlog logger for a module; taken anew at each use, since a host may configure structlog late."""
    import structlog

    return structlog.get_logger(name) if structlog.is_configured() else fallback(name)


class Stderr:
    """Whatever sys.stderr is at the moment of writing."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@cache
def fallback(name: str) -> Any:
    import structlog

    quiet = structlog.wrap_logger(
        structlog.WriteLogger(Stderr()),  # type: ignore[arg-type]
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    return quiet.bind(logger=name)


if hasattr(os, "register_at_fork"):  # structlog's lock on the stream may be held at that moment, in the child for ever
    os.register_at_fork(after_in_child=fallback.cache_clear)
