"""What an append costs, counted where it leaves the process instead of timed; and that no history is touched."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from soak import share

from mina_pipeline import Pipeline, Segment
from mina_pipeline.ports import Append, WorkGuard
from mina_pipeline.projections import Op
from mina_pipeline.store import postgresql
from mina_pipeline.store.connections import Link
from mina_pipeline.store.sql import SqlStore
from mina_pipeline.store.work import numbered

FEW, MANY = share(1_000, 10_000), share(10_000, 1_000_000)


def sql_store(pipeline: Pipeline) -> SqlStore:
    store = pipeline.store
    if not isinstance(store, SqlStore):
        pytest.skip("memory has no statements")
    if store.shared.notifier is not None:  # it would borrow the connection that is warm, or watched
        store.shared.notifier.close()
        store.shared.notifier = None
    return store


@contextmanager
def statements(store: SqlStore) -> Iterator[list[str]]:
    """What SQLite's own trace sees on the connection that writes and the one that reads: BEGIN and COMMIT too."""
    sent: list[str] = []
    writer = store.shared.writer
    assert writer is not None
    assert writer.link is not None
    links = [writer.link, store.shared.lender.take()]
    store.shared.lender.give(links[1])
    for link in links:
        link.driver.set_trace_callback(sent.append)
    yield sent
    for link in links:
        link.driver.set_trace_callback(None)


@contextmanager
def round_trips(store: SqlStore) -> Iterator[list[str]]:
    """What libpq writes to its connections: a line for each message, a Sync ends each round trip."""
    with store.shared.lender.lend() as link:
        links = [link, *filter(None, [store.shared.pipelined and store.shared.pipelined.link])]
    messages: list[str] = []
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in links]
        for link, file in zip(links, files, strict=True):
            link.driver.pgconn.trace(file.fileno())
        yield messages
        lines = list[str]()
        for link, file in zip(links, files, strict=True):
            link.driver.pgconn.untrace()
            file.seek(0)
            lines += file.read().decode().splitlines()
    sent = (line.split("\t") for line in lines)
    messages += [fields[3].split()[0] for fields in sent if len(fields) > 3 and fields[1] == "F"]


def counted(pipeline: Pipeline, act: Callable[[], object]) -> list[str]:
    """The first words of the statements on SQLite; the ends of round trips on PostgreSQL."""
    store = sql_store(pipeline)
    if store.postgresql:
        with round_trips(store) as sent:
            act()
        return [message for message in sent if message in ("Sync", "Query")]
    with statements(store) as sent:
        act()
    return [text.split()[0] for text in sent]


def test_one_append_is_one_round_trip(pipeline: Pipeline) -> None:
    """PostgreSQL: one round trip to load, one to append. SQLite: one read, one guarded batch in one transaction."""
    store = sql_store(pipeline)
    for _ in range(3):  # by now every statement is prepared
        pipeline.finalize(pipeline.start_session().session_id)
    session_id = pipeline.start_session().session_id
    sent = counted(pipeline, lambda: pipeline.finalize(session_id, command_id="c"))
    if store.postgresql:
        assert sent == ["Sync", "Sync"]
    else:
        assert sent == ["SELECT", "BEGIN", "UPDATE", "INSERT", "DELETE", "INSERT", "COMMIT"]


def test_a_repeated_command_writes_nothing(pipeline: Pipeline) -> None:
    """A command that took effect before costs reads only."""
    sql_store(pipeline)
    session_id = pipeline.start_session().session_id
    pipeline.finalize(session_id)
    pipeline.finalize(session_id)
    sent = counted(pipeline, lambda: pipeline.finalize(session_id))
    assert sent in (["SELECT"], ["Sync"])


def test_the_thousandth_segment_costs_what_the_first_did(pipeline: Pipeline) -> None:
    """Recording sends the same statements whatever is recorded already."""
    sql_store(pipeline)
    session_id = pipeline.start_session().session_id
    pipeline.record(session_id, [Segment("x", 0, 1, segment_id="0")])
    pipeline.record(session_id, [Segment("x", 0, 1, segment_id="1")])
    first = counted(pipeline, lambda: pipeline.record(session_id, [Segment("x", 0, 1, segment_id="a")]))
    pipeline.record(session_id, [Segment("x", n, n) for n in range(1000)])
    last = counted(pipeline, lambda: pipeline.record(session_id, [Segment("x", 0, 1, segment_id="b")]))
    assert first == last


def finished_sessions(store: SqlStore, first: int, last: int) -> None:
    """Revealed sessions numbered from first to last, with an event each, made by the database itself."""
    sessions, events = store.schema.sql("sessions"), store.schema.sql("events")
    numbers = f"generate_series({first}, {last}) AS g(n)"
    if not store.postgresql:
        counting = f"WITH RECURSIVE g(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM g WHERE n < {last})"
        numbers = f"({counting} SELECT n FROM g) AS g"
    blob = "'\\x00'" if store.postgresql else "x'00'"
    given = {
        "session_id": "'old-' || n", "id": "1000000 + n", "version": "13", "hash": blob, "state": "'revealed'",
        "snapshot": "'{}'", "fold_version": "1", "era": "1", "feed_xid": "0", "definition": "'standard'",
        "definition_version": "1", "trace_id": "'t'", "metadata": "'{}'", "started_at": "n", "created_at": "n",
        "updated_at": "n", "touched_at": "n", "total_segments": "0",
    }  # fmt: skip
    event = {
        "era": "1", "feed_xid": "0", "event_id": "'e-' || n", "session_id": "'old-' || n", "version": "1",
        "type": "'session_started'", "schema_version": "1", "skippable": "false", "recorded_at": "n",
        "trace_id": "'t'", "data": "'{}'", "hash": blob,
    }  # fmt: skip

    def fill(link: Link) -> None:
        for table, columns in ((sessions, given), (events, event)):
            chosen = ", ".join(columns.values())
            link.count(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {numbers}")

    def vacuum(link: Link) -> None:
        for name in ("sessions", "events", "work"):
            link.count(f"VACUUM ANALYZE {store.schema.sql(name)}")

    store.writing(fill)
    if store.postgresql:
        store.writing(vacuum)


def pages(store: SqlStore, text: str, values: tuple[object, ...]) -> int:
    """How many pages of tables and indexes PostgreSQL looks at for a query."""
    with store.shared.lender.lend() as link:
        plan = link.rows(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", values)[0][0][0]
    top = plan["Plan"]
    return int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"])


@pytest.mark.soak
def test_history_is_never_touched(pipeline: Pipeline) -> None:
    """Claim, load and one session's read look at as much with a hundred times as many finished sessions."""
    store = sql_store(pipeline)
    session_id = pipeline.start_session().session_id
    pipeline.finalize(session_id)
    claim = f"SELECT stage FROM {store.schema.sql('work')} WHERE due_at <= 99 ORDER BY due_at LIMIT 1"
    queries = [(claim, ()), (store.texts.load, (session_id,)), (store.texts.events, (session_id, 0))]
    finished_sessions(store, 1, FEW)
    if store.postgresql:
        before = [pages(store, text, values) for text, values in queries]
        finished_sessions(store, FEW + 1, MANY)
        after = [pages(store, text, values) for text, values in queries]
        # The larger index is a level deeper.
        assert all(more <= less + 1 for less, more in zip(before, after, strict=True)), (before, after)
        return
    finished_sessions(store, FEW + 1, MANY)
    for text, values in queries:
        plan = " ".join(str(row[-1]) for row in store.rows_of(f"EXPLAIN QUERY PLAN {text}", values))
        assert "INDEX" in plan and "SCAN" not in plan, plan


def test_the_claim_uses_its_index(pipeline: Pipeline) -> None:
    """The very statement of a claim finds the row by due_at, and its lock is on that row alone."""
    store = sql_store(pipeline)
    condition = store.work.wanted(1, exclude=True, limits=1, no_upgrades=True, only=False)
    text, nothing = store.work.claim(condition), store.work.list(())
    values = {"now": 1, "owner": "o", "token": "t", "lease": 1, **numbered([("standard", 1)])}
    values |= {"exclude": nothing, "group0": nothing, "most0": 1, "no_upgrades": nothing}
    if store.postgresql:
        plan = "\n".join(row[0] for row in store.rows_of(f"EXPLAIN {text}", values))
        assert "work_due" in plan
        assert "Sort" not in plan and "Seq Scan" not in plan, plan  # else each claim would look at all that is due
    else:
        plan = " ".join(str(row[-1]) for row in store.rows_of(f"EXPLAIN QUERY PLAN {text}", values))
        assert "work_due" in plan


def test_a_plan_made_early_reads_no_whole_table(pipeline: Pipeline) -> None:
    """Connections keep their plans: also one that is made over empty tables goes by indexes, whatever comes later."""
    store = sql_store(pipeline)
    if not store.postgresql:
        pytest.skip("SQLite plans by the schema alone")
    session_id = pipeline.start_session().session_id
    rows = tuple({"session_id": session_id, "kind": "stage", "stage": name} for name in ("refinement", "analytics"))
    append = Append(session_id, 1, (), {"version": 2}, (Op("delete", "work", rows),), 0, WorkGuard("tasks", 1, "t"))
    text, values = postgresql.append_statement(store.schema, append)
    plan = "\n".join(row[0] for row in store.rows_of(f"EXPLAIN {text}", values))
    assert "work_pkey" in plan
    assert "Seq Scan" not in plan and "Hash Join" not in plan, plan
