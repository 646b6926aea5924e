"""p.aio has the pipeline's names, with their signatures and docstrings."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from mina_pipeline import MinaError, Pipeline
from mina_pipeline.aio import Aio
from mina_pipeline.store.memory import MemoryStore

NOT_AWAITABLE = {
    "aio": "it is what this is about",
    "open": "opened once, at the start, before there is a loop or anybody who waits for it",
    "using": "a host's connection is bound to the thread of its transaction",
    "worker": "stepped by hand, by simulations",
    "work": "holds a thread for as long as it works: aio.workers(n) is for that",
    "observe": "waits for nothing",
    "known": "waits for nothing",
    "refuse_inside": "waits for nothing, and is the pipeline's own",
}
ITS_OWN = {"run", "workers"}


def public(of: type) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


def test_the_names_are_the_pipelines() -> None:
    """Whatever a pipeline can do is awaitable, but for what is named above, each with its reason."""
    assert public(Aio) - ITS_OWN == public(Pipeline) - set(NOT_AWAITABLE) - {"workers"}
    assert set(NOT_AWAITABLE) <= public(Pipeline)


@pytest.mark.parametrize("name", sorted(public(Aio) - ITS_OWN))
def test_signatures_and_docstrings_are_the_pipelines(name: str) -> None:
    """What an editor shows of p.aio.x is what it shows of p.x; and awaited it is."""
    ours, theirs = getattr(Aio, name), getattr(Pipeline, name)
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert (ours.__name__, ours.__doc__) == (theirs.__name__, theirs.__doc__)
    assert inspect.iscoroutinefunction(ours)


def test_it_is_made_once_and_not_inside_a_hosts_transaction() -> None:
    """One for each pipeline; p.using(connection) has none, whether the pipeline's was used before or not."""
    with Pipeline.open("memory://") as pipeline:
        assert isinstance(pipeline.store, MemoryStore)
        for _ in range(2):
            with pipeline.store.begin() as transaction, pytest.raises(MinaError, match="host's transaction"):
                _ = pipeline.using(transaction).aio
            assert pipeline.aio is pipeline.aio


def test_who_uses_no_loop_pays_for_none() -> None:
    """The library does not import anyio, nor does working with it; asyncio is not imported to look for a loop."""
    code = (
        "import sys; from mina_pipeline import Pipeline\n"
        "with Pipeline.open('memory://') as p:\n"
        "    print(p.sessions(), 'asyncio' in sys.modules)\n"
        "    p.finalize(p.start_session().session_id)\n"
        "    p.run_until_idle()\n"
        "print('anyio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().split() == ["[]", "False", "False"]
