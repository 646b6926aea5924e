"""A host with Alembic of its own, beside our tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from mina_pipeline.store.schema import prepare
from mina_pipeline.store.tables import build_schema

NUMBERS = count(1)
ENV = """
from alembic import context
import sqlalchemy as sa
config = context.config
metadata = sa.MetaData()
sa.Table("host_{n}_kept", metadata, sa.Column("id", sa.Integer, primary_key=True))
engine = sa.create_engine(config.attributes["url"])
def name(name, kind, parents):
    # Other tests' tables and schemas are in the database as well.
    return kind not in ("table", "schema") or name is None or any(mark in name for mark in config.attributes["marks"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, version_table="host_{n}_alembic_version",
                      include_schemas=config.attributes["include_schemas"], include_name=name)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
MAKO = """revision, down_revision = ${repr(up_revision)}, ${repr(down_revision)}
def upgrade():
    ${upgrades}
"""


class Host:
    """A database that both use, and the host's own migrations; its model has one table, `host_N_kept`."""

    def __init__(self, url: str, folder: Path) -> None:
        self.n = next(NUMBERS)
        self.engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        self.prefix = f"h{os.getpid()}_{self.n}_"
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text(ENV.replace("{n}", str(self.n)))
        (folder / "script.py.mako").write_text(MAKO)
        self.config = Config()
        self.config.set_main_option("script_location", str(folder))
        self.config.attributes.update(url=url, include_schemas=False, marks=[self.prefix, f"host_{self.n}_"])
        with self.engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE TABLE host_{self.n}_kept (id INTEGER NOT NULL PRIMARY KEY)")

    def autogenerate(self) -> str:
        script = command.revision(self.config, autogenerate=True)
        assert script is not None and not isinstance(script, list)
        text = Path(script.path).read_text()
        Path(script.path).unlink()
        body = text.partition("def upgrade():")[2].splitlines()
        return "\n".join(line for line in body if not line.lstrip().startswith("#")).strip()

    def make(self, *names: str) -> None:
        with self.engine.connect() as connection:
            for name in names:
                connection.exec_driver_sql(f"CREATE TABLE {name} (mine INTEGER)")
                connection.exec_driver_sql(f"CREATE INDEX {name}_mine ON {name} (mine)")


@pytest.fixture(params=["sqlite", "postgresql"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    sqlite = f"sqlite:///{tmp_path}/test.db"
    url = sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    host = Host(url, tmp_path / "alembic")
    yield host
    host.engine.dispose()


@pytest.fixture
def postgres_host(postgres_url: str, tmp_path: Path) -> Iterator[Host]:
    host = Host(postgres_url, tmp_path / "alembic")
    yield host
    host.engine.dispose()


def test_a_hosts_autogenerate_leaves_our_tables_alone(host: Host) -> None:
    """With nothing configured a host's autogenerate and `alembic check` see none of our tables, of two prefixes."""
    prepare(host.engine, build_schema(host.prefix), "it")
    prepare(host.engine, build_schema(host.prefix + "b_"), "it")
    assert host.autogenerate() == "pass"
    command.check(host.config)


def test_a_hosts_own_removed_tables_are_still_dropped(host: Host) -> None:
    """A table of the host's that merely looks like ours is dropped, with its index, as it would be without us."""
    prepare(host.engine, build_schema(host.prefix), "it")
    host.make(f"{host.prefix}notes", f"host_{host.n}_events", f"host_{host.n}_gone")
    text = host.autogenerate()
    for name in (f"{host.prefix}notes", f"host_{host.n}_events", f"host_{host.n}_gone"):
        assert f"op.drop_table('{name}')" in text and f"{name}_mine" in text
    assert text.count("drop_table") == 3
    with pytest.raises(CommandError, match="New upgrade operations"):
        command.check(host.config)


def test_a_part_of_our_tables_is_not_ours(host: Host) -> None:
    """Without the version table and all the rest, tables of our names are the host's."""
    host.make(*(f"{host.prefix}{name}" for name in ("events", "sessions", "alembic_version")))
    assert host.autogenerate().count("drop_table") == 3


def test_the_plugin_suits_older_releases_of_alembic() -> None:
    """What the entry point names is a module, and can be iterated over, as Alembic 1.18.0 to 1.20.0 do."""
    found = [point.load() for point in entry_points(group="alembic.plugins") if "mina_pipeline" in point.name]
    assert [isinstance(module, ModuleType) for module in found] == [True]
    assert [list(module) for module in found] == [found] and found[0].setup


def test_our_tables_in_another_schema_are_left_alone(postgres_host: Host) -> None:
    """Under include_schemas our tables in a PostgreSQL schema are not dropped, the host's own there are."""
    host = postgres_host
    space = f"{host.prefix}space"
    prepare(host.engine, build_schema(host.prefix, space), "it")
    host.config.attributes["include_schemas"] = True
    assert host.autogenerate() == "pass"
    with host.engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {space}.{host.prefix}events_old (mine INTEGER)")
        connection.exec_driver_sql(f"CREATE TABLE {host.prefix}work (mine INTEGER)")
    text = host.autogenerate()
    assert text.count("drop_table") == 2
    assert f"op.drop_table('{host.prefix}work')" in text
    assert f"op.drop_table('{host.prefix}events_old', schema='{space}')" in text


def test_our_migrations_run_within_a_hosts(host: Host) -> None:
    """A host whose env.py opens a pipeline on its way keeps Alembic's context for its own migration."""
    env = Path(host.config.get_main_option("script_location") or "") / "env.py"
    opens = "from mina_pipeline.store.schema import prepare; from mina_pipeline.store.tables import build_schema\n"
    opens += "other = sa.create_engine(config.attributes['url'], isolation_level='AUTOCOMMIT')\n"
    opens += f"prepare(other, build_schema('{host.prefix}'), 'it'); other.dispose()\n"
    env.write_text(env.read_text().replace("metadata =", opens + "metadata =", 1))
    assert host.autogenerate() == "pass"
    assert f"{host.prefix}events" in sa.inspect(host.engine).get_table_names()
