"""What is bought again: after a crash, for a late segment, for a stage made stale, and when a person asks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asked import long_meeting, truthful
from asked import opened as at_server
from click.testing import CliRunner
from proving import finalized

from mina_pipeline import Pipeline, Segment
from mina_pipeline.cli.app import mina
from mina_pipeline.testing.openai_server import Answer, OpenAIServer

pytestmark = pytest.mark.usefixtures("quick")

LENGTH = 0.3  # hours
PARTS = {"refine_tokens": 900, "chunk_tokens": 1_200}

CRASHING = """
import os, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
from mina_pipeline import Pipeline, Settings
from mina_pipeline.llm.client import ModelClient
from mina_pipeline.stages.openai import provider

url, prefix, server, stage, when, number, width = sys.argv[2:]
made = provider(environ={}, base_url=server, api_key="k", concurrency=int(width), refine_tokens=900, chunk_tokens=1200)
p = Pipeline.open(url, provider=made, settings=Settings(table_prefix=prefix, lease=2.0, renew=0.5))
record, left = p.handler.execute, [int(number)]

def execute(session_id, command, **named):
    mine = getattr(command, "usage", None) is not None and command.stage == stage
    left[0] -= mine
    if mine and left[0] == 0 and when == "before":
        os._exit(9)
    done = record(session_id, command, **named)
    if mine and left[0] == 0:
        os._exit(9)
    return done

object.__setattr__(p.handler, "execute", execute)
p.run_until_idle()
"""


class Crash:
    """What a process left that died at an answer of a stage, the so-manieth, before or after it was recorded."""

    def __init__(self, p: Pipeline, url: str, server: OpenAIServer) -> None:
        self.p, self.url, self.server = p, url, server

    def at(self, stage: str, when: str, number: int, width: int) -> None:
        finalized(self.p, "s", long_meeting(LENGTH))
        where = [os.pathsep.join(sys.path), self.url, self.p.settings.table_prefix, self.server.base_url]
        given = [*where, stage, when, str(number), str(width)]
        assert subprocess.run([sys.executable, "-c", CRASHING, *given], timeout=60).returncode == 9
        time.sleep(2.1)  # its lease

    def go_on(self) -> None:
        self.p.run_until_idle()
        found = self.p.get("s")
        assert (found.state, {one.outcome for one in found.stages.values()}) == ("revealed", {"ok"})
        assert self.p.verify("s") == []

    def show(self) -> str:
        env = {"MINA_TABLE_PREFIX": self.p.settings.table_prefix}
        done = CliRunner().invoke(mina, ["sessions", "show", "s", "--db", self.url], env=env)
        assert done.exit_code == 0
        return done.stdout


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What several processes can share."""
    sqlite = request.param == "sqlite"
    return f"sqlite:///{tmp_path}/test.db" if sqlite else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(lambda request: Answer(truthful(request), delay=0.02)) as server:
        yield server


@pytest.fixture
def crash(opened: Callable[..., Pipeline], url: str, server: OpenAIServer) -> Crash:
    return Crash(opened(provider=at_server(server, concurrency=1, **PARTS)), url, server)


def bought(server: OpenAIServer, name: str | None = None) -> Counter[str]:
    """How often each question reached the server."""
    return Counter(one.prompt for one in server.requests if name in (None, one.format["name"]))


@pytest.mark.parametrize(
    ("stage", "when", "number"),
    [
        ("refinement", "before", 1),
        ("refinement", "before", 4),
        ("refinement", "after", 1),
        ("refinement", "after", 4),
        ("summary", "after", 2),
    ],
)
def test_a_crash_buys_nothing_again_but_what_is_in_doubt(crash: Crash, stage: str, when: str, number: int) -> None:
    """One question at a time: what was recorded is not asked again. The one whose answer came and was not is, and that
    it may have been paid for twice is told."""
    crash.at(stage, when, number, 1)
    assert crash.server.wait(idle=True)
    before = bought(crash.server)
    crash.go_on()
    twice = [prompt for prompt, times in bought(crash.server).items() if times > 1]
    usage, counts = crash.p.get("s").usage, crash.server.counts()
    if when == "after":
        assert twice == []
        assert (usage["tokens_in"], usage["tokens_out"]) == (counts.tokens_in, counts.tokens_out)
    else:
        assert twice == list(before)[-1:]
        assert usage["tokens_in"] < counts.tokens_in
    assert usage["in_doubt"] == 1  # that one, or the one after it: nobody knows whether it had been asked
    assert usage["stages"][stage]["1"][0]["in_doubt"] == 1
    assert "1 answers may have been paid for twice" in crash.show()


@pytest.mark.parametrize("when", ["before", "after"])
def test_of_several_at_once_no_more_are_in_doubt_than_were_out(crash: Crash, when: str) -> None:
    """And no fewer: each that was bought twice is among those that are told."""
    width = 4
    crash.p.provider.client.concurrency = width
    crash.at("refinement", when, 3, width)
    assert crash.server.wait(idle=True)
    asked_before = len(crash.server.requests)
    recorded = sum(event.type == "refinement_progress" for event in crash.p.events("s"))
    crash.go_on()
    twice = [prompt for prompt, times in bought(crash.server).items() if times > 1]
    assert all(times <= 2 for times in bought(crash.server).values())
    assert 1 <= len(twice) == asked_before - recorded <= width
    usage = crash.p.get("s").usage
    assert len(twice) <= usage["in_doubt"] <= width
    assert f"{usage['in_doubt']} answers may have been paid for twice" in crash.show()
    assert usage["stages"]["refinement"]["1"][0]["answers"] == len(bought(crash.server, "refined"))


def test_what_makes_itself_again_reads_and_what_a_person_asks_for_buys(
    opened: Callable[..., Pipeline], server: OpenAIServer
) -> None:
    """A late segment: only the parts that it is in are asked about. A stage made stale: nothing is asked. A retry: all
    of that stage."""
    p = opened(provider=at_server(server, **PARTS), settings={"late_segments": True})
    said = long_meeting(LENGTH)
    finalized(p, "s", said)
    p.run_until_idle()
    first = Counter(one.format["name"] for one in server.requests)
    assert min(first[name] for name in ("refined", "foundtasks", "summarized", "moods")) >= 5

    last = said[-1].end_ms
    p.record(
        "s", [Segment("one more word on the budget after all of it", last + 1000, last + 4000, "Ben", 0.9, "late")]
    )
    p.run_until_idle()
    assert {one.run for one in p.get("s").stages.values()} == {2}
    assert set(bought(server).values()) == {1}
    again = Counter(one.format["name"] for one in server.requests) - first
    assert 0 < again["refined"] <= 2
    assert sum(again.values()) <= 9
    assert "late" in {line.segment_id for line in p.result("s").transcript.lines}  # type: ignore[union-attr]

    server.clear()
    p.retry("s", "refinement")
    p.run_until_idle()
    assert p.get("s").stages["refinement"].run == 3
    assert {one.format["name"] for one in server.requests} == {"refined"}
    assert first["refined"] - 1 <= server.counts().requests == len(bought(server))

    server.clear()
    p.retry("s", "tasks")
    p.run_until_idle()
    assert Counter(one.format["name"] for one in server.requests)["refined"] == 0
    assert server.counts().requests >= first["foundtasks"]
    assert {one.outcome for one in p.get("s").stages.values()} == {"ok"}
    assert p.verify("s") == []
