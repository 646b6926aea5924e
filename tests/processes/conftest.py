"""Where processes work: a database of each kind, and one process that forks others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from overseer import Place, Process

PLACES = count(1)


def new_place(request: pytest.FixtureRequest, folder: Path) -> Place:
    on_sqlite = request.param == "sqlite"
    url = f"sqlite:///{folder}/work.db" if on_sqlite else str(request.getfixturevalue("postgres_url"))
    return Place(url, folder, f"p{os.getpid()}_{next(PLACES)}_")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Fresh tables on each database that outlives a process."""
    return new_place(request, tmp_path)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same, for all tests of a file; each has sessions of its own."""
    return new_place(request, tmp_path_factory.mktemp("place"))


@pytest.fixture
def postgres_place(postgres_url: str, tmp_path: Path) -> Place:
    """Fresh tables on the database that has a clock of its own."""
    return Place(postgres_url, tmp_path, f"p{os.getpid()}_{next(PLACES)}_")


@pytest.fixture(scope="session")
def template() -> Iterator[Process]:
    """The process that forks those who die."""
    with Process() as process:
        yield process
