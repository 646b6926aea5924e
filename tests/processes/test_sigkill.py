"""Workers killed before and after every event that is appended, and every call of the provider."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from labour import Trouble
from overseer import SAID, Place, Process, begin, check, once, work_forked, work_until
from soak import dice, share

from mina_pipeline import Pipeline

KILLED = -9


class Point(NamedTuple):
    """Where workers die: before or after the append that carries an event, or a call. lost: the call whose answer was
    not recorded by then, and is made again; None where that is none."""

    when: str
    where: str
    what: str
    lost: str | None = None

    def __str__(self) -> str:
        return f"{self.when} {self.where} {self.what}"


POINTS = [
    Point("before", "append", "refinement_started"),
    Point("after", "append", "refinement_started"),
    Point("after", "call", "first", lost="first"),
    Point("after", "append", "refinement_progress"),  # between two checkpoints
    Point("before", "append", "refinement_ready"),  # analytics_started is in the same append, and so on
    Point("after", "append", "refinement_ready"),
    Point("before", "call", "analytics"),
    Point("after", "call", "analytics", lost="analytics"),
    Point("before", "append", "analytics_ready", lost="analytics"),
    Point("after", "append", "analytics_ready"),
    Point("before", "append", "tasks_ready", lost="tasks"),
    Point("after", "append", "tasks_ready"),
    Point("before", "append", "post_transcription_reveal", lost="summary"),
    Point("after", "append", "post_transcription_reveal"),
]


@pytest.mark.soak
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_killed_worker_loses_and_doubles_nothing(point: Point, shared_place: Place, template: Process) -> None:
    """Wherever a worker is killed, another finishes its session; at most the one call in flight is made again."""
    place, here = shared_place, str(point).replace(" ", "-")
    sessions = [f"{here}-{n}" for n in range(share(1, 50))]
    with place.open() as pipeline:
        begin(pipeline, sessions)
        for _ in sessions:  # each process dies in the first session that had nobody die in it yet
            assert work_forked(template, place.shift(killing(point, here))) == KILLED
        assert work_forked(template, place.shift(finish=True)) == 0
        nothing_lost(pipeline, place, sessions, once(lost=point.lost))
        assert pipeline.unlisted() == []


def killing(point: Point, sessions: str) -> Trouble:
    return Trouble(sessions=sessions, does="kill", where=point.where, what=point.what, when=point.when)


def nothing_lost(pipeline: Pipeline, place: Place, sessions: list[str], calls: Counter[tuple[str, int]]) -> None:
    called = place.called()
    for session_id in sessions:
        check(pipeline, session_id)
        assert called[session_id] == calls


# --- beyond the nine events


def abandoned(place: Place, pipeline: Pipeline, sessions: list[str]) -> None:
    """Recordings that nobody finalizes."""
    for session_id in sessions:
        pipeline.start_session("Weekly", session_id)
        pipeline.record(session_id, SAID)


def waiting(place: Place, pipeline: Pipeline, sessions: list[str]) -> None:
    """The provider is away."""
    begin(pipeline, sessions)
    place.away("tasks")


def unchained(place: Place, pipeline: Pipeline, sessions: list[str]) -> None:
    """By the settings: analytics has a limit, so that it is claimed by itself."""
    begin(pipeline, sessions)


def asked_again(place: Place, pipeline: Pipeline, sessions: list[str]) -> None:
    """A person asks for another run after the reveal."""
    begin(pipeline, sessions)
    work_until(pipeline, *sessions)
    for session_id in sessions:
        pipeline.retry(session_id, "tasks", run=1)


def degraded(place: Place, pipeline: Pipeline, sessions: list[str]) -> None:
    """Revealed with a fallback's tasks while the provider was away; now it is back."""
    waiting(place, pipeline, sessions)
    work_until(pipeline, *sessions)
    place.away("tasks", False)


class Scene(NamedTuple):
    """What leads to the append that carries the event, the settings for it, and the calls that are made in the end.

    lost: what is called again where that append was not made.
    """

    comes_to_pass: Callable[[Place, Pipeline, list[str]], None]
    event: str
    settings: dict[str, Any]
    calls: Counter[tuple[str, int]] = once()
    lost: tuple[str, int] | None = None

    def __str__(self) -> str:
        return f"{self.comes_to_pass.__name__}-{self.event}"


AWAY = {"retry_tries": 1, "retry_first": 0.05, "breaker_failures": 1000}
AGAIN = once() + Counter([("tasks", 2), ("summary", 2)])  # summary reads the tasks, and runs again by itself
UPGRADED = AGAIN - Counter([("tasks", 1)])
SCENES = [
    Scene(abandoned, "session_finalized", {"recording_grace": 0.05}),
    Scene(waiting, "tasks_waiting", AWAY),
    Scene(unchained, "refinement_ready", {"limits": "analytics=9"}),
    Scene(unchained, "analytics_started", {"limits": "analytics=9"}),
    Scene(asked_again, "artefact_updated", {}, AGAIN, ("tasks", 2)),
    Scene(
        degraded, "artefact_updated", {**AWAY, "reveal_deadline": 0.02, "upgrade_delay": 0.1}, UPGRADED, ("tasks", 2)
    ),
]


@pytest.mark.soak
@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_a_killed_worker_loses_nothing_on_other_ways(scene: Scene, shared_place: Place, template: Process) -> None:
    """The same where workers die at a timer, a wait, a stage begun by itself, a later run or an upgrade."""
    place, count = shared_place, share(1, 50)
    points = [Point(when, "append", scene.event) for when in ("before", "after")]
    troubles = [killing(point, f"{point.when}-{scene}") for point in points]
    before, after = ([f"{trouble.sessions}-{n}" for n in range(count)] for trouble in troubles)
    with place.open(**scene.settings) as pipeline:
        scene.comes_to_pass(place, pipeline, before + after)
        for _ in before + after:
            # Until the next dies: what it dies at may not be due yet.
            assert work_forked(template, place.shift(*troubles, finish=True, **scene.settings)) == KILLED
        if scene.comes_to_pass is waiting:
            place.away("tasks", False)
        assert work_forked(template, place.shift(finish=True, **scene.settings)) == 0
        nothing_lost(pipeline, place, after, scene.calls)
        nothing_lost(pipeline, place, before, scene.calls + Counter([scene.lost] if scene.lost else []))


@pytest.mark.soak
def test_workers_killed_at_any_moment(place: Place, template: Process) -> None:
    """Of four threads each at most the call in flight is made again, once for each time that their process died."""
    random, sessions, kills = dice(), list[str](), 0
    lease: dict[str, Any] = {"lease": 1.0, "renew": 0.1}
    with place.open(**lease) as pipeline:
        for turn in range(share(3, 200)):
            fresh = [f"s{turn}-{n}" for n in range(4)]
            sessions += fresh
            begin(pipeline, fresh)
            lives = random.uniform(0, 0.2)
            kills += work_forked(template, place.shift(threads=4, lives=lives, finish=True, **lease)) == KILLED
        assert work_forked(template, place.shift(threads=4, finish=True, **lease)) == 0
        called = place.called()
        for session_id in sessions:
            check(pipeline, session_id)
            assert called[session_id] >= once()
        again = sum((called[session_id] - once()).total() for session_id in sessions)
        assert again <= 4 * kills
        assert pipeline.unlisted() == []
    print(f"{kills} kills, {again} calls made again")
