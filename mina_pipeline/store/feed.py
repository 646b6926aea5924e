"""The feed on PostgreSQL: where its safe head is, what holds it back, and the era that a restored database begins."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from ..events import Position
from ..ports import FeedStall, Head
from .connections import Link
from .postgresql import SAFE_HEAD
from .tables import Schema

ERA = "(SELECT value::integer FROM {meta} WHERE name = 'era')"
OLDEST = """
SELECT a.pid, a.datname, a.usename, a.application_name, a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8
FROM pg_stat_activity AS a WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
UNION ALL
SELECT NULL, p.database, p.owner, 'prepared transaction ' || p.gid, 'prepared',
       extract(epoch FROM clock_timestamp() - p.prepared)::float8
FROM pg_prepared_xacts AS p
ORDER BY 6 DESC LIMIT 1
"""


def feed_text(schema: Schema, columns: str, after: bool, limit: bool) -> str:
    """Events past a position, up to the head below which nothing can still be committed.

    Rows of an era before the current one are all committed: nothing writes there any more.
    """
    where = [f"(era < {ERA.format(meta=schema.sql('meta'))} OR feed_xid < {SAFE_HEAD})"]
    if after:
        where.append("(era, feed_xid, seq) > (%s, %s, %s)")
    text = f"SELECT {columns} FROM {schema.sql('events')} WHERE {' AND '.join(where)} ORDER BY era, feed_xid, seq"
    return text + (" LIMIT %s" if limit else "")


def head(link: Link, schema: Schema) -> Head:
    """The safe head, and what is committed beyond it: an older transaction may still be open."""
    era, xmin = link.rows(f"SELECT {ERA.format(meta=schema.sql('meta'))}, {SAFE_HEAD}")[0]
    beyond = f"SELECT session_id, max(version) FROM {schema.sql('events')} WHERE era = %s AND feed_xid >= %s GROUP BY 1"
    return Head(Position(int(era), int(xmin), -1), dict(link.rows(beyond, (era, xmin))))


def stall(link: Link, schema: Schema) -> FeedStall | None:
    """Committed events that the feed does not show yet, and the oldest open transaction of the cluster."""
    meta, events = schema.sql("meta"), schema.sql("events")
    hidden = link.rows(
        f"SELECT count(*), min(recorded_at) FROM {events}"
        f" WHERE era = {ERA.format(meta=meta)} AND feed_xid >= {SAFE_HEAD}"
    )[0]
    if not hidden[0]:
        return None
    found = link.rows(OLDEST)
    holder = found[0] if found else (None,) * 6
    return FeedStall(
        events=int(hidden[0]),
        oldest=int(hidden[1]),
        pid=holder[0],
        database=holder[1],
        user=holder[2],
        application=holder[3],
        state=holder[4],
        seconds=holder[5],
    )


# --- the era


def era_is_behind(connection: Connection, schema: Schema) -> bool:
    """Whether the log has transaction ids that this cluster has yet to give out: it came from another one.

    One statement, so that the highest id seen and the next one belong to one snapshot.
    """
    meta, events = schema.sql("meta"), schema.sql("events")
    highest = (
        f"(SELECT feed_xid FROM {events} WHERE era = {ERA.format(meta=meta)}"
        " ORDER BY era DESC, feed_xid DESC, seq DESC LIMIT 1)"
    )
    query = f"SELECT coalesce({highest} >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint, FALSE)"
    return bool(connection.execute(sa.text(query)).scalar())


def raise_era(connection: Connection, schema: Schema) -> None:
    """Begin the next era, in a transaction of the caller's: new events sort after all that were restored.

    The lock waits for appends under way, which read the era that was, and holds up those to come. (A host's
    REPEATABLE READ transaction that began before it would still read the old one: a restored database has none.)
    """
    connection.execute(sa.text(f"LOCK TABLE {schema.sql('events')} IN SHARE ROW EXCLUSIVE MODE"))
    if era_is_behind(connection, schema):
        raised = f"UPDATE {schema.sql('meta')} SET value = (value::integer + 1)::text WHERE name = 'era'"
        connection.execute(sa.text(raised))
