"""The way of a meeting over Socket.IO, as the first front end goes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from socket_hosts import NINE, SPEECH, Host, Listener, until


def through(host: Host) -> None:
    host.pipeline.run_until_idle()


def test_both_rooms_hear_the_nine_in_order(host: Host) -> None:
    """A session begun by its page is heard in `/` and `/live`, each version once, from the first event to the last."""
    with Listener(host.url) as ann:
        ack = ann.ask("join_session", session_id="m1", title="Standup")
        assert ack == {"session_id": "m1", "version": 0, "state": "recording"}
        live = ann.ask("join_session", "/live", session_id="m1", after=0)
        assert live["version"] == 0
        host.pipeline.record("m1", [])
        ann.ask("record", "/live-transcription", session_id="m1", segments=SPEECH)
        done = ann.ask("finalize_session", session_id="m1", settings={})
        assert (done["external_id"], done["total_segments"], done["status"]) == ("m1", 1, "finalized")
        through(host)
        last = host.pipeline.get("m1").version
        for namespace in ("/", "/live"):
            until(lambda at=namespace: len(ann.versions("m1", at)) >= last)
            assert ann.versions("m1", namespace) == list(range(1, last + 1))
            assert [name for name in ann.names(namespace) if name in NINE] == NINE
            assert ann.names(namespace)[-1] == "dashboard_refresh"
        session = host.pipeline.get("m1")
        assert (session.title, session.tenant) == ("Standup", "acme")
        assert host.pipeline.events("m1")[0].actor == "ann"


def test_live_waits_for_an_unknown_id(host: Host) -> None:
    """In `/live` an unknown id starts nothing; once the session is there, its events come from the first."""
    with Listener(host.url) as ann:
        assert ann.ask("join_session", "/live", session_id="later") == {
            "session_id": "later",
            "version": 0,
            "state": None,
        }
        assert host.pipeline.sessions() == []
        host.pipeline.start_session(session_id="later", tenant="acme")
        until(lambda: ann.names("/live") == ["session_started"])
        host.pipeline.cancel("later")
        until(lambda: ann.versions("later", "/live") == [1, 2])


def test_who_waits_for_a_session_of_others_hears_nothing_of_it(host: Host) -> None:
    """Rights are asked before anything of a session that was waited for is told; who is of another tenant does not
    even learn that it was started."""
    host.denied.add(("eve", "read"))
    with Listener(host.url) as ann, Listener(host.url, "eve@acme") as eve, Listener(host.url, "joe@other") as joe:
        for one in (ann, eve, joe):
            assert one.ask("join_session", "/live", session_id="later")["version"] == 0
        host.pipeline.start_session(session_id="later", tenant="acme")
        until(lambda: ann.names("/live") == ["session_started"])
        until(lambda: eve.names("/live"))
        assert eve.names("/live") == ["error"] and eve.errors("/live") == ["SessionNotFound"]
        assert joe.ask("join_session", "/", session_id="own")["state"] == "recording"
        until(lambda: joe.versions("own") == [1])
        assert joe.names("/live") == ["dashboard_refresh"] * joe.names("/live").count("dashboard_refresh")


def test_a_recorder_hears_and_ends_its_session(host: Host) -> None:
    """start_session, record and end_session without any id; the room hears it from the first event."""
    with Listener(host.url) as ann:
        at = "/live-transcription"
        ack = ann.ask("start_session", at, title="Call", locale="en", device_info={"mic": "usb"})
        session = host.pipeline.get(ack["session_id"])
        assert ack["id"] == session.id and ack["version"] == 1
        assert session.metadata == {"device_info": {"mic": "usb"}}
        assert ann.ask("record", at, segments=SPEECH)["total_segments"] == 1
        assert ann.ask("end_session", at)["status"] == "finalized"
        assert ann.ask("end_session", at)["total_segments"] == 1  # pressed twice
        through(host)
        last = host.pipeline.get(session.session_id).version
        until(lambda: ann.versions(session.session_id, at) == list(range(1, last + 1)))


def test_an_end_that_overtakes_its_start_waits_for_it(host: Host) -> None:
    """Messages of one socket run side by side: the end finds the session that is just being started."""
    with Listener(host.url) as ann:
        ann.say("start_session", "/live-transcription", title="Call")
        assert ann.ask("end_session", "/live-transcription")["status"] == "finalized"
        assert len(host.pipeline.sessions()) == 1 and ann.errors("/live-transcription") == []


def test_an_end_without_a_start_is_an_error(host: Host) -> None:
    with Listener(host.url) as ann:
        ack = ann.ask("end_session", "/live-transcription")
        assert ack["error_type"] == "NothingStarted"
        until(lambda: ann.errors("/live-transcription") == ["NothingStarted"])


def test_who_finalizes_hears_what_comes_of_it(host: Host) -> None:
    """finalize_session joins the caller before it finalizes; one who fails is not left in the room."""
    host.pipeline.start_session(session_id="m1", tenant="acme")
    with Listener(host.url) as ann:
        assert ann.ask("finalize_session", session_id="m1")["status"] == "finalized"
        until(lambda: "session_finalized" in ann.names())
        assert ann.ask("finalize_session", session_id="nowhere")["error_type"] == "SessionNotFound"
        host.pipeline.start_session(session_id="m2", tenant="acme")
        host.pipeline.cancel("m2")
        assert ann.ask("finalize_session", session_id="m2")["error_type"] == "IllegalTransition"
        assert ann.ask("leave_session", session_id="m1") == {"session_id": "m1"}
        through(host)
        with Listener(host.url) as other:
            other.ask("join_session", session_id="m1", after=0)
            until(lambda: len(other.versions("m1")) == host.pipeline.get("m1").version)
        assert ann.names().count("refinement_started") == 0


def test_a_sign_of_life_keeps_a_connected_recording(serve: Callable[..., Host]) -> None:
    """While its recorder is connected a silent recording goes on; once it is gone the grace time ends it."""
    host = serve(engine={"recording_grace": 2.0})
    with host.pipeline.workers(1):
        with Listener(host.url) as ann:
            session_id = ann.ask("start_session", "/live-transcription")["session_id"]
            silent = host.pipeline.start_session().session_id
            until(lambda: host.pipeline.get(silent).state != "recording")
            assert host.pipeline.get(session_id).state == "recording"
        until(lambda: host.pipeline.get(session_id).state != "recording")
        assert host.pipeline.events(session_id)[1].type == "session_finalized"


def test_a_polling_client_hears_the_same(host: Host) -> None:
    with Listener(host.url, transport="polling") as ann:
        ann.ask("join_session", session_id="m1")
        ann.ask("finalize_session", session_id="m1")
        through(host)
        last = host.pipeline.get("m1").version
        until(lambda: ann.versions("m1") == list(range(1, last + 1)))


def test_a_host_emits_to_the_room_of_a_session(host: Host) -> None:
    """The room has the session's id as its name, for the host's own events too."""
    host.pipeline.start_session(session_id="m1", tenant="acme")
    with Listener(host.url) as ann:
        ann.ask("join_session", session_id="m1")
        emitted = host.server.emit("captions", {"text": "hello"}, to="m1")
        if host.loop is not None:
            asyncio.run_coroutine_threadsafe(emitted, host.loop).result(10)
        until(lambda: ann.names() == ["captions"])
