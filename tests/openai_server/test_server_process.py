"""A fake server in a process of its own, and what crosses to it; what importing it pulls in."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from minutes import plain
from openai import OpenAI

from mina_pipeline.testing.openai_server import (
    Answer,
    Cut,
    Drip,
    Hang,
    Longer,
    OpenAIServerProcess,
    Refusal,
    Reply,
    Request,
    Reset,
    Status,
)
from mina_pipeline.testing.openai_server.replies import KINDS, from_json, to_json


def test_a_server_in_its_own_process(tmp_path: Path) -> None:
    """Scripts, counts and requests cross the processes, and killing it is seen by a client."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"replies": [{"kind": "Answer", "content": "first"}]}]))
    answer = "test_server_process:in_the_other_process"
    with OpenAIServerProcess(script=script, answer=answer) as server:  # noqa: SIM117
        with OpenAI(base_url=server.base_url, api_key="secret", max_retries=0) as client:
            assert plain(client).choices[0].message.content == "first"
            assert plain(client).choices[0].message.content == "HELLO"
            server.script(Status(429, retry_after=timedelta(seconds=9)), Drip(Answer({"a": 1}), chunk=9, every=0))
            server.script(Reset(), model="m")
            server.always(Refusal(), contains="bomb")
            with pytest.raises(openai.RateLimitError) as raised:
                plain(client)
            assert raised.value.response.headers["retry-after"].endswith("GMT")
            assert plain(client).choices[0].message.content == '{"a": 1}'
            with pytest.raises(openai.APIConnectionError):
                plain(client)
            assert plain(client, "peace").choices[0].message.content == "PEACE"
            assert plain(client, "a bomb").choices[0].message.refusal
            counts = server.counts()
            assert (counts.requests, counts.left, counts.most_in_flight) == (7, 0, 1)
            assert counts.by_reply == {"Answer": 3, "Status 429": 1, "Drip": 1, "Reset": 1, "Refusal": 1}
            assert server.requests[-1].prompt == "a bomb"
            assert "secret" not in repr(server.exchanges)
            assert server.wait(7, idle=True)
            assert not server.wait(8, timeout=0)
            with pytest.raises(ValueError, match="no reply"):
                server.ask("POST", "/script", {"replies": [{"kind": "Nonsense"}]})
            with pytest.raises(ValueError, match="no script"):
                server.ask("POST", "/script", {"answers": []})
            server.clear()
            assert server.counts().requests == 0
            server.close()
            with pytest.raises(openai.APIConnectionError):
                plain(client)


def test_the_command_line(tmp_path: Path) -> None:
    """It prints the base URL and ends well on SIGTERM; a script that is none is a usage error that says why."""
    command = [sys.executable, "-m", "mina_pipeline.testing.openai_server"]
    with subprocess.Popen([*command, "--model", "m"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        assert httpx2.get(f"{base_url}/models").json()["data"][0]["id"] == "m"
        process.terminate()
        assert process.wait(10) == 0
    (tmp_path / "bad.json").write_text('{"replies": [{"kind": "Status", "statos": 1}]}')
    refused = subprocess.run([*command, "--script", tmp_path / "bad.json"], stderr=subprocess.PIPE, text=True)
    assert refused.returncode == 2
    assert "statos" in refused.stderr


def in_the_other_process(request: Request) -> Any:
    """The answer function of the test above."""
    return request.prompt.upper()


@pytest.mark.parametrize("reply", [kind() for kind in KINDS.values()], ids=list(KINDS))
def test_every_reply_crosses_processes(reply: Reply) -> None:
    """A reply read back from its JSON is the same."""
    assert from_json(json.loads(json.dumps(to_json(reply)))) == reply


@pytest.mark.parametrize(
    "reply",
    [
        Drip(Status(429, retry_after=timedelta(minutes=2), headers={"a": "b"}), chunk=3, every=0.5, delay=1),
        Hang(after=3, reply=Cut({"a": [1]}, at=0.1), seconds=2),
        Longer("x", times=3),
    ],
)
def test_its_fields_cross_processes(reply: Reply) -> None:
    """So it does with every field set."""
    assert from_json(json.loads(json.dumps(to_json(reply)))) == reply


def test_a_reply_within_a_reply_has_a_body() -> None:
    """What drips or breaks has a whole reply inside, and a drop has at least a byte."""
    for wrong_one in (lambda: Drip(Hang()), lambda: Reset(reply=Drip()), lambda: Hang(0, Reset())):
        with pytest.raises(TypeError):
            wrong_one()
    with pytest.raises(ValueError, match="chunk"):
        Drip(chunk=0)


def test_importing_is_light() -> None:
    """The package of test helpers pulls in no server, and the server neither the client nor anything to install."""
    code = """if True:
        import sys, mina_pipeline.testing
        assert not {"http.server", "openai"} & set(sys.modules)
        before = {name.partition(".")[0] for name in sys.modules}
        import mina_pipeline.testing.openai_server
        new = {name.partition(".")[0] for name in sys.modules} - before
        assert new <= set(sys.stdlib_module_names), new"""
    subprocess.run([sys.executable, "-c", code], check=True)
