"""The log, read again: replay it step by step, verify what was made of it, rebuild that in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .codec import GENESIS, chain, decode, digest, recorded
from .errors import MinaError, SessionBusy, SessionNotFound, UpgradeNeeded
from .events import Event, SessionErased, Unread
from .ports import Store
from .projections import KEYS, OPERATIONAL, READ_MODELS, Happened, Op, Row, project, session_columns
from .states import FOLD_VERSION, INITIAL, State, evolve
from .store.memory import Tables

READINGS = 5
IGNORED = frozenset({"era", "feed_xid", "hash", "trace_id", "touched_at"})
SNAPSHOT = frozenset({"snapshot", "fold_version"})
BROKEN = (MinaError, ValueError, TypeError, LookupError, AttributeError)
"""What reading or folding an event may raise: a release too old for it, or a damaged log."""


@dataclass(frozen=True)
class Step:
    """One event of a replay: what happened, when (µs), and the public state before and after.

    skipped: a later release's event that may be skipped, and was. problem: why the replay ends before this event.
    """

    version: int
    type: str
    recorded_at: int
    before: str
    after: str
    stage: str | None = None
    run: int | None = None
    outcome: str | None = None
    skipped: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class Problem:
    """Something that verify found. what: version gap | hash | content | snapshot | read model | unreadable."""

    session_id: str
    what: str
    detail: str


def replay_steps(store: Store, session_id: str, to: int | None = None) -> Iterator[Step]:
    """Fold the log again, event by event, up to version `to`; SessionNotFound for an unknown id.

    Where an event cannot be read, the last step says so as its `problem`, and its state is the one before it.
    """
    rows = store.events(session_id, limit=to)
    if not rows:
        raise SessionNotFound(session_id)
    return steps(rows)


def steps(rows: list[Row]) -> Iterator[Step]:
    state = INITIAL
    for row in rows:
        step = Step(row["version"], row["type"], row["recorded_at"], state.public, state.public)
        try:
            event, state = folded_on(state, row)
        except BROKEN as error:
            yield replace(step, problem=problem_of(row, error))
            return
        yield replace(
            step,
            after=state.public,
            stage=getattr(event, "stage", None),
            run=getattr(event, "run", None),
            outcome=getattr(event, "outcome", None),
            skipped=isinstance(event, Unread),
        )


def folded_on(state: State, row: Row) -> tuple[Event, State]:
    event = decode(recorded(row))
    return event, evolve(state, event)


def problem_of(row: Row, error: Exception) -> str:
    return f"version {row['version']}, {row['type']}: {type(error).__name__}: {error}"


def unlisted(store: Store, page: int = 1_000) -> Iterator[Problem]:
    """Sessions that the log knows and the session rows do not: one pass over the headers, no bodies."""
    reached: dict[str, int] = {}
    headers, after = store.headers(None, page)
    while headers:
        for session_id, version, _ in headers:
            reached[session_id] = version
        headers, after = store.headers(after, page)
    before: int | None = None
    while rows := store.sessions(None, None, None, before, page):
        for row in rows:
            reached.pop(row["session_id"], None)
        before = rows[-1]["id"]
    for session_id, version in reached.items():
        yield Problem(session_id, "snapshot", f"the log has {version} event(s), and there is no session row")


def verify(store: Store, session_id: str) -> list[Problem]:
    """Compare everything stored for a session with its log; an empty list is a clean bill."""
    problems: list[Problem] = []
    for _ in range(READINGS):
        before, problems = store.load(session_id), compare(store, session_id)
        after = store.load(session_id)
        if not problems or (before and after and before["version"] == after["version"]):
            break  # else somebody appended between our reads: what differs may be only that
    return problems


def compare(store: Store, session_id: str) -> list[Problem]:
    """One reading of a session's log beside what was made of it."""
    rows, session = store.events(session_id), store.load(session_id)
    if not rows and session is None:
        raise SessionNotFound(session_id)
    problems = [Problem(session_id, *found) for found in chain_problems(rows, session)]
    try:
        refuse_newer(session)
        tables, columns = folded(rows)
    except BROKEN as error:
        # What another release made of a log that this one cannot read is not compared.
        where = (step.problem for step in steps(rows) if step.problem)
        return [*problems, Problem(session_id, "unreadable", next(where, f"{type(error).__name__}: {error}"))]
    ignored = IGNORED
    if session is not None and session["fold_version"] < FOLD_VERSION:
        ignored |= SNAPSHOT  # an older release's; the next command folds anew
    for name, value in columns.items():
        if session is None or (name not in ignored and session[name] != value):
            problems.append(Problem(session_id, "snapshot", f"column {name} is not what the log says"))
    for table in READ_MODELS:
        for key in differing(tables, store.rows(table, session_id), table):
            problems.append(Problem(session_id, "read model", f"{table} row {key} is not what the log says"))
    return problems


def chain_problems(rows: list[Row], session: Row | None) -> Iterator[tuple[str, str]]:
    previous = GENESIS
    erased = max((erased_through(row) for row in rows), default=0)
    for expected, row in enumerate(rows, 1):
        version = row["version"]
        if version != expected:
            yield "version gap", f"version {expected} is missing, {version} follows"
            return
        if chain(previous, row) != row["hash"]:
            yield "hash", f"version {version} does not continue the chain"
        if row["content"] is None and row["digest"] is not None and version > erased:
            yield "content", f"version {version} has lost its content"
        if row["content"] is not None and digest(row["salt"], row["content"]) != row["digest"]:
            yield "content", f"version {version} holds other content than was recorded"
        previous = row["hash"]
    if session is not None and session["hash"] != previous:
        yield "hash", "the session row's hash is not the last event's"


def erased_through(row: Row) -> int:
    """Up to which version this event erased content; one that cannot be read may have erased all before it."""
    try:
        event = decode(recorded(row))
    except BROKEN:
        return int(row["version"])
    return event.through_version if isinstance(event, SessionErased) else 0


def refuse_newer(session: Row | None) -> None:
    """UpgradeNeeded where a release with a later fold has written the session's row."""
    if session is not None and session["fold_version"] > FOLD_VERSION:
        raise UpgradeNeeded("fold version", str(session["fold_version"]), f"version {FOLD_VERSION} and older")


def folded(rows: list[Row]) -> tuple[Tables, Row]:
    """The read models and session columns that the log makes: the very functions that wrote them."""
    tables, columns, state = Tables(), Row(), INITIAL
    for row in rows:
        event, after = folded_on(state, row)
        happened = [Happened(row["session_id"], row["version"], row["recorded_at"], event)]
        for op in project(state, after, happened):
            tables.apply(op)
        columns |= session_columns(after, happened)
        state = after
    return tables, columns


def differing(tables: Tables, stored: list[Row], table: str) -> list[tuple[str, ...]]:
    """The keys (session id left out) of rows that are missing, too many, or unlike the fold's."""
    wanted = tables.by_key[table]
    there = {tuple(row[column] for column in KEYS[table]): row for row in stored}
    return [key[1:] for key in sorted({*wanted, *there}) if not alike(wanted.get(key), there.get(key))]


def alike(wanted: Row | None, there: Row | None) -> bool:
    if wanted is None or there is None:
        return wanted is there
    return all(there[column] == value for column, value in wanted.items() if column not in OPERATIONAL)


def rebuild(store: Store, now: int, session_id: str, attempts: int = 20) -> int:
    """Write a session's read models anew from its log, in place; how many rows were wrong.

    UpgradeNeeded, with nothing written, where the log or the session's row is a later release's.
    """
    for _ in range(attempts):
        rows = store.events(session_id)
        if not rows:
            raise SessionNotFound(session_id)
        refuse_newer(store.load(session_id))
        tables, columns = folded(rows)
        ops = [Op("update", "sessions", ({"session_id": session_id, **columns},))]
        wrong = 0
        for table in READ_MODELS:
            there = {tuple(row[c] for c in KEYS[table]): row for row in store.rows(table, session_id)}
            for key in sorted({*tables.by_key[table], *there}):
                wanted, stored = tables.by_key[table].get(key), there.get(key)
                if alike(wanted, stored):
                    continue
                wrong += 1
                if wanted is None:
                    ops.append(Op("delete", table, (dict(zip(KEYS[table], key, strict=True)),)))
                elif stored is None:
                    ops.append(Op("insert", table, (wanted,)))
                else:
                    kept = {c: v for c, v in wanted.items() if c not in OPERATIONAL}
                    ops.append(Op("update", table, (kept,)))
        if store.correct(now, session_id, len(rows), ops):
            return wrong
    raise SessionBusy(session_id, attempts)
