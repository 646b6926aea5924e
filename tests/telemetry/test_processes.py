"""Telemetry beside forks and the Prometheus client's multiprocess mode; drivers are imported on use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scraped import COUNTED, samples

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")


def run(code: str, **env: str) -> str:
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": path, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


COUNT = """
from watched import Watched, everything
from mina_adapters.prometheus import instrument
everything(instrument(Watched()))
"""
GATHER = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from watched import Watched
from mina_adapters.prometheus import instrument
observer = instrument(Watched())
registry = CollectorRegistry()
MultiProcessCollector(registry)
registry.register(observer.collector)
print(generate_latest(registry).decode())
"""


def test_multiprocess_mode(tmp_path: Path) -> None:
    """With the client's multiprocess mode counts of all processes are summed, and the store's gauges come once."""
    for _ in range(2):
        run(COUNT, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    found = samples(run(GATHER, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)))
    for name, value in COUNTED.items():
        if name != "mina_hung_threads":  # of processes that live
            assert found[name] == 2 * value, name
    assert found["mina_oldest_unfinished_seconds"] == 12.5
    assert found["mina_up"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork() -> None:
    """A child scrapes, also where a thread of the parent was just asking the store."""
    code = """
import os, warnings
from prometheus_client import CollectorRegistry, generate_latest
from watched import Watched
from mina_adapters.prometheus import instrument
registry = CollectorRegistry()
observer = instrument(Watched(), registry)
observer.watch.lock.acquire()
if (child := os.fork()) == 0:
    os._exit(0 if b"mina_up 1.0" in generate_latest(registry) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code).strip() == "0"


def test_drivers_are_imported_on_use() -> None:
    """Importing the adapters pulls in neither client; where one is missing its extra is named."""
    code = "import sys, mina_adapters.prometheus, mina_adapters.opentelemetry, mina_adapters.rules\n"
    code += "print(sorted({'prometheus_client', 'opentelemetry'} & set(sys.modules)))"
    assert run(code).strip() == "[]"
