"""Who is let in, what is refused, and how much one socket may ask."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from socket_hosts import Host, Listener, until
from socketio.exceptions import ConnectionError as Refused


@pytest.mark.parametrize("late", [False, True])
def test_who_is_not_known_is_refused(serve: Callable[..., Host], late: bool) -> None:
    """Nobody is refused in each namespace; an async authorize, and an app that comes last, are as good."""
    host = serve(late=late)
    with pytest.raises(Refused):
        Listener(host.url, user=None)
    with Listener(host.url) as ann:
        assert ann.ask("join_session", session_id="m1")["state"] == "recording"


def test_foreign_origins_are_refused(serve: Callable[..., Host]) -> None:
    """A browser is let in from the own host and the listed origins; what is no browser has no origin."""
    host = serve(origins=["https://app.example"])
    for origin in ("null", "https://app.example.evil.example"):
        with pytest.raises(Refused):
            Listener(host.url, headers={"Origin": origin}, namespaces=["/"])
    for origin in (host.url, "https://app.example"):
        Listener(host.url, headers={"Origin": origin}).close()


def test_every_join_is_checked(host: Host) -> None:
    """Another tenant's session is as unknown as one that may not be read; nothing of it is told."""
    host.denied |= {("eve", "read"), ("eve", "finalize"), ("kim", "finalize"), ("kim", "start")}
    host.pipeline.start_session(session_id="m1", tenant="acme")
    users = {"eve@acme": "SessionNotFound", "joe@other": "SessionNotFound", "max": "SessionNotFound"}
    for user, refusal in users.items():
        with Listener(host.url, user) as one:
            for namespace in one.namespaces:
                ack = one.ask("join_session", namespace, session_id="m1", after=0)
                assert ack["error_type"] == refusal and one.errors(namespace) == [refusal]
            assert one.ask("finalize_session", session_id="m1")["error_type"] == refusal
            assert one.ask("end_session", "/live-transcription", session_id="m1")["error_type"] == refusal
            host.pipeline.record("m1", [])
            assert one.versions("m1") == []
    with Listener(host.url, "kim@acme") as kim:
        assert kim.ask("join_session", session_id="m1")["version"] == 1
        assert kim.ask("finalize_session", session_id="m1")["error_type"] == "Forbidden"
        assert kim.ask("join_session", session_id="new")["error_type"] == "Forbidden"
        assert kim.ask("start_session", "/live-transcription")["error_type"] == "Forbidden"
    assert [session.session_id for session in host.pipeline.sessions()] == ["m1"]
    assert host.pipeline.get("m1").state == "recording"


def test_dashboards_hear_their_own_tenant_once(host: Host) -> None:
    """A hint goes to the tenant's watchers in `/` and `/live`; who is in the room as well hears it there, once."""
    host.denied.add(("kim", "watch_dashboard"))
    with (
        Listener(host.url, "ann@acme") as ann,
        Listener(host.url, "bob@acme") as bob,
        Listener(host.url, "joe@other") as joe,
        Listener(host.url, "kim@acme") as kim,
    ):
        for session_id in ("m1", "m2"):
            ann.ask("join_session", session_id=session_id)
            ann.ask("finalize_session", session_id=session_id)
        host.pipeline.run_until_idle()
        for where in ("/", "/live"):
            for one in (ann, bob):
                until(lambda one=one, at=where: one.names(at).count("dashboard_refresh") >= 2)
        for session_id in ("m1", "m2"):
            last = host.pipeline.get(session_id).version
            until(lambda of=session_id, last=last: len(ann.versions(of)) == last)
            assert ann.versions(session_id) == list(range(1, last + 1))
        for where in ("/", "/live"):
            assert ann.names(where).count("dashboard_refresh") == 2
            assert bob.names(where) == ["dashboard_refresh"] * 2
        assert "dashboard_refresh" not in bob.names("/live-transcription")
        hint = bob.heard[0][2]
        assert hint["action"] == "session_completed" and set(hint["session_data"]) >= {"title", "status"}
        assert joe.heard == kim.heard == []


def test_bad_messages_are_answered(host: Host) -> None:
    """What is no object, has no id, or nests without end is an error to the socket, and nothing else."""
    deep: Any = []
    for _ in range(50):
        deep = [deep]
    with Listener(host.url) as ann:
        given: list[Any] = [None, 7, "m1", [], {}, {"session_id": None}, {"session_id": ""}, {"session_id": "a" * 999}]
        given += [{"session_id": "m1", "title": deep}, {"session_id": "m1", "title": "\ud800"}, {"session_id": "a/b"}]
        for data in given:
            ack = ann.client.call("join_session", data, namespace="/", timeout=30)
            assert ack["error_type"] in ("InvalidInput", "SessionNotFound"), data
        device = {"device_info": {"x": "y" * 10_000}}
        assert ann.ask("start_session", "/live-transcription", **device)["error_type"] == "InvalidInput"
        assert ann.ask("record", "/live-transcription", session_id="m1", segments=7)["error_type"]
        until(lambda: len(ann.errors("/")) == len(given))
    assert host.pipeline.sessions() == []


def test_one_socket_joins_a_bounded_number_of_sessions(serve: Callable[..., Host]) -> None:
    host = serve(max_joins=2)
    with Listener(host.url) as ann:
        for session_id in ("m1", "m2"):
            assert ann.ask("join_session", session_id=session_id)["state"] == "recording"
        assert ann.ask("join_session", "/", session_id="m3")["error_type"] == "TooManyWatches"
        ann.ask("leave_session", session_id="m1")
        assert ann.ask("join_session", session_id="m3")["state"] == "recording"


def test_a_principal_has_a_bounded_number_of_sockets(serve: Callable[..., Host]) -> None:
    host = serve(max_watches=2)
    with Listener(host.url, namespaces=["/", "/live"]), pytest.raises(Refused):
        Listener(host.url, namespaces=["/"])
    until(lambda: not host.server.eio.sockets or all(s.closed for s in host.server.eio.sockets.values()))
    Listener(host.url, "bob@acme", namespaces=["/"]).close()
    until(lambda: connects(host))


def connects(host: Host) -> bool:
    """Whether there is room for another socket."""
    try:
        Listener(host.url, namespaces=["/"]).close()
    except Refused:
        return False
    return True


def test_a_flood_is_refused_and_then_cut(serve: Callable[..., Host]) -> None:
    """Too many messages are answered as such; a socket that goes on is ended."""
    host = serve(message_rate=1.0, message_burst=5)
    with Listener(host.url, namespaces=["/"]) as ann:
        for _ in range(8):
            ann.say("join_session", session_id="m1")
        until(lambda: "TooManyRequests" in ann.errors())
        ended = threading.Event()
        ann.client.on("disconnect", lambda *_: ended.set(), namespace="/")
        for _ in range(40):
            if not ended.is_set() and ann.client.connected:
                ann.say("join_session", session_id="m1")
        until(ended.is_set)


def test_an_oversized_message_ends_the_socket(serve: Callable[..., Host]) -> None:
    host = serve(max_message=5_000)
    with Listener(host.url, namespaces=["/"]) as ann:
        ended = threading.Event()
        ann.client.on("disconnect", lambda *_: ended.set(), namespace="/")
        ann.say("join_session", session_id="m1", title="x" * 6_000)
        until(ended.is_set)
        assert ann.errors() in ([], ["BodyTooLarge"])
    assert host.pipeline.sessions() == []


def test_a_closed_pipeline_leaves_no_threads(host: Host) -> None:
    with Listener(host.url) as ann:
        ann.ask("join_session", session_id="m1")
        ann.ask("start_session", "/live-transcription")
        until(lambda: ann.names() == ["session_started"])
        host.pipeline.close()
        until(lambda: not [one for one in threading.enumerate() if one.name.startswith("mina-socket")])
