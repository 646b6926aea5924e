"""The adapters that ship."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from mina_adapters.jsonlines import JsonLines

from mina_pipeline import Pipeline


def test_json_lines_carry_the_wire_view() -> None:
    """Every event is one line with its wire name and payload, in version order."""
    out = io.StringIO()
    with Pipeline.open("memory://") as pipeline:
        pipeline.subscribe(JsonLines(out).publish)
        session_id = pipeline.start_session("t").session_id
        pipeline.finalize(session_id)
        pipeline.run_until_idle()
        types = [event.type for event in pipeline.events(session_id)]
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == types
    assert [line["data"]["version"] for line in lines] == list(range(1, len(types) + 1))


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("socketio", "socketio", "socketio"), ("fastapi", "fastapi", "fastapi"), ("starlette", "starlette", "fastapi")],
)
def test_a_missing_package_names_its_extra(module: str, package: str, extra: str) -> None:
    """An adapter whose framework is not installed says what to install."""
    code = f"import sys; sys.modules[{package!r}] = None; import mina_adapters.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and f"mina-pipeline[{extra}]" in done.stderr.splitlines()[-1]
