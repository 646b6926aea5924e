"""What holds of two processes, whatever they do and in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trial import Trial, goes, probe

from mina_pipeline import Settings
from mina_pipeline.llm.breaker import Admission
from mina_pipeline.store.memory import MemoryStore

HOW = st.sampled_from(["succeeded", "failed", "failed", "failed", "released"])
STEPS = st.one_of(
    st.tuples(st.just("begin"), st.integers(0, 1)),
    st.tuples(st.just("end"), HOW, st.integers(0, 5)),
    st.tuples(st.just("call"), HOW, st.integers(0, 1)),
    st.tuples(st.just("sleep"), st.sampled_from([0.3, 0.7, 1.0, 4.0, 11.0, 22.0])),
)


@pytest.mark.laws
@given(st.lists(STEPS, min_size=20, max_size=80), st.integers(1, 2))
def test_laws(steps: list[tuple[Any, ...]], failures: int) -> None:
    """Two processes, whatever they do and in whatever order.

    No two probes are out; while it is open calls are refused, a second after it opened also elsewhere; only the probe
    that holds the slot closes it, only a call begun since it last opened opens it, where so many failed; in the end
    it closes.
    """
    settings = Settings(breaker_failures=failures, breaker_pause=10, breaker_longest=25, stage_deadline=20)
    trial = Trial(MemoryStore())
    breakers = [trial.process(settings), trial.process(settings)]
    out: list[tuple[int, float, Admission]] = []
    probes: dict[str, float] = {}  # those that are out, and the end of their leases
    holder: str | None = None
    known = [0.0, 0.0]  # from when on each process must know that it is open
    failed = [0, 0]  # calls since the process opened it
    opened = -1.0

    def is_open() -> bool:
        return trial.row() is not None and trial.row().state != "closed"

    def begin(who: int) -> None:
        nonlocal holder
        before = trial.row()
        admission = breakers[who].admit()
        assert admission.allowed or (admission.retry_at or 0) > trial.clock.now()
        if admission.probe is not None:
            assert before.state == "open" and before.retry_at <= trial.clock.now()
            assert not [end for end in probes.values() if end > trial.clock.elapsed]
            probes[admission.probe] = trial.clock.elapsed + 20
            holder = admission.probe
        elif is_open() and trial.clock.elapsed >= known[who]:
            assert not admission.allowed
        if admission.allowed:
            out.append((who, trial.clock.elapsed, admission))

    def end(how: str, who: int, begun: float, admission: Admission) -> None:
        nonlocal opened
        before, told = is_open(), len(trial.told)
        failed[who] += how == "failed" and admission.probe is None
        report = getattr(breakers[who], how)
        report(admission, "outage") if how == "failed" else report(admission)
        probes.pop(admission.probe or "", None)
        if before and not is_open():
            assert how == "succeeded" and admission.probe == holder
        if is_open() and not before:
            assert how == "failed" and admission.probe is None and failed[who] >= failures
            assert begun > opened and trial.told[told:] == [("open", "outage")]
            opened, failed[who] = trial.clock.elapsed, 0
            known[:] = [trial.clock.elapsed + (one != who) for one in (0, 1)]

    for what, *values in steps:
        if what == "sleep":
            trial.clock.sleep(values[0])
        elif what == "begin":
            begin(values[0])
        elif what == "end" and out:
            end(values[0], *out.pop(values[1] % len(out)))
        elif what == "call":
            count = len(out)
            begin(values[1])
            if len(out) > count:
                end(values[0], *out.pop())
        for breaker in breakers:
            assert breaker.circuit.current_state == breaker.state().state.replace("_", "-")

    trial.clock.sleep(60)
    if trial.row() is not None and trial.row().state != "closed":
        breakers[0].succeeded(probe(breakers[0]))
        trial.clock.sleep(1)
    assert all(goes(breaker) for breaker in breakers)
