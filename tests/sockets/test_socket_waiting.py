"""Joins that wait for a session that is not there yet: what they learn, how many there may be, and how they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mina_adapters.sockets import rooms
from mina_adapters.web.settings import WebSettings
from socket_hosts import Listener, flask_host, until
from socket_rig import rig

from mina_pipeline import Pipeline, Settings


def test_another_tenants_start_is_not_told() -> None:
    """Who waits for an id that another tenant starts leaves without a word; one of the same tenant, that may not read
    it, is told."""
    with rig(lambda principal, session, action: (principal.id, action) != ("eve", "read")) as it:
        ann, eve, joe = (it.connect(user, user) for user in ("ann@acme", "eve@acme", "joe@other"))
        for one in (ann, eve, joe):
            assert it.ask(one, "join_session", session_id="later")["state"] is None
        it.pipeline.start_session(session_id="later", tenant="acme")
        until(lambda: ann.socket.queue.qsize())
        until(lambda: not eve.members and not joe.members and not it.rooms.unchecked.open)
        assert [name for name, _ in ann.socket.heard()] == ["session_started"]
        assert eve.socket.heard() == [
            ("error", {"message": "There is no such session.", "error_type": "SessionNotFound"})
        ]
        it.pipeline.record("later", [])
        assert joe.socket.heard() == []


def test_an_id_of_digits_opens_no_session_of_others() -> None:
    """Who waited for "2" is let in by its own session's integer id 2 as little as by anything else."""
    with rig() as it:
        joe = it.connect("joe", "joe@other")
        it.ask(joe, "join_session", session_id="2")
        it.pipeline.start_session(session_id="first", tenant="acme")
        assert it.pipeline.start_session(session_id="own", tenant="other").id == 2
        it.pipeline.start_session(session_id="2", tenant="acme", title="secret")
        until(lambda: not joe.members)
        assert joe.socket.heard() == []


def test_waiting_joins_are_bounded_by_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all sockets of a principal; what is left, read or disconnected makes room, and no join is counted twice."""
    monkeypatch.setattr(rooms, "UNCHECKED", 3)
    with rig() as it:
        ann, more, bob = it.connect("1"), it.connect("2"), it.connect("3", "bob@acme")

        def waits(client: Any, session_id: str) -> bool:
            return it.ask(client, "join_session", session_id=session_id).get("error_type") != "TooManyWatches"

        assert waits(ann, "a") and waits(ann, "a") and waits(ann, "b") and waits(more, "c")
        assert not waits(ann, "d") and not waits(more, "d") and waits(bob, "d")
        assert waits(ann, "a") and len(it.rooms.open) == 4  # joining again is no more
        it.ask(ann, "leave_session", session_id="a")
        assert waits(more, "d") and not waits(more, "e")
        it.pipeline.start_session(session_id="b", tenant="acme")
        until(lambda: ann.socket.queue.qsize() >= 2)
        until(lambda: sum(it.rooms.unchecked.open.values()) == 3)  # c and d, and bob's d
        assert waits(ann, "e") and not waits(ann, "f")
        for client in (ann, more, bob):
            it.rooms.depart(client)
        assert not it.rooms.unchecked.open and not it.rooms.open and it.watches() == 0


def test_an_authorize_that_always_fails_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is told, and leaves; it is not asked for ever. One that fails once is asked again."""
    monkeypatch.setattr(rooms, "AGAIN", 0.01)
    fails = {"ann": 10**6, "bob": 2}

    def authorize(principal: Any, session: Any, action: str) -> bool:
        if session is not None and fails[principal.id]:
            fails[principal.id] -= 1
            raise RuntimeError("outside of a request")
        return True

    with rig(authorize) as it:
        ann, bob = it.connect("ann"), it.connect("bob", "bob@acme")
        for one in (ann, bob):
            it.ask(one, "join_session", session_id="later")
        it.pipeline.start_session(session_id="later", tenant="acme")
        until(lambda: not ann.members and bob.socket.queue.qsize())
        until(lambda: ann.socket.queue.qsize())
        assert [payload["error_type"] for _, payload in ann.socket.heard()] == ["InternalError"]
        assert [name for name, _ in bob.socket.heard()] == ["session_started"]
        assert fails == {"ann": 10**6 - rooms.FAILURES, "bob": 0}


def test_authorize_is_asked_within_the_sockets_request(tmp_path: Path) -> None:
    """On Flask, also where a thread of ours asks it later: with the request, and the session, of that socket."""
    from flask import request, session

    seen = list[tuple[str, str, Any]]()

    def look(action: str) -> None:
        known = session.setdefault("user", request.headers["X-User"]) if action == "watch_dashboard" else None
        seen.append((action, request.sid, known or session.get("user")))  # type: ignore[attr-defined]

    with (
        Pipeline.open(f"sqlite:///{tmp_path}/flask.db", settings=Settings(poll=0.05)) as pipeline,
        flask_host(pipeline, WebSettings(max_watches=0)) as host,
    ):
        host.looks = look
        with (
            Listener(host.url, "ann@acme", namespaces=["/live"]) as ann,
            Listener(host.url, "bob@acme", namespaces=["/live"]) as bob,
        ):
            for one in (ann, bob):
                one.ask("join_session", "/live", session_id="later")
            connected = [(sid, user) for _, sid, user in seen]
            assert [user for _, user in connected] == ["ann@acme", "bob@acme"]
            pipeline.start_session(session_id="later", tenant="acme")
            for one in (ann, bob):
                until(lambda one=one: one.versions("later", "/live") == [1])
                assert one.errors("/live") == []
    assert sorted(seen[2:]) == sorted(("read", sid, user) for sid, user in connected)
