"""Histories drawn from seeds keep the seven promises, and are the same again: on every store and hash seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner
from known import KNOWN
from soak import dice, share

from mina_pipeline.errors import InvalidInput
from mina_pipeline.testing.simulation import FAULTS, simulate
from mina_pipeline.testing.simulation.__main__ import main
from mina_pipeline.testing.simulation.plan import Plan

TALE = "from mina_pipeline.testing.simulation import simulate; print(simulate({seed}, without={without}).text)"


def beginning() -> int:
    """The same seeds in every test run, others in each soak."""
    return 0 if os.environ.get("MINA_SOAK") != "1" else dice().randrange(10**9)


@pytest.mark.soak
def test_histories_keep_the_promises() -> None:
    """Whatever crashes, pauses, is lost, comes late or twice: all seven hold."""
    first = beginning()
    for seed in range(first, first + share(150, 12_000)):
        history = simulate(seed, without=KNOWN)
        assert not history.broken, history.text


@pytest.mark.soak
@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - set(KNOWN)))
def test_any_fault_can_be_left_out(fault: str) -> None:
    """A history without it keeps the promises as well: none of them rests on a fault."""
    first = beginning()
    for seed in range(first, first + share(4, 200)):
        history = simulate(seed, without=[fault, *KNOWN])
        assert not history.broken, history.text


@pytest.mark.soak
def test_sqlite_tells_the_same_histories(tmp_path: Path) -> None:
    """A seed's trace on SQLite is the one in memory, line by line."""
    first = beginning()
    for seed in range(first, first + share(20, 1_000)):
        told = simulate(seed, without=KNOWN, url=f"sqlite:///{tmp_path}/history.db")
        assert not told.broken, told.text
        assert told.trace == simulate(seed, without=KNOWN).trace, told.replay
    assert list(tmp_path.iterdir()) == []


@pytest.mark.soak
def test_postgresql_tells_the_same_histories(postgres_url: str) -> None:
    """A seed's trace on PostgreSQL is the one in memory with a clock of the store's own."""
    first = beginning()
    for seed in range(first, first + share(4, 100)):
        told = simulate(seed, without=KNOWN, url=postgres_url)
        assert not told.broken, told.text
        if Plan(seed, frozenset(KNOWN)).own_time:
            assert told.trace == simulate(seed, without=KNOWN).trace, told.replay


def test_a_seed_is_one_history() -> None:
    """Lived through again it is the same: in this process, and in others with other hash seeds."""
    for seed in range(8):
        first, again = simulate(seed, without=KNOWN), simulate(seed, without=KNOWN)
        assert first.text == again.text
        assert first.trace != simulate(seed + 100, without=KNOWN).trace
    there = {told_elsewhere(7, hash_seed) for hash_seed in ("0", "1", "random")}
    assert there == {sha256(f"{first.text}\n".encode()).hexdigest()}


def told_elsewhere(seed: int, hash_seed: str) -> str:
    code, env = TALE.format(seed=seed, without=KNOWN), {**os.environ, "PYTHONHASHSEED": hash_seed}
    return sha256(subprocess.check_output([sys.executable, "-c", code], env=env)).hexdigest()


def test_a_history_is_a_guest() -> None:
    """It leaves the process' randomness, threads and settings as they were."""
    before, threads = random.getstate(), threading.active_count()
    simulate(1, without=KNOWN)
    assert (random.getstate(), threading.active_count()) == (before, threads)


def test_histories_are_eventful() -> None:
    """The faults do happen: claims are taken over, and providers asked by workers that were overtaken."""
    histories = [simulate(seed, without=KNOWN) for seed in range(60)]
    assert sum(history.counts["takeovers"] for history in histories) > 20
    assert sum(history.events for history in histories) > 60 * 20
    said = {what.partition(" ")[0] for history in histories for _, _, what in history.trace}
    assert {"slow", "ghost", "freeze", "crash", "down", "stop", "append", "warning:"} <= said


def test_an_unknown_fault_is_refused() -> None:
    """A name that is no fault's is not passed over."""
    with pytest.raises(InvalidInput, match="typo"):
        simulate(1, without=["typo"])


def test_the_command_line_counts_and_replays() -> None:
    """Many histories end with how many a minute there were; one seed is told line by line, the same each time."""
    without = ",".join(KNOWN)
    many = CliRunner().invoke(main, ["--histories", "3", "--without", without])
    assert many.exit_code == 0
    assert "3 histories, 0 broken" in many.output
    assert "histories a minute" in many.output
    one = CliRunner().invoke(main, ["--seed", "3", "--without", without])
    assert one.output == f"{simulate(3, without=KNOWN).text}\n"


def test_a_broken_promise_is_told_with_its_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A failing history says which promise, keeps its trace, and the command that lives through it again."""
    monkeypatch.setattr("mina_pipeline.store.memory_work.due", lambda row: int(row["due_at"]))
    done = CliRunner().invoke(main, ["--histories", "1", "--traces", str(tmp_path)])
    assert done.exit_code == 1
    assert done.output.startswith("seed 0: ")
    assert "promise 4: " in done.output
    trace = (tmp_path / "0.txt").read_text()
    assert "BROKEN promise 4" in trace
    assert trace.endswith("python -m mina_pipeline.testing.simulation --seed 0")
