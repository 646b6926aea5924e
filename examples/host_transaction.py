"""The host's row and the meeting's events in one transaction: both are there, or neither."""

import sqlalchemy as sa

from mina_pipeline import Pipeline, RetryTransaction, Segment
from mina_pipeline.store.sqlite import immediate

URL = "sqlite:///host.db"
engine = immediate(sa.create_engine(URL))  # on SQLite a host should begin with BEGIN IMMEDIATE
invoices = sa.Table("invoices", sa.MetaData(), sa.Column("session_id", sa.Text), sa.Column("minutes", sa.Integer))
invoices.metadata.create_all(engine)


def finish(p: Pipeline, session_id: str, minutes: int) -> None:
    for _ in range(3):
        try:
            with engine.begin() as connection:
                connection.execute(invoices.insert(), {"session_id": session_id, "minutes": minutes})
                p.using(connection).finalize(session_id)  # call it last: from here to the commit others wait
                return
        except RetryTransaction:  # the database gave this transaction up for another: run it again
            continue


with Pipeline.open(URL) as p:
    session = p.start_session("Weekly")
    p.record(session.session_id, [Segment("bob can you send the budget by friday", 0, 3000, speaker="Ann")])
    finish(p, session.session_id, 1)
    p.run_until_idle()
    print(p.get(session.session_id).state)
    with engine.connect() as connection:
        print(connection.execute(sa.select(invoices)).all())
engine.dispose()
