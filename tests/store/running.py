"""A case of a test in a process of its own, under a timeout: what forks, patches the standard library or may hang."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

PATCHED = (
    "from gevent import monkey; monkey.patch_all()\n"
    "import os, runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, os.path.dirname(sys.argv[0]))\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run_case(file: str, case: str, *args: object, timeout: int = 60, gevent: bool = False) -> str:
    """Run `file` with a case's name and arguments; what it printed. Where it hangs, its stacks are in the failure."""
    start = ["-c", PATCHED, file] if gevent else [file]
    done = subprocess.run(
        [sys.executable, *start, case, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout + 20,
        env={**os.environ, "CASE_TIMEOUT": str(timeout)},
    )
    assert done.returncode == 0, f"{case} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def case_from_argv(cases: dict[str, Callable[..., None]]) -> None:
    """In that process: the case that was asked for."""
    faulthandler.enable()
    faulthandler.register(signal.SIGALRM, chain=True)  # faulthandler's own timer would hang the children's exits
    signal.alarm(int(os.environ["CASE_TIMEOUT"]))
    cases[sys.argv[1]](*sys.argv[2:])


def until(holds: Callable[[], bool], within: float = 20.0) -> None:
    """Wait until something holds; AssertionError where it does not in time."""
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.01)


def forked(child: Callable[[], object], exits: bool = False, within: int = 30) -> int:
    """Fork; the child's pid. It ends by os._exit, or as an interpreter does; a signal ends it where it hangs."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(within)
    try:
        child()
    except SystemExit:  # a grandchild's
        raise
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    if exits:
        sys.exit(0)
    os._exit(0)


def ended_well(pid: int) -> None:
    """Wait for a child, which must have ended by itself and without an error."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"the child ended with {status}"
