"""Pipeline, the public face, and the only place that wires the rooms together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import commands as ask
from .blocking import guarded
from .codec import clean, recorded
from .company import Company
from .crew import WorkerThreads
from .diagnosis import stuck as stuck_ones
from .errors import InvalidInput, SessionNotFound, UpgradeNeeded
from .events import Position, RecordedEvent
from .inputs import check_timezone, checked_changes, checked_segment, identifier, micros, optional_identifier, page_size
from .live import Live, Wake, Watch
from .llm.breaker import Breakers
from .meeting import Result, Segment
from .observers import Observers
from .opening import find_provider, known_workflows, open_store, share
from .ports import Clock, FeedStall, Ids, Store
from .projections import Delays, Row
from .relay import Relay, Subscription
from .sessions import Loaded, Sessions, Then, load
from .settings import Settings
from .stages.base import Workflow
from .states import FOLD_VERSION, INITIAL
from .system import SystemClock, SystemIds
from .trials import Trials
from .views import Session, result, session_view

if TYPE_CHECKING:
    from .aio import Aio


@guarded(
    waiting="start_session record finalize cancel retry change_task touch get result sessions events feed feed_stall "
    "subscribe watch watch_dashboard replay upcoming verify unlisted rebuild recover health diff workers".split(),
    long="run_until_idle work fork run_fork replay_with".split(),
)
class Pipeline(Trials):
    """Sessions over one store. `Pipeline.open(url)` makes one; a context manager; safe to share between threads.

    Threads start on first use: the first subscription starts the relay, `workers(n)` workers, and on PostgreSQL the
    first commit the one that notifies other processes.
    """

    def __init__(
        self,
        store: Store,
        workflows: Sequence[Workflow],
        provider: Any,
        settings: Settings,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self.store = store
        self.workflows = workflows
        self.provider = provider
        self.settings = settings
        self.clock = clock
        self.ids = ids
        self.code = {workflow.key: workflow.code for workflow in workflows}
        self.handler = self._handler(store)
        self.observers = Observers()
        self.breakers = Breakers(store, clock, ids, settings, self._breaker_changed)
        self.company = Company()
        self.relay = Relay(store, clock, settings.poll)
        self.live = Live(store, clock, settings.poll)
        self.threads: list[WorkerThreads] = []
        store.on_commit(self._committed)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        definition: str | Workflow | Sequence[Workflow] = "standard",
        provider: Any = "offline",
        settings: Settings | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> Pipeline:
        """Open a store and make its tables where they are missing.

        url: memory:// · sqlite:///relative.db · sqlite:////absolute.db · postgresql://…
        definition: "standard", "parallel", a workflow from `define`, or several, the first being for new
        sessions. provider: "offline", "openai", or an object like
        stages.base.Provider.
        StoreUnreachable, ForeignSchema, MissingExtra and InvalidInput say what is in the way.
        """
        settings, ids = settings or Settings.from_env(), ids or SystemIds()
        workflows, worker = known_workflows(definition), find_provider(provider)
        store = open_store(url, settings)  # last: nothing else can fail once it is open
        return cls(store, workflows, share(worker, store, ids.uuid), settings, clock or SystemClock(), ids)

    def close(self) -> None:
        """End the threads, let go of connections. Inside a host's transaction there is nothing to end."""
        if self.store.inside:
            return
        for threads in self.threads:
            threads.close()
        self.live.close()
        self.relay.close()
        self.store.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- commands

    def start_session(
        self,
        title: str | None = None,
        session_id: str | None = None,
        *,
        meeting_id: str | None = None,
        tenant: str | None = None,
        started_at: datetime | None = None,
        timezone: str | None = None,
        locale: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        command_id: str | None = None,
        expected: ask.ExpectedVersion = ask.ANY_VERSION,
        actor: str | None = None,
    ) -> Session:
        """Begin a session; a known id gives its session, unchanged (with expected=NO_STREAM: ConcurrencyError).

        started_at: when the meeting began (default: now); timezone: an IANA name, the base for spoken dates;
        metadata: any JSON object. A command_id is known by its session: a start is repeatable only with a session_id.
        """
        seen: Loaded | None = None
        if session_id is None:
            session_id, seen = self.ids.uuid(), Loaded({}, INITIAL)  # nobody else has that id
        elif command_id is None and expected is ask.ANY_VERSION:
            known = load(self.store, identifier("session_id", session_id))
            if known.row:
                return self._view(known)
        else:
            identifier("session_id", session_id)
        if timezone is not None:
            check_timezone(timezone)
        workflow = self.workflows[0]
        command = ask.Start(
            id=self.store.draw_id(),
            definition=workflow.definition.name,
            definition_version=workflow.definition.version,
            stages=workflow.definition.stages,
            started_at=self.clock.now() if started_at is None else micros(started_at, timezone),
            title=clean(title),
            meeting_id=clean(meeting_id),
            tenant=clean(tenant),
            timezone=timezone,
            locale=clean(locale),
            metadata=clean(dict(metadata or {})),
        )
        return self._view(self._executed(session_id, command, command_id, expected, actor, seen=seen))

    def record(
        self,
        session_id: str,
        segments: Iterable[Segment],
        command_id: str | None = None,
        *,
        expected: ask.ExpectedVersion = ask.ANY_VERSION,
        actor: str | None = None,
    ) -> Session:
        """Add segments, all or none. Known ids with equal content change nothing, in any state.

        SegmentIdReused for a known id with other content; InvalidInput for impossible times or confidence.
        """
        checked = tuple(checked_segment(n, segment) for n, segment in enumerate(segments))
        command = ask.Record(segments=checked, late=self.settings.late_segments)
        return self._execute(session_id, command, command_id, expected, actor)

    def finalize(
        self,
        session_id: str,
        *,
        command_id: str | None = None,
        expected: ask.ExpectedVersion = ask.ANY_VERSION,
        actor: str | None = None,
    ) -> Session:
        """End the recording and let the stages begin. Asked again, it answers the same."""
        hand = self._idle_worker()  # if there is one it begins at once, and no worker has to look for the session
        begun: Loaded | None = None
        try:
            then = hand.worker.next_stage if hand is not None else None
            done = self._executed(session_id, ask.Finalize(), command_id, expected, actor, then)
            begun = done if done.begun else None
        finally:
            if hand is not None:
                hand.give(begun)
        return self._view(done)

    def cancel(
        self,
        session_id: str,
        why: str | None = None,
        *,
        command_id: str | None = None,
        expected: ask.ExpectedVersion = ask.ANY_VERSION,
        actor: str | None = None,
    ) -> Session:
        """Stop a session for good; IllegalTransition once it is revealed."""
        return self._execute(session_id, ask.Cancel(why=clean(why)), command_id, expected, actor)

    def retry(
        self,
        session_id: str,
        stage: str,
        *,
        run: int | None = None,
        drop: bool = False,
        command_id: str | None = None,
        expected: ask.ExpectedVersion = ask.ANY_VERSION,
        actor: str | None = None,
    ) -> Session:
        """Run a stage again. Naming the `run` to repeat makes the call itself repeatable.

        drop: instead, end what is pending for it: a wait for its provider (it has failed then), or the upgrade of a
        result that is degraded for an outage.
        """
        command: ask.Command = ask.Retry(stage=stage, run=run)
        if drop:
            command = ask.Drop(stage=stage, run=run, completed_at=self.clock.now())
        return self._execute(session_id, command, command_id, expected, actor)

    def change_task(
        self,
        session_id: str,
        task_id: str,
        changes: Mapping[str, Any],
        *,
        command_id: str | None = None,
        expected: ask.ExpectedVersion = ask.ANY_VERSION,
        actor: str | None = None,
    ) -> Session:
        """What a person changes on a task: it outlives later runs. What the task says already changes nothing.

        changes: of title, description, task_type, priority, assigned_to, due_date (YYYY-MM-DD) and completed, the new
        values; InvalidInput names the field that is wrong. TaskNotFound.
        """
        command = ask.ChangeTask(task_id=identifier("task_id", task_id), changes=checked_changes(changes))
        return self._execute(session_id, command, command_id, expected, actor)

    def touch(self, session_id: str) -> None:
        """A sign of life: without one, or a segment, for the recording grace a recording is finalized."""
        if self.store.load(session_id) is None:
            raise SessionNotFound(session_id)
        self.store.touch(self.clock.now(), session_id)

    def using(self, connection: Any) -> Pipeline:
        """The same commands inside the host's transaction: they commit, or vanish, with the host's rows."""
        inside = object.__new__(type(self))
        vars(inside).update({name: value for name, value in vars(self).items() if name != "aio"})
        inside.store = self.store.using(connection)
        inside.handler = self._handler(inside.store)
        return inside

    @cached_property
    def aio(self) -> Aio:
        """The same names, awaitable, in worker threads."""
        from .aio import Aio

        self.refuse_inside("aio")
        return Aio(self)

    # --- reading

    def get(self, session_id: str | int) -> Session:
        """The session as it is now, by its id or its integer id; SessionNotFound."""
        row = self.store.load(session_id)
        if row is None:
            raise SessionNotFound(session_id)
        return self._seen(row)

    def result(self, session_id: str) -> Result:
        """What the stages have made so far; SessionNotFound."""
        self.get(session_id)
        return result(self.store, session_id)

    def sessions(
        self,
        state: str | None = None,
        tenant: str | None = None,
        stuck: bool = False,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Session]:
        """Sessions, newest first. before: the integer id of the last one seen; stuck: unfinished ones whose work
        nobody does although it is due for over a minute, or whose recording is silent for longer than the grace."""
        most = page_size(limit) or 0
        if stuck:
            now = self.clock.now()
            ids = stuck_ones(now, self.store.work_rows(now), self.settings, state, tenant, before)
            return [self._seen(row) for one in ids[:most] if (row := self.store.load(one)) is not None]
        return [self._seen(row) for row in self.store.sessions(state, tenant, before, most)]

    def events(self, session_id: str, after: int = 0) -> list[RecordedEvent]:
        """All events of a session with version > after, oldest first; SessionNotFound."""
        rows = self.store.events(session_id, after)
        if not rows and self.store.load(session_id) is None:
            raise SessionNotFound(session_id)
        return [recorded(row) for row in rows]

    def feed(self, after: Position | str | None = None, limit: int | None = None) -> list[RecordedEvent]:
        """Events of all sessions after a position, up to the safe head; in order per session; never blocks.

        On PostgreSQL an open write transaction anywhere in the cluster holds the head back: see `feed_stall`.
        """
        if isinstance(after, str):
            try:
                after = Position.parse(after)
            except ValueError:
                raise InvalidInput("after", f"{after!r} is no position; use one that an event carried") from None
        return self.store.feed(after, page_size(limit))

    def feed_stall(self) -> FeedStall | None:
        """Committed events that the feed holds back, and the open transaction that is why; None: there are none."""
        return self.store.feed_stall()

    def subscribe(self, callback: Callable[[RecordedEvent], None]) -> Subscription:
        """Call back for every event committed from now on, by any process, in order per session.

        All callbacks run on one relay thread; one that raises is logged and stops nobody.
        """
        self.store.listen()
        return self.relay.subscribe(callback)

    def watch(self, session_id: str, after: int | None = None, wake: Wake | None = None) -> Watch:
        """A client's place in one session's events, as they go out on the wire: those after a version (None: from now
        on), then live, each once and in order. The session may be one that is yet to come. See live.Watch."""
        self.refuse_inside("watch")
        return self.live.watch(session_id, after, wake)

    def watch_dashboard(self, tenant: str | None, wake: Wake | None = None) -> Watch:
        """The dashboard_refresh hints of a tenant's sessions from now on."""
        self.refuse_inside("watch_dashboard")
        return self.live.watch_dashboard(tenant, wake)

    # --- inside

    def _handler(self, store: Store) -> Sessions:
        """The command handler over a store, with what the settings say of timers."""
        of = self.settings
        delays = Delays(*(int(one * 1e6) for one in (of.recording_grace, of.reveal_deadline, of.upgrade_delay)))
        return Sessions(store, self.clock, self.ids, frozenset(self.code), of.attempts, delays)

    def _execute(self, *given: Any) -> Session:
        return self._view(self._executed(*given))

    def _executed(
        self,
        session_id: str,
        command: ask.Command,
        command_id: str | None,
        expected: ask.ExpectedVersion,
        actor: str | None,
        then: Then | None = None,
        seen: Loaded | None = None,
    ) -> Loaded:
        return self.handler.execute(
            session_id,
            command,
            command_id=optional_identifier("command_id", command_id),
            expected=expected,
            actor=optional_identifier("actor", actor),
            seen=seen,
            then=then,
        )

    def _seen(self, row: Row) -> Session:
        """A row as callers see it; another release's snapshot is folded anew, or where it can't be, left out."""
        if row["fold_version"] != FOLD_VERSION:
            try:
                return self._view(load(self.store, row["session_id"]))
            except UpgradeNeeded:
                pass
        return session_view(row)

    def _view(self, loaded: Loaded) -> Session:
        asked = loaded.asked
        row = loaded.row if asked is None else {**loaded.row, "version": asked.version}
        return session_view(row, asked or loaded.state)

    def _committed(self, session_id: str | None, version: int, work: bool) -> None:
        self.relay.wake(session_id, version)
        self.live.wake(session_id, version)
        for threads in self.threads if work else ():
            threads.wake()
