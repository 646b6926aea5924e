"""Worker processes that meet trouble at a chosen point, and the provider whose calls are counted.

Run with a shift (JSON) as the argument this file works it, until stdin ends. Run without, each shift on a
line of stdin forks a process, everything being imported by then: many a second. Stdout tells what happens.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from mina_pipeline import LeaseLost, Pipeline, ProviderUnavailable, Settings
from mina_pipeline.meeting import Analytics, RefinedSegment, Refinement, Summary, Task, TaskList
from mina_pipeline.ports import Append
from mina_pipeline.stages.base import Ok, Outcome, StageContext
from mina_pipeline.system import SystemClock

EXIT = 3
LONGEST = 20.0
"""Seconds that a process which is to finish may take: else its work is stuck."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What befalls a process in a session whose id begins with `sessions`.

    where: append | call. what: the type of an event that the append carries, or the call. when: before | after.
    does: kill, stop and exit (the process), or wait and toil (this thread, until told `release`; who toils reports
    progress). once: once a session.
    """

    sessions: str
    does: str
    where: str
    what: str
    when: str
    once: bool = True


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to do: work on so many threads until told to end, or with 0, here until nothing is due.

    finish: until nothing is left. lives: seconds until it is killed, wherever it is by then. calls: the file that the
    provider writes each call to, of `takes` seconds. ahead: seconds that its clock is off.
    """

    url: str
    calls: str
    settings: dict[str, Any]
    threads: int = 0
    finish: bool = False
    lives: float = 0
    ahead: float = 0
    takes: float = 0
    troubles: tuple[Trouble, ...] = ()


class OffClock(SystemClock):
    """The host's clock, some seconds off; more or less so at any moment."""

    def __init__(self, ahead: float = 0) -> None:
        self.ahead = ahead

    def now(self) -> int:
        return super().now() + int(self.ahead * 1e6)


Report = Callable[[int, int | None], None]
Meet = Callable[[str, Collection[str], str, str, Report], None]
"""Hears where one is: append | call, its event types or its name, before | after, the session, how to report."""


def pass_by(*_: Any) -> None:
    """No trouble, or nobody to report to."""


class Scribe:
    """Does the standard stages' work: each call is a line in a file. It is away while a file of the call's name is."""

    name = "scribe"

    def __init__(self, calls: str, meet: Meet = pass_by, takes: float = 0) -> None:
        self.calls = calls
        self.meet = meet
        self.takes = takes

    def call(self, ctx: StageContext, name: str) -> str:
        session_id = ctx.session.session_id
        self.meet("call", {name}, "before", session_id, ctx.progress)
        if os.path.exists(f"{self.calls}.{name}"):
            raise ProviderUnavailable("away")
        write(self.calls, f"{session_id} {name} {ctx.run} {os.getpid()}")
        time.sleep(self.takes)
        self.meet("call", {name}, "after", session_id, ctx.progress)
        return f"{name} of run {ctx.run}"

    def refine(self, ctx: StageContext) -> Outcome:
        """In two calls, each kept by a checkpoint."""
        texts = [ctx.checkpoint(part, partial(self.call, ctx, part)) for part in ("first", "second")]
        changes = zip((s.segment_id or "" for s in ctx.segments), texts, strict=False)
        return Ok(Refinement(changes=tuple(RefinedSegment(*change) for change in changes)))

    def analyze(self, ctx: StageContext) -> Outcome:
        self.call(ctx, "analytics")
        return Ok(Analytics(word_count=7))

    def extract_tasks(self, ctx: StageContext) -> Outcome:
        return Ok(TaskList(tasks=(Task(title=self.call(ctx, "tasks")),)))

    def summarize(self, ctx: StageContext) -> Outcome:
        return Ok(Summary(brief=self.call(ctx, "summary")))


def write(file: str, line: str) -> None:
    """One line, whole, whoever else writes: it is there when the process is killed."""
    to = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(to, f"{line}\n".encode())
    os.close(to)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


class Hands:
    """Those of one process: they meet its troubles, and do as they are told."""

    def __init__(self, shift: Shift) -> None:
        self.shift = shift
        self.release, self.end = threading.Event(), threading.Event()
        self.stop = False  # no Event: a signal's handler may meet the lock of one that its own thread waits for
        self.met, self.began = f"{shift.calls}.met", time.monotonic()
        settings = Settings(**shift.settings)
        scribe, clock = Scribe(shift.calls, self.meet, shift.takes), OffClock(shift.ahead)
        self.pipeline = Pipeline.open(shift.url, provider=scribe, settings=settings, clock=clock)
        self.append = self.pipeline.store.append
        setattr(self.pipeline.store, "append", self.watched_append)  # noqa: B010  (a protocol's method)

    # --- trouble

    def watched_append(self, append: Append) -> bool:
        types = {row["type"] for row in append.events}
        self.meet("append", types, "before", append.session_id)
        try:
            done = self.append(append)
        except LeaseLost:
            say(f"refused {append.session_id}")
            raise
        if done:
            self.meet("append", types, "after", append.session_id)
        return done

    def meet(self, where: str, what: Collection[str], when: str, session_id: str, report: Report = pass_by) -> None:
        for trouble in self.shift.troubles:
            here = (trouble.where, trouble.when) == (where, when) and trouble.what in what
            if here and session_id.startswith(trouble.sessions) and not (trouble.once and self.met_before(session_id)):
                self.befall(trouble, session_id, report)

    def met_before(self, session_id: str) -> bool:
        """Whether this session had its trouble, in whatever process; from now on it had."""
        had = Path(self.met).read_text().splitlines() if os.path.exists(self.met) else []
        if session_id not in had:
            write(self.met, session_id)
        return session_id in had

    def befall(self, trouble: Trouble, session_id: str, report: Report) -> None:
        say(f"{trouble.does} {session_id}")
        match trouble.does:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(EXIT)
            case "wait":
                self.release.wait()
            case "toil":
                while not self.release.wait(0.05):
                    report(1, 2)
            case "stop":
                # The file's write lock is not ours then, which nobody else could have meanwhile.
                with self.writer_idle():
                    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # the process, but not one step later

    def writer_idle(self) -> AbstractContextManager[Any]:
        writer = self.pipeline.store.shared.writer  # type: ignore[attr-defined]
        return nullcontext() if writer is None else writer.lock

    # --- work

    def work(self) -> None:
        """On threads, until told to end, or until too many hang; a SIGTERM closes them."""
        signal.signal(signal.SIGTERM, self.stop_working)
        if not self.shift.finish:
            threading.Thread(target=self.listen, daemon=True).start()
        with self.pipeline.workers(self.shift.threads) as threads:
            say("working")
            while not self.stop and not threads.failed.is_set() and not self.finished():
                time.sleep(0.01)
            failed = threads.failed.is_set()
            threads.end()
            say("ending")
        say("failed" if failed else "closed")
        if not self.shift.finish:
            self.end.wait()
        if self.release.is_set():
            for thread in threading.enumerate():
                if thread.name.startswith("mina-worker"):
                    thread.join(10)

    def stop_working(self, *_: Any) -> None:
        self.stop = True

    def listen(self) -> None:
        """The first line releases who waits; the end of them ends this process."""
        for _ in sys.stdin:
            self.release.set()
        self.stop_working()
        self.end.set()

    def work_here(self) -> None:
        self.pipeline.run_until_idle()
        while self.shift.finish and not self.finished():
            time.sleep(0.01)
            self.pipeline.run_until_idle()

    def finished(self) -> bool:
        """Whether nothing is left, which is only asked for by `finish`; AssertionError where that is not in time."""
        if not self.shift.finish:
            return False
        left = self.pipeline.store.work_rows(self.pipeline.clock.now(), limit=1)
        assert not left or time.monotonic() < self.began + LONGEST, f"still there: {left}"
        return not left


def do(text: str | bytes) -> None:
    """Work one shift, and end this process: whatever still hangs in it."""
    shift = msgspec.json.decode(text, type=Shift)
    if shift.lives:
        dying = threading.Timer(shift.lives, os.kill, (os.getpid(), signal.SIGKILL))
        dying.daemon = True
        dying.start()
    try:
        hands = Hands(shift)
        hands.work() if shift.threads else hands.work_here()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def fork_shifts() -> None:
    warm: set[str] = set()
    for line in sys.stdin:
        shift = msgspec.json.decode(line, type=Shift)
        if shift.url not in warm:
            warm.add(shift.url)
            warm_up(shift)
        pid = os.fork()
        if pid == 0:
            do(line)
        say(f"ended {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")


def warm_up(shift: Shift) -> None:
    """Import what is imported at first use."""
    Pipeline.open(shift.url, settings=Settings(**shift.settings)).close()
    with Pipeline.open("memory://", provider=Scribe(os.devnull)) as pipeline:
        pipeline.finalize(pipeline.start_session().session_id)
        pipeline.run_until_idle()


if __name__ == "__main__":
    do(sys.argv[1]) if len(sys.argv) > 1 else fork_shifts()
