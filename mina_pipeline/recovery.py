"""What was made of the log: verified against it, rebuilt in place, and what is stuck found and repaired."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from . import commands as ask
from .codec import GENESIS, chain, decode, digest, recorded
from .diagnosis import Finding, diagnose, mismatched
from .errors import SessionBusy, SessionNotFound, StoreBusy, StoreUnreachable, UpgradeNeeded
from .events import SessionErased
from .ports import Store
from .projections import DELAYS, KEYS, OPERATIONAL, READ_MODELS, Delays, Happened, Op, Row, project, session_columns
from .replaying import BROKEN, folded_on, steps
from .sessions import Sessions
from .settings import Settings
from .states import FINISHED, FOLD_VERSION, INITIAL
from .store.memory_work import Tables

READINGS = 5
IGNORED = frozenset({"era", "feed_xid", "hash", "trace_id", "touched_at"})
SNAPSHOT = frozenset({"snapshot", "fold_version"})
PAGE = 500


@dataclass(frozen=True)
class Problem:
    """Something that verify found. what: version gap | hash | content | snapshot | read model | unreadable."""

    session_id: str
    what: str
    detail: str


def unlisted(store: Store, page: int = 1_000) -> Iterator[Problem]:
    """Sessions that the log knows and the session rows do not: one pass over the headers, no bodies."""
    reached: dict[str, int] = {}
    headers, after = store.headers(None, page)
    while headers:
        for session_id, version, _ in headers:
            reached[session_id] = version
        headers, after = store.headers(after, page)
    for row in pages(store):
        reached.pop(row["session_id"], None)
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


def folded(rows: list[Row], delays: Delays = DELAYS) -> tuple[Tables, Row]:
    """The read models and session columns that the log makes: the very functions that wrote them."""
    tables, columns, state = Tables(), Row(), INITIAL
    for row in rows:
        event, after = folded_on(state, row)
        happened = [Happened(row["session_id"], row["version"], row["recorded_at"], event)]
        for op in project(state, after, happened, delays):
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


def rebuild(store: Store, now: int, session_id: str, delays: Delays = DELAYS, attempts: int = 20) -> int:
    """Write a session's read models anew from its log, in place; how many rows were wrong.

    delays: how long after what brings them timers that were missing are due. UpgradeNeeded, with nothing written,
    where the log or the session's row is a later release's.
    """
    for _ in range(attempts):
        rows = store.events(session_id)
        if not rows:
            raise SessionNotFound(session_id)
        refuse_newer(store.load(session_id))
        tables, columns = folded(rows, delays)
        columns.pop("touched_at")  # signs of life are no events
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


# --- what is stuck


@dataclass(frozen=True)
class Recovery:
    """Looks for what is stuck, and repairs it. Cost by work and unfinished sessions, unless asked for `everything`.

    definitions: as "name version", and `states`: the running names of their stages, what this process knows.
    """

    store: Store
    sessions: Sessions
    settings: Settings
    definitions: Collection[str]
    states: Collection[str]

    def look(self, everything: bool = False) -> list[Finding]:
        """All that is wrong now. everything: finished sessions are verified too."""
        store, now = self.store, self.sessions.clock.now()
        sessions = {row["session_id"]: row for row in self.unfinished()}
        rows = store.work_rows(now)
        work: dict[str, list[Row]] = {}
        for row in rows:
            work.setdefault(row["session_id"], []).append(row)
        # Whose version is still what it was before their work was read has not moved in between.
        steady = {one for one, row in sessions.items() if mismatched(row, work.get(one, ())) and not self.moved(row)}
        for session_id in work:
            if session_id not in sessions and (session := store.load(session_id)) is not None:
                sessions[session_id] = session
        found = {one: self.examine(one) for one, row in sessions.items() if row["state"] not in FINISHED}
        for row in pages(store) if everything else ():
            if row["session_id"] not in found and (problems := self.examine(row["session_id"])):
                sessions[row["session_id"]], found[row["session_id"]] = row, problems
        workers = store.workers_seen(now)
        return diagnose(now, rows, sessions, found, steady, self.definitions, workers, self.settings)

    def unfinished(self) -> Iterator[Row]:
        """Session rows, by the index on state. Those in states that nobody here knows are met by their work."""
        for state in ("recording", "finalized", *self.states):
            yield from pages(self.store, state)

    def moved(self, row: Row) -> bool:
        after = self.store.load(row["session_id"])
        return after is None or after["version"] != row["version"]

    def examine(self, session_id: str) -> list[tuple[str, str]]:
        """What verify finds, in the words of a diagnosis."""
        try:
            problems = verify(self.store, session_id)
        except SessionNotFound:
            return []
        found = []
        for problem in problems:
            what = "read model" if problem.what in ("read model", "snapshot") else "damaged log"
            if problem.what == "unreadable" and UpgradeNeeded.__name__ in problem.detail:
                what = "reader too old"
            found.append((what, problem.detail))
        return found

    def recover(
        self, choose: Callable[[Finding], bool], work: Callable[[], object] | None, everything: bool = False
    ) -> list[Finding]:
        """Repair what is chosen, then `work`; each finding says whether it is over."""
        found = [self.repair(one) if one.repairable and choose(one) else one for one in self.look(everything)]
        if work is None:
            return [one if one.repaired else replace(one, repaired=False) for one in found]
        work()
        left = {one.key for one in self.look(everything)}
        return [replace(one, repaired=one.key not in left) for one in found]

    def repair(self, finding: Finding) -> Finding:
        """Do something about one finding; where that is refused, the detail says why."""
        session_id, now = finding.session_id, self.sessions.clock.now()
        try:
            match finding.what:
                case "dead lease":
                    self.let_go(now, finding.row or {})
                case "abandoned recording":
                    grace = int(self.settings.recording_grace * 1e6)
                    self.sessions.execute(session_id, ask.Abandon(grace=grace), actor="recover")
                case _:
                    rebuild(self.store, now, session_id, self.sessions.delays)
        except (StoreUnreachable, StoreBusy):
            raise
        except BROKEN as error:
            return replace(finding, repaired=False, detail=f"{finding.detail}; refused: {error}")
        return replace(finding, repaired=True)

    def let_go(self, now: int, row: Row) -> None:
        """Make a row due at once whose lease has ended, unless somebody has just claimed it.

        The lease is renewed by its old token first: while we hold it nobody else claims the row.
        """
        before = self.until(row)
        self.store.renew(now, [row["token"]], int(self.settings.lease * 1e6))
        after = self.until(row)
        if before is not None and after not in (None, before):
            self.store.release(now, row["session_id"], row["kind"], row["stage"])

    def until(self, row: Row) -> int | None:
        """When the lease of this token ends, by the database's clock; None where it is nobody's any more."""
        rows = self.store.rows("work", row["session_id"])
        return next((one["until"] for one in rows if one["token"] == row["token"]), None)


def pages(store: Store, state: str | None = None) -> Iterator[Row]:
    before: int | None = None
    while rows := store.sessions(state, None, before, PAGE):
        yield from rows
        before = rows[-1]["id"]
