"""The fifth promise: what was finalized is revealed, in time, and what is degraded for an outage is made again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...events import RecordedEvent
from .provider import LONGEST

if TYPE_CHECKING:
    from .world import World

REVEAL = "post_transcription_reveal"
AWAY = frozenset({"outage", "rate limit", "timeout", "deadline"})
"""What a result is degraded for that is to be made again."""

Found = Iterator[tuple[int, str]]


def timely(world: World, events: list[RecordedEvent]) -> Found:
    """What does not hold of one session."""
    yield from revealed(events)
    yield from upgraded(events, kept_only="late-degraded" in world.plan.without)
    if not world.jumped:  # else what a clock says of durations is worth nothing
        yield from in_time(world, events)
        yield from waited(world, events)
        yield from silent(world, events)


def revealed(events: list[RecordedEvent]) -> Found:
    """Once, after every stage's first outcome: the last of the first nine."""
    types = [event.type for event in events]
    reveals = types.count(REVEAL)
    if "session_cancelled" in types:
        if reveals:
            yield 5, "cancelled and revealed"
        return
    if "session_finalized" not in types:
        yield 5, "a recording without a sign of life was not finalized"
        return
    if reveals != 1:
        yield 5, f"{reveals} reveals"
        return
    stages, at = len(events[0].data["stages"]), types.index(REVEAL)
    first = [e.version for e in events if e.data.get("run") == 1 and e.type.endswith(("_started", "_ready", "_failed"))]
    if len(first) != 2 * stages or first[-1] > events[at].version:
        yield 5, f"the reveal is v{events[at].version}, the first runs began and ended with {first}"


def upgraded(events: list[RecordedEvent], kept_only: bool) -> Found:
    """What is degraded for an outage was made again or dropped, and nothing else was.

    kept_only: where it stands in the read model; a later run's degraded result does not take a better one's place.
    """
    for place, event in enumerate(events):
        if not event.type.endswith("_ready"):
            continue
        stage, run, reason = event.data["stage"], event.data["run"], event.data.get("reason")
        before = [e for e in events[:place] if e.type == event.type and e.data["stage"] == stage]
        after = [e for e in events[place + 1 :] if e.data.get("stage") == stage and e.type != "artefact_updated"]
        if event.data["outcome"] == "degraded" and reason in AWAY and not after:
            asked = any(e.type == f"{stage}_requested" and e.data["run"] == run for e in events)
            kept = not kept_only or asked or all(e.data["outcome"] != "ok" for e in before)
            if kept and "session_cancelled" not in {e.type for e in events}:
                yield 5, f"{event.type} run {run}, degraded for {reason}, was never made again"
        cause = next((e for e in events[:place] if e.event_id == event.causation_id), None)
        upgrade = cause is not None and cause.type == f"{stage}_started"  # it began with its outcome
        if upgrade and (not before or before[-1].data.get("reason") not in AWAY):
            yield 5, f"{event.type} run {run} was made again, and not for an outage"


def in_time(world: World, events: list[RecordedEvent]) -> Found:
    """Under degrade and fail: within the reveal deadline of the first begin, or of the end of faults.

    Beyond it: for leases to lapse, for what hangs to be cut off, for idle workers to look (twice), and for each stage
    of each session to be tried as often as settings say.
    """
    settings, times = world.plan.settings, world.ledger.times
    stages = [shape["name"] for shape in events[0].data["stages"]]
    begun = next((e for e in events if e.type in {f"{stage}_started" for stage in stages}), None)
    reveal = next((e for e in events if e.type == REVEAL), None)
    if begun is None or reveal is None or "wait" in map(world.policy, stages):
        return
    one = settings.retry_tries * (LONGEST + 1) + LONGEST * world.plan.parts
    slack = settings.lease + settings.stage_deadline + 2 * settings.poll + one * len(stages) * world.plan.sessions
    since = max(times[begun.session_id, begun.version], world.healed_at)
    took = (times[reveal.session_id, reveal.version] - since) / 1e6
    if took > settings.reveal_deadline + slack:
        yield 5, f"revealed after {took:g} s, {settings.reveal_deadline:g} s and {slack:g} s are allowed"


def waited(world: World, events: list[RecordedEvent]) -> Found:
    """Nothing fails for a provider that is away before its policy says so; under degrade nothing does at all."""
    for place, event in enumerate(events):
        if not event.type.endswith("_failed") or event.data["reason"] not in AWAY:
            continue
        stage, run, reason = event.data["stage"], event.data["run"], event.data["reason"]
        policy = world.policy(stage)
        if policy == "degrade" and reason != "deadline":
            yield 5, f"{event.type} run {run} for {reason}, under degrade"
        if policy == "wait":
            waits = [e.data for e in events[:place] if e.type == f"{stage}_waiting" and e.data["run"] == run]
            waited = event.recorded_at - (waits[0]["since"] if waits else event.recorded_at)
            if waited < world.plan.settings.wait_maximum * 1e6 - world.plan.apart:
                yield 5, f"{event.type} run {run} for {reason} after {waited / 1e6:g} s, under wait"


def silent(world: World, events: list[RecordedEvent]) -> Found:
    """No recording is ended for its silence before that has lasted for the grace."""
    final = next((event for event in events if event.type == "session_finalized"), None)
    if final is None or final.data["reason"] != "abandoned":
        return
    looked = world.ledger.looked[final.session_id]
    last = max((at for heard, at in world.ledger.signs[final.session_id] if heard <= looked), default=0)
    if final.recorded_at - last < world.plan.settings.recording_grace * 1e6 - world.plan.apart:
        yield 5, f"abandoned {(final.recorded_at - last) / 1e6:g} s after its last sign of life"
