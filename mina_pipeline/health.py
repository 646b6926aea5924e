"""What can be seen of a pipeline now, in numbers, and what of it is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from .definition import TRIAL
from .diagnosis import ALIVE, Workforce, age, held, overdue, pinned
from .looping import Loop
from .ports import FeedStall, Store
from .relay import STALLED
from .states import FINISHED
from .work_shapes import BreakerState, WorkerSeen


@dataclass(frozen=True)
class Health:
    """A pipeline's numbers at `now` (µs). Cost by work in flight: every unfinished session has a row of it.

    sessions: unfinished ones by public state. oldest_unfinished: seconds since its end of recording, or its last sign
    of life. work: rows by kind; overdue: stages and timers that somebody could have claimed for over a minute. leases:
    held, and dead ones. relay_lag: seconds that this process's relay, or its live rooms, are behind; relay_seen: the
    last step (host's µs) of whichever is silent for longer; None where none runs. unknown_definitions: rows by "name
    version", of definitions that no running worker knows.
    """

    now: int
    sessions: dict[str, int]
    oldest_unfinished: float | None
    work: dict[str, int]
    overdue: int
    leases_held: int
    leases_dead: int
    breakers: list[BreakerState]
    workers: list[WorkerSeen]
    feed_stall: FeedStall | None
    relay_lag: float | None
    relay_seen: int | None
    unknown_definitions: dict[str, int]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. level: ok | note | wrong; remedy: what to do, where there is something."""

    what: str
    level: str
    detail: str
    remedy: str = ""


def health(store: Store, now: int, known: Collection[str], relays: Collection[Loop]) -> Health:
    """Ask the store, and what relays events in this process. known: its definitions, as "name version"."""
    rows, workers = store.work_rows(now), store.workers_seen(now)
    force = Workforce(now, known, workers)
    open_sessions = {row["session_id"]: row for row in rows if row["state"] not in (None, *FINISHED)}
    ages = [now - (row["finalized_at"] or row["touched_at"]) for row in open_sessions.values()]
    unknown = Counter(pinned(row) for row in rows)
    lags = [(lag, relay.seen) for relay in relays if (lag := relay.lag(now)) is not None]
    return Health(
        now=now,
        sessions=dict(Counter(row["state"] for row in open_sessions.values())),
        oldest_unfinished=max(max(ages), 0) / 1e6 if ages else None,
        work=dict(Counter(row["kind"] for row in rows)),
        overdue=sum(overdue(row, now) for row in rows),
        leases_held=sum(held(row, now) for row in rows),
        leases_dead=sum(row["until"] is not None and not held(row, now) for row in rows),
        breakers=store.breakers(now),
        workers=workers,
        feed_stall=store.feed_stall(),
        relay_lag=max((lag for lag, _ in lags), default=None),
        relay_seen=min((seen for _, seen in lags if seen is not None), default=None),
        unknown_definitions={name: count for name, count in unknown.items() if not force.knows(name)},
    )


def checks(found: Health) -> Iterator[Check]:
    """Each thing in words, with what to do about it."""
    now = found.now
    yield from worker_checks(now, found.workers)
    leases = f"{found.leases_held} held, {found.leases_dead} dead"
    if found.leases_dead:
        yield Check(
            "leases", "wrong", leases, "a worker takes them over by itself; `mina recover` says whose they were"
        )
    else:
        yield Check("leases", "ok", leases)
    yield from (breaker_check(now, one) for one in found.breakers)
    if found.feed_stall is None:
        yield Check("feed", "ok", "nothing is held back")
    else:
        yield feed_check(now, found.feed_stall)
    if found.oldest_unfinished is None:
        yield Check("sessions", "ok", "none is unfinished")
    else:
        states = ", ".join(f"{count} {state}" for state, count in sorted(found.sessions.items()))
        yield Check("sessions", "ok", f"{states}; the oldest unfinished for {age(found.oldest_unfinished * 1e6)}")
    work = ", ".join(f"{count} {kind}" for kind, count in sorted(found.work.items())) or "none"
    if found.overdue:
        detail = f"{work}; {found.overdue} overdue: due for over a minute, and nobody has it"
        yield Check("work", "wrong", detail, "run `mina worker`; `mina recover` says why for each")
    else:
        yield Check("work", "ok", work)
    for name, count in sorted(found.unknown_definitions.items()):
        detail = f"definition {name} has {count} row(s) of work, and no running worker knows it"
        remedy = "run `mina worker --app …` with the code of this definition"
        if TRIAL in name:
            remedy = "a fork whose process ended: `mina recover` names it; `mina fork FORK_ID` goes on with it"
        yield Check("definition", "wrong", detail, remedy)


def worker_checks(now: int, workers: Sequence[WorkerSeen]) -> Iterator[Check]:
    if not workers:
        yield Check("worker", "note", "none has been seen of late", "run `mina worker`, or p.workers(n) in your app")
    for worker in workers:
        of, silent = worker.details, now - worker.seen_at
        definitions = ", ".join(of.get("definitions") or ())
        detail = (
            f"{worker.name}: {of.get('running', 0)} of {of.get('concurrency', 0)} running, {of.get('hung', 0)} hung, "
            f"seen {age(silent)} ago, up for {age(now - worker.started_at)}, knows {definitions}"
        )
        if of.get("hung") and silent <= ALIVE:
            remedy = "a stage does not come back: give its provider's calls a timeout; many hung ones end the process"
            yield Check("worker", "wrong", detail, remedy)
        elif silent > ALIVE:
            yield Check(
                "worker", "note", detail, "it was killed, or cannot reach the store; its leases end by themselves"
            )
        else:
            yield Check("worker", "ok", detail)


def breaker_check(now: int, breaker: BreakerState) -> Check:
    since = f"{breaker.provider}: {breaker.state} since {age(now - breaker.changed_at)}"
    if breaker.state == "closed":
        return Check("breaker", "ok", since)
    probe = "a probe is out"
    if breaker.state == "open" and breaker.retry_at is not None:
        wait = breaker.retry_at - now
        probe = f"next probe in {age(wait)}" if wait > 0 else "a probe goes with the next work"
    detail = f"{since}, opened {breaker.opens} time(s), for {breaker.reason or 'no reason given'}; {probe}"
    return Check("breaker", "wrong", detail, "look at the provider; the breaker closes by itself when it answers")


def feed_check(now: int, stall: FeedStall) -> Check:
    behind = now - stall.oldest
    who = f"pid {stall.pid}" if stall.pid is not None else stall.application or "a transaction that has ended"
    open_for = "" if stall.seconds is None else f", open for {age(stall.seconds * 1e6)}"
    detail = (
        f"{stall.events} event(s) held back for {age(behind)} by {who} (database {stall.database}, user {stall.user}, "
        f"application {stall.application}, {stall.state}{open_for})"
    )
    if behind < STALLED * 1e6:
        return Check("feed", "note", detail)
    end = f"SELECT pg_terminate_backend({stall.pid})" if stall.pid is not None else "ROLLBACK PREPARED"
    return Check("feed", "wrong", detail, f"end that transaction: {end}")
