"""What a principal may do in this process, counted once for all doors of a pipeline: HTTP's and the sockets'."""

from __future__ import annotations

import threading
from typing import NamedTuple
from weakref import WeakKeyDictionary

from mina_pipeline import Pipeline

from .rates import OpenWatches, Rates
from .settings import WebSettings


class Bounds(NamedTuple):
    rates: Rates
    watches: OpenWatches


KNOWN: WeakKeyDictionary[Pipeline, dict[tuple[float, ...], Bounds]] = WeakKeyDictionary()
LOCK = threading.Lock()


def bounds_of(pipeline: Pipeline, settings: WebSettings) -> Bounds:
    """Those of a pipeline's doors whose settings say the same of them."""
    key = (settings.rate, settings.burst, settings.max_watches)
    with LOCK:
        known = KNOWN.setdefault(pipeline, {})
        if key not in known:
            rates = Rates(settings.rate, settings.burst, pipeline.clock.monotonic)
            known[key] = Bounds(rates, OpenWatches(settings.max_watches))
        return known[key]
