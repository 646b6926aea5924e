"""What a store and its views inside host transactions have in common: connections, callbacks, threads."""

from __future__ import annotations

import threading
from uuid import uuid4

from sqlalchemy import Engine

from ..forks import forget_at_fork
from ..ports import Wake
from ..settings import Settings
from .connections import Lender
from .group_commit import GroupCommit
from .host import Hosts
from .notify import Listener, Notifier
from .pipelined import Pipelined
from .tables import Schema


class Shared:
    """What a store and its `using` views have in common: connections, callbacks, threads."""

    def __init__(self, engine: Engine, schema: Schema, settings: Settings) -> None:
        self.engine = engine
        self.schema = schema
        self.settings = settings
        self.lender = Lender(engine, settings.pool_size, settings.pool_timeout)
        self.hosts = Hosts(self.lender, schema)
        self.callbacks: list[Wake] = []
        self.writer: GroupCommit | None = None
        self.pipelined: Pipelined | None = None
        self.notifier: Notifier | None = None
        self.listener: Listener | None = None
        self.listens = False
        self.listening = threading.Lock()
        self.paused = False
        self.name = uuid4().hex
        if engine.dialect.name == "sqlite":
            self.writer = GroupCommit(self.lender, schema, settings.lock_timeout, settings.synchronous)
        else:
            self.notifier = Notifier(self.lender, self.channel, self.name)
        forget_at_fork(self)

    @property
    def channel(self) -> str:
        return f"{self.schema.namespace or ''}.{self.schema.prefix}wake"[-63:]

    def told(self, session_id: str | None, version: int, work: bool) -> None:
        for callback in self.callbacks:
            callback(session_id, version, work)

    def committed(self, session_id: str | None, version: int, work: bool) -> None:
        self.told(session_id, version, work)
        if self.notifier is not None and session_id is not None:
            self.notifier.tell(session_id, version, work)

    def listen(self) -> None:
        """Hear of other processes' commits, on one thread, whoever asks for it and how often."""
        self.listens = True
        if self.notifier is None or self.settings.transaction_pooling:
            return
        with self.listening:
            if self.listener is not None:
                return
            # It is there before it runs: its own connection may be a child's first, which comes here again.
            self.listener = Listener(self.lender, self.channel, self.name, self.told)
        self.listener.start()

    def close(self) -> None:
        for thread in (self.listener, self.notifier, self.writer, self.pipelined):
            if thread is not None:
                thread.close()
        self.lender.close()

    def pause(self) -> None:
        """Before a fork: no connection to an SQLite file is open.

        Its library keeps one record a process of a file's locks. A child that inherits the record takes the
        parent's locks for its own, and then the parent's last close deletes the WAL that the child writes to.
        """
        if self.writer is not None:
            written = self.writer.pause()
            self.paused = self.lender.pause(self.settings.lock_timeout) and written

    def resume(self) -> None:
        if self.writer is not None:
            self.paused = False
            self.lender.resume()
            self.writer.resume()

    def begin_anew(self) -> None:
        """In a forked child, at its first connection: whoever listened or subscribed in the parent does so here."""
        if self.listens:
            self.listen()
        self.told(None, 0, True)

    def forget(self) -> None:
        """In a forked child: connections, locks and threads are the parent's; ours are made when they are needed."""
        self.lender.forget()
        self.lender.first = self.begin_anew
        self.lender.shut = self.lender.shut or (self.writer is not None and not self.paused)
        self.hosts.open.clear()
        self.name = uuid4().hex
        for together in (self.writer, self.pipelined):
            if together is not None:
                together.forget()
        if self.notifier is not None:
            self.notifier = Notifier(self.lender, self.channel, self.name)
        self.listener, self.listening = None, threading.Lock()
