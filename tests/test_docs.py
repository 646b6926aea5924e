"""What the documents say is what the code does: examples run, the picture is the tables', names exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from itertools import count
from pathlib import Path

import pytest

import mina_pipeline
from mina_pipeline.definition import STANDARD
from mina_pipeline.diagram import public_transitions
from mina_pipeline.stages.openai.options import Options

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MODELS = (ROOT / "docs" / "models.md").read_text()
ASYNCIO = (ROOT / "docs" / "asyncio.md").read_text()


EXAMPLES = [
    ("embed.py", "post_transcription_reveal"),
    ("host_transaction.py", "revealed"),
    ("outage.py", "degraded outage made by hand"),
    (
        "own_model.py",
        "Bob · Send the budget to the board by friday · ('i will send the budget to the board by friday',)",
    ),
    ("translation.py", "gut"),
]


def readme_picture() -> str:
    """The machine as the README draws it."""
    lines = ["stateDiagram-v2", "    [*] --> recording"]
    lines += [f"    {a} --> {b}: {kind}" for a, kind, b in public_transitions(STANDARD) if b != "cancelled"]
    return "\n".join([*lines, "    recording --> cancelled: session_cancelled, from any state before revealed"])


def test_the_readmes_picture_is_drawn_from_the_table() -> None:
    """The state diagram in the README is what the tables allow."""
    found = re.search(r"```mermaid\n(.*?)```", README, re.S)
    assert found
    assert found[1].strip() == readme_picture()


def test_the_readme_shows_the_example_that_runs() -> None:
    """The lines that embed the library are those of examples/embed.py."""
    code = (ROOT / "examples" / "embed.py").read_text().split('"""')[2].replace("  # fmt: skip", "").strip()
    assert code in README


@pytest.mark.parametrize(("name", "says"), EXAMPLES)
def test_examples_run(name: str, says: str, tmp_path: Path) -> None:
    """Each example runs by itself and prints what it is there to show."""
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(ROOT / "examples" / name)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert says in done.stdout


def test_settings_are_named_as_they_are() -> None:
    """Every MINA_ name in the documents is one that the library reads."""
    known = {f"MINA_{field.name.upper()}" for field in fields(mina_pipeline.Settings)} | {"MINA_DATABASE_URL"}
    known |= {f"MINA_OPENAI_{field.name.upper()}" for field in fields(Options)}
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        named = set(re.findall(r"MINA_[A-Z_]+[A-Z]", page.read_text()))
        assert named <= known, f"{page.name}: {named - known}"


def test_the_options_of_models_are_listed_with_their_defaults() -> None:
    """Every one, in the order of the code."""
    rows = re.findall(r"^\| `MINA_OPENAI_(\w+)` \| (\S+) \|", MODELS, re.M)
    defaults = [field.default if field.default not in (None, MISSING) else "–" for field in fields(Options)]
    assert rows == [
        (field.name.upper(), str(default)) for field, default in zip(fields(Options), defaults, strict=True)
    ]


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", MODELS, re.S), ids=count(1))
def test_the_code_about_models_runs(code: str, tmp_path: Path) -> None:
    """As it stands there."""
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)


def test_the_code_about_asyncio_runs(tmp_path: Path) -> None:
    """As it stands there, with no call that blocks the loop."""
    (code,) = re.findall(r"```python\n(.*?)```", ASYNCIO, re.S)
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    versions, names = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    assert list(map(int, versions)) == list(range(1, 14))
    assert names[-2:] == ("post_transcription_reveal", "dashboard_refresh")


BEFORE = """
from types import SimpleNamespace
def current_user(): return SimpleNamespace(id="ann", tenant="acme")
def may(principal, session, action): return True
"""
AFTER = """
import time
ask = app.test_client()
session_id = ask.post("/api/sessions", json={"title": "Weekly"}).json["session_id"]
ask.post(f"/api/sessions/{session_id}/transcript", data="Ann: bob please send the budget to the board by friday")
assert ask.post(f"/api/sessions/{session_id}/complete").json["total_segments"] == 1
while ask.get(f"/api/sessions/{session_id}").json["state"] != "revealed":
    time.sleep(0.02)
told = ask.get(f"/api/sessions/{session_id}/events").json["events"]
print(p.get(session_id).tenant, *(event["event"] for event in told))
p.close()
"""


def test_the_readmes_web_app_is_whole(tmp_path: Path) -> None:
    """The lines that embed the pipeline in Flask, with a login, take a meeting from its start to the reveal."""
    (code,) = re.findall(r"```python\n(from flask.*?)```", README, re.S)
    command = [sys.executable, "-c", BEFORE + code + AFTER]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "acme" and done.stdout.split()[-1] == "dashboard_refresh"


def test_public_names_exist_and_are_typed() -> None:
    """Everything in __all__ is there, and the package says that it is typed."""
    assert all(hasattr(mina_pipeline, name) for name in mina_pipeline.__all__)
    assert (Path(mina_pipeline.__file__).parent / "py.typed").exists()


def test_importing_stays_light() -> None:
    """Importing the library pulls in no model client, no web framework, no migration tool, no terminal library."""
    code = "import sys, mina_pipeline; print(sorted({'openai','alembic','flask','fastapi','rich','click','psycopg',"
    code += "'tenacity','pybreaker','prometheus_client','opentelemetry','structlog','transitions','hypothesis',"
    code += "'sqlalchemy','anyio','asyncio','socketio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
