"""A scrape as a dict, and what one shows of `watched.everything`."""

from __future__ import annotations

COUNTED = {
    'mina_stages_total{stage="refinement",outcome="ok",reason=""}': 1,
    'mina_stages_total{stage="summary",outcome="degraded",reason="outage"}': 1,
    'mina_stages_total{stage="tasks",outcome="failed",reason="poison"}': 1,
    'mina_stage_seconds_count{stage="refinement",outcome="ok"}': 1,
    'mina_stage_seconds_sum{stage="summary",outcome="degraded"}': 40,
    'mina_stage_seconds_bucket{stage="refinement",outcome="ok",le="1.0"}': 0,
    'mina_stage_seconds_bucket{stage="refinement",outcome="ok",le="2.5"}': 1,
    'mina_waits_total{stage="refinement",reason="rate limit"}': 1,
    'mina_takeovers_total{stage="summary"}': 1,
    'mina_refused_total{reason="lease lost"}': 1,
    "mina_reveal_seconds_sum": 50,
    "mina_reveal_seconds_count": 1,
    'mina_breaker_opened_total{provider="openai"}': 1,
    "mina_hung_threads": 2,
    "mina_verified_total": 2,
    "mina_verify_problems_total": 3,
    'mina_tokens_total{model="gpt-5-mini",kind="input"}': 900,
    'mina_tokens_total{model="gpt-5-mini",kind="output"}': 100,
    'mina_tokens_total{model="local",kind="output"}': 5,
    'mina_cost_total{model="gpt-5-mini"}': 0.25,
}


def samples(text: str) -> dict[str, float]:
    """A scrape by `name{label="value",…}`, the labels in the order in which the docs name them."""
    from prometheus_client.parser import text_string_to_metric_families

    order = ["stage", "outcome", "reason", "model", "kind", "provider", "state", "definition", "le"]
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert set(sample.labels) <= set(order), sample
            labels = ",".join(f'{name}="{sample.labels[name]}"' for name in order if name in sample.labels)
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found
