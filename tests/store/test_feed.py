"""The feed: nothing skipped, each session in order, beside writers that commit out of order or hold on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from soak import share

from mina_pipeline import Pipeline, Position, RecordedEvent, Segment
from mina_pipeline.store.sql import SqlStore
from mina_pipeline.store.sqlite import immediate

Open = Callable[..., Pipeline]
EVENTS = share(2_000, 50_000)
WRITERS = 8


class Reader:
    """Follows the feed from a position, and checks the order as it goes."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.position: Position | None = None
        self.versions: dict[str, int] = {}
        self.count = 0

    def read(self) -> int:
        events = self.pipeline.feed(self.position, limit=1_000)
        for event in events:
            expected = self.versions.get(event.session_id, 0) + 1
            assert event.version == expected, f"{event.session_id}: {event.version} came, {expected} is missing"
            self.versions[event.session_id] = event.version
            self.position = event.position
        self.count += len(events)
        return len(events)


def host_engine(url: str) -> sa.Engine:
    if url.startswith("sqlite"):
        # SQLite lets whoever asks at the right moment in, not whoever waits longest.
        return immediate(sa.create_engine(url, connect_args={"timeout": 60}))
    return sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), pool_size=WRITERS + 2)


def write(pipeline: Pipeline, host: sa.Engine, notes: str, events: int, seed: int) -> dict[str, int]:
    """So many events into a few sessions, by every kind of transaction; how far each session came."""
    rng, written, reached = random.Random(seed), 0, dict[str, int]()
    mine = [pipeline.start_session(session_id=f"w{seed}-{n}").session_id for n in range(3)]
    reached.update(dict.fromkeys(mine, 1))
    while written < events:
        session_id = rng.choice(mine)
        said = [Segment("word", written, written + 1) for _ in range(rng.randint(1, 3))]
        kind = rng.random()
        if kind < 0.6:
            reached[session_id] = pipeline.record(session_id, said).version
            written += 1
            continue
        with host.connect() as connection, connection.begin() as transaction:
            # The host's own row first: its transaction id is older than our append.
            connection.execute(sa.text(f"INSERT INTO {notes} VALUES ('x')"))
            if kind > 0.9 and host.dialect.name != "sqlite":
                time.sleep(rng.random() * 0.05)
            version = pipeline.using(connection).record(session_id, said).version
            if kind < 0.7:
                transaction.rollback()
            else:
                transaction.commit()
                reached[session_id] = version
                written += 1
    return reached


@contextmanager
def host_table(host: sa.Engine, name: str) -> Iterator[str]:
    with host.begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE {name} (text text)"))
    yield name
    with host.begin() as connection:
        connection.execute(sa.text(f"DROP TABLE {name}"))


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_nothing_is_skipped_beside_writers(opened: Open, url: str) -> None:
    """Beside 8 writers with rollbacks and slow host transactions a reader sees each event once, sessions in order."""
    if url == "memory://":
        pytest.skip("memory has no transactions beside each other")
    pipeline, host = opened(), host_engine(url)
    reader, reached, failed = Reader(pipeline), dict[str, int](), list[BaseException]()

    def writer(seed: int) -> None:
        try:
            reached.update(write(pipeline, host, notes, EVENTS // WRITERS, seed))
        except BaseException as error:
            failed.append(error)

    with host_table(host, "feed_notes") as notes:
        threads = [threading.Thread(target=writer, args=(seed,)) for seed in range(WRITERS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if not reader.read():
                time.sleep(0.001)
        assert not failed, failed
        for _ in range(600):
            reader.read()
            if reader.count >= sum(reached.values()):
                break
            time.sleep(0.05)
        assert reader.versions == reached
    host.dispose()


def test_an_old_transaction_hands_out_no_version_before_its_time(opened: Open, url: str) -> None:
    """A host's transaction that began before the last append does not let version 3 come before version 2."""
    if not url.startswith("postgresql"):
        pytest.skip("only PostgreSQL has transaction ids")
    pipeline, host = opened(), host_engine(url)
    session_id = pipeline.start_session().session_id
    with host_table(host, "old_notes") as notes, host.connect() as connection, connection.begin():
        connection.execute(sa.text(f"INSERT INTO {notes} VALUES ('x')"))  # its id is drawn here
        pipeline.record(session_id, [Segment("two", 0, 1)])
        pipeline.using(connection).record(session_id, [Segment("three", 1, 2)])
        connection.commit()
        rows = pipeline.store.events(session_id)
        keys = [(row["era"], row["feed_xid"], row["seq"]) for row in rows]
        assert keys == sorted(keys)
    host.dispose()


def test_a_stall_is_reported_and_live_reads_go_on(opened: Open, url: str, postgres_url: str) -> None:
    """An open transaction in another database holds the feed back, by name; subscribers hear at once all the same."""
    if not url.startswith("postgresql"):
        pytest.skip("only PostgreSQL's feed can be held back")
    pipeline = opened()
    heard: list[RecordedEvent] = []
    other = sa.create_engine(
        sa.make_url(postgres_url).set(drivername="postgresql+psycopg", database="postgres"),
        connect_args={"application_name": "holder"},
    )
    with pipeline.subscribe(heard.append), other.connect() as connection, connection.begin():
        connection.execute(sa.text("SELECT pg_current_xact_id()"))
        session_id = pipeline.start_session().session_id
        pipeline.finalize(session_id)
        pipeline.run_until_idle()
        written = [event.version for event in pipeline.events(session_id)]
        assert [event.version for event in heard if event.session_id == session_id] == written
        assert session_id not in {event.session_id for event in pipeline.feed()}
        stall = pipeline.feed_stall()
        assert stall is not None
        assert stall.events >= len(written)
        if stall.application == "holder":  # else another test run's transaction is older still
            assert (stall.database, stall.state) == ("postgres", "idle in transaction")
        connection.rollback()
    other.dispose()
    for _ in range(200):
        if (found := [e.version for e in pipeline.feed() if e.session_id == session_id]) == written:
            break
        time.sleep(0.05)
    assert found == written


def test_positions_survive_a_restore_into_a_younger_cluster(opened: Open, url: str) -> None:
    """Where the log has transaction ids that this cluster has yet to give out, opening begins a new era: nothing
    stays hidden, and a reader's old position goes on with what is new."""
    if not url.startswith("postgresql"):
        pytest.skip("only PostgreSQL has transaction ids")
    pipeline = opened()
    store = pipeline.store
    assert isinstance(store, SqlStore)
    session_id = pipeline.start_session().session_id
    for table in ("events", "sessions"):  # as if dumped from a cluster that is 10^12 transactions older
        older = f"UPDATE {store.schema.sql(table)} SET feed_xid = feed_xid + 1000000000000"
        store.writing(lambda link, older=older: link.count(older))
    assert pipeline.feed() == []
    restored = opened()
    seen = restored.feed()
    assert [event.version for event in seen] == [1]
    restored.record(session_id, [Segment("after", 0, 1)])
    pipeline.finalize(session_id)  # an older process, which had the old era in hand
    for _ in range(200):
        later = restored.feed(after=str(seen[-1].position))
        if len(later) == 2:
            break
        time.sleep(0.05)
    assert [event.version for event in later] == [2, 3]
    assert {event.position.era for event in later} == {seen[-1].position.era + 1}
    assert opened().feed()[0].position.era == seen[0].position.era


def test_positions_survive_a_restart(opened: Open, url: str) -> None:
    """A position kept as text goes on where it was, in another pipeline on the same store."""
    if url == "memory://":
        pytest.skip("memory is one process's own")
    first = opened()
    session_id = first.start_session().session_id
    kept = str(first.events(session_id)[-1].position)
    first.finalize(session_id)
    again = opened()
    for _ in range(200):
        if found := again.feed(after=kept):
            break
        time.sleep(0.05)
    assert [event.type for event in found] == ["session_finalized"]


def test_a_batch_keeps_its_order(pipeline: Pipeline) -> None:
    """Events of one append have rising positions, in version order."""
    session_id = pipeline.start_session().session_id
    pipeline.finalize(session_id)
    pipeline.run_until_idle()
    positions = [event.position for event in pipeline.events(session_id)]
    assert positions == sorted(set(positions))
