"""Alerting rules for Prometheus, as a file to copy. `python -c "from mina_adapters.rules import PATH; print(PATH)"`."""

from pathlib import Path

PATH = Path(__file__).with_name("mina.rules.yml")
