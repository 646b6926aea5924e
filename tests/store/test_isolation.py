"""A database whose transactions are SERIALIZABLE by default gives up statements of ours: they are decided again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from mina_pipeline import Pipeline, Segment, Settings

STRICT = "options=-c%20default_transaction_isolation%3Dserializable"


@pytest.mark.parametrize("set_by_us", [True, False])
def test_serializable_databases(postgres_url: str, set_by_us: bool) -> None:
    """Eight threads that record into one session all succeed, whether the level is ours or the database's."""
    settings = Settings(table_prefix=f"iso{int(set_by_us)}_", transaction_pooling=not set_by_us, poll=0.05)
    with Pipeline.open(f"{postgres_url}{'&' if '?' in postgres_url else '?'}{STRICT}", settings=settings) as pipeline:
        level = pipeline.store.rows_of("SHOW default_transaction_isolation")[0][0]  # type: ignore[attr-defined]
        assert level == ("read committed" if set_by_us else "serializable")
        session_id = pipeline.start_session().session_id

        def record(n: int) -> None:
            for m in range(10):
                pipeline.record(session_id, [Segment("x", n, n, segment_id=f"{n}-{m}")])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(record, range(8)))
        pipeline.finalize(session_id)
        pipeline.run_until_idle()
        assert pipeline.get(session_id).total_segments == 80
        assert pipeline.verify(session_id) == []
