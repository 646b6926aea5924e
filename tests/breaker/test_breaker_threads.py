"""No call waits for another; one breaker a provider; a fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from trial import NAME, SETTINGS, fail, goes, together

from mina_pipeline.llm.breaker import Breaker, Breakers
from mina_pipeline.store.memory import MemoryStore
from mina_pipeline.system import SystemClock, SystemIds


def test_pybreaker_is_imported_on_use() -> None:
    """Importing the library, and this module, imports no pybreaker."""
    script = "import sys, mina_pipeline, mina_pipeline.llm.breaker; assert 'pybreaker' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_calls_do_not_wait_for_each_other() -> None:
    """A hundred threads call a provider that takes 0.05 s: not in five seconds, but at once."""
    breaker = Breaker(NAME, MemoryStore(), SystemClock(), SystemIds(), SETTINGS)

    def call(_number: int) -> None:
        admission = breaker.admit()
        assert admission.allowed
        time.sleep(0.05)
        breaker.succeeded(admission)

    began = time.monotonic()
    together(100, call)
    assert time.monotonic() - began < 3


def test_one_breaker_a_provider() -> None:
    """However many threads ask first, they get the same one."""
    breakers = Breakers(MemoryStore(), SystemClock(), SystemIds(), SETTINGS)
    got = together(20, lambda number: breakers.of(f"provider {number % 2}"))
    assert len(set(got)) == 2 and breakers.of("provider 0").provider == "provider 0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork() -> None:
    """A child does not inherit a lock that was held, nor its parent's count and calls."""
    subprocess.run([sys.executable, __file__], check=True, timeout=60)


def forks() -> None:
    fleet = MemoryStore()
    breakers = Breakers(fleet, SystemClock(), SystemIds(), SETTINGS)
    breaker = breakers.of(NAME)
    fail(breaker, 2)
    out = breaker.admit()
    breaker.looking = True  # another thread of the parent's is at it
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with breakers.lock, breaker.lock, breaker.circuit._lock:
            held.set()
            forked.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        child = breakers.of(NAME)
        fail(child, 1)
        child.failed(out, "the parent's")
        fail(child, 1)
        ended = goes(child) and fleet.breakers(0) == []
        fail(child, 1)
        os._exit(0 if ended and not child.admit().allowed else 1)
    forked.set()
    thread.join(30)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    breaker.looking = False
    breaker.failed(out, "the third")
    assert not breaker.admit().allowed


if __name__ == "__main__":
    forks()
