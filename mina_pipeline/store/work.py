"""The statements on the work table. Cost by the rows in it, never by history."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

Definitions = Sequence[tuple[str, int]]


def claimable(work: sa.Table, now: int, definitions: Definitions, exclude: Collection[str]) -> sa.ColumnElement[bool]:
    free = sa.or_(work.c.until.is_(None), work.c.until <= now)
    return sa.and_(work.c.due_at <= now, free, known(work, definitions, exclude))


def known(work: sa.Table, definitions: Definitions, exclude: Collection[str]) -> sa.ColumnElement[bool]:
    ours = sa.tuple_(work.c.definition, work.c.definition_version).in_(list(definitions))
    return sa.and_(ours, work.c.session_id.not_in(list(exclude))) if exclude else ours


def any_due(work: sa.Table, due: sa.ColumnElement[bool]) -> sa.Select[tuple[str]]:
    return sa.select(work.c.stage).where(due).limit(1)


def take(work: sa.Table, due: sa.ColumnElement[bool], owner: str, token: str, until: int) -> sa.Executable:
    """Claim the longest-due row that nobody else is just claiming, with a new token."""
    pick = (
        sa.select(work.c.session_id, work.c.kind, work.c.stage)
        .where(due)
        .order_by(work.c.due_at, work.c.session_id, work.c.stage)
        .limit(1)
        .with_for_update(skip_locked=True)  # SQLite renders nothing: its transaction is exclusive anyway
        .cte("pick")
    )
    return (
        sa.update(work)
        .where(sa.tuple_(work.c.session_id, work.c.kind, work.c.stage).in_(sa.select(pick)))
        .values(owner=owner, token=token, until=until, attempts=work.c.attempts + 1)
        .returning(work)
    )


def renew(work: sa.Table, tokens: Sequence[str], until: int) -> sa.Executable:
    """A row that is locked at the moment holds up no other lease."""
    held = sa.select(work.c.token).where(work.c.token.in_(tokens)).with_for_update(skip_locked=True).cte("held")
    return sa.update(work).where(work.c.token.in_(sa.select(held))).values(until=until).returning(work.c.token)


def give_back(work: sa.Table, token: str) -> sa.Executable:
    free = {"owner": None, "token": None, "until": None, "attempts": work.c.attempts - 1}
    return sa.update(work).where(work.c.token == token).values(**free).returning(work.c.stage)


def next_due(work: sa.Table, definitions: Definitions, exclude: Collection[str]) -> sa.Select[tuple[int | None]]:
    due = sa.case((work.c.until > work.c.due_at, work.c.until), else_=work.c.due_at)
    return sa.select(sa.func.min(due).label("due")).where(known(work, definitions, exclude))
