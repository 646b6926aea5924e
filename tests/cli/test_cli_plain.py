"""What steers a terminal stays out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from mina_pipeline import Pipeline, Segment
from mina_pipeline.cli.app import mina
from mina_pipeline.llm.openai_http import named

TURNED = "red \u202eabc\u202c \u2066x\u2069 text"


def test_no_text_turns_a_terminals_line_around(tmp_path: Path) -> None:
    """Titles, speakers and tasks, as they are listed and shown."""
    url = f"sqlite:///{tmp_path}/plain.db"
    with Pipeline.open(url) as p:
        session_id = p.start_session(TURNED).session_id
        said = f"bob will you send the {TURNED} report to the board by friday"
        p.record(session_id, [Segment(said, 0, 4000, TURNED), Segment("yes i will send it", 4000, 8000, "Bob")])
        p.finalize(session_id)
        p.run_until_idle()
    for command in (["sessions", "list"], ["sessions", "show", session_id]):
        found = CliRunner().invoke(mina, [*command, "--db", url])
        assert found.exit_code == 0
        assert "text" in found.output
        assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\x9b").intersection(found.output)


def test_only_a_models_name_is_taken_for_one() -> None:
    """What a server says that answered is kept for ever, and is a label of metrics."""
    names = ["gpt-5.4-mini", "meta/llama-3:70b", "a" * 100, "as said: the budget", "x" * 101, "", "\x1b[31m", None, 7]
    assert [named(one) for one in names] == [*names[:3], *[None] * 6]


def test_what_is_not_looked_at_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option beside --app, whose pipeline is open already, on stderr; not what the environment has."""
    module = f"host_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(
        "from mina_pipeline import Pipeline\npipeline = Pipeline.open('memory://')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    command = ["sessions", "list", "--app", f"{module}:pipeline", "--json"]
    said = CliRunner().invoke(mina, [*command, "--db", "sqlite:///other.db"])
    assert (said.exit_code, said.stdout) == (0, "")
    assert "--db is not looked at" in said.stderr
    quiet = CliRunner().invoke(mina, command, env={"MINA_DATABASE_URL": "sqlite:///other.db"})
    assert (quiet.exit_code, quiet.stderr) == (0, "")
