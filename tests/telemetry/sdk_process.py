"""A host's process with the OpenTelemetry SDK, whose exports are kept."""

from __future__ import annotations

from typing import Any

import pytest
from mina_adapters.opentelemetry import OpenTelemetryObserver, instrument
from watched import Watched

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator


def recording_tracers(ids: IdGenerator | None) -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(id_generator=ids, shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    return tracers, exporter


class Process:
    """A host's process with the SDK: what it exports is kept. ids: the id generator that it has set."""

    def __init__(self, ids: IdGenerator | None = None, share: float = 1.0) -> None:
        self.pipeline = Watched()
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracers, self.exporter = recording_tracers(ids)
        self.observer: OpenTelemetryObserver = instrument(self.pipeline, self.meters, self.tracers, share=share)

    def metrics(self) -> dict[str, float]:
        """By name{attributes}, those without their `mina.`; of a histogram the sum."""
        found: dict[str, float] = {}
        data: Any = self.reader.get_metrics_data()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points:
                assert all(name.startswith("mina.") for name in point.attributes)
                about = ",".join(f"{name[5:]}={value}" for name, value in sorted(point.attributes.items()))
                found[f"{metric.name}{{{about}}}"] = point.sum if hasattr(point, "sum") else point.value
        return found

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def span(self) -> ReadableSpan:
        (one,) = self.spans()
        return one


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context
    return span.context.trace_id, span.context.span_id


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    return (span.parent.trace_id, span.parent.span_id) if span.parent else None


def about(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("mina."): value for name, value in (span.attributes or {}).items()}
