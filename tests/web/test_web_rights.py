"""Nothing is open unless the host says yes, and what is another tenant's is as unknown as what is not there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from asking import ACTIONS, ANN, BOB, BODIES, OF_A_SESSION, PLAIN_ROUTES, Host, Person, ask, reply_of, revealed, told
from mina_adapters.web.doors import Doors
from mina_adapters.web.errors import WebError, error_reply, unknown
from mina_adapters.web.rights import ACTIONS as DECLARED
from mina_adapters.web.routes import ROUTES, Route
from mina_adapters.web.settings import WebSettings

from mina_pipeline import Pipeline, Session


def by_door(route: Route) -> str:
    return route.door


each_of_a_session = pytest.mark.parametrize("route", OF_A_SESSION, ids=by_door)
each_plain = pytest.mark.parametrize("route", PLAIN_ROUTES, ids=by_door)


def test_the_routes_ask_for_rights_that_there_are() -> None:
    """Every action of the table is one that hosts know, and every one is asked for somewhere."""
    assert {route.action for route in ROUTES} == set(DECLARED) == set(ACTIONS)


@each_of_a_session
@pytest.mark.parametrize("state", ["recording", "revealed"])
def test_another_tenants_id_is_unknown(route: Route, state: str, doors: Doors, memory: Pipeline) -> None:
    """By its name and by its integer id, the reply is that to an id that is not there, byte for byte but for the id."""
    theirs = told(memory, "theirs", "blue") if state == "recording" else revealed(memory, "theirs", "blue")
    before = memory.events("theirs")
    body = BODIES.get(route.door)
    for guessed, absent in (("theirs", "absent"), (str(theirs.id), str(theirs.id + 1000))):
        refused = reply_of(doors, route.door, guessed, body)
        missing = reply_of(doors, route.door, absent, body)
        assert (refused.status, refused.headers) == (404, missing.headers)
        assert refused.content.replace(guessed.encode(), b"ID") == missing.content.replace(absent.encode(), b"ID")
        assert refused.content == error_reply(unknown(guessed)).content
    assert memory.events("theirs") == before


@pytest.mark.parametrize("tenant", [None, "red", "RED", "red ", "blue"])
def test_a_tenant_is_one_to_the_letter(tenant: str | None, doors: Doors, memory: Pipeline) -> None:
    """Neither case nor a host's principal without a tenant opens what is another's."""
    told(memory, "theirs", "red")
    status, _ = ask(doors, "session", "theirs", by=Person("x", tenant))
    assert status == {"red": 200, "red ": 500}.get(tenant or "", 404)


def test_streams_and_joins_of_another_tenants_session_are_refused(doors: Doors, memory: Pipeline) -> None:
    """`watch`, under every transport, refuses it in the words for an unknown one, and no watch stays behind."""
    theirs = told(memory, "theirs", "blue")
    for guessed in ("theirs", theirs.id, str(theirs.id), "absent", 10**30, "\x00", ""):
        with pytest.raises(WebError) as refused:
            doors.watch(ANN, guessed, 0)
        assert error_reply(refused.value).status == 404
        assert refused.value.error == "There is no such session."
    assert not memory.live.rooms


def test_starting_another_tenants_id_is_refused_as_unknown(doors: Doors, host: Host, memory: Pipeline) -> None:
    """It gives no session, and the words for one that is not there; who may not start anything learns nothing."""
    told(memory, "theirs", "blue")
    assert reply_of(doors, "start", body={"session_id": "theirs"}).content == error_reply(unknown("theirs")).content
    host.taken = {"start"}
    refused, fresh = (reply_of(doors, "start", body={"session_id": one}) for one in ("theirs", "absent"))
    assert refused.status == fresh.status == 403
    assert refused.content == fresh.content


@pytest.mark.parametrize("more", [{}, {"command_id": "c"}, {"command_id": "other"}], ids=str)
def test_a_session_started_between_the_look_and_the_start_is_looked_at_again(
    more: dict[str, str], memory: Pipeline
) -> None:
    """Another tenant's, that came into being while the host was asked, is not handed out."""

    def authorize(principal: Any, session: Session | None, action: str) -> bool:
        if session is None and action == "start":
            memory.start_session("secret", "raced", tenant="blue", actor="bob", command_id="c")
        return True

    body = {"session_id": "raced", "title": "secret", **more}
    reply = reply_of(Doors(memory, authorize), "start", body=body)
    assert reply.content == error_reply(unknown("raced")).content
    assert memory.get("raced").tenant == "blue"


def test_ones_own_session_is_asked_for_by_itself(doors: Doors, host: Host, memory: Pipeline) -> None:
    """start with a known id: the host is shown the session, and may refuse: 403, or 404 where it may not be read."""
    told(memory)
    assert ask(doors, "start", body={"session_id": "meeting"})[0] == 200
    assert host.asked == [("ann", "meeting", "start")]

    def authorize(principal: Any, session: Session | None, action: str) -> bool:
        return session is None or (action == "read" and principal.id == "reader")

    closed = Doors(memory, authorize)
    assert ask(closed, "start", body={"session_id": "meeting"}, by=Person("reader"))[0] == 403
    refused = reply_of(closed, "start", body={"session_id": "meeting"}, by=Person("nobody"))
    assert refused.content == error_reply(unknown("meeting")).content


def test_new_sessions_belong_to_who_starts_them(doors: Doors, host: Host, memory: Pipeline) -> None:
    """Tenant and actor are the principal's, whatever the body says; every command carries its actor."""
    body = {"session_id": "mine", "tenant": "blue", "actor": "root", "title": "t"}
    assert ask(doors, "start", body=body)[0] == 201
    assert host.asked == [("ann", None, "start")]
    for door in ("segments", "upload", "complete"):
        assert ask(doors, door, "mine", BODIES.get(door))[0] == 200
    memory.run_until_idle()
    assert ask(doors, "retry", "mine", {"stage": "summary"})[0] == 200
    assert memory.get("mine").tenant == "red"
    actors = {event.type: event.actor for event in memory.events("mine")}
    asked_for = ("session_started", "segments_recorded", "session_finalized", "summary_requested")
    assert [actors[kind] for kind in asked_for] == ["ann"] * 4


@each_plain
@pytest.mark.parametrize("state", ["recording", "revealed"])
def test_each_door_asks_for_its_right(route: Route, state: str, doors: Doors, host: Host, memory: Pipeline) -> None:
    """Without it: 403 where the session may be read, else the words for an unknown one; and nothing happens."""
    session = told(memory) if state == "recording" else revealed(memory)
    before = memory.events("meeting")
    session_id = "meeting" if route in OF_A_SESSION else None
    host.taken = {route.action}
    refused = reply_of(doors, route.door, session_id, BODIES.get(route.door))
    assert refused.status == (404 if route.action == "read" else 403)
    assert ("ann", session_id, route.action) in host.asked
    host.taken = set(ACTIONS)
    blind = reply_of(doors, route.door, session_id, BODIES.get(route.door))
    if session_id is not None:
        assert blind.content == error_reply(unknown("meeting")).content
        by_number = reply_of(doors, route.door, str(session.id), BODIES.get(route.door))
        assert by_number.content == error_reply(unknown(str(session.id))).content
    assert blind.status == (403 if session_id is None else 404)
    assert memory.events("meeting") == before
    assert len(memory.sessions()) == 1


def test_the_text_of_a_whole_meeting_needs_the_right_to_record(doors: Doors, host: Host, memory: Pipeline) -> None:
    """Who may only finalize adds no words, and then nothing is finalized either."""
    memory.start_session("t", "empty", tenant="red")
    host.taken = {"record"}
    assert ask(doors, "finalize", "empty", {"final_text": "words"})[0] == 403
    assert memory.get("empty").state == "recording"
    assert ask(doors, "finalize", "empty")[0] == 200


@each_plain
def test_nobody_is_refused(route: Route, doors: Doors, host: Host) -> None:
    """Without a principal: 401, before the host is asked anything."""
    status, body = ask(doors, route.door, "meeting", by=None)
    assert (status, body["error_type"]) == (401, "Unauthenticated")
    assert not host.asked


@pytest.mark.parametrize(
    "principal",
    [
        object(), Person(""), Person("a\nb"), Person(" a"), Person("x" * 201), Person(7),  # type: ignore[arg-type]
        Person("a", ""), Person("a", 7), Person("a", "b\x00"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_a_principal_that_cannot_be_an_actor_is_refused(
    principal: Any, doors: Doors, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the host's fault: 500, and the log says so without its text."""
    assert ask(doors, "sessions", by=principal)[0] == 500
    assert "a principal has no usable id and tenant" in capsys.readouterr().err


@each_plain
def test_an_authorize_that_raises_lets_nobody_in(
    route: Route, memory: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """500 without its text; logged by its type alone."""
    revealed(memory)
    before = memory.events("meeting")

    def authorize(principal: Any, session: Session | None, action: str) -> bool:
        raise PermissionError("the secret text of an error")

    reply = reply_of(Doors(memory, authorize), route.door, "meeting", BODIES.get(route.door))
    assert reply.status == 500
    logged = capsys.readouterr().err
    assert "PermissionError" in logged
    assert b"secret" not in reply.content and "secret" not in logged
    assert memory.events("meeting") == before and len(memory.sessions()) == 1


@pytest.mark.parametrize("said", [None, 1, "yes", "no", [True], object()])
def test_only_true_is_yes(said: Any, memory: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no bool is a no, and logged."""
    told(memory)
    doors = Doors(memory, lambda principal, session, action: said)
    assert ask(doors, "session", "meeting")[0] == 404
    assert ask(doors, "start")[0] == 403
    assert "no bool" in capsys.readouterr().err


def test_a_coroutine_is_no_yes(memory: Pipeline) -> None:
    """An async authorize that nobody awaits refuses, and leaves no warning behind."""

    async def authorize(principal: Any, session: Session | None, action: str) -> bool:
        return True

    assert ask(Doors(memory, authorize), "start")[0] == 403  # type: ignore[arg-type]


def test_the_list_is_the_tenants_own_and_readable(memory: Pipeline) -> None:
    """Also for a host without tenants, and page by page where many may not be read."""
    for n in range(130):
        memory.start_session(None, f"r{n}", tenant="red")
    memory.start_session(None, "b", tenant="blue")
    memory.start_session(None, "none")

    def authorize(principal: Any, session: Session | None, action: str) -> bool:
        return session is None or action != "read" or not session.session_id.endswith("1")

    doors = Doors(memory, authorize, WebSettings(burst=1000))
    for person, ids in ((BOB, ["b"]), (Person("x", None), ["none"]), (Person("x", "green"), [])):
        status, body = ask(doors, "sessions", by=person)
        assert (status, [one["session_id"] for one in body["sessions"]], body["before"]) == (200, ids, None)
    found: list[str] = []
    query = {"limit": "50"}
    while True:
        _, body = ask(doors, "sessions", **query)
        assert len(body["sessions"]) <= 50
        found += [one["session_id"] for one in body["sessions"]]
        if body["before"] is None:
            break
        query["before"] = str(body["before"])
    assert found == [f"r{n}" for n in reversed(range(130)) if n % 10 != 1]


def test_the_dashboard_is_the_tenants_own(doors: Doors, host: Host, memory: Pipeline) -> None:
    """Its hints name no other tenant's sessions; it needs its right."""
    with doors.watch_dashboard(ANN) as watch:
        revealed(memory, "theirs", "blue")
        revealed(memory, "mine", "red")
        while not (frames := watch.take()):
            watch.wait(10)
        assert [frame.payload["session_id"] for frame in frames] == ["mine"]
    host.taken = {"watch_dashboard"}
    with pytest.raises(WebError) as refused:
        doors.watch_dashboard(ANN)
    assert refused.value.status == 403


def test_ids_of_digits(memory: Pipeline, host: Host, make_doors: Callable[..., Doors]) -> None:
    """Under /sessions/ an integer id first, under /api/sessions/ last; an id that means another tenant's session does
    not stand in the way of one's own."""
    mine = memory.start_session("first", "one", tenant="red")
    named = memory.start_session("second", str(mine.id), tenant="red")
    theirs = memory.start_session("third", "theirs", tenant="blue")
    shadow = memory.start_session("fourth", str(theirs.id), tenant="red")
    doors = make_doors()
    digits = str(mine.id)
    assert ask(doors, "session", digits)[1]["id"] == named.id
    assert ask(doors, "page_refined", digits)[1]["session_id"] == "one"
    assert ask(doors, "page_refined", str(theirs.id))[0] == 200
    assert ask(doors, "page_refined", str(theirs.id))[1]["session_id"] == shadow.session_id
    assert ask(doors, "session", str(named.id))[1]["session_id"] == named.session_id
    for odd in ("0" + digits, f" {digits}", f"+{digits}", "١", "²", "9" * 5000, "-1", f"{digits}.0"):
        assert ask(doors, "page_refined", odd)[0] == 404


@pytest.mark.parametrize("gives", ["mine", "id", "theirs", "absent", None])
def test_a_hosts_own_integer_ids(
    gives: str | None, memory: Pipeline, host: Host, make_doors: Callable[..., Doors]
) -> None:
    """The resolver's answer is checked like any other id, by tenant and right."""
    mine = told(memory, "mine", "red")
    told(memory, "theirs", "blue")
    doors = make_doors(find_session=lambda number: (mine.id if gives == "id" else gives) if number == 4711 else None)
    status, body = ask(doors, "finalize", "4711")
    assert status == (200 if gives in ("mine", "id") else 404)
    assert body.get("external_id") == ("mine" if status == 200 else None)
    assert ask(doors, "page_tasks", str(mine.id))[0] == 404  # ours mean nothing any more
    assert memory.get("theirs").state == "recording"


def test_a_resolver_that_raises_is_a_fault_of_the_servers(
    make_doors: Callable[..., Doors], capsys: pytest.CaptureFixture[str]
) -> None:
    def find(number: int) -> str:
        raise LookupError("its secret text")

    reply = reply_of(make_doors(find_session=find), "page_tasks", "5")
    assert reply.status == 500
    logged = capsys.readouterr().err
    assert "LookupError" in logged and "secret" not in logged


def test_what_a_door_logs_is_no_transcript(doors: Doors, memory: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    """Words that were said are in no log line and in no refusal."""
    caplog.set_level(logging.DEBUG)
    told(memory)
    body = {"segments": [{"text": "the unspeakable", "start_ms": 0, "end_ms": 1, "segment_id": "1"}]}
    reply = reply_of(doors, "segments", "meeting", body)
    assert reply.status == 409
    assert b"unspeakable" not in reply.content and "unspeakable" not in caplog.text
