"""What is stuck and why, out of rows of work, session rows and problems that verify found. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from .definition import TRIAL
from .projections import RECORDING, Row, open_work
from .settings import Settings
from .states import FINISHED, FOLD_VERSION, StageState, State
from .work_shapes import WorkerSeen

OVERDUE = 60_000_000
"""So long (µs) work may be due before somebody who can do it has it."""
ALIVE = 60_000_000
"""A worker process that gave no sign of life for so long (µs) is not counted on."""
REPAIRABLE = frozenset({"dead lease", "abandoned recording", "no work", "read model behind"})

Found = Mapping[str, Sequence[tuple[str, str]]]
"""By session: what verify found, as (what, detail)."""


@dataclass(frozen=True)
class Finding:
    """Something that keeps a session from going on, in words, and what helps.

    what: dead lease | overdue wait | unclaimed | abandoned recording | unknown definition | reader too old | no work |
    read model behind | damaged log. repaired: None where it was only looked at. `row`: the row of work that it is
    about, where it is about one.
    """

    session_id: str
    what: str
    detail: str
    remedy: str
    repaired: bool | None = None
    row: Row | None = field(default=None, repr=False, compare=False)

    @property
    def repairable(self) -> bool:
        """Whether `repair` can do something about it; what is only waiting for a worker needs one to run."""
        return self.what in REPAIRABLE

    @property
    def key(self) -> tuple[str, ...]:
        """Says the same of one problem at each look."""
        row = self.row or {}
        return (self.session_id, self.what, row.get("kind", ""), row.get("stage", ""))

    def as_dict(self) -> Row:
        """For JSON."""
        return {name: getattr(self, name) for name in ("session_id", "what", "detail", "remedy", "repaired")}


@dataclass(frozen=True)
class Workforce:
    """Who can do what: the definitions that this process knows, and the worker processes of the last day."""

    now: int
    known: Collection[str]
    workers: Sequence[WorkerSeen]

    @property
    def alive(self) -> list[WorkerSeen]:
        return [worker for worker in self.workers if self.now - worker.seen_at <= ALIVE]

    def knows(self, definition: str) -> bool:
        return definition in self.known or any(definition in able(worker) for worker in self.alive)

    def whoever_knew(self, definition: str) -> str:
        """The last worker process that knew it, in words."""
        silent = [worker for worker in self.workers if definition in able(worker)]
        if not silent:
            return "no worker process of the last day knew it"
        last = max(silent, key=lambda worker: worker.seen_at)
        return f"{last.name} knew it, and is silent for {age(self.now - last.seen_at)}"

    def why_unclaimed(self, definition: str) -> str:
        if not self.alive:
            return "no worker is running"
        able_ones = [worker.name for worker in self.alive if definition in able(worker)]
        if not able_ones:
            return f"no running worker knows definition {definition}"
        return f"{', '.join(able_ones)} could have: too busy, at a limit, or unable to read the session"


def able(worker: WorkerSeen) -> Collection[str]:
    definitions: Collection[str] = worker.details.get("definitions") or ()
    return definitions


def pinned(row: Row) -> str:
    return f"{row['definition']} {row['definition_version']}"


def diagnose(
    now: int,
    rows: Sequence[Row],
    sessions: Mapping[str, Row],
    found: Found,
    steady: Collection[str],
    known: Collection[str],
    workers: Sequence[WorkerSeen],
    settings: Settings,
) -> list[Finding]:
    """All that is wrong, session by session, those first whose work is longest due. Times are the host's µs.

    rows: of work, as `work_rows` gives them; sessions: the rows of the unfinished ones and of those with work, by id;
    found: what verify said of them. steady: those that nobody appended to between the reads, so that their rows of
    work can be held against their state. known: the definitions that this process knows, as "name version".
    """
    of_session: dict[str, list[Row]] = {row["session_id"]: [] for row in rows}
    for row in rows:
        of_session[row["session_id"]].append(row)
    force = Workforce(now, known, workers)
    findings: list[Finding] = []
    for session_id in [*of_session, *(one for one in sessions if one not in of_session)]:
        work = of_session.get(session_id, [])
        look = Look(session_id, sessions.get(session_id), work, found.get(session_id, ()), force, settings)
        findings += look.findings(session_id in steady)
    return findings


@dataclass(frozen=True)
class Look:
    """One session, looked at."""

    session_id: str
    session: Row | None
    work: Sequence[Row]
    found: Sequence[tuple[str, str]]
    force: Workforce
    settings: Settings

    def findings(self, steady: bool) -> Iterator[Finding]:
        """What is wrong with it. Where nobody can read it, or run it, that is why nobody claims its work."""
        say = partial(Finding, self.session_id)
        state, unable = state_of(self.session), list(self.unable(say))
        yield from unable
        missing, others = differences(state, self.work) if steady and state is not None else ([], [])
        if not any(one.what == "damaged log" for one in unable):  # nothing is made anew from a log that is not sound
            yield from self.read_models(missing, others, steady, say)
        silent = self.abandoned(say)
        yield from silent
        for row in self.work:
            if row not in others and not (silent and (row["kind"], row["stage"]) == RECORDING):
                yield from self.of_row(row, state, bool(unable), say)

    def unable(self, say: Callable[..., Finding]) -> Iterator[Finding]:
        session = self.session
        if session is not None and session["fold_version"] > FOLD_VERSION:
            detail = f"a later release wrote it: fold version {session['fold_version']}, this one knows {FOLD_VERSION}"
            yield say("reader too old", detail, "run a release that is as new; nothing here was compared")
        for what, detail in self.found:
            if what == "reader too old" and (session is None or session["fold_version"] <= FOLD_VERSION):
                yield say(what, detail, "run a release that knows it")
            elif what == "damaged log":
                yield say(what, detail, "restore a backup; see `mina verify`")
        definition = pinned(session or self.work[0]) if session or self.work else ""
        if definition and not self.force.knows(definition):
            detail = f"nobody here knows definition {definition}; {self.force.whoever_knew(definition)}"
            remedy = "run `mina worker --app …` with the code of this definition"
            if TRIAL in definition:
                remedy = "go on with this fork: `mina fork ID`, with `--provider offline` for nothing"
            yield say("unknown definition", detail, remedy)

    def read_models(
        self, missing: Sequence[tuple[str, str]], others: Sequence[Row], steady: bool, say: Callable[..., Finding]
    ) -> Iterator[Finding]:
        if missing and self.session is not None:
            names = ", ".join(" ".join(key) for key in missing)
            detail = f"{self.session['state']}, but what is to be done for it is not stored: {names}"
            yield say("no work", detail, "write the rows anew from the log, as `mina rebuild` does")
        wrong = [detail for what, detail in self.found if what == "read model"]
        if steady:
            wrong = [detail for detail in wrong if not detail.startswith("work row")]
        wrong += [f"work has {named(row)}, which is not what the log says" for row in others]
        if wrong:
            more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            yield say("read model behind", "; ".join(wrong[:3]) + more, "write them anew, as `mina rebuild` does")

    def abandoned(self, say: Callable[..., Finding]) -> list[Finding]:
        session, now = self.session, self.force.now
        timer = next((row for row in self.work if (row["kind"], row["stage"]) == RECORDING), None)
        grace = int(self.settings.recording_grace * 1e6)
        if session is None or session["state"] != "recording" or now - session["touched_at"] <= grace:
            return []
        if timer is not None and held(timer, now):
            return []  # it is being rung
        silence = age(now - session["touched_at"])
        detail = f"no segment and no sign of life for {silence} (grace {age(grace)}), and its timer has not rung"
        return [say("abandoned recording", detail, "finalize it, as the timer would")]

    def of_row(self, row: Row, state: State | None, unable: bool, say: Callable[..., Finding]) -> Iterator[Finding]:
        now, name = self.force.now, named(row)
        if held(row, now):
            return
        if row["until"] is not None:
            owner, for_long = row["owner"] or "somebody", age(now - row["until"])
            detail = f"{name} is {owner}'s, whose lease ended {for_long} ago without an outcome"
            yield say("dead lease", detail, "a worker claims it by itself; releasing it makes it due at once", row=row)
            return
        late = now - row["due_at"]
        if unable or late <= OVERDUE or row["kind"] == "upgrade":
            return
        why, run = self.force.why_unclaimed(pinned(row)), "run `mina worker`, or `mina recover --yes --run`"
        stage = waiting(state, row)
        if stage is not None:
            detail = f"{name} has waited ({stage.reason}) until {age(late)} ago, and nobody goes on with it: {why}"
            yield say("overdue wait", detail, run, row=row)
        else:
            yield say("unclaimed", f"{name} is due for {age(late)} and nobody holds it: {why}", run, row=row)


def differences(state: State, work: Sequence[Row]) -> tuple[list[tuple[str, str]], list[Row]]:
    """The rows of work that a state wants and are not there, and those that it does not want as they are."""
    wanted = open_work(state)
    there = {(row["kind"], row["stage"]) for row in work}
    others = [row for row in work if (one := wanted.get((row["kind"], row["stage"]))) is None or one.run != row["run"]]
    return [key for key in wanted if key not in there], others


def mismatched(session: Row, work: Sequence[Row]) -> bool:
    """Whether a session's rows of work are not those of its state, where this release can read that."""
    state = state_of(session)
    return state is not None and any(differences(state, work))


def state_of(session: Row | None) -> State | None:
    """The state in a session's row; None where another release wrote it, or it is damaged."""
    if session is None or session["fold_version"] != FOLD_VERSION:
        return None
    try:
        return msgspec.json.decode(session["snapshot"], type=State)
    except msgspec.MsgspecError:
        return None


def named(row: Row) -> str:
    return f"timer {row['stage']}" if row["kind"] == "timer" else f"{row['kind']} {row['stage']} run {row['run']}"


def held(row: Row, now: int) -> bool:
    return bool(row["until"] is not None and row["until"] > now)


def waiting(state: State | None, row: Row) -> StageState | None:
    """The stage of a row, where it waits for its provider."""
    if state is None or row["kind"] != "stage":
        return None
    return next((s for s in state.stages if s.name == row["stage"] and s.status == "waiting"), None)


def overdue(row: Row, now: int) -> bool:
    """Whether a stage or a timer could have been claimed for long, and nobody has."""
    since = max(row["due_at"], row["until"] or 0)
    return bool(row["kind"] != "upgrade" and now - since > OVERDUE)


def stuck(
    now: int, rows: Sequence[Row], settings: Settings, state: str | None, tenant: str | None, before: int | None
) -> list[str]:
    """The unfinished sessions whose work is overdue, or whose recording is silent; newest first."""
    grace = int(settings.recording_grace * 1e6)
    found: dict[int, str] = {}
    for row in rows:
        if row["id"] is None or row["state"] in FINISHED or state not in (None, row["state"]):
            continue
        if tenant not in (None, row["tenant"]) or (before is not None and row["id"] >= before):
            continue
        if overdue(row, now) or (row["state"] == "recording" and now - row["touched_at"] > grace):
            found[row["id"]] = row["session_id"]
    return [found[one] for one in sorted(found, reverse=True)]


def age(micros: float) -> str:
    """A span of time in words: 0.3 s, 12 s, 5 min, 3 h 20 min, 4 d 2 h."""
    seconds = max(micros, 0) / 1e6
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes // 60 % 24} h"
