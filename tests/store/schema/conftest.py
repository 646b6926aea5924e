"""Engines and tables for the tests of the schema, and a release with one revision more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from tablesight import (
    NUMBERS,
    connect_to,
)

from mina_pipeline.store import schema as store_schema
from mina_pipeline.store.migrations import runner
from mina_pipeline.store.tables import Schema, build_schema

LATER = """
import sqlalchemy as sa
revision, down_revision = "0005", "0004"
def upgrade(op, prefix, namespace):
    op.create_table(prefix + "notes", sa.Column("note", sa.Text, primary_key=True), schema=namespace)
    op.add_column(prefix + "work", sa.Column("note", sa.Text), schema=namespace)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = connect_to(url)
    yield engine
    engine.dispose()


@pytest.fixture
def schema() -> Schema:
    return build_schema(f"m{os.getpid()}_{next(NUMBERS)}_")


@pytest.fixture
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release with one revision more."""
    folder = tmp_path / "versions"
    folder.mkdir()
    (folder / "0005_notes.py").write_text(LATER)
    home = Path(runner.__file__).parent
    monkeypatch.setattr(
        runner, "scripts", lambda: ScriptDirectory(str(home), version_locations=[str(home / "versions"), str(folder)])
    )
    monkeypatch.setattr(store_schema, "HEAD", "0005")
    monkeypatch.setitem(store_schema.TABLES, "0005", frozenset({"notes"}))
