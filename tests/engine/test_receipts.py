"""Answers that were paid for: recorded before they are used, and bought once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from away import SAID, Time

from mina_pipeline import Ok, Pipeline, ProviderUnavailable, StageContext, define, stage
from mina_pipeline.llm.answers import Answer
from mina_pipeline.wire import wire_view
from mina_pipeline.work_shapes import Wanted

Open = Callable[..., Pipeline]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Shop:
    """Sells answers, and counts what it sold. Away while `away`."""

    def __init__(self, chunks: Sequence[str] = ("a", "b", "c")) -> None:
        self.chunks = chunks
        self.sold: list[str] = []
        self.prompt = "first"
        self.away: str | None = None
        self.before: Callable[[StageContext, str], None] = lambda ctx, chunk: None

    def ask(self, ctx: StageContext, chunk: str) -> Answer:
        def make() -> Answer:
            if self.away == chunk:
                raise ProviderUnavailable("shop")
            self.sold.append(f"{ctx.run} {chunk}")
            return Answer({"said": f"secret {len(self.sold)}"}, "m", 10, 2, 0.5, "shop", 0.2, 7)

        self.before(ctx, chunk)
        return ctx.receipt(chunk, digest(self.prompt + chunk), make, len(self.chunks))

    def workflow(self, **given: Any) -> Any:
        @stage("write", running="writing", provider="shop", **given)
        def write(ctx: StageContext) -> Ok:
            return Ok([self.ask(ctx, chunk).value["said"] for chunk in self.chunks])

        return define("shop", write)


def begun(p: Pipeline, session_id: str = "s") -> str:
    p.start_session(session_id=session_id)
    p.record(session_id, SAID)
    p.finalize(session_id)
    return session_id


def made(p: Pipeline, session_id: str = "s") -> Any:
    return p.result(session_id).others["write"].artefact


def test_an_answer_is_recorded_with_what_it_cost(opened: Open) -> None:
    """A receipt an answer; its text stays in the log; tokens and cost are told by stage and run."""
    shop = Shop()
    p = opened(definition=shop.workflow())
    p.run_until_idle() if begun(p) else None
    told = [event for event in p.events("s") if event.type == "write_progress"]
    assert [(e.data["done"], e.data["total"], e.data["key"]) for e in told] == [(1, 3, "a"), (2, 3, "b"), (3, 3, "c")]
    assert told[0].data["usage"]["temperature"] == 0.2
    assert all("secret" not in str(wire_view(event)) for event in told)
    one = {"provider": "shop", "model": "m", "answers": 3, "tokens_in": 30, "tokens_out": 6, "cost": 1.5, "in_doubt": 0}
    assert p.get("s").usage == {
        "tokens_in": 30,
        "tokens_out": 6,
        "cost": 1.5,
        "in_doubt": 0,
        "stages": {"write": {"1": [one]}},
    }
    assert p.verify("s") == []


def test_a_run_by_itself_reads_and_one_that_was_asked_for_buys(opened: Open) -> None:
    """What a person asks for is bought anew, and read by the runs after it; another prompt is another answer."""
    shop = Shop()
    p = opened(definition=shop.workflow(), settings={"late_segments": True})
    begun(p)
    p.run_until_idle()
    first = made(p)
    p.retry("s", "write")
    p.run_until_idle()
    assert (len(shop.sold), made(p)) == (6, ["secret 4", "secret 5", "secret 6"])
    p.record("s", [SAID[0].__class__("and one late word", 9000, 9500, "Ann")])  # it runs again by itself
    p.run_until_idle()
    assert p.get("s").stages["write"].run == 3
    assert (len(shop.sold), made(p)) == (6, ["secret 4", "secret 5", "secret 6"])
    shop.prompt = "second"
    p.record("s", [SAID[0].__class__("and another", 9600, 9900, "Ann")])
    p.run_until_idle()
    assert len(shop.sold) == 9
    assert first == ["secret 1", "secret 2", "secret 3"]
    assert {run: rows[0]["answers"] for run, rows in p.get("s").usage["stages"]["write"].items()} == {
        "1": 3,
        "2": 3,
        "4": 3,
    }


def test_a_wait_and_what_comes_after_it_keep_what_was_bought(timed: Open, at: Time) -> None:
    """The provider goes away in the middle: the run waits, and goes on with the part that it had no answer to."""
    shop = Shop()
    p = timed(definition=shop.workflow(policy="wait"))
    begun(p)
    shop.away = "c"
    p.run_until_idle()
    assert p.get("s").stages["write"].status == "waiting"
    shop.away = None
    at.pass_by(600)
    p.run_until_idle()
    assert shop.sold == ["1 a", "1 b", "1 c"]
    assert p.get("s").usage["in_doubt"] == 0


def test_an_upgrade_keeps_what_it_bought(timed: Open, at: Time) -> None:
    """A degraded result is made again in several tries; each goes on where the last one was, and nothing was told
    before the provider answered."""
    shop = Shop()
    p = timed(
        definition=shop.workflow(fallback=lambda ctx: Ok("offline")),
        settings={"reveal_deadline": 1.0, "retry_first": 5.0, "breaker_failures": 100},
    )
    begun(p)
    shop.away = "a"
    for _ in range(4):
        p.run_until_idle()
        at.pass_by(5)
    assert (p.get("s").state, p.get("s").stages["write"].outcome) == ("revealed", "degraded")
    version = p.get("s").version
    at.pass_by(200)
    p.run_until_idle()
    assert p.get("s").version == version
    shop.away = "c"
    at.pass_by(600)
    p.run_until_idle()
    assert shop.sold == ["2 a", "2 b"]
    assert [event.type for event in p.events("s", version)] == ["write_progress"] * 2
    shop.away = None
    for _ in range(4):
        at.pass_by(900)
        p.run_until_idle()
    assert p.get("s").stages["write"].outcome == "ok"
    assert shop.sold == ["2 a", "2 b", "2 c"]
    assert p.get("s").usage["tokens_in"] == 30
    assert p.verify("s") == []


def test_many_threads_record_each_its_own(opened: Open) -> None:
    """Parts that are asked for at once: each recorded once, and progress counts up."""
    shop = Shop([str(n) for n in range(24)])

    @stage("write", running="writing", provider="shop")
    def write(ctx: StageContext) -> Ok:
        with ThreadPoolExecutor(8) as pool:
            return Ok([one.value["said"] for one in pool.map(lambda chunk: shop.ask(ctx, chunk), shop.chunks)])

    p = opened(definition=define("shop", write))
    begun(p)
    p.run_until_idle()
    told = [event.data for event in p.events("s") if event.type == "write_progress"]
    assert [one["done"] for one in told] == list(range(1, 25))
    assert sorted(one["key"] for one in told) == sorted(shop.chunks)
    assert len(shop.sold) == 24


def test_of_two_who_bought_the_first_counts(opened: Open) -> None:
    """A worker that was overtaken while the model answered records what it paid for; who overtook it, and has bought
    the same, uses that one."""
    shop = Shop(["a"])
    asked, answered, other = threading.Event(), threading.Event(), threading.Event()

    @stage("write", running="writing", provider="shop")
    def write(ctx: StageContext) -> Ok:
        mine = threading.current_thread().name

        def make() -> Answer:
            if mine == "old":
                asked.set()
                assert answered.wait(20)
            else:
                other.set()
                until_recorded(p, 1)
            return Answer(mine, "m", 1, 1, None)

        return Ok(ctx.receipt("a", digest("a"), make, 1).value)

    p = opened(definition=define("shop", write), settings={"lease": 0.3, "renew": 0.1})
    begun(p)
    old = threading.Thread(target=lambda: p.worker().step(p.clock.now()), name="old")  # renews nothing
    old.start()
    assert asked.wait(20)
    time.sleep(0.4)
    new = threading.Thread(target=lambda: p.worker().step(p.clock.now()), name="new")
    new.start()
    assert other.wait(20)
    answered.set()
    old.join(20)
    new.join(20)
    assert p.result("s").others["write"].artefact == "old"
    usage = p.get("s").usage
    assert (usage["tokens_in"], usage["in_doubt"], usage["cost"]) == (2, 1, None)
    assert shop.sold == []


def until_recorded(p: Pipeline, count: int) -> None:
    end = time.monotonic() + 20
    while sum(event.type == "write_progress" for event in p.events("s")) < count:
        assert time.monotonic() < end
        time.sleep(0.01)


CRASHING = """
import os, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
from mina_pipeline import Pipeline, Settings
from mina_pipeline.llm.answers import Answer
from test_receipts import Shop

url, prefix, dies, sold = sys.argv[2:]
shop = Shop()
real = Shop.ask

class Paid(list):
    def append(self, one):
        list.append(self, one)
        open(sold, "a").write(one + chr(10))
        if dies == "before " + one[-1]:
            os._exit(9)

shop.sold = Paid()
p = Pipeline.open(url, definition=shop.workflow(), settings=Settings(table_prefix=prefix, lease=0.5, renew=0.2))
record = p.handler.execute

def execute(*given, **named):
    done = record(*given, **named)
    if getattr(given[1], "key", None) == dies[-1] and dies.startswith("after"):
        os._exit(9)
    return done

object.__setattr__(p.handler, "execute", execute)
p.run_until_idle()
"""


@pytest.mark.parametrize("dies", ["before a", "after a", "before b", "after b", "before c", "after c"])
def test_a_crash_buys_nothing_again_but_what_is_in_doubt(opened: Open, tmp_path: Path, url: str, dies: str) -> None:
    """A process that dies right after an answer was recorded: it is not bought again. Right before: that one is, and
    the log says that it was in doubt."""
    if url == "memory://":
        pytest.skip("memory is one process's own")
    shop, sold = Shop(), tmp_path / "sold"
    p = opened(definition=shop.workflow(), settings={"lease": 0.5, "renew": 0.2})
    begun(p)
    path = ":".join([str(Path(__file__).parent), *sys.path])
    given = [path, url, p.settings.table_prefix, dies, str(sold)]
    assert subprocess.run([sys.executable, "-c", CRASHING, *given], timeout=60).returncode == 9
    time.sleep(0.6)
    p.run_until_idle()
    bought = sold.read_text().split("\n")[:-1] + shop.sold
    again = [f"1 {dies[-1]}"] if dies.startswith("before") else []
    assert sorted(bought) == sorted(["1 a", "1 b", "1 c", *again])
    assert p.get("s").state == "revealed"
    assert p.get("s").usage["in_doubt"] == (0 if dies == "after c" else 1)
    assert p.verify("s") == []


def test_what_no_worker_made_records_nothing() -> None:
    """A context that a host made for itself: an answer is made, and that is all."""
    fields: dict[str, Any] = dict.fromkeys(StageContext.__dataclass_fields__.keys() - {"receipt", "usage"})
    ctx = StageContext(**fields)
    assert ctx.receipt("a", digest("a"), lambda: Answer(1, "m", 1, 1, None)).value == 1


def test_a_claim_of_a_run_under_way_is_told_apart(opened: Open) -> None:
    """Only what was bought first by whoever took over is in doubt."""
    shop = Shop()
    p = opened(definition=shop.workflow(), settings={"lease": 0.2, "renew": 0.1})
    begun(p)
    worker = p.worker()
    claimed = p.store.claim(p.clock.now(), "dead", "t", 1, Wanted(list(p.code)))
    assert claimed is not None
    time.sleep(0.01)
    worker.step(p.clock.now())  # nobody had begun it
    assert p.get("s").usage["in_doubt"] == 0


def test_a_second_attempt_that_died_is_in_doubt_too(timed: Open, at: Time) -> None:
    """A run that has waited and was claimed again by a process that died: what is bought next may be bought twice."""
    shop = Shop()
    p = timed(definition=shop.workflow(policy="wait"))
    begun(p)
    shop.away = "c"
    p.run_until_idle()
    shop.away = None
    at.pass_by(600)
    assert p.store.claim(at.now(), "dead", "t", 1, Wanted(list(p.code))) is not None
    at.pass_by(60)
    p.run_until_idle()
    assert shop.sold == ["1 a", "1 b", "1 c"]
    assert p.get("s").usage["in_doubt"] == 1
