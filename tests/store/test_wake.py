"""Who waits for commits is woken: in this process at once, in another by NOTIFY. Here the poll is 30 s."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from running import case_from_argv, run_case, until

from mina_pipeline import Pipeline, RecordedEvent, Segment, Settings
from mina_pipeline.crew import WorkerThreads
from mina_pipeline.store import notify
from mina_pipeline.store.sqlite import immediate

PREFIXES = count(1)
POLL = 30.0
SOON = 25.0  # s, less than a poll: a hint came. Open transactions of other tests hold the feed back meanwhile
LISTENERS = "FROM pg_stat_activity WHERE query ~ ('^LISTEN .*' || %s)"

Open = Callable[..., Pipeline]


@pytest.fixture
def prefix() -> str:
    """Fresh tables."""
    return f"wake{os.getpid()}_{next(PREFIXES)}_"


@pytest.fixture
def openings() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def waiting(url: str, prefix: str, openings: ExitStack) -> Pipeline:
    """A pipeline that by itself would look only every 30 s."""
    return openings.enter_context(patient(url, prefix))


@pytest.fixture
def listening(postgres_url: str, prefix: str, openings: ExitStack) -> Pipeline:
    """The same on PostgreSQL."""
    return openings.enter_context(patient(postgres_url, prefix))


@pytest.fixture
def raw(postgres_url: str) -> Iterator[Any]:
    """A plain connection to the same database."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def patient(url: str, prefix: str, **settings: Any) -> Pipeline:
    return Pipeline.open(url, settings=Settings(**{"table_prefix": prefix, "poll": POLL, **settings}))


def names(heard: list[RecordedEvent]) -> list[tuple[str, int]]:
    return [(event.session_id, event.version) for event in heard]


# --- the same process


def test_a_commit_wakes_at_once(waiting: Pipeline) -> None:
    """A subscription hears of this process's commits without waiting for the poll."""
    heard: list[RecordedEvent] = []
    with waiting.subscribe(heard.append):
        time.sleep(0.3)  # the relay has looked, and sleeps
        waiting.start_session(session_id="s")
        until(lambda: names(heard) == [("s", 1)], SOON)
        time.sleep(0.3)
        waiting.finalize("s")
        until(lambda: names(heard) == [("s", 1), ("s", 2)], SOON)


def test_workers_wake_at_once(waiting: Pipeline) -> None:
    """Idle workers take up a session when it is finalized."""
    with waiting.workers(2):
        time.sleep(0.3)
        session_id = waiting.start_session().session_id
        waiting.finalize(session_id)
        until(lambda: waiting.get(session_id).state == "revealed", SOON)


def test_no_wake_of_a_worker_is_lost(waiting: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that comes while a worker looks, and finds nothing, makes it look again; closing waits for no poll."""
    next_due, looks = waiting.store.next_due, count(1)
    looked, looking = threading.Event(), threading.Event()
    session_id = waiting.start_session().session_id

    def slowly(*args: Any, **given: Any) -> int | None:
        found = next_due(*args, **given)
        if next(looks) == 4:  # it has slept for a whole poll before
            looking.set()
            looked.wait(SOON)
        return found

    monkeypatch.setattr(waiting.store, "next_due", slowly)
    threads = WorkerThreads(waiting.worker, 1, replace(waiting.settings, poll=0.05), "waiting")
    waiting.threads.append(threads)
    with threads.start():
        assert looking.wait(SOON)
        threads.settings = waiting.settings
        waiting.finalize(session_id)
        looked.set()
        until(lambda: waiting.get(session_id).state == "revealed", SOON)
        began = time.monotonic()
    assert time.monotonic() - began < SOON


def host_transaction(waiting: Pipeline, url: str, stack: ExitStack) -> Callable[[], AbstractContextManager[Any]]:
    """How a host begins a transaction; its COMMIT comes late after SQLAlchemy told of it."""
    if url == "memory://":
        store: Any = waiting.store
        return store.begin  # type: ignore[no-any-return]
    made = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    engine = immediate(made) if url.startswith("sqlite") else made
    stack.callback(engine.dispose)

    def late(connection: sa.Connection) -> None:
        time.sleep(0.1)

    def begin() -> AbstractContextManager[Any]:
        connection = stack.enter_context(engine.connect())
        transaction = connection.begin()

        class Transaction:
            def __enter__(self) -> sa.Connection:
                return connection

            def __exit__(self, kind: object, *_: object) -> None:
                if kind is None:
                    sa.event.listen(connection, "commit", late)  # after ours, which using() listened with
                    transaction.commit()
                else:
                    transaction.rollback()

        return Transaction()

    return begin


def test_a_hosts_commit_wakes(waiting: Pipeline, url: str, openings: ExitStack) -> None:
    """The host's commit wakes, although the wake comes before it; its rollback delivers nothing."""
    begin = host_transaction(waiting, url, openings)
    heard: list[RecordedEvent] = []
    with waiting.subscribe(heard.append):
        time.sleep(0.3)
        with begin() as connection:
            waiting.using(connection).start_session(session_id="kept")
            time.sleep(0.3)
            assert heard == []
        until(lambda: names(heard) == [("kept", 1)], SOON)
        with pytest.raises(RuntimeError), begin() as connection:
            waiting.using(connection).start_session(session_id="gone")
            raise RuntimeError("the host thinks again")
        waiting.finalize("kept")
        until(lambda: len(heard) == 2, SOON)
        waiting.relay.drain()
        assert names(heard) == [("kept", 1), ("kept", 2)]


# --- another process


def commit(url: str, prefix: str, *session_ids: str) -> None:
    with Pipeline.open(url, settings=Settings(table_prefix=prefix)) as p:
        for session_id in session_ids:
            p.start_session(session_id=session_id)


def commit_many(url: str, prefix: str, number: str) -> None:
    """Sessions with long names, all in one transaction, so that they are told of together."""
    with Pipeline.open(url, settings=Settings(table_prefix=prefix)) as p:
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            inside = p.using(connection)
            for n in range(int(number)):
                inside.start_session(session_id=f"{n}-{'long' * 20}")
        time.sleep(0.5)
        engine.dispose()


def work(url: str, prefix: str) -> None:
    """A worker process that ends when stdin does."""
    with patient(url, prefix) as p, p.workers(1):
        until(lambda: bool(listeners(p, prefix)))
        print("ready", flush=True)
        sys.stdin.read()


def elsewhere(postgres_url: str, prefix: str, *session_ids: str) -> None:
    run_case(__file__, "commit", postgres_url, prefix, *session_ids)


def listeners(p: Pipeline, prefix: str) -> list[int]:
    """The backends on which somebody listens for these tables."""
    store: Any = p.store
    return [pid for (pid,) in store.rows_of(f"SELECT pid {LISTENERS}", (prefix,))]


def test_another_processs_commit_wakes(listening: Pipeline, postgres_url: str, prefix: str) -> None:
    """On PostgreSQL another process's commits are heard of by NOTIFY."""
    heard: list[RecordedEvent] = []
    with listening.subscribe(heard.append):
        until(lambda: bool(listeners(listening, prefix)))
        elsewhere(postgres_url, prefix, "one", "two")
        until(lambda: names(heard) == [("one", 1), ("two", 1)], SOON)


def test_polling_finds_everything(url: str, prefix: str, openings: ExitStack) -> None:
    """Without LISTEN, as on SQLite and behind a pooling proxy, the poll finds what another process committed."""
    if url == "memory://":
        pytest.skip("memory is one process's own")
    p = openings.enter_context(patient(url, prefix, poll=0.05, transaction_pooling=True))
    heard: list[RecordedEvent] = []
    with p.subscribe(heard.append), p.workers(1):
        run_case(__file__, "commit", url, prefix, "one", "two")
        until(lambda: names(heard) == [("one", 1), ("two", 1)], SOON)
        assert not any(thread.name == "mina-listen" for thread in threading.enumerate())
        if url.startswith("postgresql"):
            assert listeners(p, prefix) == []


def test_a_killed_listener_comes_back(listening: Pipeline, postgres_url: str, prefix: str, raw: Any) -> None:
    """When its connection is ended the listener opens another, and what was committed meanwhile is heard of."""
    heard: list[RecordedEvent] = []
    with listening.subscribe(heard.append):
        for n in range(3):
            until(lambda: bool(listeners(listening, prefix)), SOON)
            before = listeners(listening, prefix)
            with ThreadPoolExecutor(1) as other:
                done = other.submit(elsewhere, postgres_url, prefix, f"meanwhile{n}")
                while not done.done():  # nobody listens while it commits, or just about
                    raw.execute(f"SELECT pg_terminate_backend(pid) {LISTENERS}", (prefix,))
                    time.sleep(0.02)
            done.result()
            until(lambda n=n: (f"meanwhile{n}", 1) in names(heard), SOON)
            until(lambda old=before: bool(set(listeners(listening, prefix)) - set(old)), SOON)
        elsewhere(postgres_url, prefix, "after")
        until(lambda: ("after", 1) in names(heard), SOON)
    assert names(heard) == [*((f"meanwhile{n}", 1) for n in range(3)), ("after", 1)]


def test_garbage_does_no_harm(
    listening: Pipeline, postgres_url: str, prefix: str, raw: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever anybody sends on the channel, nothing is delivered for it, nothing fails, and real news is heard."""
    store: Any = listening.store
    heard: list[RecordedEvent] = []
    garbage = [
        "",
        "garbage",
        "[]",
        '{"a": 1}',
        '["x", [["s"]]]',
        '["x", [["nobody", 99999999999999999999]]]',
        '["x", [["nobody", -1]]]',
        r'["x", [["a\u0000b", 5]]]',
        r'["x", [["\ud800", 5]]]',
        "x" * 7_999,
    ]
    with listening.subscribe(heard.append):
        until(lambda: bool(listeners(listening, prefix)))
        for text in garbage:
            raw.execute("SELECT pg_notify(%s, %s)", (store.shared.channel, text))
        elsewhere(postgres_url, prefix, "real")
        until(lambda: names(heard) == [("real", 1)], SOON)
    assert capsys.readouterr().err == ""


def test_notifications_are_coalesced(
    listening: Pipeline, raw: Any, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    """A burst of 500 appends is told in a few notifications, at most one in each pause, that leave nothing out."""
    monkeypatch.setattr(notify, "PAUSE", 0.2)
    store: Any = listening.store
    raw.execute(f'LISTEN "{store.shared.channel}"')
    began = time.monotonic()
    listening.start_session(session_id="s")
    for n in range(499):
        listening.record("s", [Segment(f"Word {n}", n, n + 1)])
    elapsed = time.monotonic() - began
    told: list[notify.Payload] = []
    while not told or told[-1][1] != [("s", 500)]:
        told += [notify.read(n.payload) for n in raw.notifies(timeout=SOON, stop_after=1)]
        assert time.monotonic() - began < elapsed + SOON
    assert len(told) <= elapsed / 0.2 + 2
    versions = [version for _, reached, _ in told for _, version in reached]
    assert versions == sorted(set(versions))


def test_too_much_for_a_payload(listening: Pipeline, postgres_url: str, prefix: str) -> None:
    """More sessions than a notification can name are told of as `look for yourself`, and all are heard of."""
    sessions = {f"{n}-{'long' * 20}": 1 for n in range(300)}
    assert notify.read(notify.payload("me", sessions, True)) == ("me", [], True)
    assert len(notify.payload("me", dict(list(sessions.items())[:80]), False)) <= notify.LONGEST
    heard: list[RecordedEvent] = []
    with listening.subscribe(heard.append):
        until(lambda: bool(listeners(listening, prefix)))
        run_case(__file__, "commit_many", postgres_url, prefix, 300)
        until(lambda: {event.session_id for event in heard} == set(sessions), SOON)
    assert len(heard) == 300


def test_workers_in_another_process_wake(listening: Pipeline, postgres_url: str, prefix: str) -> None:
    """A worker process whose poll is 30 s takes up a session when it is finalized here."""
    import subprocess

    command = [sys.executable, __file__, "work", postgres_url, prefix]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "CASE_TIMEOUT": "60"}, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        session_id = listening.start_session().session_id
        listening.record(session_id, [Segment("Ada will send the report.", 0, 1_000)])
        listening.finalize(session_id)
        until(lambda: listening.get(session_id).state == "revealed", SOON)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_closing_ends_the_threads(listening: Pipeline, prefix: str) -> None:
    """close() ends the listening and the notifying thread, soon and with nothing left untold."""
    listening.subscribe(lambda event: None)
    until(lambda: bool(listeners(listening, prefix)))
    listening.start_session()
    began = time.monotonic()
    listening.close()
    assert time.monotonic() - began < 4
    assert not {thread.name for thread in threading.enumerate()} & {"mina-listen", "mina-notify", "mina-relay"}


if __name__ == "__main__":
    case_from_argv({found.__name__: found for found in (commit, commit_many, work)})
