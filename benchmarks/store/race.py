"""Contests: round-robin, so that noise falls on all alike; medians, and shares as medians of per-round ratios."""

from __future__ import annotations

import gc
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Figures = Mapping[str, float]
"""What one run of one contestant measured, by unit: {"events/s": …} or {"p50 µs": …, "p99 µs": …}."""

Run = Callable[[], Figures]


@dataclass
class Contest:
    """One measure on one database. `limit` is the contestant whom the shares are of."""

    measure: str
    place: str
    limit: str
    runs: dict[str, Run]
    got: dict[str, list[Figures | None]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.place}: {self.measure}"

    def run(self, rounds: int) -> None:
        """Every contestant once a round; who begins moves on by one each round. A failure is told and leaves a gap."""
        self.got = {name: [] for name in self.runs}
        names = list(self.runs)
        for n in range(rounds):
            for name in (*names[n % len(names) :], *names[: n % len(names)]):
                gc.collect()
                try:
                    self.got[name].append(self.runs[name]())
                except Exception as error:
                    said = (str(error).splitlines() or [""])[0]
                    print(f"!! {self.title} / {name}: {type(error).__name__}: {said}", file=sys.stderr)
                    self.got[name].append(None)

    def units(self) -> list[str]:
        return list(dict.fromkeys(unit for rounds in self.got.values() for one in rounds if one for unit in one))

    def values(self, name: str, unit: str) -> list[float]:
        return [one[unit] for one in self.got.get(name, ()) if one and unit in one]

    def share(self, name: str, unit: str) -> float | None:
        """1 is the limit itself and more is better, also where the figure is a time."""
        pairs = [
            (mine[unit], limit[unit])
            for mine, limit in zip(self.got.get(name, ()), self.got[self.limit], strict=False)
            if mine and limit and unit in mine and unit in limit
        ]
        if not pairs:
            return None
        ratio = statistics.median(mine / limit for mine, limit in pairs)
        return ratio if unit.endswith("/s") else 1 / ratio


def in_threads(works: Sequence[Callable[[], None]]) -> float:
    """Runs them in a thread each, all starting together; the seconds until the last one ends."""
    gate, failed = threading.Barrier(len(works) + 1), list[BaseException]()

    def body(work: Callable[[], None]) -> None:
        gate.wait()
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=body, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failed:
        raise failed[0]
    return seconds


def percentiles(seconds: Iterable[float]) -> Figures:
    took = sorted(s * 1e6 for s in seconds)
    return {"p50 µs": statistics.median(took), "p99 µs": took[min(len(took) - 1, int(len(took) * 0.99))]}


def table(contests: Sequence[Contest], places: Sequence[str]) -> str:
    """All contests as one Markdown table: a row for each contestant and unit, two columns for each database."""
    lines = ["| | " + " | ".join(f"{place} | share" for place in places) + " |", "|---|" + "---:|---:|" * len(places)]
    for measure in dict.fromkeys(contest.measure for contest in contests):
        here = {contest.place: contest for contest in contests if contest.measure == measure}
        for unit in dict.fromkeys(unit for contest in here.values() for unit in contest.units()):
            lines.append(f"| **{measure}, {unit}** |" + " |" * 2 * len(places))
            for name in dict.fromkeys(name for contest in here.values() for name in contest.runs):
                cells = [cell for place in places for cell in two_cells(here.get(place), name, unit)]
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def two_cells(contest: Contest | None, name: str, unit: str) -> tuple[str, str]:
    found = contest.values(name, unit) if contest else []
    if contest is None or not found:
        return ("–", "") if contest is None or name not in contest.runs else ("failed", "")
    share = contest.share(name, unit)
    shown = "limit" if name == contest.limit else "" if share is None else f"{share:.2f}"
    return f"{figure(statistics.median(found))} ({figure(min(found))}–{figure(max(found))})", shown


def figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
