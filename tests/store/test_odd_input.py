"""What callers hand in wrongly: a clear error, nothing stored, and no driver's error or password let out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mina_pipeline import InvalidInput, MinaError, Pipeline, Segment, SessionNotFound, Settings, StoreUnreachable

Open = Callable[..., Pipeline]


@pytest.mark.parametrize("field", ["command_id", "actor"])
@pytest.mark.parametrize("value", [5, "", "a\0b", "\ud800", "x" * 201, " x "])
def test_ids_that_would_not_come_back_are_refused(pipeline: Pipeline, field: str, value: Any) -> None:
    """An id that a store could not give back as it was is InvalidInput at every door, and nothing is written."""
    session_id = pipeline.start_session().session_id
    doors: list[Callable[..., Any]] = [
        lambda **given: pipeline.record(session_id, [Segment("x", 0, 1)], **given),
        lambda **given: pipeline.finalize(session_id, **given),
        lambda **given: pipeline.start_session(**given),
    ]
    for door in doors:
        with pytest.raises(InvalidInput, match=field):
            door(**{field: value})
    assert pipeline.get(session_id).version == 1
    assert pipeline.verify(session_id) == []


@pytest.mark.parametrize("session_id", ["a\0b", "\ud800", 2**70, "nobody"])
def test_ids_that_nothing_can_have_are_not_found(pipeline: Pipeline, session_id: Any) -> None:
    """Asking for a session by an id that no store can hold is SessionNotFound, not a driver's error."""
    for ask in (pipeline.get, pipeline.events, pipeline.finalize):
        with pytest.raises(SessionNotFound):
            ask(session_id)


def test_pages_and_segments_of_no_sense(pipeline: Pipeline) -> None:
    """Negative limits and a speaker that is no text are InvalidInput; filters that match nothing find nothing."""
    for call in (lambda: pipeline.feed(limit=-1), lambda: pipeline.sessions(limit=-1)):
        with pytest.raises(InvalidInput, match="limit"):
            call()
    session_id = pipeline.start_session().session_id
    with pytest.raises(InvalidInput, match="speaker"):
        pipeline.record(session_id, [Segment("x", 0, 1, speaker=7)])  # type: ignore[arg-type]
    assert pipeline.sessions(state="a\0") == pipeline.sessions(tenant="\ud800") == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:abc/db",
        "postgresql://127.0.0.1:1/db?password=s3cret",
        "postgresql://ann:s3cret@127.0.0.1:1/db",
        "mysql://ann:s3cret@127.0.0.1/db",
        "postgresql+psycopg2://127.0.0.1/db?password=s3cret",
        "sqlite://",
        "sqlite:////no/such/folder/m.db",
        "nonsense",
    ],
)
def test_urls_that_lead_nowhere(url: str) -> None:
    """A URL that cannot be opened is StoreUnreachable, and the message has no password in it."""
    with pytest.raises(StoreUnreachable) as error:
        Pipeline.open(url)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [{"lock_timeout": float("inf")}, {"lease": 1e300}, {"poll": 0}, {"table_prefix": "m" * 41}, {"synchronous": "OFF"}],
)
def test_settings_out_of_bounds(wrong: dict[str, Any]) -> None:
    """A setting that some clock or database could not take is InvalidInput and names itself."""
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Settings(**wrong)


def test_a_view_of_an_ended_transaction_writes_nothing(opened: Open, url: str) -> None:
    """Kept past its transaction, a using() view refuses: what it wrote then nobody would commit."""
    if url == "memory://":
        pytest.skip("the memory store's transactions can be begun again")
    import sqlalchemy as sa

    from mina_pipeline.store.sqlite import immediate

    pipeline = opened()
    session_id = pipeline.start_session().session_id
    host = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    if url.startswith("sqlite"):
        immediate(host)
    with host.connect() as connection:
        with connection.begin():
            kept = pipeline.using(connection)
            kept.record(session_id, [Segment("x", 0, 1)])
        with pytest.raises(MinaError, match="has ended"):
            kept.finalize(session_id)
        with connection.begin(), pytest.raises(MinaError, match="has ended"):
            kept.finalize(session_id)
    host.dispose()
    assert pipeline.get(session_id).version == 2


def test_two_host_transactions_in_one_thread(opened: Open, url: str) -> None:
    """On SQLite a second connection's transaction would wait for the thread's first: refused at once."""
    if not url.startswith("sqlite"):
        pytest.skip("only SQLite has one writer")
    import sqlalchemy as sa

    pipeline = opened()
    session_id = pipeline.start_session().session_id
    host = sa.create_engine(url)
    with host.begin() as one, host.begin() as two:
        pipeline.using(one).finalize(session_id)
        pipeline.using(one)
        with pytest.raises(MinaError, match="using"):
            pipeline.using(two)
    host.dispose()
