"""A database for the command line and for processes of its own, SQLite and PostgreSQL in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result

from mina_pipeline import Pipeline
from mina_pipeline.cli.app import mina

PREFIXES = count(1)


class Place(NamedTuple):
    """A database, and the environment of processes that use it."""

    url: str
    env: dict[str, str]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A database of the test's own."""
    env = {"MINA_TABLE_PREFIX": f"c{os.getpid()}_{next(PREFIXES)}_", "MINA_POLL": "0.05"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/cli.db" if sqlite else str(request.getfixturevalue("postgres_url"))
    return Place(url, {**os.environ, **env})


@pytest.fixture
def p(place: Place) -> Iterator[Pipeline]:
    """A pipeline over it, as a web process has one."""
    with Pipeline.open(place.url) as opened:
        yield opened


@pytest.fixture
def run(place: Place) -> Callable[..., Result]:
    """Run a verb on it, in this process."""
    return lambda *args: CliRunner().invoke(mina, [*args, "--db", place.url])
