"""Prometheus: every signal arrives, labels are few and hold no text, and neither a scrape nor a callback raises."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from mina_adapters.prometheus import MOST_VALUES, Bounded, PrometheusObserver, instrument
from scraped import COUNTED, samples
from watched import BUSY, CANARY, GAUGES, NOW, RUN, Health, Watched, chatter, everything, nonsense, store_away

from mina_pipeline import MissingExtra

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

prometheus = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")


@pytest.fixture
def pipeline() -> Watched:
    return Watched()


@pytest.fixture
def registry() -> CollectorRegistry:
    """One of the test's own; like the client's default one it asks collectors for their names."""
    made: CollectorRegistry = prometheus.CollectorRegistry(auto_describe=True)
    return made


@pytest.fixture
def observer(pipeline: Watched, registry: CollectorRegistry) -> PrometheusObserver:
    return instrument(pipeline, registry)


def scrape(registry: CollectorRegistry) -> str:
    return str(prometheus.generate_latest(registry).decode())


def test_what_workers_do_is_counted(
    pipeline: Watched, observer: PrometheusObserver, registry: CollectorRegistry
) -> None:
    """Every callback of the observer shows in a scrape, under the documented name and labels."""
    assert pipeline.observers == [observer]
    everything(observer)
    found = samples(scrape(registry))
    assert {name: found.get(name) for name in COUNTED} == COUNTED
    assert 'mina_cost_total{model="local"}' not in found


def test_what_the_store_holds_is_shown(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    """Every part of the pipeline's health is a gauge."""
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(scrape(registry))}
    for name, values in GAUGES.items():
        assert families[name].type == "gauge"
        assert {"".join(s.labels.values()): s.value for s in families[name].samples} == values, name


def test_nothing_is_shown_of_what_is_not_there(
    pipeline: Watched, observer: PrometheusObserver, registry: CollectorRegistry
) -> None:
    """No relay, no worker, no stall: no heartbeat of 1970, no alarming age."""
    pipeline.reading = Health
    found = samples(scrape(registry))
    assert found["mina_up"] == 1
    for name in (
        "workers",
        "workers_silent",
        "feed_stalled_events",
        "feed_stalled_seconds",
        "oldest_unfinished_seconds",
    ):
        assert found[f"mina_{name}"] == 0
    for name in ("relay_lag_seconds", "relay_heartbeat_timestamp_seconds", "worker_silent_seconds"):
        assert f"mina_{name}" not in found


def test_a_scrape_asks_once(pipeline: Watched, observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    """The store is asked once for all gauges, and not again within a second, nor to register them."""
    assert pipeline.asked == 0
    scrape(registry)
    pipeline.reading = store_away
    assert samples(scrape(registry))["mina_up"] == 1
    assert pipeline.asked == 1
    observer.watch.until = 0.0
    assert samples(scrape(registry))["mina_up"] == 0
    assert pipeline.asked == 2


def test_a_failing_store(pipeline: Watched, observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    """Where the store fails, a scrape says so, still has what was counted, and recovers."""
    everything(observer)
    pipeline.reading = store_away
    found = samples(scrape(registry))
    assert found["mina_up"] == 0
    assert not set(GAUGES) & {name.partition("{")[0] for name in found} - {"mina_up"}
    assert found['mina_tokens_total{model="gpt-5-mini",kind="input"}'] == 900
    pipeline.reading, observer.watch.until = Health, 0.0
    assert samples(scrape(registry))["mina_up"] == 1


def test_a_store_that_does_not_answer(
    pipeline: Watched, observer: PrometheusObserver, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one scrape waits for the store, others do not pile up behind it."""
    monkeypatch.setattr("mina_adapters.prometheus.PATIENCE", 0.05)
    asked, answers = threading.Event(), threading.Event()

    def slow() -> Health:
        asked.set()
        assert answers.wait(30)
        return BUSY

    pipeline.reading = slow
    first: list[str] = []
    thread = threading.Thread(target=lambda: first.append(scrape(registry)))
    thread.start()
    assert asked.wait(30)
    assert samples(scrape(registry))["mina_up"] == 0
    answers.set()
    thread.join()
    assert samples(first[0])["mina_up"] == 1
    assert pipeline.asked == 1


def test_labels_are_bounded(pipeline: Watched, observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    """A host that makes up a reason, a model or a definition each time gets `other`, not a series each time."""
    pipeline.reading = lambda: replace(BUSY, unknown_definitions={f"d{n}": 1 for n in range(1_000)})
    for n in range(1_000):
        observer.ended(RUN, "degraded", f"reason-{n}", NOW, NOW)
        observer.waiting(RUN, f"wait-{n}", 1.0)
        observer.usage(replace(RUN, stage=f"stage{n}"), f"model-{n}", 1, 1, 1.0)
        observer.breaker(f"provider-{n}", "open", None)
    found = samples(scrape(registry))
    for name in ("stages_total", "waits_total", "cost_total", "breaker_opened_total", "unknown_definitions"):
        assert 3 <= len([one for one in found if one.startswith(f"mina_{name}{{")]) <= MOST_VALUES + 5, name
    assert found['mina_unknown_definitions{definition="other"}'] == 1_000 - MOST_VALUES
    assert found['mina_stages_total{stage="refinement",outcome="degraded",reason="other"}'] > 900


@pytest.mark.parametrize("value", ["error", "rate limit", "nothing to work on", "openai/gpt-5:free", "überlast"])
def test_codes_are_labels(value: str) -> None:
    """A name, or a reason of a few words, is shown as it is."""
    assert Bounded()(value) == value


@pytest.mark.parametrize("value", ["", CANARY, "x" * 61, "a\nb", 'say "no"', "one two three four five", "a  b"])
def test_text_is_no_label(value: str) -> None:
    """What looks like text, or is long, is `other`."""
    assert Bounded()(value) == "other"


def test_no_words_of_a_meeting(
    pipeline: Watched, observer: PrometheusObserver, registry: CollectorRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a host puts into reasons and names, and a store into its errors: no word of it is scraped or logged."""
    chatter(observer)
    text = {"sessions": {CANARY: 1}, "work": {CANARY: 1}, "unknown_definitions": {CANARY: 1}}
    pipeline.reading = lambda: replace(BUSY, **text)  # type: ignore[arg-type]
    shown = scrape(registry)
    assert 'mina_sessions{state="other"} 1.0' in shown
    pipeline.reading, observer.watch.until = store_away, 0.0
    shown += scrape(registry) + "".join(capsys.readouterr())
    assert "ConnectionError" in shown
    for word in ("zanzibar", "budget", "acme", "s-1"):
        assert word not in shown


def test_callbacks_never_raise(observer: PrometheusObserver, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker goes on whatever becomes of its telemetry; that it failed is logged."""
    nonsense(observer)
    assert "telemetry failed" in capsys.readouterr().err


def test_what_alerts_count_begins_at_zero(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    """The first failure and the first poison are seen by increase(): their series are there before."""
    found = samples(scrape(registry))
    for stage in ("refinement", "analytics", "tasks", "summary"):
        assert found[f'mina_stages_total{{stage="{stage}",outcome="failed",reason="poison"}}'] == 0
        for outcome in ("ok", "degraded", "empty", "failed"):
            assert found[f'mina_stage_seconds_count{{stage="{stage}",outcome="{outcome}"}}'] == 0
    assert found["mina_verify_problems_total"] == 0


def test_two_pipelines_want_two_registries(observer: PrometheusObserver, registry: CollectorRegistry) -> None:
    """A registry has one pipeline's metrics; a second one is refused and observes nothing."""
    other = Watched()
    with pytest.raises(ValueError, match="Duplicated"):
        instrument(other, registry)
    assert other.observers == []
    instrument(other, prometheus.CollectorRegistry())


def test_a_missing_client_names_its_extra(pipeline: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without prometheus-client an error says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtra, match=r"\[prometheus\]"):
        instrument(pipeline)
