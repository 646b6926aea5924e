"""Both adapters on a real pipeline: a meeting's stages are counted and traced, and none of its words get out."""

from __future__ import annotations

from typing import Any

import pytest
from mina_adapters import opentelemetry, prometheus
from scraped import samples
from sdk_process import about, ids, parent, recording_tracers

from mina_pipeline import STANDARD_STAGES, Pipeline, Segment, define, stage

client = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

WORDS = "zanzibar quixotic marmalade"


@stage("gossip", after="summary", running="gossiping")
def gossip(ctx: Any) -> Any:
    """A stage of a host that puts what was said where it should not be."""
    raise ValueError(ctx.segments[0].text)


def test_a_meeting_is_seen_and_not_heard(capsys: pytest.CaptureFixture[str]) -> None:
    """Four stages that are well, one that fails, and the reveal: one trace, counts, and no word of the meeting."""
    registry = client.CollectorRegistry()
    tracers, exporter = recording_tracers(opentelemetry.session_ids())
    with Pipeline.open("memory://", definition=define("gossiping", *STANDARD_STAGES, gossip)) as pipeline:
        prometheus.instrument(pipeline, registry)
        opentelemetry.instrument(pipeline, tracer_provider=tracers)
        session = pipeline.start_session(f"title {WORDS}", tenant="acme")
        said = f"bob can you send the {WORDS} to the board by friday"
        pipeline.record(session.session_id, [Segment(said, 0, 2000, speaker="zanzibar")])
        pipeline.finalize(session.session_id)
        pipeline.run_until_idle()
        assert WORDS in str(pipeline.result(session.session_id))
        pipeline.verify(session.session_id)
        trace_id = pipeline.get(session.session_id).trace_id
        shown = client.generate_latest(registry).decode()

    found = samples(shown)
    for name in ("refinement", "analytics", "tasks", "summary"):
        assert found[f'mina_stage_seconds_count{{stage="{name}",outcome="ok"}}'] == 1
    assert found['mina_stages_total{stage="gossip",outcome="failed",reason="error"}'] == 1
    assert found["mina_reveal_seconds_count"] == found["mina_verified_total"] == 1
    assert found["mina_verify_problems_total"] == 0
    assert found["mina_up"] == hasattr(pipeline, "health")

    *stages, root = exporter.get_finished_spans()
    assert [about(span)["outcome"] for span in stages] == ["ok"] * 4 + ["failed"]
    assert {parent(span) for span in stages} == {ids(root)}
    assert f"{ids(root)[0]:032x}" == trace_id.replace("-", "")

    shown += "".join(span.to_json() for span in exporter.get_finished_spans())
    for word in (*WORDS.split(), "acme", "friday"):
        assert word not in shown + "".join(capsys.readouterr())
