"""The alerts: promtool accepts and tests them, they use metrics that exist, and the docs say what to do about each."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from mina_adapters.prometheus import instrument
from mina_adapters.rules import PATH
from watched import Watched, everything

HERE = Path(__file__).parent
RULES = PATH.read_text()
CASES = (HERE / "mina.rules.test.yml").read_text()
PAGE = (HERE.parent.parent / "docs" / "telemetry.md").read_text()
ALERTS = re.findall(r"alert: (\w+)", RULES)


def exported() -> set[str]:
    """The names of all metrics, as rules and the docs name them."""
    prometheus = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
    registry = prometheus.CollectorRegistry()
    everything(instrument(Watched(), registry))
    suffix = {"counter": "_total"}
    return {family.name + suffix.get(family.type, "") for family in registry.collect()}


def metrics_in(text: str) -> set[str]:
    """Names of metrics, those of a histogram's series as the histogram's."""
    return {re.sub(r"_(count|sum|bucket)$", "", name) for name in re.findall(r"\bmina_(?!pipeline|adapters)\w+", text)}


@pytest.mark.parametrize(
    "command", [("check", "rules", str(PATH)), ("test", "rules", "mina.rules.test.yml")], ids=["check", "test"]
)
def test_promtool(command: tuple[str, ...]) -> None:
    """The rules are valid; each alert fires when it should and is silent when not."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here")
    done = subprocess.run([promtool, *command], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_both_ways() -> None:
    """Every alert has a time at which it must be silent, and one at which it must fire."""
    silent = re.findall(r"alertname: (\w+), exp_alerts: \[\]", CASES)
    fires = re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels", CASES)
    assert set(silent) == set(fires) == set(ALERTS)
    assert len(ALERTS) == len(set(ALERTS))


def test_alerts_and_their_tests_use_metrics_that_exist() -> None:
    """No rule waits for a name that nothing exports."""
    assert metrics_in(RULES) | metrics_in(CASES) <= exported()


def test_the_docs_list_the_metrics() -> None:
    """The page's table has every metric, and none that is not exported."""
    table = PAGE[PAGE.index("## The metrics") : PAGE.index("## The alerts")]
    assert metrics_in(table) == exported()


def test_the_docs_say_what_to_do() -> None:
    """Each alert links to its own heading in the page, and the page has no other alerts."""
    assert re.findall(r"^### (Mina\w+)$", PAGE, re.M) == ALERTS
    assert re.findall(r"runbook: docs/telemetry.md#(\w+)", RULES) == [name.lower() for name in ALERTS]
