"""On a running loop's thread: short calls warn once in a process, long ones are refused, both name p.aio."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
from spoken import SAID, finished

from mina_pipeline import BlockingCall, MinaError, Pipeline, Segment, Settings, blocking
from mina_pipeline.store.memory import MemoryStore

TOLD: dict[str, Callable[[Pipeline], Any]] = {
    "start_session": lambda p: p.start_session(),
    "record": lambda p: p.record("s", [Segment("x", 0, 1)]),
    "finalize": lambda p: p.finalize("s"),
    "cancel": lambda p: p.cancel("s"),
    "retry": lambda p: p.retry("s", "tasks"),
    "change_task": lambda p: p.change_task("s", "t", {"completed": True}),
    "touch": lambda p: p.touch("s"),
    "get": lambda p: p.get("s"),
    "result": lambda p: p.result("s"),
    "sessions": lambda p: p.sessions(),
    "events": lambda p: p.events("s"),
    "feed": lambda p: p.feed(),
    "feed_stall": lambda p: p.feed_stall(),
    "subscribe": lambda p: p.subscribe(print),
    "watch": lambda p: p.watch("s"),
    "watch_dashboard": lambda p: p.watch_dashboard(None),
    "replay": lambda p: p.replay("s"),
    "upcoming": lambda p: p.upcoming("s"),
    "verify": lambda p: p.verify("s"),
    "unlisted": lambda p: p.unlisted(),
    "rebuild": lambda p: p.rebuild("s"),
    "recover": lambda p: p.recover(),
    "health": lambda p: p.health(),
    "diff": lambda p: p.diff("s", "s"),
    "workers": lambda p: p.workers(),
}
REFUSED: dict[str, Callable[[Pipeline], Any]] = {
    "run_until_idle": lambda p: p.run_until_idle(),
    "work": lambda p: p.work(),
    "fork": lambda p: p.fork("s", "tasks", wait=False),
    "run_fork": lambda p: p.run_fork("s"),
    "replay_with": lambda p: p.replay_with("offline"),
}
SILENT = {"aio", "close", "known", "observe", "open", "refuse_inside", "using", "worker"}


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that was not warned yet."""
    monkeypatch.setattr(blocking, "told", False)


@pytest.fixture
def p() -> Iterator[Pipeline]:
    with Pipeline.open("memory://") as pipeline:
        yield pipeline


def on_a_loop(call: Callable[[], Any]) -> Any:
    async def main() -> Any:
        return call()

    return asyncio.run(main())


def test_every_public_name_is_looked_at() -> None:
    """A new method of the pipeline's warns, is refused, or is among those that neither need."""
    public = {name for name in dir(Pipeline) if not name.startswith("_")}
    assert public == {*TOLD, *REFUSED, *SILENT}


@pytest.mark.parametrize("name", TOLD)
def test_a_call_that_waits_is_told_of(p: Pipeline, name: str) -> None:
    """By the name to await instead, and by the line that called."""
    told = pytest.warns(BlockingCall, match=rf"`await p\.aio\.{name}\(")
    with told as found, pytest.raises(MinaError):  # whatever it comes to: there is no session
        on_a_loop(lambda: (TOLD[name](p), p.get("nobody's")))
    assert len(found) == 1
    assert found[0].filename == __file__


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_waits_for_long_is_refused(p: Pipeline, name: str) -> None:
    """Each time, and nothing is done."""
    instead = "workers" if name == "work" else name
    for _ in range(2):
        with pytest.raises(MinaError, match=rf"p\.aio\.{instead}\("):
            on_a_loop(lambda: REFUSED[name](p))


def test_once_in_a_process(p: Pipeline) -> None:
    """Whatever is called after that, from wherever; but where warnings are errors, each call is one."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        on_a_loop(lambda: [p.sessions(), p.feed(), p.sessions()])
        on_a_loop(p.sessions)
    assert [one.category for one in found] == [BlockingCall]
    blocking.told = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", BlockingCall)
        for call in (p.sessions, p.feed):
            with pytest.raises(BlockingCall):
                on_a_loop(call)


def test_elsewhere_nothing_is_said(p: Pipeline) -> None:
    """Without a loop, in threads beside one, in p.aio's, in the stages and subscribers of a pipeline on one."""

    async def main() -> None:
        heard: list[int] = []
        subscription = await p.aio.subscribe(lambda event: heard.append(len(p.events(event.session_id))))
        thread = threading.Thread(target=finished, args=(p,))
        thread.start()
        await asyncio.to_thread(thread.join)
        session_id = (await p.aio.start_session()).session_id
        async with p.aio.workers(1):
            await p.aio.record(session_id, SAID)
            await p.aio.finalize(session_id)
            while (await p.aio.get(session_id)).state != "revealed":
                await asyncio.sleep(0.005)
        await p.aio.run_until_idle()
        await p.aio.recover(run=True)
        assert heard
        subscription.close()

    finished(p)
    asyncio.run(main())
    finished(p)  # the loop has ended
    assert not blocking.told


def test_a_hosts_transaction_is_the_hosts_to_wait_for(p: Pipeline) -> None:
    """On its own connection nothing is said: SQLAlchemy's run_sync waits there without holding up the loop."""

    def start() -> None:
        assert isinstance(p.store, MemoryStore)
        with p.store.begin() as transaction:
            p.using(transaction).start_session(session_id="s")

    on_a_loop(start)
    assert p.get("s").version == 1


def test_sqlalchemys_asyncio_works_with_a_hosts_transaction(postgres_url: str) -> None:
    """AsyncConnection.run_sync hands over a connection that p.using takes, on the loop's thread, silently."""
    from sqlalchemy.ext.asyncio import create_async_engine

    async def main() -> None:
        engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
        async with engine.begin() as connection:
            await connection.run_sync(lambda c: ours.using(c).start_session(session_id="s"))
        await engine.dispose()
        assert (await ours.aio.get("s")).version == 1

    with Pipeline.open(postgres_url, settings=Settings(table_prefix=f"aio{os.getpid()}_")) as ours:
        asyncio.run(main())


@pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")
def test_under_gevent_greenlets_beside_a_loop_are_let_alone() -> None:
    """Where threads are greenlets, a loop that runs in one of them is not held up by what the others wait for."""
    code = """
from gevent import monkey; monkey.patch_all()
import asyncio, gevent
from mina_pipeline import Pipeline
p = Pipeline.open("memory://")
def beside():
    session_id = p.start_session().session_id
    p.finalize(session_id)
    return p.run_until_idle()
async def main():
    greenlet = gevent.spawn(beside)
    while not greenlet.ready():
        await asyncio.sleep(0.005)
    return greenlet.get()
print(asyncio.run(main()))
p.close()
"""
    command = [sys.executable, "-W", "error::mina_pipeline.BlockingCall", "-c", code]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("4", 0), done.stderr


def test_an_import_under_way_is_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """While another thread imports asyncio, or a fork has cut that short, calls go on."""
    monkeypatch.setitem(sys.modules, "asyncio", ModuleType("asyncio"))
    with Pipeline.open("memory://") as p:
        assert p.get(p.start_session("t").session_id).title == "t"
