"""OpenTelemetry metrics: every signal arrives, labels are few, and nothing raises."""

from __future__ import annotations

import sys

import pytest
from mina_adapters.opentelemetry import instrument
from mina_adapters.prometheus import MOST_VALUES
from watched import (
    GAUGES,
    NOW,
    RUN,
    Health,
    Watched,
    everything,
    nonsense,
    store_away,
)

from mina_pipeline import MissingExtra

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from sdk_process import Process

COUNTED = {
    "mina.stages{outcome=ok,stage=refinement}": 1,
    "mina.stages{outcome=degraded,reason=outage,stage=summary}": 1,
    "mina.stages{outcome=failed,reason=poison,stage=tasks}": 1,
    "mina.stage.duration{outcome=degraded,stage=summary}": 40,
    "mina.waits{reason=rate limit,stage=refinement}": 1,
    "mina.takeovers{stage=summary}": 1,
    "mina.refused{reason=lease lost}": 1,
    "mina.reveal.duration{}": 50,
    "mina.breaker.opened{provider=openai}": 1,
    "mina.hung_threads{}": 2,
    "mina.verified{}": 2,
    "mina.verify.problems{}": 3,
    "mina.tokens{kind=input,model=gpt-5-mini}": 900,
    "mina.tokens{kind=output,model=gpt-5-mini}": 100,
    "mina.tokens{kind=output,model=local}": 5,
    "mina.cost{model=gpt-5-mini}": 0.25,
}


@pytest.fixture
def process() -> Process:
    return Process()


def test_what_workers_do_is_counted(process: Process) -> None:
    """Every callback of the observer arrives as a metric with the documented attributes."""
    assert process.pipeline.observers == [process.observer]
    everything(process.observer)
    found = process.metrics()
    assert {name: found.get(name) for name in COUNTED} == COUNTED
    assert "mina.cost{model=local}" not in found


def test_what_the_store_holds_is_shown(process: Process) -> None:
    """The gauges are those of a Prometheus scrape, by its own naming of them, and the store is asked once."""
    found = process.metrics()
    for name, values in GAUGES.items():
        shown = {
            key.rpartition("{")[2].rstrip("}").partition("=")[2]: value
            for key, value in found.items()
            if key.partition("{")[0].replace(".", "_") in (name, name.removesuffix("_seconds"))
        }
        assert shown == values, name
    assert process.pipeline.asked == 1


def test_a_failing_store(process: Process) -> None:
    """Where the store fails a collection says so and leaves the gauges out; what was counted is there."""
    everything(process.observer)
    process.pipeline.reading = store_away
    found = process.metrics()
    assert found["mina.up{}"] == 0
    assert found["mina.verified{}"] == 2
    assert not [name for name in found if name.startswith(("mina.sessions", "mina.overdue", "mina.relay"))]
    process.pipeline.reading, process.observer.watch.until = Health, 0.0
    assert process.metrics()["mina.up{}"] == 1


def test_labels_are_bounded(process: Process) -> None:
    """A host that makes up reasons and models each time gets `other`."""
    for n in range(500):
        process.observer.ended(RUN, "degraded", f"reason-{n}", NOW, NOW)
        process.observer.usage(RUN, f"model-{n}", 1, 1, 1.0)
    found = process.metrics()
    assert len([name for name in found if name.startswith("mina.stages{")]) == MOST_VALUES + 1
    assert found["mina.cost{model=other}"] == 500 - MOST_VALUES


def test_callbacks_never_raise(process: Process, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker goes on whatever becomes of its telemetry; that it failed is logged."""
    nonsense(process.observer)
    assert "telemetry failed" in capsys.readouterr().err


def test_a_missing_api_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without opentelemetry-api an error says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtra, match=r"\[otel\]"):
        instrument(Watched())
