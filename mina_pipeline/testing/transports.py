"""The suite that every live transport passes. Subclass TransportContract in a test module and give it two fixtures.

class TestMyTransport(TransportContract):
    @pytest.fixture
    def pipeline(self, tmp_path):
        with Pipeline.open(f"sqlite:///{tmp_path}/test.db") as p:
            yield p

    @pytest.fixture
    def transport(self, pipeline):
        with my_server(pipeline) as server:       # the real thing, on a free port
            yield MyHarness(server.port)          # see clients.Harness

What an adapter does not guarantee is skipped, by name.
"""

from __future__ import annotations

import random
import threading

import msgspec
import pytest

from ..meeting import Segment
from ..pipeline import Pipeline
from ..wire import wire_view
from .clients import Client, Harness, Received

CHUNK = 200_000  # characters of one event of a flood,
FLOOD = 40  # and so many of them: 8 MB, more than the buffers between a server and a client that does not read


def needs(transport: Harness, *names: str) -> None:
    """Skip where the transport does not guarantee this."""
    for name in names:
        if not getattr(transport.guarantees, name):
            pytest.skip(f"not guaranteed: {name}")


def said(number: int, text: str = "We will send the report on Friday.") -> list[Segment]:
    return [Segment(text, number * 1_000, number * 1_000 + 900, "A", 0.9, f"s{number}")]


def meeting(pipeline: Pipeline, session_id: str | None = None, segments: int = 3) -> str:
    """A session that is recorded, finalized and revealed; its id."""
    session_id = pipeline.start_session("contract", session_id).session_id
    for number in range(segments):
        pipeline.record(session_id, said(number))
    pipeline.finalize(session_id)
    pipeline.run_until_idle()
    return session_id


def flood(pipeline: Pipeline, session_id: str) -> int:
    """More than the buffers on the way hold; the version reached."""
    return [pipeline.record(session_id, said(number, "word " * (CHUNK // 5))).version for number in range(FLOOD)][-1]


def numbers(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


def in_order(client: Client) -> list[Received]:
    """What came, each version once."""
    return [one for _, one in sorted({one.version: one for one in client.received}.items())]


def shown(pipeline: Pipeline, session_id: str, after: int = 0) -> list[Received]:
    """What the log says that clients are to see; a refined transcript is left out."""
    return [Received(one.version, *wire_view(one)) for one in pipeline.events(session_id, after)]


class TransportContract:
    """What a live transport guarantees. Each test says it in a sentence."""

    def came_whole(self, transport: Harness, client: Client, session_id: str, first: int, last: int) -> None:
        """Each version from the first to the last, as the guarantees say; and nothing else of this session."""
        versions = client.versions(session_id)
        if not transport.guarantees.exactly_once:
            versions = [one for n, one in enumerate(versions) if one not in versions[:n]]
        assert (versions if transport.guarantees.ordered else sorted(versions)) == numbers(first, last)

    # --- ordering

    def test_all_of_a_session_arrives_in_order(self, pipeline: Pipeline, transport: Harness) -> None:
        """A client that was there from the start sees each version once, in order, without a gap."""
        session_id = pipeline.start_session("contract").session_id
        client = transport.connect(session_id)
        meeting(pipeline, session_id)
        last = pipeline.get(session_id).version
        client.wait_for(last)
        self.came_whole(transport, client, session_id, 2, last)

    def test_names_and_payloads_are_the_wire_view(self, pipeline: Pipeline, transport: Harness) -> None:
        """An event comes under its wire name, with every field that the log says clients read."""
        session_id = pipeline.start_session("contract").session_id
        client = transport.connect(session_id)
        meeting(pipeline, session_id)
        wanted = shown(pipeline, session_id, 1)
        client.wait_for(wanted[-1].version)
        for came, want in zip(in_order(client), wanted, strict=True):
            assert (came.version, came.name) == want[:2]
            fields = msgspec.json.decode(msgspec.json.encode(want.payload))
            if "refined_transcript" in came.payload:
                del fields["href"]
            assert fields.items() <= came.payload.items()

    def test_the_refined_transcript_is_with_it(self, pipeline: Pipeline, transport: Harness) -> None:
        """`refinement_ready` carries the whole refined text, of which the log holds only the changes."""
        needs(transport, "whole")
        session_id = pipeline.start_session("contract").session_id
        client = transport.connect(session_id)
        meeting(pipeline, session_id)
        client.wait_for(pipeline.get(session_id).version)
        transcript = pipeline.result(session_id).transcript
        assert transcript is not None
        refined = "\n".join(f"{line.speaker}: {line.refined_text}" for line in transcript.lines)
        assert [one.payload["refined_transcript"] for one in client.received if one.name == "refinement_ready"] == [
            refined
        ]

    def test_sessions_do_not_mix(self, pipeline: Pipeline, transport: Harness) -> None:
        """A client sees the session that it watches, whatever happens in others meanwhile."""
        mine, other = (pipeline.start_session("contract").session_id for _ in range(2))
        client = transport.connect(mine)
        for number in range(20):
            pipeline.record(other, said(number))
            pipeline.record(mine, said(number))
        client.wait_for(21)
        self.came_whole(transport, client, mine, 2, 21)
        assert {one.payload["session_id"] for one in client.received} == {mine}

    def test_one_connection_watches_several(self, pipeline: Pipeline, transport: Harness) -> None:
        """Sessions on one connection each arrive whole and in their own order."""
        needs(transport, "many")
        ids = [pipeline.start_session("contract").session_id for _ in range(3)]
        client = transport.connect(ids[0])
        for session_id in ids[1:]:
            client.join(session_id)
        for number in range(10):
            for session_id in ids:
                pipeline.record(session_id, said(number))
        client.wait_for(lambda: all(client.last(session_id) == 11 for session_id in ids))
        for session_id in ids:
            self.came_whole(transport, client, session_id, 2, 11)

    def test_everybody_sees_the_same(self, pipeline: Pipeline, transport: Harness) -> None:
        """Ten clients of one session see the same events, although two threads write it."""
        session_id = pipeline.start_session("contract").session_id
        clients = [transport.connect(session_id) for _ in range(10)]
        writers = [threading.Thread(target=self.write, args=(pipeline, session_id, who, 15)) for who in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        for client in clients:
            client.wait_for(31)
            self.came_whole(transport, client, session_id, 2, 31)
            assert in_order(client) == in_order(clients[0])

    def write(self, pipeline: Pipeline, session_id: str, who: int, count: int) -> None:
        for number in range(count):
            pipeline.record(session_id, said(who * 1_000 + number))

    # --- resume

    def test_from_now_on(self, pipeline: Pipeline, transport: Harness) -> None:
        """Without a version a client hears nothing of what was before it came."""
        session_id = meeting(pipeline)
        before = pipeline.get(session_id).version
        client = transport.connect(session_id)
        pipeline.retry(session_id, "summary", command_id="again")
        pipeline.run_until_idle()
        last = pipeline.get(session_id).version
        client.wait_for(last)
        self.came_whole(transport, client, session_id, before + 1, last)

    @pytest.mark.parametrize("after", [0, 4])
    def test_catching_up(self, pipeline: Pipeline, transport: Harness, after: int) -> None:
        """A client gets what came after the version that it has, and then what comes."""
        needs(transport, "resumes")
        session_id = meeting(pipeline)
        client = transport.connect(session_id, after)
        client.wait_for(pipeline.get(session_id).version)
        pipeline.retry(session_id, "summary", command_id="again")
        pipeline.run_until_idle()
        last = pipeline.get(session_id).version
        client.wait_for(last)
        self.came_whole(transport, client, session_id, after + 1, last)

    def test_a_long_history(self, pipeline: Pipeline, transport: Harness) -> None:
        """A session of more events than are kept at hand arrives whole."""
        needs(transport, "resumes")
        session_id = pipeline.start_session("contract").session_id
        self.write(pipeline, session_id, 0, 300)
        client = transport.connect(session_id, 0)
        client.wait_for(301)
        self.came_whole(transport, client, session_id, 1, 301)

    def test_catching_up_while_others_write(self, pipeline: Pipeline, transport: Harness) -> None:
        """Between what was read from the log and what comes live there is no gap, and no double."""
        needs(transport, "resumes")
        session_id = pipeline.start_session("contract").session_id
        writer = threading.Thread(target=self.write, args=(pipeline, session_id, 0, 60))
        writer.start()
        clients = [transport.connect(session_id, 0) for _ in range(5)]
        writer.join()
        for client in clients:
            client.wait_for(61)
            self.came_whole(transport, client, session_id, 1, 61)

    def test_coming_back_again_and_again(self, pipeline: Pipeline, transport: Harness) -> None:
        """A client that is cut off at any moment, and comes back with its last version, misses nothing."""
        needs(transport, "resumes", "ordered")
        session_id = pipeline.start_session("contract").session_id
        dice, seen, last = random.Random(5), list[int](), 0
        for turn in range(13):
            writer = threading.Thread(target=self.write, args=(pipeline, session_id, turn, 5 if turn < 12 else 0))
            writer.start()
            client = transport.connect(session_id, last)
            client.wait_for(61 if turn == 12 else min(last + dice.randint(1, 9), 6 + 5 * turn))
            client.drop()
            writer.join()
            came = client.versions()
            seen += came if transport.guarantees.exactly_once else [one for one in came if one > last]
            last = max([*seen, last])
            if last == 61:
                break
        assert seen == numbers(1, 61)

    def test_a_version_that_is_not_known(self, pipeline: Pipeline, transport: Harness) -> None:
        """Who comes with a version that the session does not have is told so, and then hears what comes next."""
        needs(transport, "resets")
        session_id = pipeline.start_session("contract").session_id
        client = transport.connect(session_id, 999)
        client.wait_for(lambda: client.resets > 0)
        pipeline.record(session_id, said(0))
        client.wait_for(2)
        assert (client.resets, client.versions()) == (1, [2])

    def test_a_session_that_is_yet_to_come(self, pipeline: Pipeline, transport: Harness) -> None:
        """A session can be watched before it is there."""
        needs(transport, "early")
        client = transport.connect("yet-to-come")
        meeting(pipeline, "yet-to-come")
        last = pipeline.get("yet-to-come").version
        client.wait_for(last)
        self.came_whole(transport, client, "yet-to-come", 1, last)

    # --- duplicates

    def test_what_is_sent_twice_arrives_once(self, pipeline: Pipeline, transport: Harness) -> None:
        """A command that was sent many times brings its clients one event."""
        session_id = pipeline.start_session("contract").session_id
        client = transport.connect(session_id)
        for _ in range(3):
            pipeline.record(session_id, said(0))
        for _ in range(3):
            pipeline.finalize(session_id)
        pipeline.run_until_idle()
        client.wait_for(pipeline.get(session_id).version)
        came = [one.payload["event_id"] for one in client.received]
        assert len(came) == len(set(came)) or not transport.guarantees.exactly_once
        assert {one.version for one in client.received if one.name == "session_finalized"} == {3}

    # --- slow clients

    def test_a_client_that_takes_nothing_holds_up_nobody(self, pipeline: Pipeline, transport: Harness) -> None:
        """While one client reads no byte of a long session, the others hear all of it, and commands go on."""
        self.needs_independence(transport)
        session_id = pipeline.start_session("contract").session_id
        slow, quick = transport.connect(session_id), transport.connect(session_id)
        slow.stall()
        last = flood(pipeline, session_id)
        quick.wait_for(last)
        self.came_whole(transport, quick, session_id, 2, last)

    def test_a_slow_client_misses_nothing(self, pipeline: Pipeline, transport: Harness) -> None:
        """It gets the rest when it reads again; where it was dropped, it comes back with its last version."""
        self.needs_independence(transport)
        session_id = pipeline.start_session("contract").session_id
        slow = transport.connect(session_id)
        slow.stall()
        last = flood(pipeline, session_id)
        slow.resume()
        slow.wait_for(lambda: slow.last() == last or slow.gone)
        reached = slow.last()
        assert reached == last or transport.guarantees.slow == "dropped"
        self.came_whole(transport, slow, session_id, 2, reached)
        if reached < last:
            again = transport.connect(session_id, max(reached, 1))
            again.wait_for(last)
            self.came_whole(transport, again, session_id, max(reached, 1) + 1, last)

    def needs_independence(self, transport: Harness) -> None:
        if transport.guarantees.slow == "holds up":
            pytest.skip("not guaranteed: a slow client holds up the others")

    # --- failures

    def test_a_client_that_breaks_off_breaks_nobody(self, pipeline: Pipeline, transport: Harness) -> None:
        """Connections that are cut in the middle take nothing from those that stay."""
        session_id = pipeline.start_session("contract").session_id
        stays = transport.connect(session_id)
        for number in range(20):
            breaks = transport.connect(session_id)
            pipeline.record(session_id, said(number))
            if number % 2:
                breaks.wait_for(number + 2)
            breaks.drop()
        stays.wait_for(21)
        self.came_whole(transport, stays, session_id, 2, 21)
        assert not stays.gone

    def test_an_unreadable_event_breaks_nobody(self, pipeline: Pipeline, transport: Harness) -> None:
        """Hostile text is content like any other: it arrives as it was recorded, and what follows does too."""
        session_id = pipeline.start_session("contract").session_id
        client = transport.connect(session_id)
        text = 'data: x\n\nid: 99\nevent: reset\r\n\u2028 </script> \x1b[2J \U0001f600 שלום {"a": 1}'
        pipeline.record(session_id, said(0, text))
        pipeline.record(session_id, said(1))
        client.wait_for(3)
        stored = pipeline.events(session_id)[1].data["texts"]
        assert [one["text"] for one in client.received[0].payload["segments"]] == stored
        self.came_whole(transport, client, session_id, 2, 3)

    # --- thin form

    def test_what_is_too_large_comes_thin(self, pipeline: Pipeline, transport: Harness) -> None:
        """Over the transport's size an event comes without its big fields, and says where they are; in its place."""
        limit = transport.guarantees.thin_over
        session_id = pipeline.start_session("contract").session_id
        client = transport.connect(session_id)
        pipeline.record(session_id, said(0))
        pipeline.record(session_id, said(1, "word " * ((limit or 1_000_000) // 4)))
        pipeline.record(session_id, said(2))
        client.wait_for(4)
        self.came_whole(transport, client, session_id, 2, 4)
        small, large, _ = (one.payload for one in in_order(client))
        assert "segments" in small and "href" not in small
        if limit is None:
            assert "segments" in large
        else:
            assert "segments" not in large and large["href"]
            assert len(msgspec.json.encode(large)) <= limit
        assert {"session_id", "event_id", "version", "timestamp"} <= set(large)
