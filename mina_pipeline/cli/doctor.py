"""`mina doctor`: what can be seen now, each with what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from ..codec import builtins
from ..health import Check, checks
from ..pipeline import Pipeline
from .app import mina, open_pipeline, print_json, shared

COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}
WAL_RESET = (3, 51, 3)
"""From 3.7.0 on and before this version SQLite may, very rarely, corrupt a database that is in WAL mode."""
SKEW = 5.0
"""Seconds that the host's clock may be off the database's."""


@mina.command()
@shared
def doctor(db: str | None, app: str | None, as_json: bool) -> None:
    """Look at store, workers, leases, breakers, feed and work; exit 1 where something is wrong."""
    with open_pipeline(db, app) as pipeline:
        store = store_facts(pipeline)
        health = pipeline.health()
    found = [*store_checks(store), *checks(health)]
    well = all(check.level != "wrong" for check in found)
    if as_json:
        print_json({"ok": well, "store": store, **builtins(health), "checks": builtins(found)})
    else:
        for check in found:
            click.echo(click.style(f"{check.level:<6}", COLOURS[check.level]) + f"{check.what:<11} {check.detail}")
            if check.remedy:
                click.echo(f"{'':<18}→ {check.remedy}")
    sys.exit(0 if well else 1)


def store_facts(pipeline: Pipeline) -> dict[str, Any]:
    """Which store it is, at which schema version; SQLite's own version; how far a database's clock is off (s)."""
    from ..store.sql import SqlStore

    store = pipeline.store
    if not isinstance(store, SqlStore):
        return {"kind": "memory"}
    from ..store import schema as tables
    from ..store.refusals import shown_url

    url = shown_url(store.engine.url)
    facts: dict[str, Any] = {
        "kind": store.engine.dialect.name,
        "url": url,
        "schema": tables.present(store.engine, store.schema, url),
        "release_schema": tables.HEAD,
    }
    if store.postgresql:
        before = pipeline.clock.now()
        theirs = store.reading(lambda link: link.rows("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint"))
        middle = (before + pipeline.clock.now()) / 2
        return {**facts, "clock_skew": (int(theirs[0][0]) - middle) / 1e6}
    version = store.reading(lambda link: link.rows("SELECT sqlite_version()"))
    return {**facts, "sqlite": str(version[0][0])}


def store_checks(facts: dict[str, Any]) -> Iterator[Check]:
    if facts["kind"] == "memory":
        yield Check("store", "note", "in memory: nothing outlives the process", "open a database")
        return
    yield Check("store", "ok", f"{facts['url']}, schema version {facts['schema']} (release: {facts['release_schema']})")
    if "sqlite" in facts and tuple(map(int, facts["sqlite"].split("."))) < WAL_RESET:
        detail = f"version {facts['sqlite']} has the WAL-reset bug, which may (very rarely) corrupt a database"
        yield Check("sqlite", "note", detail, "use a Python whose SQLite is 3.51.3 or newer")
    skew = facts.get("clock_skew", 0.0)
    if abs(skew) > SKEW:
        detail = f"the database's clock is {skew:+.1f} s off this host's"
        yield Check("clock", "wrong", detail, "let both synchronise their clocks (NTP)")
    elif "clock_skew" in facts:
        yield Check("clock", "ok", f"the database's is {skew:+.3f} s off this host's")
