"""The two databases: fresh ones, copies of a prepared one, raw connections, and what there is to say about them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

DEFAULT_SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"


class Place(Protocol):
    """Where databases are made. A database is named by the URL that Pipeline.open takes."""

    name: str
    mark: str

    def new(self) -> str: ...

    def copy(self, url: str) -> str:
        """A copy of a database that nobody has open."""
        ...

    def drop(self, url: str) -> None: ...

    def connect(self, url: str) -> Any:
        """A raw connection in autocommit, as durable as ours."""
        ...

    def conditions(self) -> str: ...

    def close(self) -> None: ...


class Sqlite:
    """Files in a folder of the bench's own."""

    name = "SQLite"
    mark = "?"

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=parent)).resolve()

    def new(self) -> str:
        return f"sqlite:///{self.folder / uuid4().hex}.db"

    def copy(self, url: str) -> str:
        copied = self.new()
        shutil.copyfile(path(url), path(copied))
        return copied

    def drop(self, url: str) -> None:
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path(url) + ending)

    def connect(self, url: str) -> Any:
        return connect_sqlite(url)

    def conditions(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}: journal_mode=WAL, synchronous=FULL, {self.file_system()}"

    def file_system(self) -> str:
        with contextlib.suppress(OSError):
            mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
            under = [(len(at), kind) for at, kind in mounts if self.folder.is_relative_to(at)]
            return f"on {max(under)[1]}"
        return "file system unknown"

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def connect_sqlite(url: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path(url), isolation_level=None, check_same_thread=False, timeout=60)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def connect_postgresql(url: str) -> Any:
    import psycopg

    return psycopg.connect(url, autocommit=True, prepare_threshold=0)


def path(url: str) -> str:
    return url.removeprefix("sqlite:///")


class Postgresql:
    """Databases on a server that is there already; each one dropped again."""

    name = "PostgreSQL"
    mark = "%s"

    def __init__(self, server: str) -> None:
        self.server = server.replace("postgresql+psycopg:", "postgresql:")
        self.made: set[str] = set()

    def admin(self, statement: str) -> Any:
        """The first row that the statement gives, None where it gives none."""
        import psycopg

        with psycopg.connect(self.server, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone() if cursor.description else None

    def url(self, name: str) -> str:
        base, _, query = self.server.partition("?")
        return base.rsplit("/", 1)[0] + "/" + name + (f"?{query}" if query else "")

    def new(self, template: str = "template1") -> str:
        name = f"bench_{uuid4().hex[:12]}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE {template}")
        self.made.add(name)
        return self.url(name)

    def copy(self, url: str) -> str:
        return self.new(database(url))

    def drop(self, url: str) -> None:
        self.admin(f"DROP DATABASE IF EXISTS {database(url)} WITH (FORCE)")
        self.made.discard(database(url))

    def connect(self, url: str) -> Any:
        return connect_postgresql(url)

    def conditions(self) -> str:
        import psycopg

        names = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "full_page_writes")
        shown = self.admin("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
        said = ", ".join(f"{name}={value}" for name, value in zip(names[1:], shown[1:], strict=True))
        return f"PostgreSQL {shown[0]}: {said}; psycopg {psycopg.__version__} ({psycopg.pq.__impl__})"

    def close(self) -> None:
        for name in list(self.made):
            with contextlib.suppress(Exception):
                self.drop(self.url(name))


def database(url: str) -> str:
    return url.partition("?")[0].rsplit("/", 1)[1]


@contextlib.contextmanager
def places(folder: Path, server: str) -> Iterator[list[Place]]:
    """SQLite, and PostgreSQL where a server answers."""
    found: list[Place] = [Sqlite(folder)]
    try:
        try:
            postgresql = Postgresql(server)
            postgresql.admin("SELECT 1")
        except Exception as error:
            print(f"No PostgreSQL answers ({type(error).__name__}): its columns are left out.\n")
        else:
            found.append(postgresql)
        yield found
    finally:
        for place in found:
            place.close()
