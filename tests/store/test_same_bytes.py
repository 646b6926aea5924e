"""The same commands leave the same bytes in every store, whatever the text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from soak import share

from mina_pipeline import Pipeline, Segment, Settings
from mina_pipeline.store.sql import SqlStore
from mina_pipeline.store.sqlite import immediate
from mina_pipeline.testing.stores import HOSTILE

NUMBERS = count(1)
GIVEN_BY_THE_STORE = ("era", "feed_xid", "seq", "due_at", "created_at", "touched_at")
SNIPPETS = [
    HOSTILE,
    "%s %(name)s 100% %% %",
    "? ?? ?1 :name ::text :p0 $1 @x",
    '\'; DROP TABLE mina_events; -- "" `',
    '{"a": [1, null], "\\u0000": "\\ud800"}',
    "back \\ slash \\\\ \\n \\x00 E'\\047'",
    "\ufeff\ufffe\uffff\U0010ffff\u2028\u2029\x85\xa0",
    "e\u0301 \u0041\u030a \u1e9b\u0323 \u202e\u05d0\u200f\u200d \U0001f469\u200d\U0001f680",
    "\ud83d\ude00 \udc00\ud800",  # a pair, and the wrong way round
    "0 1e400 NaN Infinity true null",
    "x" * 1_000,
]
texts = st.one_of(
    st.text(max_size=200),
    st.sampled_from(SNIPPETS),
    st.lists(st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=5)), max_size=4).map("".join),
    st.text(st.sampled_from("%s?:$\\'\"{}[]\0\n\ud800\udfff\U0001f600\u0301\u202e"), max_size=30),
)
segments = st.lists(
    st.builds(
        Segment,
        text=texts,
        start_ms=st.integers(0, 1000),
        end_ms=st.integers(1000, 2**31 - 1),
        speaker=st.none() | texts,
        confidence=st.none() | st.floats(0, 1),
    ),
    min_size=1,
    max_size=3,
)
objects = st.dictionaries(texts.map(lambda text: text[:50]), texts | st.floats(allow_nan=False) | st.none(), max_size=2)


class Fixed:
    """A clock and ids that say the same in every store."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.numbers = count(1)

    def now(self) -> int:
        return 1_700_000_000_000_000 + next(self.numbers)

    def monotonic(self) -> float:
        return float(next(self.numbers))

    def uuid(self) -> str:
        return f"00000000-0000-7000-8000-{next(self.numbers):012}"

    def salt(self) -> bytes:
        return next(self.numbers).to_bytes(16, "big")


class Door:
    """A store, and the way in: its own connections, or those of a host."""

    def __init__(self, url: str, prefix: str, hosted: bool) -> None:
        self.fixed = Fixed()
        self.pipeline = Pipeline.open(url, settings=Settings(table_prefix=prefix), clock=self.fixed, ids=self.fixed)
        self.engine: sa.Engine | None = None
        if hosted:
            self.engine = sa.create_engine(self.pipeline.store.engine.url)
            if url.startswith("sqlite"):
                immediate(self.engine)

    @contextmanager
    def entered(self) -> Iterator[Pipeline]:
        self.fixed.restart()
        if self.engine is None:
            yield self.pipeline
            return
        with self.engine.begin() as connection:
            yield self.pipeline.using(connection)

    def stored(self, session_id: str) -> dict[str, Any]:
        """Everything that the store holds of a session, but for what it gives by itself, and empty columns."""
        store = self.pipeline.store
        rows = {"events": store.events(session_id), "sessions": [store.load(session_id)]}
        rows |= {table: store.rows(table, session_id) for table in ("segments", "work")}
        return {table: [bare(row) for row in found] for table, found in rows.items()}

    def octets(self, session_id: str) -> list[tuple[bytes, ...]]:
        """The texts of the events and segments as they lie in the database."""
        if not isinstance(self.pipeline.store, SqlStore):
            return []
        as_bytes = "convert_to({}, 'UTF8')" if self.pipeline.store.postgresql else "CAST({} AS BLOB)"
        sql, mark = self.pipeline.store.schema.sql, self.pipeline.store.texts.mark
        return [
            row
            for table, by, columns in (("events", "version", ("data", "content")), ("segments", "ordinal", ("text",)))
            for row in self.pipeline.store.rows_of(
                f"SELECT {', '.join(map(as_bytes.format, columns))} FROM {sql(table)}"
                f" WHERE session_id = {mark} ORDER BY {by}",
                (session_id,),
            )
        ]

    def close(self) -> None:
        self.pipeline.close()
        if self.engine is not None:
            self.engine.dispose()


def bare(row: dict[str, Any]) -> dict[str, Any]:
    return {column: value for column, value in row.items() if value is not None and column not in GIVEN_BY_THE_STORE}


@pytest.fixture(scope="module")
def doors(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Door]]:
    """Memory first, then both databases, each by its own connections and by a host's."""
    sqlite = f"sqlite:///{tmp_path_factory.mktemp('bytes')}/bytes.db"
    opened = [Door("memory://", "mina_", False)]
    for hosted in (False, True):
        opened += [Door(url, f"bytes{os.getpid()}_{hosted:d}_", hosted) for url in (sqlite, postgres_url)]
    yield opened
    for door in opened:
        door.close()


def same_everywhere(doors: list[Door], act: Callable[[Pipeline, str], object]) -> None:
    """Do it through each door, and compare everything with what memory holds."""
    drawn = [door.pipeline.store.draw_id() for door in doors]
    for door, number in zip(doors, drawn, strict=True):  # an example that failed may have left them out of step
        while number < max(drawn):
            number = door.pipeline.store.draw_id()
    session_id = f"same-{next(NUMBERS)}"
    for door in doors:
        with door.entered() as pipeline:
            act(pipeline, session_id)
    memory, *databases = doors
    wanted, texts = memory.stored(session_id), databases[0].octets(session_id)
    assert len(texts) > 2
    assert texts[0][0] == wanted["events"][0]["data"].encode()
    for door in databases:
        assert door.stored(session_id) == wanted
        assert door.octets(session_id) == texts
        assert door.pipeline.verify(session_id) == []


@pytest.mark.soak
@settings(max_examples=share(40, 2000), phases=(Phase.explicit, Phase.generate, Phase.shrink))
@given(title=texts, metadata=objects, first=segments, second=segments)
def test_the_same_bytes_in_every_store(
    doors: list[Door], title: str, metadata: dict[str, Any], first: list[Segment], second: list[Segment]
) -> None:
    """Whatever the text, memory, SQLite and PostgreSQL hold the same events, hashes and rows, also by a host's hand."""

    def act(pipeline: Pipeline, session_id: str) -> None:
        pipeline.start_session(title, session_id, metadata=metadata, tenant=title, meeting_id=title, locale=title)
        pipeline.record(session_id, first)
        pipeline.record(session_id, second, command_id="again")
        pipeline.finalize(session_id)
        pipeline.record(session_id, second, command_id="again")

    same_everywhere(doors, act)


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "\U0001f600%?:\\" * 50_000], ids=["one megabyte", "four byte letters"]
)
def test_the_same_bytes_for_long_text(doors: list[Door], text: str) -> None:
    """A very long text, and a thousand segments at once, are the same in every store."""

    def act(pipeline: Pipeline, session_id: str) -> None:
        pipeline.start_session(text, session_id)
        pipeline.record(session_id, [Segment(text, 0, 1, text)])
        pipeline.record(session_id, [Segment(f"{n} {text[:9]}", n, n + 1, None, 1 / (n + 1)) for n in range(1000)])

    same_everywhere(doors, act)


@pytest.mark.parametrize("name", ["100% %s ?1", ":name ::text", "quote ' \" \\", "\u05d0\u0301\U0001f600"])
def test_the_same_bytes_for_names(doors: list[Door], name: str) -> None:
    """The names that callers give, of segments, commands and actors, are stored as they are in every store."""

    def act(pipeline: Pipeline, session_id: str) -> None:
        pipeline.start_session(name, session_id + name, command_id=name, actor=name)
        pipeline.start_session(name, session_id)
        said = [Segment(name, n, n, segment_id=f"{n} {name}") for n in range(3)]
        pipeline.record(session_id, said[:2], command_id=name, actor=name)
        assert pipeline.record(session_id, said, actor=name).total_segments == 3
        assert pipeline.get(session_id + name).title == name

    same_everywhere(doors, act)
