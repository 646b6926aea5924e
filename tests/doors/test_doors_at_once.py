"""Every door finalizes one session at the same moment: one end, the same numbers for all, each version once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from away import Time
from doors_place import RECORDER, Door, Numbers, Place, Server, statistics
from soak import dice, share
from socket_hosts import Listener, until

from mina_pipeline import RecordedEvent, Segment
from mina_pipeline.testing.clients import Client

WAYS = share(3, 50)
HINT = "dashboard_refresh"
OPENING = 0.4  # s that a process takes to open its pipeline, about
SOON = 0.1  # s until the grace timer rings, where it is one of the doors


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("doors")
    url = f"sqlite:///{folder}/doors.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with ExitStack() as stack:
        yield Place(url, f"d{os.getpid()}_", stack)


def doors(place: Place, begun: Server, session_id: str, number: int) -> dict[str, Callable[[Server], Numbers]]:
    """Each way to finish the session, through a server that is given."""
    return {
        "complete": lambda at: at.complete(session_id),
        "complete, forced": lambda at: at.complete(session_id, {"force": True}),
        "finalize": lambda at: at.finalize(number, session_id),
        "finalize with a text": lambda at: at.finalize(number, session_id, {"final_text": f"All of it.\n{at.port}"}),
        "finalize_session": lambda at: at.finalize_session(session_id),
        "end_session": lambda at: begun.end_session(),
        "in process": lambda at: statistics(place.pipeline.finalize(session_id).as_dict()["stats"]),
    }


def all_at_once(calls: list[tuple[Door, float]]) -> list[Any]:
    """What each call gave, or raised. With each: how many seconds after the moment it is late."""
    barrier, told = threading.Barrier(len(calls)), list[Any]()

    def call(door: Door, late: float) -> None:
        barrier.wait()
        time.sleep(late)
        try:
            told.append(door())
        except BaseException as error:
            told.append(error)

    threads = [threading.Thread(target=call, args=one) for one in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def check_log(events: list[RecordedEvent], said: int, told: list[Any]) -> None:
    """One end, one reveal, each stage once; and everybody was told the numbers of that one end."""
    types = [event.type for event in events]
    for once in ("session_finalized", "post_transcription_reveal", "refinement_started", "summary_ready"):
        assert types.count(once) == 1, types
    assert types.count("segments_recorded") <= 1
    final = next(event.data for event in events if event.type == "session_finalized")
    assert not said or final["total_segments"] == said
    for numbers in told:
        assert not isinstance(numbers, BaseException), numbers
        assert numbers.items() <= final.items(), (numbers, final)


def check_heard(place: Place, begun: Server, session_id: str, watching: list[Client], last: int) -> None:
    """Each version once, in order: all of them, or from where a page was let in by finalizing."""
    every = list(range(1, last + 1))
    for client in watching:
        client.wait_for(lambda: client.last(session_id) >= last)  # noqa: B023
        assert client.versions(session_id) == every
    until(lambda: begun.recorder.versions(session_id, RECORDER)[-1:] == [last])
    assert begun.recorder.versions(session_id, RECORDER) == every
    for server in place.servers:
        until(lambda: hints(server.page, session_id))  # noqa: B023
        heard = server.page.versions(session_id)
        assert heard == every[last - len(heard) :] and len(hints(server.page, session_id)) == 1


def hints(page: Listener, session_id: str) -> list[Any]:
    """dashboard_refresh of a session, by its room or as the dashboard's hint."""
    return [told for _, name, told in list(page.heard) if (name, told.get("session_id")) == (HINT, session_id)]


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_all_doors_at_once(place: Place) -> None:
    """With `mina finalize` as a process among them, or the grace timer, or with texts where nothing was recorded."""
    luck, p = dice(), place.pipeline
    for way in range(WAYS):
        with ExitStack() as stack:
            begun = luck.choice(place.servers)
            ack = begun.recorder.ask("start_session", RECORDER, title="Call", locale="en", device_info={"mic": "usb"})
            session_id, number = ack["session_id"], ack["id"]
            watching = [client for server in place.servers for client in server.watching(session_id)]
            for client in watching:
                stack.callback(client.close)
            said = luck.choice((0, 1, 5))
            if said:
                p.record(
                    session_id, [Segment("We will send it.", n, n + 900, "Ann", 0.5 + n / 10) for n in range(said)]
                )

            known = doors(place, begun, session_id, number)
            chosen = luck.choices(list(known), k=luck.randint(3, 6)) + ["finalize with a text"] * (0 if said else 2)
            print(way, said, chosen)
            lead = luck.uniform(0, OPENING) if way % 3 == 0 else 0.0
            calls: list[tuple[Door, float]] = [
                (partial(known[name], luck.choice(place.servers)), lead + luck.choice((0, 0, 0.002, 0.01)))
                for name in chosen
            ]
            if way % 3 == 0:
                calls.append((stack.enter_context(place.pressed(session_id)), 0.0))
            if way % 3 == 1:
                at = Time(0, running=True)
                at.stores = [p.store]
                at.pass_by(p.settings.recording_grace - SOON)
                time.sleep(luck.uniform(SOON / 2, SOON * 1.5))
            told = all_at_once(calls)

            until(lambda: p.get(session_id).state == "revealed", 60)  # noqa: B023
            events = p.events(session_id)
            check_log(events, said, told)
            check_heard(place, begun, session_id, watching, len(events))
