"""Versions: upcasters, what a later release wrote, and readers and workers that meet it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, ClassVar

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given as for_all
from hypothesis import strategies as st
from mina_adapters.jsonlines import JsonLines
from structlog.testing import capture_logs

from mina_pipeline import MinaError, Pipeline, Segment, Settings, UpgradeNeeded
from mina_pipeline import events as did
from mina_pipeline.cli.app import mina
from mina_pipeline.cli.live import Watch
from mina_pipeline.codec import REGISTRY, UPCASTERS, Registry, RegistryError, chain, decode, encode, recorded
from mina_pipeline.decisions import decide
from mina_pipeline.events import SESSION_EVENTS, STAGE_EVENTS, Event, Kept, RecordedEvent, StageEvent, Unread
from mina_pipeline.machine import SESSION
from mina_pipeline.projections import READ_MODELS, Row
from mina_pipeline.recovery import chain_problems
from mina_pipeline.sessions import load
from mina_pipeline.states import FOLD_VERSION, INITIAL, EventRefused, State, evolve, replay
from mina_pipeline.system import SystemClock
from mina_pipeline.testing.strategies import commands
from mina_pipeline.wire import wire_view

# --- the registry


class Parked(Event, frozen=True, kw_only=True):
    """A third version: `where` was `place`, and then got a floor."""

    kind: ClassVar[str] = "session_parked"
    schema_version: ClassVar[int] = 3
    where: Kept[str]
    floor: Kept[int]
    note: str | None = None


class Weighed(StageEvent, frozen=True, kw_only=True):
    """A second version of a stage's event: `grams` was `kilos`."""

    kind: ClassVar[str] = "stage_weighed"
    schema_version: ClassVar[int] = 2
    grams: Kept[int]


def renamed(fields: dict[str, Any]) -> dict[str, Any]:
    fields["where"] = fields.pop("place")
    if "memo" in fields:
        fields["note"] = fields.pop("memo")
    return fields


def floored(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "floor": 0}


def grams(fields: dict[str, Any]) -> dict[str, Any]:
    return {"stage": fields["stage"], "run": fields["run"], "grams": fields["kilos"] * 1000}


STEPS = {("session_parked", 1): renamed, ("session_parked", 2): floored, ("stage_weighed", 1): grams}
LATER = Registry([*SESSION_EVENTS, Parked], [*STAGE_EVENTS, Weighed], STEPS)


def stored(type: str, version: int, data: str, content: str | None = None, skippable: bool = False) -> RecordedEvent:
    return recorded(
        {
            "event_id": "e", "session_id": "s", "version": 4, "era": 1, "feed_xid": 0, "seq": 9, "type": type,
            "schema_version": version, "skippable": skippable, "recorded_at": 1_700_000_000_000_000, "trace_id": "t",
            "causation_id": None, "command_id": None, "actor": None, "data": data, "content": content,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("version", "data", "content", "wanted"),
    [
        (1, '{"place":"attic"}', '{"memo":"dusty"}', Parked(where="attic", floor=0, note="dusty")),
        (2, '{"where":"attic"}', '{"note":"dusty"}', Parked(where="attic", floor=0, note="dusty")),
        (3, '{"where":"attic","floor":4}', '{"note":"dusty"}', Parked(where="attic", floor=4, note="dusty")),
        (1, '{"place":"attic"}', None, Parked(where="attic", floor=0)),
    ],
)
def test_upcasters_lead_step_by_step_to_today(version: int, data: str, content: str | None, wanted: Event) -> None:
    """Each older version becomes today's event by every step between them, with its content erased too."""
    old = stored("session_parked", version, data, content)
    assert decode(old, LATER) == wanted
    assert old.data == {**msgspec.json.decode(data), **msgspec.json.decode(content or "{}")}


def test_a_hosts_stage_events_are_upcast_by_their_kind() -> None:
    """The steps of a stage's event hold for every stage, also a host's own."""
    old = stored("loading_weighed", 1, '{"stage":"loading","run":2,"kilos":3}')
    assert decode(old, LATER) == Weighed(stage="loading", run=2, grams=3000)


@pytest.mark.parametrize("lost", sorted(STEPS))
def test_a_missing_step_is_found_when_the_registry_is_built(lost: tuple[str, int]) -> None:
    """A registry that could not read every older version is refused before any event is read."""
    with pytest.raises(RegistryError, match=f"missing.*{lost[0]}.*{lost[1]}"):
        Registry([Parked], [Weighed], {step: to for step, to in STEPS.items() if step != lost})


@pytest.mark.parametrize("idle", [("session_parked", 3), ("session_parked", 0), ("session_lost", 1)])
def test_an_upcaster_that_leads_nowhere_is_refused(idle: tuple[str, int]) -> None:
    """An upcaster of an unknown kind, or from a version that is not older, is a slip and told."""
    with pytest.raises(RegistryError, match=f"no class's.*{idle[0]}"):
        Registry([Parked], [Weighed], {**STEPS, idle: floored})


def test_kinds_are_unmistakable() -> None:
    """Two classes of one kind, and a session's event that older releases would take for a stage's, are refused."""

    class Twin(Parked, frozen=True, kw_only=True):
        pass

    class Failed(Event, frozen=True, kw_only=True):
        kind: ClassVar[str] = "payment_failed"

    with pytest.raises(RegistryError, match="one kind"):
        Registry([Parked, Twin], [Weighed], STEPS)
    with pytest.raises(RegistryError, match="payment_failed"):
        Registry([Failed], STAGE_EVENTS, {})


def test_every_step_of_this_release_is_there() -> None:
    """This release's registry builds, and reads the version that each of its classes writes."""
    assert UPCASTERS.keys() == {
        (c.kind, n) for c in (*SESSION_EVENTS, *STAGE_EVENTS) for n in range(1, c.schema_version)
    }


# --- what a later release wrote


@pytest.mark.parametrize(
    ("type", "version", "names"),
    [
        ("session_split", 1, ("event type", "session_split")),
        ("session_ready", 1, ("event type", "session_ready")),  # no stage can be called `session`
        ("_started", 1, ("event type", "_started")),
        ("session_finalized", 2, ("version of session_finalized", "2")),
        ("tasks_ready", 7, ("version of tasks_ready", "7")),
    ],
)
def test_what_cannot_be_skipped_needs_an_upgrade(type: str, version: int, names: tuple[str, str]) -> None:
    """An unknown type or a newer version is refused by name, unless its writer said that it can be skipped."""
    with pytest.raises(UpgradeNeeded) as refused:
        decode(stored(type, version, '{"anything":1}'))
    assert (refused.value.what, refused.value.name) == names
    assert decode(stored(type, version, '{"anything":1}', skippable=True)) == Unread(stored_type=type)


def test_a_hosts_own_stage_is_no_unknown_type() -> None:
    """An ending of ours under a name that a stage can have is that stage's event."""
    event = decode(stored("translation_progress", 1, '{"stage":"translation","run":1,"done":1}'))
    assert event == did.StageProgress(stage="translation", run=1, done=1)


def test_what_was_not_read_is_not_written() -> None:
    """The stand-in for an event of a later release cannot be stored in its place."""
    with pytest.raises(TypeError):
        encode(Unread(stored_type="session_split"))


def test_a_skipped_event_is_counted_in_every_state() -> None:
    """In each state of a session, a skipped event raises the version by one and changes nothing else."""
    for status in SESSION:
        state = msgspec.structs.replace(INITIAL, status=status, version=6)
        after = evolve(state, Unread(stored_type="session_noted"))
        assert after == msgspec.structs.replace(state, version=7)


@pytest.mark.laws
@for_all(st.lists(commands(), max_size=20), st.data())
def test_skipped_events_anywhere_change_only_the_version(wishes: list[Any], data: st.DataObject) -> None:
    """A log folds to the same state with skippable events of a later release strewn into it, but for the count."""
    state, log = INITIAL, list[Event]()
    for wish in wishes:
        try:
            found = decide(state, wish, "s")
        except MinaError:
            continue
        state, log = replay(found, state), [*log, *found]
    places = data.draw(st.lists(st.integers(0, len(log)), max_size=4))
    for place in sorted(places, reverse=True):
        log.insert(place, Unread(stored_type="session_noted"))
    found = counted_out(replay(log))
    assert found == msgspec.structs.replace(counted_out(state), version=state.version + len(places))


def counted_out(state: State) -> State:
    """The state without the versions that it remembers: they are counted on as well."""
    stages = tuple(msgspec.structs.replace(stage, kept_version=None) for stage in state.stages)
    return msgspec.structs.replace(state, segments_version=0, stages=stages)


def test_confidences_add_up_alike_on_every_python() -> None:
    """The fold rounds a sum of confidences once: `sum` itself rounds otherwise from Python 3.12 on."""
    start = did.SessionStarted(id=1, definition="d", definition_version=1, stages=(), started_at=0)
    ten = tuple(str(n) for n in range(10))
    said = did.SegmentsRecorded(
        first_ordinal=1, segment_ids=ten, starts_ms=(0,) * 10, ends_ms=(1,) * 10, confidences=(0.1,) * 10
    )
    assert replay([start, said]).confidence_sum == 1.0


# --- readers


class Noted(Event, frozen=True, kw_only=True):
    """An event of a later release, for the tests to dress up as any other."""

    kind: ClassVar[str] = "session_noted"
    skippable: ClassVar[bool] = True
    note: str | None = "from a later release"


def later_release_writes(
    pipeline: Pipeline, session_id: str, type: str = "session_split", *, skippable: bool = False, **columns: Any
) -> None:
    """Append as a later release would: an event of its own; one that cannot be skipped raises the fold version."""
    now = load(pipeline.store, session_id)
    append, _ = pipeline.handler.compose(session_id, now, [Noted()], None, None, None, None)
    row = {**append.events[0], "type": type, "skippable": skippable}
    row["hash"] = chain(now.row["hash"], row)
    session = {**append.session, "hash": row["hash"], **columns}
    if not skippable:
        session |= {"fold_version": FOLD_VERSION + 1, "snapshot": '{"shape":"of a later release"}'}
    assert pipeline.store.append(replace(append, events=(row,), session=session))


class Clock(SystemClock):
    """The host's clock, which a test can put forward."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


@pytest.fixture
def pipeline() -> Any:
    with Pipeline.open("memory://", clock=Clock(), settings=Settings(poll=0.05)) as opened:
        yield opened


def begun(pipeline: Pipeline, session_id: str) -> str:
    pipeline.start_session("A title", session_id)
    pipeline.record(session_id, [Segment("hello there", 0, 900, "Ann", 0.5)])
    pipeline.finalize(session_id)
    return session_id


def everything(pipeline: Pipeline, session_id: str) -> list[Any]:
    """All that is stored for a session."""
    store = pipeline.store
    return [store.load(session_id), store.events(session_id), *(store.rows(table, session_id) for table in READ_MODELS)]


def test_commands_go_on_past_a_skipped_event(pipeline: Pipeline) -> None:
    """A session with skippable events of a later release is worked on to the reveal, verifies and rebuilds."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", skippable=True)
    pipeline.run_until_idle()
    later_release_writes(pipeline, "s", skippable=True)
    pipeline.retry("s", "tasks")
    pipeline.run_until_idle()
    assert pipeline.get("s").state == "revealed"
    assert [step.version for step in pipeline.replay("s") if step.skipped] == [4, 15]
    assert pipeline.verify("s") == []
    assert pipeline.rebuild("s") == 0


def test_commands_are_refused_on_what_cannot_be_read(pipeline: Pipeline) -> None:
    """No command writes to a session of a later release: each is refused with UpgradeNeeded, and nothing changes."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s")
    before = everything(pipeline, "s")
    wishes: list[Callable[[], object]] = [
        lambda: pipeline.finalize("s"),
        lambda: pipeline.cancel("s"),
        lambda: pipeline.retry("s", "tasks"),
        lambda: pipeline.record("s", [Segment("more", 1000, 1100)]),
        lambda: pipeline.rebuild("s"),
    ]
    for wish in wishes:
        with pytest.raises(UpgradeNeeded):
            wish()
    assert everything(pipeline, "s") == before


def test_a_newer_snapshot_over_a_known_log_is_read_and_never_written_over(pipeline: Pipeline) -> None:
    """Where only the snapshot is a later release's, the log is folded for reading; commands and rebuild refuse."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", "session_noted", skippable=True)
    session = pipeline.store.tables.by_key["sessions"]["s",]  # type: ignore[attr-defined]
    session.update(fold_version=FOLD_VERSION + 1, snapshot='{"shape":"of a later release"}')
    before = everything(pipeline, "s")
    assert load(pipeline.store, "s").state.public == "finalized"
    assert pipeline.get("s").state == "finalized"
    for wish in (pipeline.finalize, pipeline.cancel, pipeline.rebuild):
        with pytest.raises(UpgradeNeeded):
            wish("s")
    assert [problem.what for problem in pipeline.verify("s")] == ["unreadable"]
    assert everything(pipeline, "s") == before


def test_an_older_snapshot_is_no_problem(pipeline: Pipeline) -> None:
    """After a release that folds otherwise, verify does not report the snapshots that are yet to be folded anew."""
    begun(pipeline, "s")
    session = pipeline.store.tables.by_key["sessions"]["s",]  # type: ignore[attr-defined]
    session.update(fold_version=FOLD_VERSION - 1, snapshot="{}")
    assert pipeline.verify("s") == []
    assert pipeline.cancel("s").state == "cancelled"
    assert pipeline.store.load("s")["fold_version"] == FOLD_VERSION  # type: ignore[index]


def test_readers_show_what_they_can(pipeline: Pipeline) -> None:
    """Session, list, results, events, replay and verify read on, and say what it is that they do not know."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", state="splitting")
    assert (pipeline.get("s").state, pipeline.get("s").version) == ("splitting", 4)
    assert [session.session_id for session in pipeline.sessions()] == ["s"]
    stats = pipeline.get("s").stats
    assert stats is not None
    assert (stats.total_segments, stats.total_duration, stats.average_confidence) == (1, 0.9, 0.5)
    assert pipeline.result("s").tasks is None
    assert [event.type for event in pipeline.events("s")][-1] == "session_split"
    steps = pipeline.replay("s")
    assert [step.problem for step in steps[:-1]] == [None] * 3
    assert (steps[-1].version, steps[-1].before, steps[-1].after) == (4, "finalized", "finalized")
    assert "session_split" in (steps[-1].problem or "")
    assert pipeline.replay("s", to=3)[-1].problem is None
    (problem,) = pipeline.verify("s")
    assert problem.what == "unreadable"


def test_verify_names_what_cannot_be_read(pipeline: Pipeline) -> None:
    """Below a snapshot of its own, an unknown event is reported by version and name, beside what is amiss besides."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s")
    session = pipeline.store.tables.by_key["sessions"]["s",]  # type: ignore[attr-defined]
    session.update(fold_version=FOLD_VERSION, hash=b"other")
    hashes, unreadable = pipeline.verify("s")
    assert hashes.what == "hash"
    assert unreadable.what == "unreadable"
    assert "version 4" in unreadable.detail
    assert "session_split" in unreadable.detail


@pytest.mark.parametrize(
    "damage", ["nonsense", "[]", '{"reason":1}', '{"stage":"refinement"}', '{"stage":"x","run":1}']
)
def test_a_damaged_text_is_reported(pipeline: Pipeline, damage: str) -> None:
    """Verify and replay also survive stored text that is no event of its type."""
    begun(pipeline, "s")
    pipeline.run_until_idle()
    for version in (3, 4):
        row = pipeline.store.tables.events["s"][version - 1]  # type: ignore[attr-defined]
        there, row["data"] = row["data"], damage
        assert [problem.what for problem in pipeline.verify("s")] == ["hash", "unreadable"]
        assert len(pipeline.replay("s")) == version
        row["data"] = there


def test_an_unread_event_may_have_erased(pipeline: Pipeline) -> None:
    """Content that is missing before an event that cannot be read is not called lost: that may have erased it."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", "session_erased_in_part")
    rows: list[Row] = [{**row, "content": None} for row in pipeline.store.events("s")]
    assert list(chain_problems(rows, None)) == []
    assert [what for what, _ in chain_problems(rows[:3], None)] == ["content", "content"]


@pytest.mark.parametrize(
    ("type", "version", "data"),
    [
        ("session_split", 1, '{"secret":1}'),
        ("tasks_ready", 2, '{"secret":1}'),
        ("export_failed", 1, '{"secret":1}'),  # a later session's event that ends like a stage's
    ],
)
@pytest.mark.parametrize("skippable", [True, False])
def test_clients_see_the_envelope_of_what_is_unknown(type: str, version: int, data: str, skippable: bool) -> None:
    """An event that this release cannot read goes out as session_event, without content, so that no version lacks."""
    event = stored(type, version, data, '{"text":"secret"}', skippable)
    name, payload = wire_view(event)
    assert name == "session_event"
    assert payload == {
        "session_id": "s", "trace_id": "t", "event_id": "e", "version": 4, "timestamp": "2023-11-14T22:13:20.000Z",
        "type": type,
    }  # fmt: skip
    out = io.StringIO()
    JsonLines(out).publish(event)
    assert "secret" not in out.getvalue()


# --- the command line


@pytest.fixture
def run(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a verb on the test's pipeline."""
    module = ModuleType("the_app")
    module.pipeline = pipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "the_app", module)
    monkeypatch.setattr(pipeline, "close", lambda: None)
    return lambda *words: CliRunner().invoke(mina, [*words, "--app", "the_app:pipeline"], catch_exceptions=False)


def test_mina_replay_prints_what_comes_before(pipeline: Pipeline, run: Callable[..., Any]) -> None:
    """`mina replay` prints the steps that it can fold, names on stderr what is unknown, and exits 1."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", "session_noted", skippable=True)
    assert "session_noted              finalized  unknown to this release, skipped" in run("replay", "s").stdout
    later_release_writes(pipeline, "s")
    found = run("replay", "s")
    assert found.exit_code == 1
    assert found.stdout.splitlines()[-1] == "state finalized at version 4"
    assert "session_split" not in found.stdout
    assert "session_split" in found.stderr
    found = run("replay", "s", "--json")
    assert [msgspec.json.decode(line)["version"] for line in found.stdout.splitlines()] == [1, 2, 3, 4, 4]
    assert found.exit_code == 1
    assert run("replay", "s", "--to", "4").exit_code == 0


def test_the_other_verbs_survive(pipeline: Pipeline, run: Callable[..., Any]) -> None:
    """Events, show, list, diagram and verify read a session of a later release; rebuild leaves it and does the rest."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s", state="splitting")
    begun(pipeline, "t")
    for verb in (("sessions", "events", "s"), ("sessions", "show", "s"), ("sessions", "list"), ("diagram", "s")):
        for more in ((), ("--json",)):
            assert run(*verb, *more).exit_code == 0, verb
    assert "session_split" in run("sessions", "events", "s").stdout
    assert run("verify").exit_code == 1
    found = run("rebuild", "--json")
    assert found.exit_code == 1
    assert [msgspec.json.decode(line)["session_id"] for line in found.stdout.splitlines()] == ["t"]
    assert "s: unknown" in found.stderr


def test_the_live_view_goes_on(pipeline: Pipeline) -> None:
    """The live table shows an event that it cannot read by its name, and every one after it."""
    begun(pipeline, "s")
    out = io.StringIO()
    with Watch(pipeline.get("s"), out, "a file") as watch:
        pipeline.run_until_idle()
        known = pipeline.events("s")
        for n, event in enumerate([*known[:5], stored("session_split", 1, "{}"), *known[5:]], 1):
            watch.event(replace(event, version=n))
    lines = out.getvalue().splitlines()[1:]
    assert len(lines) == len(known) + 1
    assert lines[5].endswith("session_split              analyzing  unknown to this release")
    assert "revealed" in lines[-1]


# --- workers


def test_a_session_that_cannot_be_read_stalls_no_worker(pipeline: Pipeline) -> None:
    """Work of other sessions is done; of this one nothing is stored, no claim counted, and one warning logged."""
    begun(pipeline, "s")
    begun(pipeline, "t")
    later_release_writes(pipeline, "s")
    before = everything(pipeline, "s")
    worker = pipeline.worker()
    with capture_logs() as logs:
        while (again := worker.step(pipeline.clock.now())) is not None and again <= pipeline.clock.now():
            pass
        pipeline.clock.ahead += 61_000_000  # type: ignore[attr-defined]
        assert worker.step(pipeline.clock.now()) is not None
    assert pipeline.get("t").state == "revealed"
    assert everything(pipeline, "s") == before
    assert [log["session_id"] for log in logs if log["log_level"] == "warning"] == ["s"]
    assert "A title" not in str(logs)


def test_workers_wait_for_a_later_release(pipeline: Pipeline) -> None:
    """A worker's step with nothing but unreadable work asks for no wake at once; after a minute it looks again."""
    begun(pipeline, "s")
    later_release_writes(pipeline, "s")
    worker, now = pipeline.worker(), pipeline.clock.now()
    assert worker.step(now) == now
    assert worker.step(now) is None
    assert worker.step(now + 59_000_000) is None
    assert worker.step(now + 61_000_000) == now + 61_000_000
    assert list(worker.aside) == ["s"]
    assert pipeline.run_until_idle() <= 1


def test_the_sessions_set_aside_are_bounded(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker remembers so many unreadable sessions and no more, and then slows down instead of spinning."""
    monkeypatch.setattr("mina_pipeline.claiming.MOST_ASIDE", 3)
    for n in range(5):
        later_release_writes(pipeline, begun(pipeline, f"s{n}"))
    worker, now = pipeline.worker(), pipeline.clock.now()
    assert [worker.step(now) for _ in range(3)] == [now] * 3
    assert worker.step(now) == now + 50_000
    assert len(worker.aside) == 3


def test_a_checkpoint_that_cannot_be_read_is_not_bought_again(pipeline: Pipeline) -> None:
    """A stage whose stored answers are a later release's is given back: neither run anew nor failed."""
    from mina_pipeline import Ok, StageContext, define, stage

    bought: list[str] = []

    @stage("translation", running="translating")
    def translate(ctx: StageContext) -> Ok:
        return Ok(ctx.checkpoint("chunk", lambda: bought.append("an answer")))

    with Pipeline.open("memory://", definition=define("mine", translate), settings=Settings(poll=0.05)) as p:
        p.start_session(session_id="s")
        p.finalize("s")
        later_release_writes(p, "s", "translation_progress", skippable=True)
        row = p.store.tables.events["s"][-1]  # type: ignore[attr-defined]
        row.update(schema_version=2, skippable=False)  # by a release that broke the rule of the fold version
        worker = p.worker()
        assert worker.step(p.clock.now()) is not None
        assert worker.step(p.clock.now()) is None
        assert bought == []
        assert [event.type for event in p.events("s")][-1] == "translation_started"
        assert p.store.rows("work", "s")[0]["attempts"] == 0


def test_a_log_that_no_table_allows_is_refused() -> None:
    """Skipping is for what the writer called skippable: a known event out of place is still refused."""
    with pytest.raises(EventRefused):
        evolve(evolve(INITIAL, Unread(stored_type="session_noted")), did.SessionCancelled())


def test_this_release_reads_what_it_writes() -> None:
    """Each class is read at the version that it is written with."""
    for cls in (*SESSION_EVENTS, *STAGE_EVENTS):
        reading = REGISTRY.find("anything" + cls.kind.removeprefix("stage") if cls in STAGE_EVENTS else cls.kind)
        assert reading is not None
        assert (reading.cls, reading.version) == (cls, cls.schema_version)
