"""What sockets may take of a process: requests by principal, memory, and timers; and leaving at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from mina_adapters.sockets.duty import Duty
from mina_adapters.sockets.outlet import BOUND, HEAVY
from mina_adapters.web.errors import WebError
from socket_hosts import Host, Listener, until
from socket_rig import Rig, rig
from socketio.exceptions import ConnectionError as Refused

from mina_pipeline import Segment


def test_connecting_again_gives_no_new_bucket(serve: Callable[..., Host]) -> None:
    """Connects and messages count by principal; another one is not concerned."""
    host = serve(rate=0.001, burst=6)
    with Listener(host.url, namespaces=["/live"]) as ann:
        assert "error_type" not in ann.ask("join_session", "/live", session_id="m1")
        with Listener(host.url, namespaces=["/live"]) as again:
            for _ in range(2):
                assert "error_type" not in again.ask("join_session", "/live", session_id="m1")
        Listener(host.url, namespaces=["/live"]).close()
        assert ann.ask("join_session", "/live", session_id="m1")["error_type"] == "TooManyRequests"
        with pytest.raises(Refused, match="TooManyRequests"):
            Listener(host.url, namespaces=["/live"])
    Listener(host.url, "bob@acme", namespaces=["/live"]).close()


def test_five_hundred_sockets_of_one_principal_come_at_once() -> None:
    with rig() as it:
        for n in range(500):
            for namespace in ("/", "/live"):
                it.connect(f"s{n}", namespace=namespace)
        assert len(it.rooms.clients) == 1_000
        assert len(it.rooms.care.later) == 1  # one look for all of them


def test_an_item_has_one_due_time() -> None:
    """Put off again and again, or marked meanwhile, it is served at the soonest, and once."""
    served, waits = list[str](), {"a": [60.0, 60.0, None], "b": [None, None], "c": [None]}
    duty: Duty[str] = Duty("mina-socket-test", lambda item: (served.append(item), waits[item].pop(0))[1], over.is_set)
    for _ in range(1_000):
        duty.within("a", 30.0)
    assert len(duty.later) == len(duty.times) == 1 and served == []
    duty.mark("a")
    until(lambda: served == ["a"] and "a" in duty.times)
    duty.within("a", 0.01)
    until(lambda: served == ["a"] * 2 and "a" in duty.times)
    duty.mark("a", "a")
    until(lambda: served == ["a"] * 3)
    duty.within("b", 0.05)
    duty.mark("b")
    until(lambda: "b" in served)
    duty.within("c", 0.1)
    until(lambda: "c" in served)
    assert served == [*"aaabc"]  # b's own time had passed by then
    over.set()
    duty.mark()
    until(lambda: duty.thread is None)
    assert not duty.later and not duty.times


over = threading.Event()


@pytest.mark.parametrize("how", ["leave", "depart"])
def test_leaving_while_joining_again(how: str) -> None:
    """A socket that leaves, or goes, while it asks for more from before: nothing is kept for it. One that is gone is
    told nothing of limits."""
    with rig() as it:
        ann, answers = joined_at_the_end(it), list[Any]()

        def again() -> None:
            try:
                answers.append(it.rooms.join(ann, "m1", 0, True))
            except WebError as error:
                answers.append(error.error_type)

        joining, member = threading.Thread(target=again), ann.members["m1"]
        with member.lock:
            joining.start()
            until(lambda: it.watches() == 2)  # its new place, beside the room's
            it.rooms.leave(ann, "m1") if how == "leave" else it.rooms.depart(ann)
        joining.join()
        if how == "leave":  # it joined after it had left
            assert ann.members["m1"] is not member
            it.rooms.leave(ann, "m1")
        else:
            assert answers == ["Unauthenticated"] and not it.rooms.doors.watches.open
        until(lambda: it.watches() == 0)
        assert not it.rooms.open and not ann.members


def joined_at_the_end(it: Rig) -> Any:
    """A socket that is level with a room of six versions, and got nothing of it."""
    it.pipeline.start_session(session_id="m1", tenant="acme")
    for n in range(5):
        it.pipeline.record("m1", [Segment("word", n, n + 1)])
    ann = it.connect("1")
    it.ask(ann, "join_session", session_id="m1")
    until(lambda: it.watches() == 1 and not it.rooms.guide.due)
    return ann


def test_who_goes_while_it_connects_leaves_no_dashboard() -> None:
    with rig() as it:
        ann = it.connect("1")
        it.rooms.depart(ann)
        it.rooms.hear_dashboard(ann)
        assert not it.rooms.open and not it.pipeline.live.boards


def test_a_queue_is_bounded_by_characters_too() -> None:
    """Small packets by their number, large ones by what they hold."""
    with rig() as it:
        ann = it.connect("1")
        for size in (10, 100_000):
            words = it.outlet.words("/live", "x", "y" * size)
            while not it.outlet.put([ann.socket], words):
                assert it.outlet.waiting(ann.socket)[0] <= BOUND + 1
            count, characters = it.outlet.waiting(ann.socket)
            assert count == BOUND + 1 if size == 10 else HEAVY < characters <= HEAVY + size + 100
            ann.socket.heard()


def test_a_heavy_log_is_sent_as_it_is_taken() -> None:
    """Who catches up with 8 million characters and reads nothing has some of them waiting, is not cut, and then hears
    all of them in order."""
    with rig() as it:
        it.pipeline.start_session(session_id="m1", tenant="acme")
        for n in range(80):
            it.pipeline.record("m1", [Segment("word " * 2_000, k, k + 1) for k in range(n * 10, n * 10 + 10)])
        ann, heard = it.connect("1"), list[int]()
        it.ask(ann, "join_session", session_id="m1", after=0)
        until(lambda: ann.members["m1"] in it.rooms.guide.times)
        assert 1_000_000 < it.outlet.waiting(ann.socket)[1] < 3_200_000
        until(lambda: heard.extend(payload["version"] for _, payload in ann.socket.heard()) or len(heard) >= 81)
        assert heard == list(range(1, 82)) and not ann.socket.closed


def test_a_log_that_became_shorter_is_told_with_its_session() -> None:
    """A socket may hear several: the reset says of which it is, and its events go on from there."""
    with rig() as it:
        ann, heard = joined_at_the_end(it), list[tuple[str, Any]]()
        it.pipeline.live.rooms["m1"].rewind(6, 3)
        until(lambda: heard.extend(ann.socket.heard()) or heard)
        it.pipeline.record("m1", [Segment("word", 9, 10)])
        until(lambda: heard.extend(ann.socket.heard()) or len(heard) >= 5)
        assert heard[0] == ("reset", {"session_id": "m1", "version": 3})
        assert [payload["version"] for _, payload in heard[1:]] == [4, 5, 6, 7]
