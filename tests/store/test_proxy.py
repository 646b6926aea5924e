"""Behind PgBouncer in transaction mode: each statement may run on another backend than the one before it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from random import Random
from typing import Any

import pytest
from running import case_from_argv, run_case, until

from mina_pipeline import Pipeline, RecordedEvent, Segment, Settings

THREADS, SESSIONS = 8, 4
PREFIXES = count(1)
CONFIG = """
[databases]
behind = {server} pool_size=4

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
"""


@pytest.fixture(scope="module")
def behind(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the test's database through a PgBouncer with four backends."""
    from psycopg.conninfo import conninfo_to_dict

    binary = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.skip("pgbouncer is not installed")
    given = conninfo_to_dict(postgres_url)
    given.setdefault("host", "127.0.0.1")
    names = ("host", "port", "dbname", "user", "password")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path_factory.mktemp("pgbouncer") / "pgbouncer.ini"
    server = " ".join(f"{name}={given[name]}" for name in names if given.get(name))
    config.write_text(CONFIG.format(server=server, port=port))
    # It does not run as root; by then it has read its configuration.
    as_user = ["-u", "nobody"] if os.getuid() == 0 else []
    with subprocess.Popen([binary, "-q", *as_user, str(config)], stderr=subprocess.DEVNULL) as process:
        url = f"postgresql://{given.get('user', 'postgres')}@127.0.0.1:{port}/behind"
        until(lambda: process.poll() is not None or answers(url))
        assert process.poll() is None, "pgbouncer did not start"
        yield url
        process.terminate()


def answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_with_the_setting(behind: str) -> None:
    """With transaction_pooling 8 threads, the feed, subscriptions and two processes work, and nothing is warned of."""
    said = run_both(behind, "1")
    assert "warning" not in said


def test_without_the_setting(behind: str) -> None:
    """Without it prepared statements fail; each process gives them up by itself, and says so once."""
    said = run_both(behind, "0")
    assert len(re.findall("MINA_TRANSACTION_POOLING", said)) == 2


def test_no_other_clients_statement_runs(behind: str) -> None:
    """A backend that has another client's prepared statements never runs one of them in place of ours."""
    run_case(__file__, "names_meet", behind, f"proxy{os.getpid()}_{next(PREFIXES)}_")


def run_both(behind: str, pooling: str) -> str:
    """The same in two processes at once, with equal tables: their statements' names must not meet."""
    prefix = f"proxy{os.getpid()}_{next(PREFIXES)}_"
    Pipeline.open(behind, settings=Settings(table_prefix=prefix, transaction_pooling=True)).close()
    with ThreadPoolExecutor() as both:
        runs = [both.submit(run_case, __file__, "at_work", behind, prefix, pooling, name) for name in ("a", "b")]
        wrong = [str(error) for run in runs if (error := run.exception()) is not None]
        assert not wrong, "\n".join(wrong)
        return "".join(run.result() for run in runs)


def at_work(url: str, prefix: str, pooling: str, name: str) -> None:
    sys.stderr = sys.stdout  # what is warned of is the test's to read
    p = Pipeline.open(url, settings=Settings(table_prefix=prefix, poll=0.05, transaction_pooling=pooling == "1"))
    heard: list[RecordedEvent] = []
    p.subscribe(heard.append)
    start = threading.Barrier(THREADS)

    def meetings(thread: int) -> list[str]:
        start.wait(20)
        made = []
        for n in range(SESSIONS):
            session_id = p.start_session(f"Meeting {n}", f"{name}{thread}.{n}").session_id
            for line in range(4):
                p.record(session_id, [Segment(f"Ada will send report {line}.", line, line + 1)])
            p.finalize(session_id, command_id="finalize")
            assert p.get(session_id).stats is not None
            made.append(session_id)
        p.run_until_idle()
        return made

    with ThreadPoolExecutor(THREADS) as threads:
        mine = {session_id for made in threads.map(meetings, range(THREADS)) for session_id in made}
    assert len(mine) == THREADS * SESSIONS
    until(lambda: mine <= {s.session_id for s in p.sessions(state="revealed", limit=1000)}, within=40)
    until(lambda: mine <= {event.session_id for event in heard if event.type == "dashboard_refresh"})
    for session_id in mine:
        assert p.verify(session_id) == []
        whole = [event.version for event in p.events(session_id)]
        assert whole == list(range(1, len(whole) + 1))
        assert [event.version for event in heard if event.session_id == session_id] == whole
        until(lambda s=session_id, n=whole[-1]: n == len([e for e in p.feed() if e.session_id == s]))
    p.close()


def names_meet(url: str, prefix: str) -> None:
    p = Pipeline.open(url, settings=Settings(table_prefix=prefix))
    store: Any = p.store
    refused: list[str] = []

    def client(n: int) -> None:
        link, dice = store.shared.lender.connect(), Random(n)
        texts = dice.sample([f"SELECT '{letter}', %s::text" for letter in "abc"], 3)
        for _ in range(200):
            text = dice.choice(texts)
            try:
                found = link.rows(text, ("x",))
            except Exception as error:
                refused.append(getattr(error, "sqlstate", None) or repr(error))
            else:
                assert found == [(text[8], "x")]
        link.discard()

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(client, range(THREADS)))
    assert set(refused) == {"26000"}
    p.close()


if __name__ == "__main__":
    case_from_argv({found.__name__: found for found in (at_work, names_meet)})
