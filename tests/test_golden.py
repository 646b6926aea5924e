"""Golden logs: what earlier releases wrote is read, and folds to what it was recorded to fold to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from golden import fold, make

from mina_pipeline.codec import decode, recorded
from mina_pipeline.events import SESSION_EVENTS, STAGE_EVENTS, Unread
from mina_pipeline.recovery import chain_problems

NAMES = fold.names()


def expected(name: str) -> fold.Row:
    found: fold.Row = msgspec.json.decode((fold.HERE / f"{name}.json").read_bytes())
    return found


def test_every_case_has_its_log() -> None:
    """Each case of the generator is recorded, and each log has its expectation beside it."""
    assert {case.__name__ for case in make.CASES} <= set(NAMES)
    assert [path.stem for path in sorted(fold.HERE.glob("*.json"))] == NAMES


def test_every_event_class_is_in_a_golden_log() -> None:
    """No event class is without a recorded example, nor is an event that readers skip."""
    found = {type(decode(recorded(row))) for name in NAMES for row in fold.log(name)}
    assert found == {*SESSION_EVENTS, *STAGE_EVENTS, Unread}


@pytest.mark.parametrize("name", NAMES)
def test_the_chain_closes(name: str) -> None:
    """Versions have no gap, every hash follows from the one before, content is as recorded or erased."""
    assert list(chain_problems(fold.log(name), None)) == []


@pytest.mark.parametrize("name", NAMES)
def test_it_folds_to_the_recorded_state_at_every_version(name: str) -> None:
    """After each event the state is the one that was recorded, field by field."""
    found, wanted = fold.fold(fold.log(name)), expected(name)
    for version, (state, then) in enumerate(zip(found["states"], wanted["states"], strict=True), 1):
        assert fold.recorded_fields(wanted["last"], state) == then, f"version {version}"
    assert fold.recorded_fields(wanted["last"], found["last"]) == wanted["last"]


@pytest.mark.parametrize("name", NAMES)
def test_it_makes_the_recorded_read_models(name: str) -> None:
    """The projections make the rows that were recorded; columns and tables may have come since."""
    found, wanted = fold.fold(fold.log(name)), expected(name)
    assert fold.recorded_columns([wanted["session"]], [found["session"]]) == [wanted["session"]]
    for table, rows in wanted["rows"].items():
        assert fold.recorded_columns(rows, found["rows"][table]) == rows, table


def test_folds_do_not_depend_on_the_hash_seed() -> None:
    """Processes with other hash seeds fold all golden logs to the very same bytes."""
    digests = {
        subprocess.run(
            [sys.executable, "-m", "golden.fold"],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2", "random")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


def test_the_generator_makes_the_same_twice(tmp_path: Path) -> None:
    """Clock and ids count and the provider is offline, so that two makings are equal, byte for byte."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        assert make.main(folder) == [case.__name__ for case in make.CASES]
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_the_generator_never_overwrites(tmp_path: Path) -> None:
    """What is there stays as it is; only cases with no file are made."""
    there = tmp_path / "standard.json"
    there.write_text("mine")
    assert make.main(tmp_path) == [case.__name__ for case in make.CASES if case.__name__ != "standard"]
    assert there.read_text() == "mine"
    assert not (tmp_path / "standard.jsonl").exists()
    assert make.main(tmp_path) == []
