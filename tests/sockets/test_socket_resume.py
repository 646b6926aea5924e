"""Every version once and in order: through joins while somebody writes, reconnects, and clients that take nothing."""

from __future__ import annotations

import json
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from itertools import pairwise

import pytest
from mina_adapters.sockets.outlet import Outlet
from socket_hosts import Host, Listener, until

from mina_pipeline import Pipeline, Segment


def write(pipeline: Pipeline, session_id: str, count: int, first: int = 0) -> None:
    """One event for each segment."""
    for n in range(first, first + count):
        pipeline.record(session_id, [Segment(f"word {n}", n * 10, n * 10 + 5, segment_id=f"s{n}")])


def test_who_comes_back_misses_nothing(host: Host) -> None:
    """After a lost connection the client joins with its version: no gap and no double."""
    pipeline = host.pipeline
    pipeline.start_session(session_id="m1", tenant="acme")
    with Listener(host.url) as ann:
        assert ann.ask("join_session", session_id="m1", after=0)["version"] == 0
        write(pipeline, "m1", 5)
        until(lambda: len(ann.versions("m1")) == 6)
    write(pipeline, "m1", 5, first=5)
    with Listener(host.url) as ann:
        assert ann.ask("join_session", session_id="m1", after=6) == {
            "session_id": "m1",
            "version": 6,
            "state": "recording",
        }
        write(pipeline, "m1", 5, first=10)
        until(lambda: len(ann.versions("m1")) == 10)
        assert ann.versions("m1") == list(range(7, 17))


def test_from_now_on_and_unknown_versions(host: Host) -> None:
    """Without `after` nothing old is sent; a version that the session does not have is answered with a reset."""
    host.pipeline.start_session(session_id="m1", tenant="acme")
    write(host.pipeline, "m1", 3)
    with Listener(host.url) as ann:
        assert ann.ask("join_session", session_id="m1")["version"] == 4
        assert ann.ask("join_session", "/live", session_id="m1", after=99) == {
            "session_id": "m1",
            "version": 4,
            "state": "recording",
            "reset": True,
        }
        write(host.pipeline, "m1", 1, first=3)
        for namespace in ("/", "/live"):
            until(lambda at=namespace: ann.versions("m1", at) == [5])
        for wrong in (-1, 1.5, "x", [], True):
            assert ann.ask("join_session", session_id="m1", after=wrong)["error_type"] == "InvalidInput"


def test_joining_again_doubles_nothing(host: Host) -> None:
    """A second join changes nothing; only one that asks for what this socket never got is answered from there."""
    host.pipeline.start_session(session_id="m1", tenant="acme")
    write(host.pipeline, "m1", 3)
    with Listener(host.url) as ann:
        ann.ask("join_session", session_id="m1", after=2)
        until(lambda: ann.versions("m1") == [3, 4])
        for after in ({}, {"after": 2}, {"after": 4}, {"after": 99}):
            assert ann.ask("join_session", session_id="m1", **after)["version"] == 4
        write(host.pipeline, "m1", 1, first=3)
        until(lambda: ann.versions("m1") == [3, 4, 5])
        assert ann.ask("join_session", session_id="m1", after=0)["version"] == 0
        write(host.pipeline, "m1", 1, first=4)
        until(lambda: ann.versions("m1") == [3, 4, 5, 1, 2, 3, 4, 5, 6])


def test_joins_while_somebody_writes(host: Host) -> None:
    """Whoever joins, leaves, and joins again at any moment, from any version, hears each later version once."""
    pipeline, seed = host.pipeline, random.randrange(2**32)
    pipeline.start_session(session_id="m1", tenant="acme")
    write(pipeline, "m1", 300)  # more than a room keeps: the log is read
    listeners = [Listener(host.url, namespaces=["/", "/live"]) for _ in range(4)]
    wrong: list[str] = []

    def watch(listener: Listener, namespace: str, chance: random.Random) -> None:
        for _ in range(4):
            after = chance.choice([None, 0, 10, 290, 301, chance.randrange(302)])
            begun = len(listener.versions("m1", namespace))
            asked = {} if after is None else {"after": after}
            ack = listener.ask("join_session", namespace, session_id="m1", **asked)
            enough = ack["version"] + chance.randrange(1, 8)
            until(lambda most=enough: done.is_set() or (listener.versions("m1", namespace) or [0])[-1] >= most)
            last = chance.random() < 0.2
            if not last:
                listener.ask("leave_session", namespace, session_id="m1")
            heard = listener.versions("m1", namespace)[begun:]
            if heard != list(range(ack["version"] + 1, ack["version"] + 1 + len(heard))):
                wrong.append(f"seed {seed}: after {after}, from {ack}: {odd(heard)}")
            if last:
                until(lambda: done.is_set())
                until(lambda: listener.versions("m1", namespace)[-1] >= pipeline.get("m1").version)
                heard = listener.versions("m1", namespace)[begun:]
                if heard != list(range(ack["version"] + 1, pipeline.get("m1").version + 1)):
                    wrong.append(f"seed {seed}: after {after}, from {ack}, to the end: {odd(heard)}")
                return

    done = threading.Event()
    threads = [
        threading.Thread(target=watch, args=(one, namespace, random.Random(seed + n)))
        for n, one in enumerate(listeners)
        for namespace in one.namespaces
    ]
    for thread in threads:
        thread.start()
    write(pipeline, "m1", 150, first=300)
    done.set()
    for thread in threads:
        thread.join()
    for one in listeners:
        one.close()
    assert wrong == []


def odd(heard: list[int]) -> list[tuple[int, int]]:
    """Where versions do not follow on each other, and the ends."""
    steps = [(a, b) for a, b in pairwise(heard) if b != a + 1]
    return [(heard[0], heard[-1]), *steps] if heard else []


class Stuck:
    """A long-polling client that has stopped to poll."""

    def __init__(self, url: str) -> None:
        self.at = f"{url}/socket.io/?EIO=4&transport=polling"
        opened = self.request()
        self.at += "&sid=" + json.loads(opened[1:])["sid"]
        self.request("40")
        self.request()
        self.request('420["join_session",{"session_id":"m1"}]')
        self.request()

    def request(self, body: str | None = None) -> str:
        data = None if body is None else body.encode()
        asked = urllib.request.Request(self.at, data, {"X-User": "ann@acme"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            text: str = answer.read().decode()
            return text


def test_a_client_that_takes_nothing_is_cut(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is bounded; others hear all meanwhile, and it resumes by its version."""
    monkeypatch.setattr(Outlet, "bound", 40)
    host.pipeline.start_session(session_id="m1", tenant="acme")
    stuck = Stuck(host.url)
    with Listener(host.url) as ann:
        ann.ask("join_session", session_id="m1", after=0)
        write(host.pipeline, "m1", 120)
        until(lambda: ann.versions("m1") == list(range(1, 122)))
        until(lambda: len(host.server.eio.sockets) == 1 or all(s.closed for s in queues(host, 20)))
        assert len(ann.versions("m1")) == 121
    with pytest.raises(urllib.error.HTTPError):
        stuck.request()
    with Listener(host.url) as back:
        back.ask("join_session", session_id="m1", after=1)
        until(lambda: back.versions("m1") == list(range(2, 122)))


def queues(host: Host, more: int) -> list[object]:
    """Engine sockets with more packets waiting than that."""
    return [socket for socket in list(host.server.eio.sockets.values()) if socket.queue.qsize() > more]


def test_a_long_log_does_not_overflow_a_client(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who catches up gets as much at a time as it takes; a log that is longer than its queue cuts nobody."""
    monkeypatch.setattr("mina_adapters.sockets.rooms.SLICE", 30)
    monkeypatch.setattr(Outlet, "bound", 260)
    host.pipeline.start_session(session_id="m1", tenant="acme")
    write(host.pipeline, "m1", 400)
    with Listener(host.url) as ann:
        ann.ask("join_session", session_id="m1", after=0)
        until(lambda: ann.versions("m1") == list(range(1, 402)))


def test_nothing_goes_through_the_queue_of_several_processes(serve: Callable[..., Host]) -> None:
    """Two servers that share a message queue: each emits to its own sockets, and each version comes once."""
    from socket_buses import bus

    published: list[object] = []
    hosts = [serve(manager=bus(serve_kind, published)) for serve_kind in [kind_of(serve)] * 2]
    hosts[0].pipeline.start_session(session_id="m1", tenant="acme")
    with Listener(hosts[0].url) as ann, Listener(hosts[1].url) as bob:
        for one in (ann, bob):
            one.ask("join_session", session_id="m1", after=0)
        ann.ask("finalize_session", session_id="m1")
        hosts[1].pipeline.run_until_idle()
        last = hosts[0].pipeline.get("m1").version
        for one in (ann, bob):
            until(lambda one=one: len(one.versions("m1")) >= last)
            assert one.versions("m1") == list(range(1, last + 1))
    assert published == []


def kind_of(serve: Callable[..., Host]) -> str:
    kind: str = vars(serve)["kind"]
    return kind
