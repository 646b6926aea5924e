"""`mina db upgrade`: the tables made or brought up to date from the command line, or the SQL for it."""

from __future__ import annotations

import json
import os
import sqlite3
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mina_pipeline import Pipeline, SchemaOutdated, Settings
from mina_pipeline.cli.app import mina
from mina_pipeline.store.schema import HEAD

NUMBERS = count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(autouse=True)
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    prefix = f"u{os.getpid()}_{next(NUMBERS)}_"
    monkeypatch.setenv("MINA_TABLE_PREFIX", prefix)
    return prefix


def run(*words: str) -> Result:
    return CliRunner().invoke(mina, ["db", "upgrade", *words])


def test_upgrade_makes_the_tables_once(url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under MINA_AUTO_MIGRATE=0 an open refuses until `mina db upgrade` has run; a second run has nothing to do."""
    monkeypatch.setenv("MINA_AUTO_MIGRATE", "0")
    with pytest.raises(SchemaOutdated, match="mina db upgrade"):
        Pipeline.open(url, settings=Settings.from_env())
    first, second = run("--db", url, "--json"), run("--db", url, "--json")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert json.loads(first.stdout) == {"from": None, "to": HEAD}
    assert json.loads(second.stdout) == {"from": HEAD, "to": HEAD}
    with Pipeline.open(url, settings=Settings.from_env()) as pipeline:
        assert pipeline.sessions() == []


def test_upgrade_says_what_it_did(url: str) -> None:
    """Without --json a sentence names the database and the versions, without the password."""
    first, second = run("--db", url), run("--db", url)
    assert f"from version none to {HEAD}" in first.stdout
    assert f"at version {HEAD} already" in second.stdout


def test_sql_changes_nothing(tmp_path: Path) -> None:
    """--sql prints what an operator can run by hand, and makes neither tables nor the file."""
    url = f"sqlite:///{tmp_path}/test.db"
    text = run("--db", url, "--sql").stdout
    assert json.loads(run("--db", url, "--sql", "--json").stdout) == {"sql": text}
    assert list(tmp_path.iterdir()) == []
    file = sqlite3.connect(tmp_path / "test.db")
    file.executescript(text)
    file.close()
    assert json.loads(run("--db", url, "--json").stdout) == {"from": HEAD, "to": HEAD}
    assert run("--db", url, "--sql").stdout == ""


def test_sql_for_a_database_that_does_not_answer() -> None:
    """--sql prints the SQL for an empty database where none answers, says so on stderr, and shows no password."""
    found = run("--db", "postgresql://u:secret@127.0.0.1:1/nothing", "--sql")
    assert found.exit_code == 0 and "CREATE SEQUENCE" in found.stdout
    assert "empty database" in found.stderr and "secret" not in found.output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--db", "postgresql://u:secret@127.0.0.1:1/nothing"], 3),
        (["--db", "memory://"], 2),
        (["--app", "somewhere:pipeline"], 2),
    ],
)
def test_upgrade_refuses(words: list[str], code: int) -> None:
    """An unreachable store leaves with 3, a database that has no tables or is not named with 2."""
    found = run(*words)
    assert (found.exit_code, found.stdout) == (code, "")
    assert found.stderr.startswith("mina: ") and "secret" not in found.stderr


def test_foreign_tables_are_refused(tmp_path: Path, prefix: str) -> None:
    """Tables of our names that are not ours leave with 3, by upgrade and by --sql."""
    file = sqlite3.connect(tmp_path / "test.db")
    file.execute(f"CREATE TABLE {prefix}events (mine TEXT)")
    file.close()
    for words in ([], ["--sql"]):
        found = run("--db", f"sqlite:///{tmp_path}/test.db", *words)
        assert found.exit_code == 3 and f"{prefix}events" in found.stderr
