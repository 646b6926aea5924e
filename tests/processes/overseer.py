"""The other side of labour.py: a database that processes work on, the processes, and what must hold afterwards."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import labour
import msgspec
from labour import Meet, Scribe, Shift, Trouble, pass_by

from mina_pipeline import Pipeline, Segment, Settings
from mina_pipeline.ports import Clock
from mina_pipeline.projections import Row

SHORT: dict[str, Any] = {"lease": 0.15, "renew": 0.05, "poll": 0.02}
"""For those who are alone, while they are: a lease that anything may outlast, and that nobody else is there to take."""
SAID = [
    Segment("so the first thing is the budget", 0, 900, "A", 0.9),
    Segment("I will send it by friday", 900, 2000, "B"),
]
CALLS = ("first", "second", "analytics", "tasks", "summary")


@dataclass
class Place:
    """Tables of our own in a database, and the file that the provider writes its calls to."""

    url: str
    folder: Path
    prefix: str

    @property
    def errors(self) -> Path:
        """What a process writes to stderr: warnings and errors."""
        return self.folder / "errors"

    @property
    def calls(self) -> str:
        return str(self.folder / f"{self.prefix}calls")

    def settings(self, **more: Any) -> dict[str, Any]:
        return {"table_prefix": self.prefix, **SHORT, **more}

    def shift(self, *troubles: Trouble, **more: Any) -> Shift:
        """What a process is to do here; what is no field of a shift is a setting."""
        given = {name: more.pop(name) for name in Shift.__struct_fields__ if name in more}
        return Shift(url=self.url, calls=self.calls, settings=self.settings(**more), troubles=troubles, **given)

    def open(self, clock: Clock | None = None, meet: Meet = pass_by, takes: float = 0, **more: Any) -> Pipeline:
        settings = Settings(**self.settings(**more))
        return Pipeline.open(self.url, provider=Scribe(self.calls, meet, takes), settings=settings, clock=clock)

    def called(self) -> dict[str, Counter[tuple[str, int]]]:
        """By session how often each (call, run) was made, by whatever process."""
        found: dict[str, Counter[tuple[str, int]]] = {}
        for line in Path(self.calls).read_text().splitlines() if os.path.exists(self.calls) else ():
            session_id, name, run, _ = line.split()
            found.setdefault(session_id, Counter())[name, int(run)] += 1
        return found

    def away(self, call: str, away: bool = True) -> None:
        """Let the provider not answer this call, or again."""
        path = Path(f"{self.calls}.{call}")
        path.touch() if away else path.unlink()


# --- processes


@dataclass
class Process:
    """A process that works shifts. A context manager: it is killed at the end, unless it has ended by then."""

    arguments: tuple[str, ...] = ()
    errors: Path | None = None
    lines: queue.Queue[str] = field(default_factory=queue.Queue)

    def __enter__(self) -> Process:
        self.stderr = open(self.errors, "a") if self.errors else None
        self.popen = subprocess.Popen(
            [sys.executable, labour.__file__, *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
        )
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        return self

    def read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.put(line.rstrip("\n"))

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.wait()
        self.reader.join()
        for stream in (self.popen.stdin, self.popen.stdout, self.stderr):
            if stream is not None:
                stream.close()

    def tell(self, line: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{line}\n")
        self.popen.stdin.flush()

    def hear(self, wanted: str, within: float = 30) -> str:
        """The next line that begins so; AssertionError where there is none in time, with what came instead."""
        end, heard = time.monotonic() + within, list[str]()
        while True:
            try:
                heard.append(self.lines.get(timeout=max(end - time.monotonic(), 0)))
            except queue.Empty:
                raise AssertionError(f"no {wanted!r} in {within} s, but {heard}") from None
            if heard[-1].startswith(wanted):
                return heard[-1]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.popen.pid, number)

    def wait_until_stopped(self) -> None:
        os.waitid(os.P_PID, self.popen.pid, os.WSTOPPED)

    def end(self, within: float = 30) -> int:
        """Tell it that there is nothing more to do; its exit status."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        return self.popen.wait(within)


def worker(shift: Shift, errors: Path | None = None) -> Process:
    """A process of its own for this shift."""
    return Process((msgspec.json.encode(shift).decode(),), errors)


def work_forked(template: Process, shift: Shift) -> int:
    """Have the shift worked in a fork of the template; how that ended: below 0 by a signal."""
    template.tell(msgspec.json.encode(shift).decode())
    return int(template.hear("ended ").split()[1])


# --- sessions


def begin(pipeline: Pipeline, session_ids: Iterable[str]) -> None:
    """Sessions with something said in them, finalized."""
    for session_id in session_ids:
        pipeline.start_session("Weekly", session_id)
        pipeline.record(session_id, SAID)
        pipeline.finalize(session_id)


def until(holds: Callable[[], bool], within: float = 30) -> float:
    """Wait until something holds, and how long (s) that took; AssertionError where it does not in time."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, "it did not come to hold in time"
        time.sleep(0.005)
    return time.monotonic() - began


def revealed(pipeline: Pipeline, session_id: str) -> bool:
    return pipeline.get(session_id).state == "revealed"


def work_until(pipeline: Pipeline, *session_ids: str, within: float = 30) -> float:
    """Work here until these are revealed, and how long (s) that took."""

    def done() -> bool:
        pipeline.run_until_idle()
        return all(revealed(pipeline, session_id) for session_id in session_ids)

    return until(done, within)


def stage_rows(pipeline: Pipeline, *session_ids: str) -> list[Row]:
    """What there is to do for the stages of these sessions."""
    rows = pipeline.store.work_rows(pipeline.clock.now())
    return [row for row in rows if row["kind"] == "stage" and row["session_id"] in session_ids]


def actors(pipeline: Pipeline, session_id: str, *endings: str) -> dict[str, str]:
    """Who recorded the events whose types end so."""
    return {e.type: e.actor or "" for e in pipeline.events(session_id) if e.type.endswith(endings)}


def pid_of(actor: str) -> int:
    """The process that a worker is of."""
    return int(actor.split(":")[1])


def once(lost: str | None = None) -> Counter[tuple[str, int]]:
    """Each call of the first runs once, and one again, whose answer was lost."""
    return Counter((name, 1) for name in (*CALLS, *([lost] if lost else ())))


OUTCOMES = ("_ready", "_failed")


def check(pipeline: Pipeline, session_id: str, **outcomes: str) -> None:
    """Revealed, nothing that verify finds, versions without gap, one `_started` and one outcome each (stage, run).

    outcomes: what each stage's kept one is, where not ok.
    """
    session, events = pipeline.get(session_id), pipeline.events(session_id)
    assert session.state == "revealed"
    assert [event.version for event in events] == list(range(1, session.version + 1))
    begun = Counter(run_of(event.data) for event in events if event.type.endswith("_started") and "run" in event.data)
    ended = Counter(run_of(event.data) for event in events if event.type.endswith(OUTCOMES))
    assert begun == ended
    assert set(begun.values()) == {1}
    assert sum(event.type == "post_transcription_reveal" for event in events) == 1
    wanted = dict.fromkeys(session.stages, "ok") | outcomes
    assert {name: stage.outcome for name, stage in session.stages.items()} == wanted
    assert pipeline.verify(session_id) == []


def run_of(data: dict[str, Any]) -> tuple[str, int]:
    return data["stage"], data["run"]
