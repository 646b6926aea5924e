"""Every store passes the shipped suite."""

from mina_pipeline.testing.stores import StoreContract


class TestStores(StoreContract):
    """The contract over memory, SQLite and PostgreSQL: the `pipeline` fixture is each in turn."""
