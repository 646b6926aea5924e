"""`mina db upgrade`: the tables brought up to date, or the SQL for it."""

from __future__ import annotations

import click

from ..errors import InvalidInput, StoreUnreachable
from ..settings import Settings
from .app import DEFAULT_DB, mina, print_json, shared


@mina.group()
def db() -> None:
    """The database's tables."""


@db.command()
@click.option("--sql", is_flag=True, help="Print the SQL and change nothing.")
@shared
def upgrade(sql: bool, db: str | None, app: str | None, as_json: bool) -> None:
    """Make the tables, or bring them up to date; also under MINA_AUTO_MIGRATE=0.

    With --sql: what there is to run, from the revision that the database is at; where it does not answer, from
    an empty one.
    """
    from ..store import schema as tables
    from ..store.sql import make_engine

    if app is not None:
        raise InvalidInput("--app", "an app's pipeline opens its own database; name that with --db")
    url = db or DEFAULT_DB
    if url.startswith("memory:"):
        raise InvalidInput("--db", f"{url} has no tables")
    engine, schema, shown = make_engine(url, Settings.from_env())
    try:
        if not sql:
            before, after = tables.upgrade(engine, schema, shown)
            if as_json:
                print_json({"from": before, "to": after})
            elif before == after:
                click.echo(f"{shown}: at version {after} already")
            else:
                click.echo(f"{shown}: from version {before or 'none'} to {after}")
            return
        try:
            start = tables.present(engine, schema, shown)
        except StoreUnreachable as error:
            click.echo(f"mina: {error}; this is the SQL for an empty database", err=True)
            start = None
        text = tables.upgrade_sql(engine.dialect.name, schema, start)
        if as_json:
            print_json({"sql": text})
        else:
            click.echo(text, nl=False)
    finally:
        engine.dispose()
