"""One command on one session: load, decide, append; on a conflict decide again. Read this first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from . import commands as ask
from .codec import GENESIS, chain, decode, digest, encode, recorded, stored_as
from .decisions import decide
from .errors import CommandIdReused, ConcurrencyError, MinaError, SessionBusy, SessionNotFound, UpgradeNeeded
from .events import Event
from .log import logger
from .meeting import Segment
from .ports import Append, Clock, EventStore, Ids, Store, WorkGuard
from .projections import DELAYS, Delays, Happened, Op, Row, project, session_columns
from .states import FOLD_VERSION, INITIAL, State, replay


@dataclass(frozen=True)
class Next:
    """A worker's next command, carried out in one append with the one before it, which brings its work row.

    owner, token and until (host's µs) are its claim.
    """

    command: ask.Begin
    owner: str
    token: str
    until: int


Then = Callable[[State, State], Next | None]


@dataclass(slots=True)
class Loaded:
    """A session as it is now: its row (empty before the first event), its state.

    begun: what was begun in the same append, and `asked` the state that the command itself had led to.
    """

    row: Row
    state: State
    begun: Next | None = None
    asked: State | None = None


@dataclass(frozen=True)
class Sessions:
    """The command handler. `definitions`: the (name, version) pairs that this process knows."""

    store: Store
    clock: Clock
    ids: Ids
    definitions: Collection[tuple[str, int]]
    attempts: int = 200
    delays: Delays = DELAYS

    def execute(
        self,
        session_id: str,
        command: ask.Command,
        *,
        command_id: str | None = None,
        expected: ask.ExpectedVersion = ask.ANY_VERSION,
        actor: str | None = None,
        guard: WorkGuard | None = None,
        seen: Loaded | None = None,
        then: Then | None = None,
    ) -> Loaded:
        """Carry out a command and return the session as it is then.

        A command that took effect before changes nothing. ConcurrencyError only where `expected` is given;
        SessionBusy when other writers won every attempt; LeaseLost where the guard's work is another's.
        seen: the session as the caller saw it last, to decide on first. then: asked with the states before and after
        the command for one that goes into the same append.
        """
        rest = (session_id, command, command_id, expected, actor, guard, then)
        return self.attempt(seen, *rest) or self.decide_again(*rest)

    def attempt(
        self,
        seen: Loaded | None,
        session_id: str,
        command: ask.Command,
        command_id: str | None,
        expected: ask.ExpectedVersion,
        actor: str | None,
        guard: WorkGuard | None,
        then: Then | None,
    ) -> Loaded | None:
        """One round: None where another writer was first."""
        # 1. Load the snapshot: one row, whatever the history.
        now = seen or load(self.store, session_id)
        if now.state.status == "new" and not isinstance(command, ask.Start):
            raise SessionNotFound(session_id)
        # A host at REPEATABLE READ would meet the command's first run as a serialization failure: look before.
        if self.store.inside and self.repeated(session_id, command, command_id):
            return now
        # 2. Decide. A command that took effect before is not refused for what it brought about.
        try:
            self.check(session_id, now, expected)
            events = decide(now.state, self.complete(session_id, command, now), session_id)
        except MinaError:
            if self.repeated(session_id, command, command_id):
                return load(self.store, session_id)  # it may have taken effect since we looked
            raise
        if not events:
            # Or it is another command's id.
            return load(self.store, session_id) if self.repeated(session_id, command, command_id) else now
        asked = after = replay(events, now.state)
        begun = then(now.state, asked) if then is not None else None
        if begun is not None:
            more = decide(asked, begun.command, session_id)
            events, after = [*events, *more], replay(more, asked)
        # 3. Append: events, snapshot and read models, guarded by the version that was decided on.
        mark = ask.fingerprint(command) if command_id is not None else None
        append, after = self.compose(session_id, now, events, command_id, mark, actor, guard, after)
        if begun is not None:
            append = replace(append, ops=tuple(claimed_by(begun, op) for op in append.ops))
        if self.store.append(append):
            self.log(append)
            return Loaded({**now.row, **append.session}, after, begun, asked if begun else None)
        # 4. Another writer was first. It may have been this very command, sent twice.
        if self.repeated(session_id, command, command_id):
            return load(self.store, session_id)
        if expected is not None:
            raise ConcurrencyError(session_id, expected, load(self.store, session_id).state.version)
        return None

    def decide_again(self, *rest: Any) -> Loaded:
        """Further rounds, a bounded number, each after a short random wait."""
        from tenacity import RetryError, Retrying, retry_if_result, stop_after_attempt, wait_random

        again = Retrying(
            retry=retry_if_result(lambda done: done is None),
            stop=stop_after_attempt(self.attempts),
            wait=wait_random(0, 0.02),
        )
        try:
            done = again(self.attempt, None, *rest)
        except RetryError:
            raise SessionBusy(rest[0], self.attempts) from None
        assert done is not None
        return done

    def repeated(self, session_id: str, command: ask.Command, command_id: str | None) -> bool:
        """Whether this command took effect before, by its id; CommandIdReused where the id is another command's."""
        if command_id is None:
            return False
        known = self.store.command(session_id, command_id)
        if known is not None and known != ask.fingerprint(command):
            raise CommandIdReused(session_id, command_id)
        return known is not None

    def check(self, session_id: str, now: Loaded, expected: ask.ExpectedVersion) -> None:
        """What stands in the way of any command: the version, the definition, a later release's snapshot."""
        if expected is not None and now.state.version != expected:
            raise ConcurrencyError(session_id, expected, now.state.version)
        if now.row and now.row["fold_version"] > FOLD_VERSION:
            raise UpgradeNeeded("fold version", str(now.row["fold_version"]), f"version {FOLD_VERSION} and older")
        pinned = (now.state.definition, now.state.definition_version)
        if now.state.status != "new" and pinned not in self.definitions:
            known = ", ".join(f"{name} {version}" for name, version in sorted(self.definitions))
            raise UpgradeNeeded("definition", "{} {}".format(*pinned), known)

    def complete(self, session_id: str, command: ask.Command, now: Loaded) -> ask.Command:
        """What decide needs to know and only read models hold: segments, a task, the last sign of life."""
        if isinstance(command, ask.Abandon):
            silent = self.store.silence(self.clock.now(), session_id)
            return msgspec.structs.replace(command, silent=silent or 0)
        if isinstance(command, ask.Drop):
            return msgspec.structs.replace(command, session_title=now.row["title"])
        if isinstance(command, ask.ChangeTask):
            rows = self.store.rows("tasks", session_id)
            task = next((row for row in rows if row["task_id"] == command.task_id), None)
            return msgspec.structs.replace(command, known=task)
        if not isinstance(command, ask.Record):
            return command
        named = [s.segment_id for s in command.segments if s.segment_id is not None]
        if len(named) < len(command.segments):  # callers may have used the ordinals that the others would get
            named += [str(now.state.segments + n) for n in range(1, len(command.segments) + 1)]
        rows = self.store.known_segments(session_id, named) if named else []
        known = {row["segment_id"]: segment(row) for row in rows}
        return msgspec.structs.replace(command, known=known)

    def compose(
        self,
        session_id: str,
        now: Loaded,
        events: Sequence[Event],
        command_id: str | None,
        mark: str | None,
        actor: str | None,
        guard: WorkGuard | None,
        after: State | None = None,
    ) -> tuple[Append, State]:
        """The append as a value, and the state after it: `after`, if the events are stored just as they are."""
        at = self.clock.now()
        trace_id = now.row.get("trace_id") or self.ids.uuid()
        previous, rows, happened = now.row.get("hash") or GENESIS, list[Row](), list[Happened]()
        for version, event in enumerate(events, now.state.version + 1):
            text = encode(event)
            salt = None if text.content is None else self.ids.salt()
            row: Row = {
                "event_id": self.ids.uuid(),
                "session_id": session_id,
                "version": version,
                "type": text.type,
                "schema_version": text.schema_version,
                "skippable": text.skippable,
                "recorded_at": at,
                "trace_id": trace_id,
                "causation_id": rows[0]["event_id"] if rows else None,
                "command_id": command_id,
                "fingerprint": None if rows else mark,
                "actor": actor,
                "data": text.data,
                "content": text.content,
                "salt": salt,
                "digest": digest(salt or b"", text.content),
            }
            row["hash"] = previous = chain(previous, row)
            rows.append(row)
            # What is projected is what was stored, so that a rebuild sees the very same.
            happened.append(Happened(session_id, version, at, stored_as(text)))
        if after is None or any(one.event != event for one, event in zip(happened, events, strict=True)):
            after = replay((one.event for one in happened), now.state)
        session = {**session_columns(after, happened), "hash": previous}
        if now.state.status == "new":
            session["trace_id"] = trace_id
        ops = tuple(project(now.state, after, happened, self.delays))
        return Append(session_id, now.state.version, tuple(rows), session, ops, at, guard, command_id), after

    def log(self, append: Append) -> None:
        out = logger("mina_pipeline.sessions")
        for row in append.events:
            out.info(
                "event appended",
                session_id=row["session_id"],
                trace_id=row["trace_id"],
                version=row["version"],
                type=row["type"],
            )


def claimed_by(begun: Next, op: Op) -> Op:
    """The operation that brings the next stage's work row, with the row in the hands of the worker that brings it."""
    if op.kind != "insert" or op.table != "work":
        return op
    mine = {"owner": begun.owner, "token": begun.token, "until": begun.until, "attempts": 1}
    key = ("stage", begun.command.stage)
    return replace(op, rows=tuple({**row, **mine} if (row["kind"], row["stage"]) == key else row for row in op.rows))


def load(store: EventStore, session_id: str | int) -> Loaded:
    """The session's row and state. A snapshot of another fold version is folded anew from the log.

    UpgradeNeeded where a later release wrote that log in a way that this one cannot read.
    """
    row = store.load(session_id)
    if row is None:
        return Loaded({}, INITIAL)
    if row["fold_version"] == FOLD_VERSION:
        return Loaded(row, SNAPSHOT.decode(row["snapshot"]))
    # Up to the row's own version: what was appended since then is not in its hash.
    events = store.events(row["session_id"], limit=row["version"])
    return Loaded(row, replay(decode(recorded(event)) for event in events))


SNAPSHOT = msgspec.json.Decoder(State)


def segment(row: Row) -> Segment:
    """A row of the segments table as the segment that was recorded."""
    return Segment(**{name: row[name] for name in Segment.__dataclass_fields__})


def at_claim(row: Row) -> Loaded | None:
    """A session by a row that was read before; None where that needs another look."""
    if row.get("fold_version") != FOLD_VERSION:
        return None
    return Loaded(row, SNAPSHOT.decode(row["snapshot"]))
